"""What to train on next, chosen from what is there.

The next text comes from the lane whose next record was appended first: so an idle lane is never waited for,
and a lane with ten times the load gets ten times the draws. The choice depends on timing, hence it is
committed to the ledger before the step. The alternative, a fixed turn of lanes, needs no log but waits for
the slowest lane.

With a backlog, several steps are planned and committed in one transaction: a commit costs some ten
milliseconds, which a small model's step would feel. Nothing is ever waited for to fill such a group.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from trainer.batches import AHEAD_STEPS, POLL_SECONDS, Batches, Item, Planned, Waiting

BUFFERED_TEXTS: Final = 2048
"""Texts held beyond which no more are read. More of them see more lanes, and take more memory."""


class LiveChoice:
    """Chooses lanes for one run's batches."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._ready: list[tuple[int, int]] = []  # heap of (append time, lane), each lane once
        self._offered: set[int] = set()

    def items(self) -> Iterator[Item]:
        """Yield batches as long as the terms allow."""
        batches = self._batches
        while not batches.over:
            while batches.buffered_texts < BUFFERED_TEXTS and batches.pull(0.0):
                pass
            planned = self._plan_ahead()
            if planned:
                yield from batches.commit(planned)
            elif batches.pull(POLL_SECONDS):
                continue
            elif batches.terms.until_drained and batches.source.drained():
                if batches.packer.targets or any(lane.unclosed for lane in batches.lanes.values()):
                    yield from batches.commit([self._finish()])
                yield batches.end("drained")
                return
            else:
                yield Waiting(POLL_SECONDS)
        yield batches.end("max_steps")

    def _plan_ahead(self) -> list[Planned]:
        batches = self._batches
        for every in batches.lanes:
            self._offer(every)
        planned: list[Planned] = []
        while len(planned) < AHEAD_STEPS and not batches.over:
            while batches.packer.missing > 0 and (number := self._oldest()) is not None:
                lane = batches.lanes[number]
                if not lane.closed:
                    batches.closed(lane.close())
                # A block stays the oldest until it is drawn.
                while lane.closed and batches.packer.missing > 0:
                    batches.draw(number)
                self._offer(number)
            if batches.packer.missing > 0:
                break
            planned.append(batches.plan(final=False))
        return planned

    def _oldest(self) -> int | None:
        """Return the lane whose next text is oldest; None where no lane has one.

        A lane with a full block comes first; then, since the trainer would otherwise wait, any with a text.
        """
        if self._ready:
            oldest = heapq.heappop(self._ready)[1]
            self._offered.discard(oldest)
            return oldest
        partly = [
            (at, number)
            for number, lane in self._batches.lanes.items()
            if (at := lane.ready(force=True)) is not None
        ]
        return min(partly)[1] if partly else None

    def _offer(self, lane: int) -> None:
        """Put a lane on the heap where it has a text to draw."""
        if lane not in self._offered and (at := self._batches.lanes[lane].ready()) is not None:
            heapq.heappush(self._ready, (at, lane))
            self._offered.add(lane)

    def _finish(self) -> Planned:
        """Close the input: every record that was read is in a closed block, every text in a batch."""
        for lane in self._batches.lanes.values():
            if (last := lane.tail.position) is not None and lane.unclosed:
                self._batches.closed(lane.close_at(last))
                assert not lane.closed, "texts are drawn before the input is closed"
        return self._batches.plan(final=True)
