"""A lane as a worker holds it: what was accepted, what must come next, what is in flight.

Pure state and rules, no Kafka: the monotonic filter, the gap check and the origin check of the protocol. The
alternative, trusting committed offsets, loses records whenever a commit runs ahead of a write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from streams.errors import LaneError, LaneGap, LaneRecreated, RecordError
from streams.positions import (
    NO_ORIGIN,
    Headers,
    Kind,
    LaneHeader,
    Origin,
    Position,
    unpack_lane_header,
    unpack_origin,
    unpack_position,
    unpack_raw_header,
)
from workers.duplicates import NOBODY, AdmitWindow, Identity
from workers.seen import Unseen
from workers.stage import Drop
from workers.work import Failure, Outputs


@dataclass(frozen=True, slots=True)
class Input:
    """One record as it comes from the input topic."""

    offset: int
    key: bytes | None
    value: bytes
    headers: Headers


@dataclass(slots=True, eq=False)
class Slot:
    """One accepted input on its way through the worker."""

    lane: Lane
    offset: int  # in the input topic
    value: bytes
    position: Position | None  # None: bytes of somebody else, buried without a place in the lane
    kind: Kind
    segments: int
    origin: Origin
    origin_high: Origin
    ingested_at_ms: int
    received: float
    result: Outputs | Drop | Failure | None = None  # None: not processed yet
    passed: bool = False  # a marker of an earlier stage: its value is copied on
    started: bool = False
    up_to: int = 0  # last input offset that this slot stands for (duplicates behind it included)

    @property
    def done(self) -> bool:
        """Whether the slot may be sent once it is the head of its lane."""
        return self.passed or self.result is not None


@dataclass(frozen=True, slots=True)
class Tail:
    """Last record of ours in an output lane."""

    position: Position
    header: LaneHeader


@dataclass(frozen=True, slots=True)
class DeadTail:
    """Last dead letter of a lane: it may lie above the output's tail, where its marker was not written."""

    position: Position | None
    input_offset: int
    error: str
    detail: str


@dataclass(slots=True)
class Lane:
    """One partition, from its assignment to its revocation.

    `root` says that the input is `raw`: positions are made here, origins are checked here.
    """

    partition: int
    epoch: int
    root: bool
    expected: Position  # the position that must come next
    next_offset: int  # the input offset that must come next
    tail: Tail | None
    dead: DeadTail | None
    origin_high: Origin = NO_ORIGIN
    accept_loss: bool = False
    admitted: AdmitWindow = field(default_factory=lambda: AdmitWindow(0))
    inside: Identity = NOBODY  # of the tail's document where that is not whole
    unseen: Unseen = field(default_factory=Unseen)
    deaths: int = 0  # take-overs without progress, this one included
    isolate: int = 0  # records still to be processed in a child process
    slots: deque[Slot] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_open: bool = True
    stopped: LaneError | None = None
    progress: bool = False
    committed: int = -1  # next input offset to commit
    mirrored: int = -1  # what the group's offsets say already
    duplicates: int = 0  # seen and filtered
    crossed: list[str] = field(default_factory=list)  # gaps crossed because the operator said so, to be noted

    def resumes(self, slot: Slot) -> Tail | None:
        """Return the tail where it lies inside this slot's document: its other segments must be written."""
        tail = self.tail
        inside = self.root and tail is not None and tail.position.segment + 1 < tail.header.segments
        if inside and tail and slot.position and tail.position.offset == slot.position.offset:
            return tail
        return None

    def accept(self, record: Input, now: float) -> Slot | None:
        """Return the slot of the next input, or None for one that was seen before.

        The caller has checked that `record.offset` is `next_offset` (`offset_gap`). Raises `LaneGap` or
        `LaneRecreated`, after which nothing more of this lane may be accepted.
        """
        self.next_offset = record.offset + 1
        return self._accept_raw(record, now) if self.root else self._accept_lane(record, now)

    def _accept_raw(self, record: Input, now: float) -> Slot:
        position = Position(record.offset, 0)
        self.expected = position.successor(1)
        slot = Slot(
            lane=self,
            offset=record.offset,
            value=record.value,
            position=position,
            kind=Kind.DOCUMENT,
            segments=1,
            origin=NO_ORIGIN,
            origin_high=self.origin_high,
            ingested_at_ms=0,
            received=now,
            up_to=record.offset,
        )
        try:
            origin, header = unpack_origin(record.key), unpack_raw_header(record.headers)
        except RecordError as error:
            slot.result = Failure("RecordError", str(error))
            self._recall_dead(slot)
            return slot
        self._check_epoch(header.epoch, position)
        slot.origin, slot.kind, slot.ingested_at_ms = origin, header.kind, header.ingested_at_ms
        if self.resumes(slot):
            return slot  # this very document was accepted before the crash
        if origin <= self.origin_high:
            slot.result = Drop("repeated")  # a zombie ingester's late write
            return slot
        # Below it is no gap: a zombie of a source that has vanished since may have written, late, what its
        # successor did not know of when it read the tail. Nothing lies between `previous` and this one.
        if header.previous > self.origin_high:
            self._gap(
                f"raw offset {record.offset} follows origin {tuple(header.previous)}, but the last one "
                f"accepted is {tuple(self.origin_high)}: records are missing before raw"
            )
        self.origin_high = slot.origin_high = origin
        self._recall_dead(slot)
        return slot

    def _accept_lane(self, record: Input, now: float) -> Slot | None:
        try:
            position, header = unpack_position(record.key), unpack_lane_header(record.headers)
        except RecordError as error:
            if self.dead and record.offset <= self.dead.input_offset:
                self._seen(record.offset)
                return None
            return Slot(
                lane=self,
                offset=record.offset,
                value=record.value,
                position=None,
                kind=Kind.SEGMENT,
                segments=1,
                origin=NO_ORIGIN,
                origin_high=NO_ORIGIN,
                ingested_at_ms=0,
                received=now,
                up_to=record.offset,
                result=Failure("RecordError", str(error)),
            )
        self._check_epoch(header.epoch, position)
        if position < self.expected:
            self._seen(record.offset)
            return None
        if position != self.expected:
            self._gap(f"position {tuple(position)} came where {tuple(self.expected)} must")
        self.expected = position.successor(header.segments)
        self.origin_high = header.origin_high
        slot = Slot(
            lane=self,
            offset=record.offset,
            value=record.value,
            position=position,
            kind=header.kind,
            segments=header.segments,
            origin=header.origin,
            origin_high=header.origin_high,
            ingested_at_ms=header.ingested_at_ms,
            received=now,
            passed=header.kind.marker,
            up_to=record.offset,
        )
        if not slot.passed:
            self._recall_dead(slot)
        return slot

    def _recall_dead(self, slot: Slot) -> None:
        """Where this input's dead letter is durable but its marker is not: only the marker is still due."""
        if self.dead and self.dead.position == slot.position:
            slot.result = Failure(self.dead.error, self.dead.detail, durable=True)

    def _seen(self, offset: int) -> None:
        """Filter a record; its offset is committed with the slot before it."""
        self.duplicates += 1
        if self.slots:
            self.slots[-1].up_to = offset
        else:
            self.committed = offset + 1

    def _check_epoch(self, epoch: int, position: Position) -> None:
        if epoch != self.epoch:
            raise LaneRecreated(
                f"lane {self.partition}: the record at {tuple(position)} is of epoch {epoch:x}, this "
                f"generation of {self.epoch:x}: the topics were recreated or mixed. Begin a new pipeline"
            )

    def _gap(self, what: str) -> None:
        if not self.accept_loss:
            raise LaneGap(
                f"lane {self.partition}: {what}. The lane stops, since going on would hide a loss; find "
                "out what deleted records, then go on without them by setting "
                f"runner.accept_loss=[{self.partition}]"
            )
        self.crossed.append(what)

    def stop(self, error: LaneError) -> None:
        """Accept nothing more; what was accepted before is still sent."""
        self.stopped = error
