"""Adding records up: what is inside them, in as little decoding as it takes."""

from __future__ import annotations

from collections import Counter

import msgspec

from streams.accounting.accounts import OFFENCES_KEPT, Accounts, Offence
from streams.lane_log import LaneStream
from streams.positions import Kind, Position
from streams.records import Dropped, Record, decode
from streams.settings import STAGES


class _Marks(Record, frozen=True):
    """As much of a `Segment` as is counted."""

    flags: tuple[str, ...] = ()
    contamination: dict[str, float] = msgspec.field(default_factory=dict)


class _Candidates(Record, frozen=True):
    """As much of a `MatchedSegment` as is counted."""

    candidates: tuple[msgspec.Raw, ...] = ()
    no_match: str = ""


class _MadePair(Record, frozen=True):
    rejected: str = ""


class _Pairs(Record, frozen=True):
    """As much of an `InstantiatedSegment` as is counted."""

    pairs: tuple[_MadePair, ...] = ()


class _Score(Record, frozen=True):
    score: int


class _Verdicts(Record, frozen=True):
    """As much of a `JudgedSegment` as is counted."""

    verdicts: tuple[_Score, ...] = ()


class Tally:
    """Adds records up; knows no order."""

    def __init__(self, accounts: Accounts, *, contents: bool) -> None:
        self.accounts = accounts
        self._contents = contents
        self._dropped: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._dead: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._scores: Counter[int] = Counter()
        self._contaminated: Counter[str] = Counter()
        self._flagged: Counter[str] = Counter()

    def offence(self, topic: str, lane: int, position: Position, what: str) -> None:
        """Note something that must not be."""
        self.accounts.offences_total += 1
        if len(self.accounts.offences) < OFFENCES_KEPT:
            self.accounts.offences.append(Offence(topic, lane, position, what))

    def ended(self, kind: Kind, marker: Dropped) -> None:
        """Count a marker of `judged`, where all of them end."""
        counts = self._dead if kind is Kind.DEAD else self._dropped
        counts.setdefault(marker.stage, Counter())[marker.reason] += 1

    def segment(self, base: str, value: bytes) -> None:
        """Count a segment's record in a lane topic; raise `RecordError` where it cannot be read."""
        accounts = self.accounts
        if base == "chunked":
            accounts.segments += 1
        if not self._contents:
            return
        if base == "chunked":
            marks = decode(value, _Marks)
            self._contaminated.update(marks.contamination.keys())
            self._flagged.update(marks.flags)
        elif base == "matched":
            match = decode(value, _Candidates)
            accounts.candidates += len(match.candidates)
            accounts.matched += bool(match.candidates)
            if not match.candidates:
                self._dropped["match"][match.no_match] += 1
        elif base == "instantiated":
            pairs = decode(value, _Pairs).pairs
            made = sum(not pair.rejected for pair in pairs)
            accounts.pairs_made += made
            accounts.instantiated += bool(made)
            self._dropped["instantiate"].update(pair.rejected for pair in pairs if pair.rejected)
        elif base == "judged":
            verdicts = decode(value, _Verdicts).verdicts
            scores = [verdict.score for verdict in verdicts if verdict.score]
            accounts.pairs += len(scores)
            accounts.judged += bool(scores)
            self._scores.update(scores)
            if len(scores) < len(verdicts):
                self._dropped["judge"]["unjudged"] += len(verdicts) - len(scores)

    def stream(self, topic: str, stream: LaneStream) -> None:
        """Count what a lane's filter passed over."""
        accounts = self.accounts
        accounts.duplicates[topic] = accounts.duplicates.get(topic, 0) + stream.duplicates
        accounts.foreign[topic] = accounts.foreign.get(topic, 0) + stream.foreign

    def finish(self) -> None:
        """Put the counts by reason into the accounts."""
        self.accounts.dropped = {stage: dict(counts) for stage, counts in self._dropped.items() if counts}
        self.accounts.dead = {stage: dict(counts) for stage, counts in self._dead.items() if counts}
        self.accounts.contaminated = dict(sorted(self._contaminated.items()))
        self.accounts.flagged = dict(sorted(self._flagged.items()))
        self.accounts.scores = dict(sorted(self._scores.items()))
