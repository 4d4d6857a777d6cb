"""Reading partitions from one offset to another, and lanes as a filtering reader sees them.

One consumer without a group reads one partition at a time, so what it holds is bounded by one fetch. The
alternative, all partitions of a topic at once, is faster on a broker far away and holds a fetch of each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from streams import clients
from streams.errors import BrokerUnreachable, RecordError, TopicError
from streams.positions import LaneHeader, Position, unpack_lane_header, unpack_position
from streams.settings import Settings

FETCH_BYTES: Final = 1024 * 1024
"""Of one partition at a time; the broker sends a larger record whole all the same."""
STALL_SECONDS: Final = 60.0
"""How long a read may bring nothing."""


class Bounds(NamedTuple):
    """First offset of a partition and the one behind its last."""

    begin: int
    end: int


class LogReader:
    """Reads ranges of partitions, one after another. A context manager; for one thread."""

    def __init__(self, settings: Settings) -> None:
        # read_committed: books and ledgers are written in transactions; lanes are not, and lose nothing.
        self._consumer = clients.sync_consumer(
            settings,
            isolation_level="read_committed",
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=FETCH_BYTES,
        )

    def topics(self) -> list[str]:
        """Return the names of all topics but Kafka's own."""
        return sorted(name for name in self._consumer.topics() if not name.startswith("__"))

    def lanes_of(self, topic: str) -> int:
        """Return how many partitions a topic has; raise `TopicError` where there is none of that name."""
        if topic not in self._consumer.topics():
            raise TopicError(f"there is no topic {topic!r}; `finestream topic ls` lists them")
        return len(self._consumer.partitions_for_topic(topic))

    def bounds(self, topic: str, partition: int) -> Bounds:
        """Return where a partition begins and ends now."""
        return self.all_bounds(topic, [partition])[partition]

    def all_bounds(self, topic: str, partitions: list[int]) -> dict[int, Bounds]:
        """Return where partitions of a topic begin and end now."""
        from kafka import TopicPartition  # noqa: PLC0415

        tps = [TopicPartition(topic, p) for p in partitions]
        begins, ends = (
            clients.beginning_offsets(self._consumer, tps),
            clients.end_offsets(self._consumer, tps),
        )
        return {tp.partition: Bounds(begins[tp], ends[tp]) for tp in tps}

    def read(self, topic: str, partition: int, begin: int, end: int) -> Iterator[Any]:
        """Yield the records of offsets `begin` to `end` (exclusive), in order, as kafka-python gives them.

        Only the newest call's iterator may be used. Raises `BrokerUnreachable` where nothing comes for long.
        """
        from kafka import TopicPartition  # noqa: PLC0415

        if begin >= end:
            return
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, begin)
        deadline = time.monotonic() + STALL_SECONDS
        # The end may be a transaction's control record, which is never delivered: ask for the position.
        while self._consumer.position(tp) < end:
            records = self._consumer.poll(timeout_ms=200).get(tp, ())
            if records:
                deadline = time.monotonic() + STALL_SECONDS
            elif time.monotonic() > deadline:
                raise BrokerUnreachable(
                    f"partition {partition} of {topic} brought nothing for {STALL_SECONDS:.0f} s at offset "
                    f"{self._consumer.position(tp)}, though it ends at {end}"
                )
            for record in records:
                if record.offset >= end:
                    return
                yield record

    def appended_at(self, topic: str, offsets: Mapping[int, int], seconds: float) -> dict[int, float]:
        """Return when the records at some offsets (by partition) were appended, in Unix seconds.

        All partitions together; what did not come within `seconds` is left out.
        """
        from kafka import TopicPartition  # noqa: PLC0415

        found: dict[int, float] = {}
        self._consumer.assign([TopicPartition(topic, partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(topic, partition), offset)
        deadline = time.monotonic() + seconds
        while len(found) < len(offsets) and time.monotonic() < deadline:
            for tp, records in self._consumer.poll(timeout_ms=200).items():
                found.setdefault(tp.partition, records[0].timestamp / 1000)
                self._consumer.pause(tp)
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Entry(NamedTuple):
    """One record of a lane."""

    offset: int
    position: Position
    header: LaneHeader
    value: bytes
    headers: list[tuple[str, bytes]]


class LaneStream:
    """One lane of a topic as a filtering reader sees it: positions only ever grow. Looks one record ahead."""

    def __init__(self, records: Iterator[Any]) -> None:
        self._records = records
        self.duplicates = 0
        """Records whose position is not above the highest seen: a zombie's late writes."""
        self.foreign = 0
        """Records that are none of ours."""
        self._highest: Position | None = None
        self.head: Entry | None = None
        """The next record; None at the end."""
        self.advance()

    def advance(self) -> Entry | None:
        """Go on to the next record; return the one that was the head."""
        before, self.head = self.head, None
        for record in self._records:
            try:
                position, header = unpack_position(record.key), unpack_lane_header(record.headers)
            except RecordError:
                self.foreign += 1
                continue
            if self._highest is not None and position <= self._highest:
                self.duplicates += 1
                continue
            self._highest = position
            self.head = Entry(record.offset, position, header, record.value or b"", record.headers)
            break
        return before
