"""One walk a lane, in order of position, through all topics of a generation at once."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from typing import Final

from streams import pipeline
from streams.accounting.accounts import Accounts
from streams.accounting.tally import Tally
from streams.errors import LaneTrimmed, RecordError
from streams.generations import Generation
from streams.lane_log import Entry, LaneStream, LogReader
from streams.positions import NO_ORIGIN, Kind, Origin, Position, unpack_origin, unpack_raw_header
from streams.records import Dropped, decode
from streams.settings import STAGES, Settings

FLOW: Final = pipeline.TOPICS[1:]
_BEYOND: Final = Position(2**64, 0)


def take(settings: Settings, generation: Generation, *, contents: bool = True) -> Accounts:
    """Count a generation's topics as they are now, and compare them.

    Without `contents` only headers are read, and what lies inside the segments (candidates, pairs, scores)
    stays 0. What is not drained yet shows as an offence. Raises `LaneTrimmed` where records of the
    generation are deleted already: then there is nothing left to count.
    """
    accounts = Accounts(generation=generation.id, lanes=generation.lanes)
    tally = Tally(accounts, contents=contents)
    with ExitStack() as stack:
        names = [pipeline.RAW, *(pipeline.topic(name, generation.id) for name in FLOW)]
        names += [pipeline.stage_topics(stage, generation.id).dead for stage in STAGES]
        readers = {name: stack.enter_context(LogReader(settings)) for name in names}
        for lane in range(generation.lanes):
            _Walk(readers, generation, lane, tally).run()
    tally.finish()
    return accounts


class _Walk:
    """One lane from its first position to the end of `raw` (or, where that is further, of any topic)."""

    def __init__(
        self, readers: dict[str, LogReader], generation: Generation, lane: int, tally: Tally
    ) -> None:
        self._lane = lane
        self._tally = tally
        self._accounts = tally.accounts
        self._epoch = generation.epoch
        self._first = Position._make(generation.first_position(lane))
        self._topics = [pipeline.topic(name, generation.id) for name in FLOW]
        self._dead_topics = [pipeline.stage_topics(stage, generation.id).dead for stage in STAGES]
        # Ends are taken from the last topic to the first, so that what still flows is never "too far".
        bounds = {name: readers[name].bounds(name, lane) for name in reversed(readers)}
        for name, bound in bounds.items():
            if bound.begin > (self._first.offset if name == pipeline.RAW else 0):
                raise LaneTrimmed(
                    f"lane {lane} of {name} begins at offset {bound.begin}: what lay before is deleted, so "
                    "generation and topics can no longer be compared from the beginning"
                )
        self._raw_end = bounds[pipeline.RAW].end
        self._raw = readers[pipeline.RAW].read(pipeline.RAW, lane, self._first.offset, self._raw_end)
        self._origin_high = NO_ORIGIN
        self._origin: Origin | None = None  # that the present document's records must carry
        self._repeated = False  # whether it is a zombie ingester's late write

        def stream(name: str) -> LaneStream:
            return LaneStream(readers[name].read(name, lane, *bounds[name]))

        self._flow = [stream(name) for name in self._topics]
        self._dead = [stream(name) for name in self._dead_topics]
        self._unfinished: set[int] = set()

    def run(self) -> None:
        at = self._first
        while at.offset < self._raw_end:
            if at.segment == 0:
                self._next_raw(at)
            at = self._step(at)
        for number, stream in enumerate(self._flow):
            while (entry := stream.advance()) is not None:
                self._offend(
                    self._topics[number], entry.position, f"has no document: raw ends at {self._raw_end}"
                )
        for number in range(len(self._dead)):
            self._letters_before(number, _BEYOND)
        for name, stream in zip((*self._topics, *self._dead_topics), (*self._flow, *self._dead), strict=True):
            self._tally.stream(name, stream)

    # -- raw ---------------------------------------------------------------------------------------------

    def _next_raw(self, at: Position) -> None:
        """Count the raw record at an offset, and note what its outputs must carry."""
        self._origin, self._repeated = None, False
        record = next(self._raw, None)
        if record is None or record.offset != at.offset:
            self._offend(pipeline.RAW, at, "is gone from the log")
            if record is not None:
                self._raw = chain([record], self._raw)
            return
        self._accounts.raw += 1
        self._origin = NO_ORIGIN  # of foreign bytes, which chunk buries under their position
        try:
            origin, header = unpack_origin(record.key), unpack_raw_header(record.headers)
        except RecordError:
            self._accounts.foreign[pipeline.RAW] = self._accounts.foreign.get(pipeline.RAW, 0) + 1
            return
        self._origin = origin
        if header.epoch != self._epoch:
            self._offend(pipeline.RAW, at, "its epoch is not the generation's")
        if header.kind is Kind.STUB:
            self._accounts.stubs += 1
        else:
            self._accounts.documents += 1
        if origin > self._origin_high:
            # Below it is no hole: see `workers.lane.Lane`.
            if header.previous > self._origin_high and (at.offset == 0 or at != self._first):
                self._offend(
                    pipeline.RAW,
                    at,
                    f"origin {tuple(origin)} says that {tuple(header.previous)} came before it, but that was "
                    f"{tuple(self._origin_high)}: records are missing before raw",
                )
            self._origin_high = origin
        else:
            self._repeated = True
            self._accounts.duplicates[pipeline.RAW] = self._accounts.duplicates.get(pipeline.RAW, 0) + 1

    # -- lanes -------------------------------------------------------------------------------------------

    def _step(self, at: Position) -> Position:
        """Compare all lane topics at one position; return the next position."""
        entries = [self._at(number, at) for number in range(len(self._flow))]
        found = next((entry for entry in entries if entry is not None), None)
        before: Entry | None = None
        for number, entry in enumerate(entries):
            if entry is None:
                self._absent(number, at)
                continue
            self._agree(number, at, entry, before)
            before = entry
        if found is None:
            return Position(at.offset + 1, 0)
        return at.successor(found.header.segments)

    def _at(self, number: int, at: Position) -> Entry | None:
        """Take a topic's record at a position, if it is there; name those before it that have no place."""
        stream = self._flow[number]
        while stream.head is not None and stream.head.position < at:
            self._offend(self._topics[number], stream.head.position, "its document has no such segment")
            stream.advance()
        return stream.advance() if stream.head is not None and stream.head.position == at else None

    def _absent(self, number: int, at: Position) -> None:
        if self._flow[number].head is not None:
            self._offend(self._topics[number], at, "is missing, though later ones are there")
        elif number not in self._unfinished:
            self._unfinished.add(number)
            self._offend(
                self._topics[number],
                at,
                f"is where the lane ends, though raw goes on to {self._raw_end}: it is not drained",
            )

    def _agree(self, number: int, at: Position, entry: Entry, before: Entry | None) -> None:
        """Check a record against the raw record and the topic before; count it."""
        self._check_header(number, at, entry, before)
        header = entry.header
        if not header.kind.marker:
            self._segment(number, at, entry)
            return
        try:
            marker = decode(entry.value, Dropped)
        except RecordError as error:
            self._offend(self._topics[number], at, str(error))
            return
        if before is None or not before.header.kind.marker:
            if marker.stage != STAGES[number] and (number == 0 or before is not None):
                self._offend(self._topics[number], at, f"a marker of {marker.stage[:40]!r} stands here first")
            elif header.kind is Kind.DEAD and marker.stage in STAGES:
                self._named_letter(STAGES.index(marker.stage), at, marker)
        if number == len(self._flow) - 1:
            self._tally.ended(header.kind, marker)

    def _check_header(self, number: int, at: Position, entry: Entry, before: Entry | None) -> None:
        topic, header = self._topics[number], entry.header
        if header.epoch != self._epoch:
            self._offend(topic, at, "its epoch is not the generation's")
        if self._origin is not None and header.origin != self._origin:
            theirs, ours = tuple(header.origin), tuple(self._origin)
            self._offend(topic, at, f"it carries origin {theirs}, but raw has {ours} there")
        if self._repeated and header.kind is not Kind.DROPPED:
            self._offend(topic, at, "its origin was accepted before, yet it is not dropped as repeated")
        if before is None:
            return
        if before.header.segments != header.segments:
            here, there = header.segments, before.header.segments
            self._offend(topic, at, f"its document has {here} segments here, {there} a topic before")
        if before.header.kind.marker and (header.kind, entry.value) != (before.header.kind, before.value):
            self._offend(topic, at, "a marker of an earlier stage was not copied on")

    def _segment(self, number: int, at: Position, entry: Entry) -> None:
        if number == 0 and at.segment == 0:
            self._accounts.chunked += 1
        try:
            self._tally.segment(FLOW[number], entry.value)
        except RecordError as error:
            self._offend(self._topics[number], at, str(error))

    def _named_letter(self, number: int, at: Position, marker: Dropped) -> None:
        """Check the dead letter that a marker names."""
        self._letters_before(number, at)
        letter = self._dead[number].head
        if letter is None or letter.position != at:
            self._offend(self._dead_topics[number], at, "is missing, though a marker names this dead letter")
            return
        self._dead[number].advance()
        error = dict(letter.headers).get("error", b"").decode("utf-8", "replace")
        if error != marker.reason:
            self._offend(
                self._dead_topics[number], at, f"a dead letter of {error!r} has a marker of {marker.reason!r}"
            )

    def _letters_before(self, number: int, at: Position) -> None:
        """Pass over the dead letters before a position that no marker names.

        Where the lane has an output they are superseded: a zombie buried what its successor could process.
        Beyond the lane's end they are an offence.
        """
        stream, topic = self._dead[number], self._dead_topics[number]
        while stream.head is not None and stream.head.position < at:
            if stream.head.position.offset < self._raw_end:
                self._accounts.superseded[topic] = self._accounts.superseded.get(topic, 0) + 1
            else:
                self._offend(topic, stream.head.position, "no marker names this dead letter")
            stream.advance()

    def _offend(self, topic: str, at: Position, what: str) -> None:
        self._tally.offence(topic, self._lane, at, what)
