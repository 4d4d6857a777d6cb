"""Is everything through? Follows the end of `judged` as a filtering reader does, cheaply enough to be polled.

A lane is drained once the highest position in `judged` is its last document in `raw`. The last record alone
would not do: a zombie's late write may stand there. So the reader keeps its place and its highest position
between two questions, and each record is read once.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, NamedTuple, Self

from streams import clients, pipeline
from streams.errors import LaneGap, LaneTrimmed, RecordError
from streams.generations import Generation
from streams.positions import Position, unpack_lane_header, unpack_position
from streams.settings import Settings

LOOK_SECONDS: Final = 1.0
"""The longest one question takes where there is much to read."""


class Progress(NamedTuple):
    """How far a pipeline is: documents whose last segment or marker stands in `judged`, of those in `raw`."""

    done: int
    total: int


class DrainWatch:
    """Watches one generation from `begin` of each lane on. A context manager; for one thread."""

    def __init__(self, settings: Settings, generation: Generation) -> None:
        from kafka import TopicPartition  # noqa: PLC0415

        lanes = range(generation.lanes)
        self._flow = {
            name: [TopicPartition(pipeline.topic(name, generation.id), lane) for lane in lanes]
            for name in pipeline.TOPICS
        }
        self._raw, self._judged = self._flow[pipeline.RAW], self._flow["judged"]
        self._first = [Position._make(generation.first_position(lane)) for lane in range(generation.lanes)]
        self._expected = list(self._first)
        self._consumer = clients.sync_consumer(
            settings,
            fetch_max_wait_ms=20,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=1024 * 1024,
        )
        self._consumer.assign(self._judged)
        self._consumer.seek_to_beginning(*self._judged)

    def look(self) -> Progress:
        """Read what is new in `judged`; return how far it is now.

        Raises `LaneGap` where a position is missing: such a lane would never be drained.
        """
        self._read()
        ends = clients.end_offsets(self._consumer, self._raw)
        done = total = 0
        for lane, tp in enumerate(self._raw):
            done += self._expected[lane].offset - self._first[lane].offset
            total += max(0, ends[tp] - self._first[lane].offset)
        return Progress(done, total)

    def sizes(self) -> dict[str, int]:
        """Return how many records each topic of the flow holds now, by its name without the generation."""
        ends = clients.end_offsets(self._consumer, [tp for tps in self._flow.values() for tp in tps])
        return {name: sum(ends[tp] for tp in tps) for name, tps in self._flow.items()}

    def drained(self) -> bool:
        """Whether every lane of `judged` has reached the end of `raw`; an empty lane has."""
        self._read()
        ends = clients.end_offsets(self._consumer, self._raw)
        return all(self._expected[lane].offset >= ends[tp] for lane, tp in enumerate(self._raw))

    def _read(self) -> None:
        ends = clients.end_offsets(self._consumer, self._judged)
        deadline = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < deadline:
            behind = [tp for tp in self._judged if self._consumer.position(tp) < ends[tp]]
            if not behind:
                return
            for tp, records in self._consumer.poll(timeout_ms=200).items():
                for record in records:
                    self._accept(tp.partition, record)

    def _accept(self, lane: int, record: object) -> None:
        offset, key, headers = record.offset, record.key, record.headers  # type: ignore[attr-defined]
        try:
            position, header = unpack_position(key), unpack_lane_header(headers)
        except RecordError:
            return  # not ours; where it stands in the place of one, the next position shows it
        expected = self._expected[lane]
        if position < expected:
            return
        if position != expected:
            what = LaneTrimmed if expected == self._first[lane] else LaneGap
            topic = self._judged[lane].topic
            raise what(
                f"lane {lane} of {topic}, offset {offset}: position {tuple(position)} came where "
                f"{tuple(expected)} must; `finestream topic peek {topic} --lane {lane}` shows what is there"
            )
        self._expected[lane] = position.successor(header.segments)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
