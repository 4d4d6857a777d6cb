"""The stage contract: what a stage is, and what the runner promises it.

A stage knows nothing of Kafka or Faust. It is built from its settings section, opened once, called with
batches, and closed. The runner (`workers/runner.py`) owns order, retries, dead letters, deadlines,
acknowledgements and metrics.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry

from streams.records import Record
from streams.settings import DuplicateSettings, Settings, StageSettings
from workers.duplicates import NOBODY, Identity

In = TypeVar("In", bound=Record)
Out = TypeVar("Out", bound=Record)


@dataclass(frozen=True, slots=True)
class Drop:
    """An outcome: this input ends here, for a reason of the stage's own closed list. Not an error."""

    reason: str
    detail: str = ""


Outcome: TypeAlias = Sequence[Record] | Drop | Exception
"""What became of one input: its outputs (at least one), a drop, or an error that dead-letters it alone."""

Mark: TypeAlias = tuple[str, str]
"""Something worth counting about an output: a kind, and a name of a closed set, both labels of a metric."""


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

    @property
    def duplicates(self) -> DuplicateSettings | None:
        """How duplicates are sought among a lane's documents; None: this stage does not ask."""
        return None

    def identity(self, outputs: Sequence[Record]) -> Identity:
        """Return what a document is compared by. Called in the thread, behind `process`; pure.

        Only a stage with `duplicates` is asked. The runner compares, in lane order and just before sending,
        with the documents accepted before in the lane (`workers/admit.py`).
        """
        del outputs
        return NOBODY

    def sketch_of(self, value: bytes) -> bytes:
        """Return the sketch that an encoded first output carries, as `identity` gave it, or b""."""
        del value
        return b""

    def flagged(self, value: bytes, flag: str) -> bytes:
        """Return an encoded output with one more flag. Pure: a rerun after a crash flags again."""
        del flag
        return value

    def marks(self, outputs: Sequence[Record]) -> Sequence[Mark]:
        """Return what is worth counting about an input's outputs, each of `known_marks`; pure.

        Counted where the outputs are written, so not for a document that is dropped as a duplicate.
        """
        del outputs
        return ()

    def known_marks(self) -> Sequence[Mark]:
        """Return all marks that these settings allow, so that each is a metric at 0 before it happens."""
        return ()

    def register(self, registry: CollectorRegistry) -> None:
        """Make metrics of the stage's own in the process's registry; called behind `open`."""

    @property
    def deadline_seconds(self) -> float:
        """How long one record may take alone, in a child process."""
        return self.config.deadline_seconds

    def close(self) -> None:
        """Release what `open` took."""


class AsyncStage(Stage[In, Out]):
    """A stage that waits for others rather than computes: a language model behind a server.

    The runner calls `answer` in its own event loop, for `records_at_once` records, each alone: a slow one
    delays its lane and no other record's call. There is no deadline of the runner's: a call that waits for a
    server to come back is no hang, so whoever makes the call bounds it (and can cancel it, unlike a thread).
    """

    @property
    def records_at_once(self) -> int:
        """How many records may be asked about at once."""
        return self.config.calls

    async def start(self) -> None:
        """Open connections; called in the loop, once, behind `open` and before the first `answer`."""

    @abstractmethod
    async def answer(self, record: In) -> Outcome:
        """Return one record's outcome. May be cancelled at any point.

        An exception is the record's own fault: tried again, then dead-lettered, alone (an `EngineError` at
        once, since a client tries again by itself). Two are nobody's, and nothing is dead-lettered for them:
        behind `Unavailable` the record waits until `wait_until_up` returns, `Misconfigured` ends the worker.
        """

    async def wait_until_up(self) -> None:
        """Return once `answer` can succeed again. Raise `Misconfigured` where it never will."""

    async def stop(self) -> None:
        """Close what `start` opened."""

    def process(self, records: Sequence[In]) -> Sequence[Outcome]:
        """Answer in a loop of its own: in the child process of an isolated lane, which waits for nobody."""
        return asyncio.run(self._answer_all(records))

    async def _answer_all(self, records: Sequence[In]) -> Sequence[Outcome]:
        await self.start()
        try:
            return [await self.answer(record) for record in records]
        finally:
            await self.stop()
