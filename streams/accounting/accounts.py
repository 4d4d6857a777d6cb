"""What is counted and what may be wrong: the accounts of one generation."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from streams.errors import AccountsDiffer
from streams.positions import Position

OFFENCES_KEPT: Final = 20
"""Named ones; all are counted."""
OFFENCES_SAID: Final = 5


class Offence(NamedTuple):
    """Something in the topics that must not be."""

    topic: str
    lane: int
    position: Position
    what: str

    def __str__(self) -> str:
        return f"{self.topic}, lane {self.lane}, position {tuple(self.position)}: {self.what}"


class Accounts(msgspec.Struct, kw_only=True):
    """What a generation's topics hold. Filtered: a position counts once, however often it was written."""

    generation: str
    lanes: int
    raw: int = 0
    """Records of `raw`: `documents` and `stubs`, which the ingester could not turn into documents."""
    documents: int = 0
    stubs: int = 0
    chunked: int = 0
    """Documents that became segments."""
    segments: int = 0
    contaminated: dict[str, int] = msgspec.field(default_factory=dict)
    """Segments that hold a test item, by benchmark."""
    flagged: dict[str, int] = msgspec.field(default_factory=dict)
    """Segments that a filter lets pass with a flag, by rule."""
    matched: int = 0
    """Segments with a candidate template; of `candidates` in all."""
    candidates: int = 0
    instantiated: int = 0
    """Segments with a pair; of `pairs_made` in all."""
    pairs_made: int = 0
    judged: int = 0
    """Segments with a verdict."""
    pairs: int = 0
    """Verdicts: pairs that were made and judged."""
    scores: dict[int, int] = msgspec.field(default_factory=dict)
    """Verdicts by score."""
    dropped: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """By stage and reason. chunk drops documents, match segments without a template, instantiate candidates
    without a pair."""
    dead: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """Dead letters with a marker, by stage and error."""
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    """Records by topic that a filtering reader passes over."""
    superseded: dict[str, int] = msgspec.field(default_factory=dict)
    """Dead letters by topic whose position has an output all the same: a zombie's, and void."""
    foreign: dict[str, int] = msgspec.field(default_factory=dict)
    """Records by topic that are none of ours (in a dead-letter topic: the bytes of such, buried)."""
    offences: list[Offence] = msgspec.field(default_factory=list)
    """The first `OFFENCES_KEPT`."""
    offences_total: int = 0

    @property
    def dead_total(self) -> int:
        """Dead letters in all."""
        return sum(sum(errors.values()) for errors in self.dead.values())

    def require_whole(self) -> None:
        """Raise `AccountsDiffer` where anything is missing, repeated or contradicts, naming the first."""
        if not self.offences_total:
            return
        first = "; ".join(map(str, self.offences[:OFFENCES_SAID]))
        more = f" (the first of {self.offences_total})" if self.offences_total > OFFENCES_SAID else ""
        raise AccountsDiffer(
            f"the topics of generation {self.generation} do not add up: {first}{more}. Train on nothing "
            "of them until it is known why: `finestream topic peek TOPIC --lane N` shows what is there"
        )
