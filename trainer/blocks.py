"""A lane's texts in shuffle blocks: closed by a live choice, drawn in a seeded order, logged by number.

A block is whole records, so the ledger names it by its first and last position and it can be filled again
exactly. It closes when it is full (at the record that fills it) or when the trainer would otherwise wait.
The alternative, a reservoir that mixes endlessly, shuffles better for the same memory, but its content at
any moment depends on all that came before: it cannot be rebuilt from a range of positions.
With `size` 1 a block is one record's pairs in their drawn order: the stream's own order.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import NamedTuple

from streams.errors import LedgerMismatch
from streams.positions import Position
from trainer.entries import Closed
from trainer.pack import Text
from trainer.state import Cursor, LaneState


class Reading(NamedTuple):
    """A record of `judged` as the trainer sees it: the texts it gives, and the cursor behind it."""

    texts: tuple[Text, ...]
    after: Cursor
    appended_ms: int  # by the broker's clock


class LaneBlocks:
    """One lane: readings go in at one end, texts of closed blocks come out at the other."""

    def __init__(self, lane: int, state: LaneState, size: int, seed: int) -> None:
        self.lane = lane
        self._size = size
        self._seed = seed
        self._start = state.cursor  # behind the last block that is fully drawn
        self._first = state.first
        self._block = state.block
        self._drawn = 0
        self._last: Position | None = None  # of the closed block
        self._closed_at = state.cursor
        self._texts: list[Text] = []  # of the closed block, in drawn order
        self._appended_ms = 0
        self._pending: deque[Reading] = deque()  # only those with texts
        self._pending_texts = 0
        self._tail = state.cursor

    @property
    def tail(self) -> Cursor:
        """Behind the last reading added."""
        return self._tail

    @property
    def closed(self) -> bool:
        """Whether a block is closed and not fully drawn."""
        return self._last is not None

    @property
    def buffered(self) -> int:
        """Texts held and not drawn."""
        return len(self._texts) - self._drawn + self._pending_texts

    @property
    def unclosed(self) -> bool:
        """Whether records were added that no closed block holds, with texts or without."""
        return self._tail.position is not None and self._tail.expected != self._first_open

    @property
    def _first_open(self) -> Position:
        return self._first if self._last is None else self._closed_at.expected

    def reached(self, position: Position) -> bool:
        """Whether the record at this position was added."""
        return self._tail.position is not None and self._tail.position >= position

    def ready(self, force: bool = False) -> int | None:
        """Return the append time of the next text, or None where there is none to draw.

        With `force`, a block that is not full may be closed for it.
        """
        if self._last is not None:
            return self._appended_ms
        if self._pending_texts >= (1 if force else self._size):
            return self._pending[0].appended_ms
        return None

    def add(self, reading: Reading) -> None:
        """Take the next record of the lane."""
        self._tail = reading.after
        if reading.texts:
            self._pending.append(reading)
            self._pending_texts += len(reading.texts)

    def close(self) -> Closed:
        """Close the next block: at the record that fills it, or at the last one that has texts."""
        taken: list[Reading] = []
        texts = 0
        while self._pending and texts < self._size:
            taken.append(self._pending.popleft())
            texts += len(taken[-1].texts)
        return self._close(taken, taken[-1].after)

    def close_at(self, last: Position) -> Closed:
        """Close the next block at a position that a ledger names, or at the tail when the input ends.

        The record must have been added; where it has no texts, nothing behind it may have been.
        """
        taken: list[Reading] = []
        while self._pending and (at := self._pending[0].after.position) is not None and at <= last:
            taken.append(self._pending.popleft())
        end = taken[-1].after if taken and taken[-1].after.position == last else self._tail
        if end.position != last:
            raise LedgerMismatch(f"lane {self.lane} stands at {end.position}, not at {last}")
        return self._close(taken, end)

    def draw(self) -> tuple[int, int, Text]:
        """Return the next text of the closed block with the block's number and the text's index in it."""
        block, index, text = self._block, self._drawn, self._texts[self._drawn]
        self._drawn += 1
        if self._drawn == len(self._texts):
            self._finish()
        return block, index, text

    def skip(self, drawn: int) -> None:
        """Pass over the texts of a block, closed again after a restart, that were drawn before it."""
        if drawn > len(self._texts):
            raise LedgerMismatch(
                f"block {self._block} of lane {self.lane} has {len(self._texts)} texts, not {drawn} and more"
            )
        for _ in range(drawn):
            self.draw()

    def state(self) -> LaneState:
        """Return where the lane stands, as a value that later calls do not change."""
        if self._last is not None:
            return LaneState(self._start, self._block, self._drawn, self._first, self._last)
        # Records without texts need not be read again; the block still began before them.
        cursor = self._start if self._pending else self._tail
        return LaneState(cursor, self._block, 0, self._first)

    def _close(self, taken: list[Reading], end: Cursor) -> Closed:
        if self._last is not None:
            raise ValueError(f"block {self._block} of lane {self.lane} is not fully drawn")
        assert end.position is not None
        texts = [text for reading in taken for text in reading.texts]
        self._pending_texts -= len(texts)
        self._appended_ms = taken[0].appended_ms if taken else 0
        closed = Closed(self.lane, self._block, self._first, end.position)
        self._texts = self._shuffled(texts)
        self._last, self._closed_at, self._drawn = end.position, end, 0
        if not texts:
            self._finish()
        return closed

    def _finish(self) -> None:
        self._start = self._closed_at
        self._first = self._closed_at.expected
        self._block += 1
        self._texts, self._drawn, self._last = [], 0, None

    def _shuffled(self, texts: list[Text]) -> list[Text]:
        if self._size == 1:
            return texts
        key = f"{self._seed} {self.lane} {self._block} ".encode()

        def place(i: int) -> bytes:
            return hashlib.blake2b(key + str(i).encode(), digest_size=8).digest()

        return [texts[i] for i in sorted(range(len(texts)), key=place)]
