"""The stage contract: what a stage is, and what the runner promises it.

A stage knows nothing of Kafka or Faust. It is built from its settings section, opened once, called with
batches, and closed. The runner (`workers/runner.py`) owns order, retries, dead letters, deadlines,
acknowledgements and metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeAlias, TypeVar

from streams.records import Record
from streams.settings import Settings, StageSettings

In = TypeVar("In", bound=Record)
Out = TypeVar("Out", bound=Record)


@dataclass(frozen=True, slots=True)
class Drop:
    """An outcome: this input ends here, for a reason of the stage's own closed list. Not an error."""

    reason: str
    detail: str = ""


Outcome: TypeAlias = Sequence[Record] | Drop | Exception
"""What became of one input: its outputs (at least one), a drop, or an error that dead-letters it alone."""


class Stage(ABC, Generic[In, Out]):
    """One step between two topics.

    `process` must be a pure function of its records and settings. Where one input gives several outputs it
    must be deterministic, since after a crash it is run again and only the missing outputs are written; any
    random choice is a hash of (seed, content hash, template id).
    """

    name: ClassVar[str]
    """One of `streams.settings.STAGES`."""
    reads: ClassVar[type[Record] | tuple[type[Record], ...]]
    """Record type of its input."""
    Config: ClassVar[type[StageSettings]]
    """Its settings section."""
    reasons: ClassVar[tuple[str, ...]] = ()
    """The closed list of its drops' reasons, so that each is a metric at 0 before it first happens."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.config = settings.stage(self.name)

    def open(self) -> None:
        """Load models and indexes; called once in the process that will call `process`."""

    @abstractmethod
    def process(self, records: Sequence[In]) -> Sequence[Outcome]:
        """Return one outcome for each record, in order. Runs in a thread; must not touch the event loop.

        Raising fails the whole batch: it is retried, then each record is tried alone.
        """

    def identity(self, outputs: Sequence[Record]) -> int:
        """Return 64 bits that equal documents share, or 0 for "never a duplicate".

        Only a stage with a `duplicate_window` above 0 is asked. The runner compares, in lane order and just
        before sending, with the documents accepted before in the lane (`AdmitWindow`).
        """
        del outputs
        return 0

    @property
    def duplicate_window(self) -> int:
        """How many raw offsets back duplicates are sought; 0: this stage does not deduplicate."""
        return 0

    def close(self) -> None:
        """Release what `open` took."""


@dataclass(slots=True)
class AdmitWindow:
    """What `chunk` remembers of a lane: content hashes of the documents accepted in the last raw offsets.

    A verdict is a pure function of the segment-0 records whose raw offset lies in [n - size, n), so it comes
    out the same after a crash, when the window is read back from the lane's own tail.
    """

    size: int
    hashes: dict[int, int] = field(default_factory=dict)  # content -> highest raw offset that holds it
    order: list[tuple[int, int]] = field(default_factory=list)  # (raw offset, content), ascending

    def first_seen(self, offset: int, content: int) -> int | None:
        """Return the raw offset within the window of a document with this hash, or None."""
        seen = self.hashes.get(content)
        return seen if seen is not None and offset - self.size <= seen < offset else None

    def add(self, offset: int, content: int) -> None:
        """Remember an accepted document; forget what has left the window."""
        if not self.size:
            return
        self.hashes[content] = offset
        self.order.append((offset, content))
        if len(self.order) > 2 * self.size:
            keep = [(o, c) for o, c in self.order if o >= offset - self.size]
            self.order = keep
            self.hashes = {c: o for o, c in keep}
