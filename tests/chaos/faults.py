"""Workers and a trainer with one rule of the protocol switched off in one lane: what the oracle must notice.

`python faults.py worker KIND SLOT` or `python faults.py trainer …`; `FAULTS` names the lanes, as JSON:
- `filter`: the trainer, behind which nobody filters any more, takes again what it has seen;
- `acknowledge`: inputs are let go of before the broker has taken their outputs, whatever becomes of them;
- `tail`: a lane that is taken over goes on at the committed offset, as if nothing were known of it.
The product has no hooks for this: its classes are patched here, in processes of the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

FAULTS: dict[str, int] = json.loads(os.environ.get("FAULTS", "{}"))


def forget_the_filter() -> None:
    from streams.positions import unpack_position
    from trainer.source import LaneFilter

    admit = LaneFilter.admit

    def again(self: Any, record: Any) -> Any:
        if self._lane != FAULTS["filter"] or record.key is None or len(record.key) != 16:
            return admit(self, record)
        position, before = unpack_position(record.key), (self._position, self._expected)
        if before[0] is None or position > before[0]:
            return admit(self, record)
        self._position, self._expected = None, position
        try:
            return admit(self, record)
        finally:
            self._position, self._expected = before

    LaneFilter.admit = again  # type: ignore[method-assign]


def forget_the_acknowledgement() -> None:
    from workers.sender import Sender

    submit = Sender._submit

    async def at_once(self: Any, batch: Any, lane: Any) -> None:
        if lane.partition != FAULTS["acknowledge"] or not batch.count:
            return await submit(self, batch, lane)
        sending = asyncio.ensure_future(batch.send(self._topics.target, lane.partition))
        sending.add_done_callback(lambda done: done.exception())
        lane.progress = True
        return None

    Sender._submit = at_once  # type: ignore[method-assign]


def forget_the_tail() -> None:
    from aiokafka import TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient

    from streams import clients
    from streams.positions import NO_ORIGIN, unpack_raw_header
    from workers.duplicates import AdmitWindow
    from workers.lane import Lane
    from workers.tails import TailReader

    lanes, accept = TailReader.lanes, Lane.accept

    async def unread(self: Any, *arguments: Any, **more: Any) -> list[Any]:
        found = await lanes(self, *arguments, **more)
        for lane in found:
            if lane.partition == FAULTS["tail"]:
                lane.next_offset = lane.committed = await committed(self._topics)
                lane.tail = lane.dead = lane.stopped = None
                lane.origin_high = NO_ORIGIN
                if (duplicates := more["stage"].duplicates) is not None:
                    lane.admitted = AdmitWindow.of(duplicates)
        return found

    async def committed(topics: Any) -> int:
        from streams.settings import load

        admin = AIOKafkaAdminClient(**clients.common(load()))
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(topics.group)
        finally:
            await admin.close()
        at = offsets.get(TopicPartition(topics.source, FAULTS["tail"]))
        return at.offset if at is not None else 0

    def trusting(self: Any, record: Any, now: float) -> Any:
        if self.partition == FAULTS["tail"] and self.root and self.origin_high == NO_ORIGIN:
            self.origin_high = unpack_raw_header(record.headers).previous
        return accept(self, record, now)

    TailReader.lanes = unread  # type: ignore[method-assign]
    Lane.accept = trusting  # type: ignore[method-assign]


def main() -> None:
    role, *arguments = sys.argv[1:]
    if role == "trainer":
        forget_the_filter()
        from trainer.__main__ import main as trainer

        sys.exit(trainer(arguments))
    from kit.stages import KINDS

    from streams.settings import load
    from workers.__main__ import stage_class, work

    forget_the_acknowledgement()
    forget_the_tail()
    kind, slot = arguments
    work(KINDS[kind] if kind in KINDS else stage_class(kind), load(), slot)


if __name__ == "__main__":
    main()
