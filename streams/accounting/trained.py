"""Is a run's ledger whole? Compared with `judged`: nothing trained twice, passed over, or made up.

The pairs of the ledger are held in memory, some hundred bytes each; the records of `judged` are not.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import msgspec

from streams import ledger, pipeline
from streams.accounting.accounts import OFFENCES_KEPT, OFFENCES_SAID, Offence
from streams.errors import AccountsDiffer, RecordError
from streams.generations import Generation
from streams.lane_log import Entry, LaneStream, LogReader
from streams.positions import Position
from streams.records import Record, decode
from streams.settings import Settings, TrainerSettings


class Trained(msgspec.Struct, kw_only=True):
    """What a run's ledger holds."""

    run: str
    steps: int = 0
    tokens: int = 0
    pairs: int = 0
    """Pairs that were trained on, each counted once."""
    eligible: int = 0
    """Pairs of `judged` that the run's thresholds let pass; the token budget and the held-out share take
    theirs from these."""
    unread: int = 0
    """Records of `judged` that no block of the ledger holds yet."""
    offences: list[Offence] = msgspec.field(default_factory=list)
    offences_total: int = 0

    def offend(self, topic: str, lane: int, position: Position, what: str) -> None:
        """Note something that must not be."""
        self.offences_total += 1
        if len(self.offences) < OFFENCES_KEPT:
            self.offences.append(Offence(topic, lane, position, what))

    def require_whole(self, *, drained: bool = True) -> None:
        """Raise `AccountsDiffer` where ledger and `judged` contradict (`drained`: or anything is unread)."""
        wrong = list(map(str, self.offences[:OFFENCES_SAID]))
        if drained and self.unread:
            wrong.append(f"{self.unread} records of judged are in no block of it")
        if wrong:
            raise AccountsDiffer(
                f"the ledger of run {self.run} is not whole ({self.offences_total} faults): "
                f"{'; '.join(wrong)}. Don't use its checkpoints until it is known why; begin another run "
                "(--run NAME)"
            )


class _Pair(Record, frozen=True):
    template_id: str
    rejected: str = ""
    excerpt_share: float = 0.0


class _Segment(Record, frozen=True):
    flags: tuple[str, ...] = ()
    contamination: dict[str, float] = msgspec.field(default_factory=dict)


class _Matched(Record, frozen=True):
    segment: _Segment


class _Instantiated(Record, frozen=True):
    matched: _Matched
    pairs: tuple[_Pair, ...] = ()


class _Verdict(Record, frozen=True):
    template_id: str
    score: int


class _Judged(Record, frozen=True):
    """As much of a `JudgedSegment` as selection looks at."""

    instantiated: _Instantiated
    verdicts: tuple[_Verdict, ...] = ()


class _Lane(NamedTuple):
    """What a ledger says of one lane."""

    pairs: dict[Position, set[str]]
    blocks: list[ledger.Closed]


def trained(settings: Settings, generation: Generation, run: str) -> Trained:
    """Compare the ledger of a run with `judged`, which must hold all that was trained on.

    A run without a ledger has trained on nothing, and left everything unread.
    """
    out = Trained(run=run)
    topic = pipeline.topic("judged", generation.id)
    with LogReader(settings) as reader:
        lanes = _read_ledger(reader, run, out)
        for lane in range(generation.lanes):
            stream = LaneStream(reader.read(topic, lane, *reader.bounds(topic, lane)))
            _Comparison(out, topic, lane, lanes[lane], settings.trainer).run(stream)
    return out


def _read_ledger(reader: LogReader, run: str, out: Trained) -> defaultdict[int, _Lane]:
    lanes: defaultdict[int, _Lane] = defaultdict(lambda: _Lane(defaultdict(set), []))
    if not ledger.exists(reader, run):
        return lanes
    topic = pipeline.ledger_topic(run)
    for step in ledger.steps(reader, run):
        if step.step != out.steps + 1:
            out.offend(
                topic, 0, Position(step.step, 0), f"is step {step.step}, where {out.steps + 1} must follow"
            )
        out.steps, out.tokens = step.step, step.tokens
        for closed in step.closed:
            blocks = lanes[closed.lane].blocks
            if closed.block != len(blocks):
                what = f"block {closed.block} was closed where {len(blocks)} must follow"
                out.offend(topic, closed.lane, closed.first, what)
            blocks.append(closed)
        for span in step.begun():
            templates = lanes[span.lane].pairs[span.position]
            if span.template_id in templates:
                out.offend(topic, span.lane, span.position, "one of its pairs was trained on twice")
            templates.add(span.template_id)
            out.pairs += 1
    return lanes


class _Comparison:
    """One lane of `judged` beside what the ledger says of it."""

    def __init__(self, out: Trained, topic: str, lane: int, said: _Lane, terms: TrainerSettings) -> None:
        self._out = out
        self._topic = topic
        self._lane = lane
        self._said = said
        self._terms = terms
        self._block = 0  # the one that the next record lies in
        self._begins = True  # whether it is the block's first

    def run(self, stream: LaneStream) -> None:
        while (entry := stream.advance()) is not None:
            self._in_block(entry)
            if not entry.header.kind.marker:
                self._pairs(entry)
        for position in self._said.pairs:
            self._offend(position, "was trained on, but is not in judged")
        for closed in self._said.blocks[self._block :]:
            self._offend(closed.last, "ends a block of the ledger, but is not in judged")

    def _in_block(self, entry: Entry) -> None:
        """Check that blocks lie one behind the other, from the lane's first record on."""
        if self._block == len(self._said.blocks):
            self._out.unread += 1
            return
        block = self._said.blocks[self._block]
        if self._begins and entry.position != block.first:
            what = f"block {block.block} begins at {tuple(block.first)}"
            self._offend(entry.position, f"must begin a block, but {what}")
        self._begins = entry.position >= block.last
        if self._begins:
            self._block += 1
            if entry.position > block.last:
                self._offend(block.last, "ends a block of the ledger, but is not in judged")

    def _pairs(self, entry: Entry) -> None:
        named = self._said.pairs.pop(entry.position, set())
        try:
            record = decode(entry.value, _Judged)
        except RecordError as error:
            self._offend(entry.position, str(error))
            return
        scores = {verdict.template_id: verdict.score for verdict in record.verdicts}
        wanted = self._wanted(record.instantiated.matched.segment)
        passing = {
            pair.template_id
            for pair in record.instantiated.pairs
            if wanted
            and not pair.rejected
            and scores.get(pair.template_id, 0) >= self._terms.min_score
            and pair.excerpt_share >= self._terms.min_excerpt_share
        }
        self._out.eligible += len(passing)
        for template in sorted(named - passing):
            self._offend(entry.position, f"template {template[:40]!r} was trained on, but may not be")

    def _wanted(self, segment: _Segment) -> bool:
        """Whether the run takes pairs of this segment at all: no test item in it, no excluded flag."""
        excluded = set(self._terms.exclude_flags)
        flagged = any(flag in excluded or flag.partition(".")[0] in excluded for flag in segment.flags)
        return not flagged and (self._terms.allow_contaminated or not segment.contamination)

    def _offend(self, position: Position, what: str) -> None:
        self._out.offend(self._topic, self._lane, position, what)
