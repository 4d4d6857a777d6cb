"""Repeating what a ledger says: the same blocks, the same draws, the same batches, checked by their hash.

Reading stops at the last position that the entries at hand name. A final entry may close a lane at a record
without texts, and then the lane must stand exactly there, with that record's budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

from streams.errors import LedgerMismatch
from streams.positions import Position
from trainer.batches import AHEAD_STEPS, POLL_SECONDS, Batches, Item, Planned, Waiting
from trainer.entries import Closed, Step

SCRIPT_STEPS: Final = 256
"""Ledger entries looked through at a time."""

Script: TypeAlias = Iterable[tuple[int, Step]]
"""Steps of a ledger, each with its offset there."""


class Obedience:
    """Repeats ledgers with one run's batches. Raises `LedgerMismatch` where they come out other."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def reopen(self) -> Iterator[Item]:
        """Fill and close again the blocks that the restored state found partly drawn."""
        batches = self._batches
        partly = {lane: at for lane, at in batches.restored.items() if at.last is not None}
        last = {lane: at.last for lane, at in partly.items() if at.last is not None}
        yield from self._reach(last, last)
        if batches.stopped:
            return
        for lane, position in last.items():
            batches.lanes[lane].close_at(position)
            batches.lanes[lane].skip(partly[lane].drawn)

    def repeat(self, script: Script) -> Iterator[Item]:
        """Repeat the run's own steps: they are in its ledger."""
        for window in _windows(script):
            last = _last(window)
            for offset, entry in window:
                if self._batches.over:
                    return
                yield from self._reach(_last([(offset, entry)]), last)
                if self._batches.stopped:
                    return
                yield self._batches.batch(self._again(entry), offset)

    def follow(self, script: Script) -> Iterator[Item]:
        """Repeat another run's steps, and write them into the own ledger first, as for any step."""
        for window in _windows(script):
            last = _last(window)
            planned: list[Planned] = []
            for entry in (entry for _, entry in window):
                needed = _last([(0, entry)])
                if len(planned) == AHEAD_STEPS or not self._there(needed):
                    yield from self._batches.commit(planned)
                    planned = []
                yield from self._reach(needed, last)
                if self._batches.over:
                    break
                planned.append(self._again(entry))
            yield from self._batches.commit(planned)
            if self._batches.over:
                return

    def _there(self, needed: Mapping[int, Position]) -> bool:
        return all(self._batches.lanes[lane].reached(at) for lane, at in needed.items())

    def _reach(self, needed: Mapping[int, Position], last: Mapping[int, Position]) -> Iterator[Item]:
        """Read until every needed position was added, no lane further than `last` says."""
        while not self._there(needed) and not self._batches.stopped:
            if not self._batches.pull(POLL_SECONDS, last):
                yield Waiting(POLL_SECONDS)

    def _again(self, entry: Step) -> Planned:
        self._draw_again(entry)
        batches = self._batches
        if entry.final == (batches.packer.missing <= 0):
            raise LedgerMismatch(
                f"step {entry.step}: its draws leave {batches.packer.missing} tokens missing"
            )
        planned = batches.plan(final=entry.final)
        if (planned.entry.step, planned.entry.batch_hash) != (entry.step, entry.batch_hash):
            raise LedgerMismatch(
                f"step {entry.step}: the batch read again is not the one that was logged. Its settings (hash "
                f"{entry.settings_hash}, now {batches.terms.settings_hash}), the tokenizer or the records of "
                "judged have changed; go on under another run (--run NAME)"
            )
        return planned

    def _draw_again(self, entry: Step) -> None:
        closings: dict[int, deque[Closed]] = {}
        for closed in entry.closed:
            closings.setdefault(closed.lane, deque()).append(closed)
        for draw in entry.draws:
            for index in range(draw.begin, draw.end):
                if not self._batches.lanes[draw.lane].closed:
                    if not closings.get(draw.lane):
                        raise LedgerMismatch(f"step {entry.step} draws {draw}, but no such block is closed")
                    self._close_again(entry, closings[draw.lane].popleft())
                drawn = self._batches.draw(draw.lane)
                if drawn != (draw.block, index):
                    raise LedgerMismatch(f"step {entry.step} draws {draw}; what comes is {drawn}")
        for left in closings.values():  # of a final entry: records without texts
            for closed in left:
                self._close_again(entry, closed)

    def _close_again(self, entry: Step, closed: Closed) -> None:
        again = self._batches.lanes[closed.lane].close_at(closed.last)
        if again != closed:
            raise LedgerMismatch(f"step {entry.step} closed {closed}; read again it is {again}")
        self._batches.closed(again)


def _windows(script: Script) -> Iterator[list[tuple[int, Step]]]:
    """Part a script: `SCRIPT_STEPS` entries each, or fewer where one is final."""
    entries = iter(script)
    while True:
        window: list[tuple[int, Step]] = []
        for logged in islice(entries, SCRIPT_STEPS):
            window.append(logged)
            if logged[1].final:
                break
        if not window:
            return
        yield window


def _last(window: Iterable[tuple[int, Step]]) -> dict[int, Position]:
    """Return the last position that a window's blocks reach, per lane."""
    return {closed.lane: closed.last for _, entry in window for closed in entry.closed}
