"""Reading a lane's duplicate window back from the log when the lane is taken over.

A small window is read from the lane's own output: hash in the header of segment 0, sketch in its value. A
large one is read from `seen` (`workers/seen.py`), and only what that does not hold yet from the output. Both
are read from the end backwards in doubling strides until the window's oldest raw offset is reached, since a
raw offset says nothing about where its segments lie. What is read is taken in as it comes: a window of a
million holds its own 300 MB and a few fetches, not a million records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from aiokafka import TopicPartition

from streams.errors import RecordError
from streams.pipeline import StageTopics
from streams.positions import LaneHeader, Position, unpack_lane_header, unpack_position
from streams.settings import DuplicateSettings
from workers import seen
from workers.duplicates import AdmitWindow, Identity
from workers.lane import Lane
from workers.stage import Stage

FIRST_STRIDE: Final = 64
"""Records that are first read from the end of a lane."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """First offset of a partition and the one behind its last."""

    begin: int
    end: int


class Log(Protocol):
    """What is needed of a `TailReader`."""

    async def read(
        self,
        ranges: Mapping[TopicPartition, tuple[int, int]],
        take: Callable[[TopicPartition, list[Any]], None],
    ) -> None:
        """Give `take` the records of ranges of offsets, as they come."""

    async def bounds(self, tps: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return where partitions begin and end."""


class WindowReader:
    """Fills the windows of lanes."""

    def __init__(
        self, reader: Log, topics: StageTopics, stage: Stage[Any, Any], settings: DuplicateSettings
    ) -> None:
        self._reader = reader
        self._topics = topics
        self._stage = stage
        self._settings = settings
        self._near = settings.near != "off"

    async def fill(self, lanes: list[Lane], outputs: Mapping[int, Bounds]) -> None:
        """Give each lane its window as it stands before the lane's next document; `outputs`: of the target.

        Of a document that a crash has cut, the first segment says what it is (`lane.inside`).
        """
        todo = {}
        for lane in lanes:
            lane.admitted = AdmitWindow.of(self._settings)
            if lane.tail is not None and not lane.stopped and self._settings.window:
                todo[lane.partition] = lane
        if self._settings.has_seen_topic:
            await self._from_seen(todo)
        await self._from_outputs(todo, outputs)

    # -- from `seen` -------------------------------------------------------------------------------------

    async def _from_seen(self, lanes: Mapping[int, Lane]) -> None:
        """Fill the windows as far as `seen` goes; where it has a hole, leave all to the outputs."""
        tps = {p: TopicPartition(self._topics.seen, p) for p in lanes}
        bounds = await self._reader.bounds(list(tps.values())) if tps else {}
        todo = {tp: lanes[p] for p, tp in tps.items() if bounds[tp].end > bounds[tp].begin}
        stride = FIRST_STRIDE + self._settings.window // seen.LAG_OFFSETS  # enough, but for zombies
        while todo:
            ranges = {tp: (max(bounds[tp].begin, bounds[tp].end - stride), bounds[tp].end) for tp in todo}
            whole: dict[Any, bool] = dict.fromkeys(todo, True)

            def take(tp: TopicPartition, records: list[Any], whole: dict[Any, bool] = whole) -> None:
                for record in records:
                    whole[tp] = whole[tp] and self._take_seen(todo[tp], record)

            await self._reader.read(ranges, take)
            for tp, there in whole.items():
                lane = todo[tp]
                if not there:
                    lane.admitted, lane.unseen = AdmitWindow.of(self._settings), seen.Unseen()
                if there or ranges[tp][0] == bounds[tp].begin:
                    del todo[tp]
                    if not there:
                        log.warning("seen has a hole; the outputs are read instead", lane=lane.partition)
            stride *= 2

    def _take_seen(self, lane: Lane, record: Any) -> bool:
        """Take in a record; False where documents of the window are missing before it."""
        oldest = lane.expected.offset - self._settings.window
        try:
            since, covered = seen.span(record, lane.epoch)
            found = seen.unpack(record.value or b"", sketched=self._near)
        except RecordError:
            return True  # somebody else's
        if covered <= lane.unseen.covered or covered >= lane.expected.offset:
            return True  # a zombie's late write; or one of documents whose outputs such a write lies behind
        if since > lane.unseen.covered and since >= oldest:
            return False
        lane.admitted.extend(*found.between(max(lane.unseen.covered, oldest - 1), covered + 1))
        lane.unseen.covered = covered
        return True

    # -- from the outputs themselves ---------------------------------------------------------------------

    async def _from_outputs(self, lanes: Mapping[int, Lane], outputs: Mapping[int, Bounds]) -> None:
        stride = FIRST_STRIDE if self._settings.has_seen_topic else self._settings.window
        todo = dict(lanes)
        while todo:
            ranges = {
                TopicPartition(self._topics.target, p): (
                    max(outputs[p].begin, outputs[p].end - stride),
                    outputs[p].end,
                )
                for p in todo
            }
            tries = {p: _Try(self._first_wanted(lane)) for p, lane in todo.items()}

            def take(tp: TopicPartition, records: list[Any], tries: dict[int, _Try] = tries) -> None:
                for record in records:
                    self._take(tries[tp.partition], record)

            await self._reader.read(ranges, take)
            for p, attempt in tries.items():
                begin, _ = ranges[TopicPartition(self._topics.target, p)]
                if begin == outputs[p].begin or attempt.reached:
                    self._finish(todo.pop(p), attempt)
            stride *= 2

    def _first_wanted(self, lane: Lane) -> int:
        return max(lane.unseen.covered + 1, lane.expected.offset - self._settings.window, 0)

    def _take(self, attempt: _Try, record: Any) -> None:
        try:
            position, header = unpack_position(record.key), unpack_lane_header(record.headers)
        except RecordError:
            return
        if attempt.next is None:
            attempt.reached = position < Position(attempt.oldest, 1)  # segment 0 of the oldest is not missed
        elif position > attempt.next:
            attempt.reached = False  # it began among a zombie's late writes, behind what is missing here
        if attempt.next is None or position >= attempt.next:
            attempt.next = position.successor(header.segments)
        if position.segment == 0 and header.content and position.offset >= attempt.oldest:
            attempt.found.setdefault(position.offset, self._identity(header, record.value))

    def _identity(self, header: LaneHeader, value: bytes) -> Identity:
        return Identity(header.content, self._stage.sketch_of(value) if self._near else b"")

    def _finish(self, lane: Lane, attempt: _Try) -> None:
        whole = not lane.expected.segment
        for offset, identity in sorted(attempt.found.items()):
            if offset < lane.expected.offset:  # a zombie may have left higher ones behind
                lane.admitted.add(offset, identity)
                if self._settings.has_seen_topic:
                    lane.unseen.accepted.append((offset, identity))
            elif offset == lane.expected.offset and not whole:
                lane.inside = identity


@dataclass(slots=True)
class _Try:
    """One reading of a lane's outputs back to a raw offset."""

    oldest: int
    found: dict[int, Identity] = field(default_factory=dict)
    next: Position | None = None  # the position behind the highest one
    reached: bool = False
