"""`judged` as the trainer reads it: every lane from a cursor, in order, without gaps and without repeats.

A plain consumer with partitions assigned by hand: where to read from is in the checkpoint, so a group's
offsets could only contradict it. Each lane passes a filter before anything is decoded: another epoch or a
missing position stops the run with a named error, a repeated position (a zombie's late write) is counted
and dropped. What waits to be decoded is bounded per lane, so that one lane's backlog cannot fill memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import structlog

from streams import clients, pipeline
from streams.errors import LaneGap, LaneRecreated, LaneTrimmed, RecordError
from streams.generations import Generation
from streams.positions import Kind, Position, unpack_lane_header, unpack_position
from streams.settings import Settings
from trainer.state import Cursor

POLL_RECORDS: Final = 256
"""Records a poll: few large polls cost half of many small ones (1.15 against 2.2 M tokens/s)."""
LANE_RECORDS: Final = 512
LANE_BYTES: Final = 4 * 1024 * 1024
"""A lane with more waiting is read no further until half of it is taken."""

_log = structlog.get_logger(__name__)


class Arrived(NamedTuple):
    """A record that passed the filter, not yet decoded."""

    offset: int
    position: Position
    segments: int
    appended_ms: int
    value: bytes | None  # None: a marker, it only moves the cursor on


class LaneFilter:
    """The reader's guard on one lane: pure, so that its rules can be tested without a broker."""

    def __init__(self, lane: int, epoch: int, cursor: Cursor) -> None:
        self._lane = lane
        self._epoch = epoch
        self._position = cursor.position
        self._expected = cursor.expected

    @property
    def expected(self) -> Position:
        """Return the one position that may come next."""
        return self._expected

    def admit(self, record: Any) -> Arrived | None:
        """Return the record, or None where it repeats a position that was seen.

        Raises `LaneRecreated` at another epoch, `LaneGap` at any position but the expected one, `RecordError`
        where the record is none of ours.
        """
        position = unpack_position(record.key)
        header = unpack_lane_header(record.headers)
        if header.epoch != self._epoch:
            raise LaneRecreated(
                f"lane {self._lane} of {record.topic}, offset {record.offset}: the record's epoch "
                f"{header.epoch} is not this generation's {self._epoch}. The topics were deleted and created "
                "anew; begin a new run (--run NAME) on the new pipeline"
            )
        if self._position is not None and position <= self._position:
            return None
        if position != self._expected:
            raise LaneGap(
                f"lane {self._lane} of {record.topic}, offset {record.offset}: position {tuple(position)} "
                f"where {tuple(self._expected)} must follow. Records are missing, and training over a loss "
                "is not an option: look at the stage before (`finestream topic peek judged`)"
            )
        if header.kind < Kind.SEGMENT:
            raise RecordError(f"record kind {header.kind.name} does not belong into {record.topic}")
        self._position = position
        self._expected = position.successor(header.segments)
        value = None if header.kind.marker else record.value
        return Arrived(record.offset, position, header.segments, record.timestamp, value)


class JudgedSource:
    """Reads all lanes of a generation's `judged` from the given cursors. For one thread."""

    def __init__(
        self,
        settings: Settings,
        generation: Generation,
        cursors: Mapping[int, Cursor],
        duplicate: Callable[[], None],
    ) -> None:
        """`duplicate` is called once for each repeated record that is dropped."""
        from kafka import TopicPartition  # noqa: PLC0415 - keeps the pure filter importable without a client

        self._settings = settings
        self._topic = pipeline.topic("judged", generation.id)
        self._lanes = {lane: TopicPartition(self._topic, lane) for lane in cursors}
        self._raw = {lane: TopicPartition(pipeline.RAW, lane) for lane in cursors}
        self._filters = {lane: LaneFilter(lane, generation.epoch, at) for lane, at in cursors.items()}
        self.waiting: dict[int, deque[Arrived]] = {lane: deque() for lane in cursors}
        """Records that passed and were not taken yet, per lane."""
        self._duplicate = duplicate
        self._bytes = dict.fromkeys(cursors, 0)
        self._next = {lane: cursor.next_offset for lane, cursor in cursors.items()}
        self._paused: set[int] = set()
        self._consumer = clients.sync_consumer(settings, fetch_max_wait_ms=100)
        self._consumer.assign(list(self._lanes.values()))
        self._seek()

    def poll(self, seconds: float) -> int:
        """Read what is there, waiting up to `seconds` for a first record; return how many passed."""
        self._resume()
        if len(self._paused) == len(self._lanes):
            return 0  # everything that may wait does wait
        with self._named_errors():
            polled = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=POLL_RECORDS)
        passed = 0
        for tp, records in polled.items():
            passed += self._accept(tp.partition, records)
        return passed

    def take(self, lane: int, last: Position | None = None) -> list[Arrived]:
        """Take a lane's waiting records, up to and with position `last` where it is given."""
        waiting, out = self.waiting[lane], []
        while waiting and (last is None or waiting[0].position <= last):
            out.append(waiting.popleft())
            self._bytes[lane] -= len(out[-1].value or b"")
        return out

    def drained(self) -> bool:
        """Whether `judged`, filtered, has reached the end of `raw` in every lane, and all of it is taken.

        An empty lane is drained.
        """
        if any(self.waiting.values()):
            return False
        with self._named_errors():
            ends = clients.end_offsets(self._consumer, list(self._raw.values()))
        return all(self._filters[lane].expected.offset >= ends[tp] for lane, tp in self._raw.items())

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Say what an error of the client means for the run."""
        from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError  # noqa: PLC0415

        try:
            yield
        except OffsetOutOfRangeError as error:
            raise LaneTrimmed(
                f"records of {self._topic} were deleted before this run read them ({error}). Free disk in "
                "another way than by the log, or begin a new run (--run NAME)"
            ) from error
        except LogTruncationError as error:
            raise LaneRecreated(
                f"{self._topic} has lost records at its end that this run has read ({error}): a broker's "
                "disk or an unclean election lost them. Begin a new run (--run NAME)"
            ) from error
        except KafkaError as error:
            raise clients.unreachable(self._settings, error) from error

    def _accept(self, lane: int, records: list[Any]) -> int:
        waiting, admit = self.waiting[lane], self._filters[lane].admit
        passed = 0
        for record in records:
            self._next[lane] = record.offset + 1
            try:
                arrived = admit(record)
            except RecordError as error:
                # Not a record of a lane. If it stands in the place of one, the gap check stops the run.
                _log.error(
                    "foreign_record", topic=self._topic, lane=lane, offset=record.offset, why=str(error)
                )
                continue
            if arrived is None:
                self._duplicate()
                continue
            waiting.append(arrived)
            self._bytes[lane] += len(arrived.value or b"")
            passed += 1
        if len(waiting) >= LANE_RECORDS or self._bytes[lane] >= LANE_BYTES:
            self._paused.add(lane)
            self._assign()
        return passed

    def _resume(self) -> None:
        resumed = [
            lane
            for lane in self._paused
            if len(self.waiting[lane]) <= LANE_RECORDS // 2 and self._bytes[lane] <= LANE_BYTES // 2
        ]
        if resumed:
            self._paused.difference_update(resumed)
            self._assign()
            for lane in resumed:
                self._consumer.seek(self._lanes[lane], self._next[lane])

    def _assign(self) -> None:
        """Read the lanes that are not paused, and those only.

        Not by `pause` and `resume`: kafka-python 3.0.12 parks what it has fetched of a paused partition and
        never looks there again once another partition's fetch came back empty; the lane then stands for ever.
        """
        self._consumer.assign([tp for lane, tp in self._lanes.items() if lane not in self._paused])

    def _seek(self) -> None:
        tps = list(self._lanes.values())
        with self._named_errors():
            begins = clients.beginning_offsets(self._consumer, tps)
            ends = clients.end_offsets(self._consumer, tps)
        for lane, tp in self._lanes.items():
            offset = self._next[lane]
            if begins[tp] > offset:
                raise LaneTrimmed(
                    f"lane {lane} of {self._topic} begins at offset {begins[tp]}, but this run still needs "
                    f"{offset}: records were deleted before they were read. Begin a new run (--run NAME) "
                    "where that is acceptable"
                )
            if offset > ends[tp]:
                raise LaneRecreated(
                    f"lane {lane} of {self._topic} ends at offset {ends[tp]}, before {offset}, which this "
                    "run has read: the topic was deleted and created anew, or lost its end. Begin a new run"
                )
            self._consumer.seek(tp, offset)
