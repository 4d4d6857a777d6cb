"""Texts to batches: concatenate, then split. Nothing is cropped, nothing is padded until the input ends.

Best-fit packing wastes no context on a text's beginning but crops away up to 35 % of the tokens, which a
token-for-token comparison cannot afford. Rows overlap by one token (each row's inputs are its targets moved
by one), and so do batches: every token of a run but its very first is a target exactly once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.positions import Position
from trainer.entries import Span
from trainer.state import Piece, Remainder
from trainer.tokenise import Tokens

IGNORED: Final = -100
"""Label of a padded target: torch's own default."""


class Text(NamedTuple):
    """A rendered pair as tokens, or what is left of it behind its first `cut` tokens."""

    lane: int
    position: Position
    template_id: str
    tokens: Tokens
    cut: int = 0


class Packed(NamedTuple):
    """One batch, flat: `tokens[i + 1]` is the target that follows `tokens[i]`, for the first `targets`."""

    tokens: Tokens  # shape (batch_targets + 1,)
    targets: int
    spans: list[Span]

    @property
    def digest(self) -> bytes:
        """Return 16 bytes over the tokens and which of them are targets."""
        content = hashlib.blake2b(self.targets.to_bytes(8, "big"), digest_size=16)
        content.update(self.tokens.astype("<i4").tobytes())
        return content.digest()

    def rows(self, sequence_tokens: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return inputs and labels, each of shape (rows, sequence_tokens)."""
        inputs = self.tokens[:-1].astype(np.int64)
        labels = self.tokens[1:].astype(np.int64)
        labels[self.targets :] = IGNORED
        return inputs.reshape(-1, sequence_tokens), labels.reshape(-1, sequence_tokens)


class Packer:
    """Holds texts in order and cuts batches of a fixed number of targets from them."""

    def __init__(self, batch_targets: int, remainder: Remainder | None = None) -> None:
        remainder = remainder or Remainder()
        self._size = batch_targets
        self._context = remainder.context
        self._texts: deque[Text] = deque(
            Text(p.lane, p.position, p.template_id, np.frombuffer(p.tokens, "<i4").astype(np.int32), p.cut)
            for p in remainder.pieces
        )
        self._held = sum(len(text.tokens) for text in self._texts)

    @property
    def targets(self) -> int:
        """How many targets are held."""
        return self._held if self._context >= 0 else max(0, self._held - 1)

    @property
    def missing(self) -> int:
        """How many tokens a full batch still lacks; 0 or less: one can be taken."""
        return self._size - self.targets

    def add(self, text: Text) -> None:
        """Take a text to the end."""
        self._texts.append(text)
        self._held += len(text.tokens)

    def take(self) -> Packed:
        """Cut off one full batch; raise `ValueError` where the texts do not fill one."""
        if self.missing > 0:
            raise ValueError(f"{self.missing} tokens are missing for a batch of {self._size} targets")
        return self._cut(self._size, pad=0)

    def finish(self, pad: int) -> Packed:
        """Cut off all that is left (less than a batch or none at all), padded with the token `pad`."""
        if self.missing <= 0:
            raise ValueError("a full batch is held: take it first")
        return self._cut(self.targets, pad)

    def remainder(self) -> Remainder:
        """Return what is held, as a copy that later calls do not change."""
        return Remainder(
            self._context,
            [
                Piece(t.lane, t.position, t.template_id, t.cut, t.tokens.astype("<i4").tobytes())
                for t in self._texts
            ],
        )

    def _cut(self, targets: int, pad: int) -> Packed:
        tokens = np.full(self._size + 1, pad, np.int32)
        spans: list[Span] = []
        if targets and self._context < 0:
            self._shift(1)
        if self._context >= 0:
            tokens[0] = self._context
        filled = 0
        while filled < targets:
            text = self._texts[0]
            n = min(len(text.tokens), targets - filled)
            tokens[1 + filled : 1 + filled + n] = text.tokens[:n]
            spans.append(Span(text.lane, text.position, text.template_id, text.cut, filled, filled + n))
            filled += n
            self._shift(n)
        return Packed(tokens, targets, spans)

    def _shift(self, n: int) -> None:
        """Drop the first `n` tokens, all of the first text; the last of them is the new context."""
        text = self._texts[0]
        self._context = int(text.tokens[n - 1])
        self._held -= n
        if n == len(text.tokens):
            self._texts.popleft()
        else:
            self._texts[0] = text._replace(tokens=text.tokens[n:], cut=text.cut + n)


def concatenated(texts: Iterable[Tokens]) -> Tokens:
    """Return all texts' tokens in one array, shape (sum of lengths,)."""
    parts = list(texts)
    return np.concatenate(parts) if parts else np.empty(0, np.int32)
