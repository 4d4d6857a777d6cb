"""A chunk worker without Faust, on a real broker, that dies where a test wants: one life costs 50 ms, not 2
s.

Everything that decides what is durable is the worker's own (`TailReader`, `Lane`, `Sender`, `Admission`,
`Claims`); only who brings the records is not. A death is at a *boundary*: just before a record is sent, or
just after its acknowledgement, whatever the topic. What was in memory is lost with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from kit.flow import read_raw_log
from kit.stages import Expand
from prometheus_client import CollectorRegistry

from monitoring.metrics import StageMetrics
from streams.generations import Generation
from streams.pipeline import stage_topics
from streams.settings import Settings
from workers.admit import Admission
from workers.claims import Claims
from workers.lane import Input, Lane
from workers.sender import Sender
from workers.tails import TailReader
from workers.work import run


class Killed(Exception):
    """The life is over."""


class Lives:
    """Worker after worker over the same lanes; each dies at its boundary number `at` (None: not at all)."""

    def __init__(self, settings: Settings, generation: Generation) -> None:
        self.settings = settings
        self.generation = generation
        self.boundaries = 0
        """Of the life that ended last."""
        self.raw = {
            p: [Input(r.offset, r.key, r.value, r.headers) for r in records]
            for p, records in read_raw_log(settings, "raw").items()
        }

    def live(self, lanes: Sequence[int], round_size: int, at: int | None = None) -> bool:
        """Work on lanes in turns, `round_size` documents a round; return whether all was done."""
        try:
            asyncio.run(self._live(lanes, round_size, at))
        except Killed:
            return False
        return True

    def together(self, groups: Sequence[Sequence[int]], round_size: int) -> None:
        """Let several workers live at once, each over its own lanes."""

        async def all_of_them() -> None:
            await asyncio.gather(*(self._live(lanes, round_size, None) for lanes in groups))

        asyncio.run(all_of_them())

    async def _live(self, lanes: Sequence[int], round_size: int, at: int | None) -> None:
        topics, stage = stage_topics("chunk", self.generation.id), Expand(self.settings)
        metrics = StageMetrics(CollectorRegistry(), "chunk", ())
        sender = Sender(self.settings, topics, "chunk", metrics)
        tails = TailReader(self.settings, topics, self.generation, "chunk")
        claims = None
        await sender.start()
        await tails.start()
        self._die(sender, at)
        try:
            assert stage.duplicates is not None
            if stage.duplicates.has_claims_topic:

                async def write(key: bytes, value: bytes) -> int:
                    return await sender.append(topics.claims, 0, (key, value, None))

                claims = Claims(self.settings, topics.claims, write)
                await claims.start()
            sender.admission = Admission(stage, stage.duplicates, claims)
            opened = await tails.lanes(lanes, root=True, stage=stage)
            todo = {lane.partition: self._inputs(lane) for lane in opened}
            while todo:
                for lane in opened:
                    if lane.partition in todo and not self._take(
                        stage, lane, todo[lane.partition], round_size
                    ):
                        del todo[lane.partition]
                    while lane.slots:
                        await sender.send_heads(lane)
        finally:
            await sender.stop()
            await tails.stop()
            if claims is not None:
                await claims.stop()

    def _inputs(self, lane: Lane) -> Iterator[Input]:
        assert lane.stopped is None, lane.stopped
        return iter(self.raw[lane.partition][lane.next_offset :])

    @staticmethod
    def _take(stage: Expand, lane: Lane, inputs: Iterator[Input], n: int) -> bool:
        for _ in range(n):
            record = next(inputs, None)
            if record is None:
                return False
            slot = lane.accept(record, 0.0)
            if slot is not None:
                if slot.result is None:
                    (slot.result,) = run(stage, [(slot.kind, slot.value)])
                lane.slots.append(slot)
        return True

    def _die(self, sender: Sender, at: int | None) -> None:
        acknowledged, self.boundaries = sender._acknowledged, 0

        async def watched(sending: Any) -> Any:
            for before in (True, False):
                if self.boundaries == at:
                    if before:
                        sending.close()
                    raise Killed
                self.boundaries += 1
                if before:
                    answer = await acknowledged(sending)
            return answer

        sender._acknowledged = watched  # type: ignore[method-assign]
