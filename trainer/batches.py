"""The moving parts between the log and a step: read records, draw texts, cut a batch, commit its entry.

Who decides what to draw is elsewhere: `live.py` chooses, `obey.py` repeats. Both leave the same trace here,
which is why a step that is repeated gives the same batch, the same entry and the same state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from streams.positions import Position
from trainer.blocks import LaneBlocks
from trainer.entries import Closed, Draw, Step
from trainer.ledger import LedgerWriter
from trainer.pack import Packed, Packer
from trainer.readings import Readings, keep_smallest
from trainer.source import Arrived, JudgedSource
from trainer.state import LaneState, PipelineState, decode, encode

AHEAD_STEPS: Final = 8
"""Most steps committed in one transaction."""
POLL_SECONDS: Final = 0.1
"""Longest single wait for records: a stop, a checkpoint by time and the end of the input are noticed then."""


class Batch(NamedTuple):
    """One step's input, its committed ledger entry, and the pipeline's state behind it."""

    packed: Packed
    entry: Step
    state: PipelineState
    supply_seconds: float  # of making it, spent waiting for records that were not there


class Waiting(NamedTuple):
    """No batch yet: the records for one are not there."""

    seconds: float


class End(NamedTuple):
    """No batch will follow."""

    reason: str  # "drained", "obeyed", "max_steps", "stopped"


class Planned(NamedTuple):
    """A step that is not yet in the ledger."""

    packed: Packed
    entry: Step
    state: PipelineState


Item: TypeAlias = Batch | Waiting | End


@dataclass(frozen=True)
class Terms:
    """What a plan is made under: fixed for a process."""

    run: str
    attempt: int
    settings_hash: str
    generation: str
    epoch: int
    batch_targets: int
    block_pairs: int
    seed: int
    pad: int
    heldout_pairs: int
    books: dict[str, int]
    until_drained: bool = False
    max_steps: int = 0


@dataclass
class _Draft:
    """The step being put together. Dropped, not logged, where the process ends before it is full."""

    closed: list[Closed] = field(default_factory=list)
    draws: list[list[int]] = field(default_factory=list)  # lane, block, begin, end
    pairs: int = 0

    def drew(self, lane: int, block: int, index: int) -> None:
        """Note one text; texts of a block drawn one after the other are one draw."""
        self.pairs += 1
        if self.draws:
            last = self.draws[-1]
            if last[3] == index and last[1] == block and last[0] == lane:
                last[3] = index + 1
                return
        self.draws.append([lane, block, index, index + 1])


class Batches:
    """Lanes, packer and draft of one run. For one thread, but for `stop`."""

    def __init__(
        self,
        terms: Terms,
        source: JudgedSource,
        readings: Readings,
        writer: LedgerWriter,
        state: PipelineState,
    ) -> None:
        self.terms = terms
        self.source = source
        self.state = state
        """Behind the last step that was planned."""
        self.restored = {lane: decode(data, LaneState) for lane, data in state.lanes.items()}
        """Where the lanes stood at the beginning."""
        self.lanes = {
            lane: LaneBlocks(lane, at, terms.block_pairs, terms.seed) for lane, at in self.restored.items()
        }
        self.packer = Packer(terms.batch_targets, state.remainder)
        self._readings = readings
        self._writer = writer
        self._encoded = dict(state.lanes)
        self._touched: set[int] = set()
        self._heldout = list(state.heldout)
        self._draft = _Draft()
        self._supply_seconds = 0.0
        self._stop = threading.Event()

    def stop(self) -> None:
        """Make whoever iterates end soon. Callable from another thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    @property
    def over(self) -> bool:
        """Whether no further step is to be planned."""
        most = self.terms.max_steps
        return self.stopped or bool(most and self.state.step >= most)

    @property
    def buffered_texts(self) -> int:
        """Texts read and not drawn."""
        return sum(lane.buffered for lane in self.lanes.values())

    def end(self, reason: str) -> End:
        """Return the end, and say "stopped" where that is why."""
        return End("stopped" if self.stopped else reason)

    def pull(self, seconds: float, last: Mapping[int, Position] | None = None) -> bool:
        """Read records and make texts of them, waiting up to `seconds`; False where none came.

        With `last` no lane is read beyond its position there, and lanes that it does not name not at all.
        """
        began = time.monotonic()
        arrived = self._taken(last)
        if not arrived:
            if not self.source.poll(seconds):
                self._supply_seconds += time.monotonic() - began
                return False
            arrived = self._taken(last)
        if not arrived:
            return True  # there are records, only not of a lane that is wanted yet
        cursors = {lane: self.lanes[lane].tail for lane, _ in arrived}
        readings, heldout = self._readings.read(arrived, cursors)
        if heldout:
            self._heldout = keep_smallest(self._heldout, heldout, self.terms.heldout_pairs)
        for lane, mine in readings.items():
            for reading in mine:
                self.lanes[lane].add(reading)
            self._touched.add(lane)
        return True

    def closed(self, closed: Closed) -> None:
        """Note that the step closed a block."""
        self._draft.closed.append(closed)
        self._touched.add(closed.lane)

    def draw(self, lane: int) -> tuple[int, int]:
        """Take the next text of the lane's closed block into the step; return block and index."""
        block, index, text = self.lanes[lane].draw()
        self.packer.add(text)
        self._touched.add(lane)
        self._draft.drew(lane, block, index)
        return block, index

    def plan(self, *, final: bool) -> Planned:
        """Cut the batch, turn the draft into an entry, and note the state behind it."""
        packed = self.packer.finish(self.terms.pad) if final else self.packer.take()
        terms, draft, before = self.terms, self._draft, self.state
        for lane in self._touched:
            self._encoded[lane] = encode(self.lanes[lane].state())
        self.state = PipelineState(
            step=before.step + 1,
            ledger_offset=before.ledger_offset,
            tokens=before.tokens + packed.targets,
            pairs=before.pairs + draft.pairs,
            lanes=dict(self._encoded),
            remainder=self.packer.remainder(),
            heldout=self._heldout,
        )
        entry = Step(
            run=terms.run,
            attempt=terms.attempt,
            step=self.state.step,
            settings_hash=terms.settings_hash,
            generation=terms.generation,
            epoch=terms.epoch,
            closed=draft.closed,
            draws=[Draw(*draw) for draw in draft.draws],
            pairs=packed.spans,
            targets=packed.targets,
            batch_hash=packed.digest,
            tokens=self.state.tokens,
            pairs_total=self.state.pairs,
            books=terms.books,
            final=final,
        )
        self._draft = _Draft()
        self._touched = set()
        return Planned(packed, entry, self.state)

    def commit(self, planned: Sequence[Planned]) -> Iterator[Batch]:
        """Commit the steps' entries in one transaction, then yield them to be trained on."""
        if not planned:
            return
        offsets = self._writer.append([step.entry for step in planned])
        for step, offset in zip(planned, offsets, strict=True):
            yield self.batch(step, offset)

    def batch(self, planned: Planned, offset: int) -> Batch:
        """Return a step whose entry is committed at this ledger offset."""
        waited, self._supply_seconds = self._supply_seconds, 0.0
        state = msgspec.structs.replace(planned.state, ledger_offset=offset + 1)
        return Batch(planned.packed, planned.entry, state, waited)

    def _taken(self, last: Mapping[int, Position] | None) -> list[tuple[int, list[Arrived]]]:
        lanes = self.lanes if last is None else last
        taken = ((lane, self.source.take(lane, None if last is None else last[lane])) for lane in lanes)
        return [(lane, records) for lane, records in taken if records]
