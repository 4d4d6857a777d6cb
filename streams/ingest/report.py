"""What became of each source: counts per reason that add up to its records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from streams.ingest.booking import CHANGED, DAMAGED, DONE, POSTPONED, REFUSED, VANISHED
from streams.ingest.items import DAMAGE, Document, Item, Skip

KNOWN: Final = "known"
"""Booked before in just this state: nothing to do."""
STOPPED: Final = "stopped"
"""Interrupted; the next start goes on."""
OUTCOMES: Final = (DONE, DAMAGED, VANISHED, CHANGED, REFUSED, POSTPONED, KNOWN, STOPPED)


@dataclass(slots=True)
class SourceReport:
    """Counts of one source. Those of a source that was resumed are of the whole file, `sent` of this run."""

    url: str
    size: int  # bytes of the file
    outcome: str = STOPPED
    reason: str = ""  # why it was refused or postponed
    sequence: int = 0
    replaces: int = 0  # number of the source that had this name before
    documents: int = 0
    payload_bytes: int = 0  # of the documents
    stubs: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    sent: int = 0  # documents and stubs that this run sent
    found: int = 0  # documents and stubs that an earlier run had sent
    seconds: float = 0.0
    _counted: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records the file has."""
        return self.documents + self.stubs.total() + self.skipped.total()

    @property
    def damaged(self) -> bool:
        """Whether the file itself is broken."""
        return any(reason in self.stubs for reason in DAMAGE)

    def add(self, item: Item, *, again: bool = False) -> None:
        """Count an item; `again`: an earlier attempt of this run has told the metrics of it."""
        if type(item) is Skip:
            self.skipped[item.reason] += 1
            if again:
                self._counted[item.reason] += 1
        elif type(item) is Document:
            self.documents += 1
            self.payload_bytes += len(item.record.payload)
        else:
            self.stubs[item.record.reason] += 1  # type: ignore[union-attr]

    def uncounted(self) -> Counter[str]:
        """Return the skips since the last call."""
        new = self.skipped - self._counted
        self._counted += new
        return new

    def counts(self) -> dict[str, int]:
        """Return the counts as they go into the book."""
        return {
            "records": self.records,
            "documents": self.documents,
            "payload_bytes": self.payload_bytes,
            **{f"stub.{reason}": n for reason, n in self.stubs.items()},
            **{f"skipped.{reason}": n for reason, n in self.skipped.items()},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "source": self.url,
            "sequence": self.sequence,
            "replaces": self.replaces,
            "outcome": self.outcome,
            "reason": self.reason,
            "records": self.records,
            "documents": self.documents,
            "stubs": dict(self.stubs),
            "skipped": dict(self.skipped),
            "sent": self.sent,
            "found": self.found,
            "bytes": self.size,
            "payload_bytes": self.payload_bytes,
            "seconds": round(self.seconds, 3),
        }
