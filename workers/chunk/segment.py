"""Cut a text into segments of at most so many tokens: at paragraphs, else lines, else sentences, else words.

Segments are balanced: a text of 1.1 times the limit becomes two halves, not a full one and a scrap that no
template fits. The price is that segments are seldom full; the alternative, filling each, gives an engine
more context now and then. All the text is covered in order; only white space between segments is left out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from math import ceil
from typing import Final, NamedTuple

from streams.tokens import TokenCounter

_BOUNDARIES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n\n+",
        r"\n",
        r"(?<=[.!?\u2026])[\"')\]\u2019\u201d]*\s+(?![a-z])|(?<=[\u3002\uff01\uff1f])",
        r"\s+",
    )
)
"""Where a text may be cut, best first. The sentence rule is simple: a cut behind "Dr." is harmless."""


class Piece(NamedTuple):
    """One segment: `text == whole[start : start + len(text)]`."""

    start: int
    text: str
    tokens: int  # of `text` alone


def cut(text: str, counter: TokenCounter, limit: int) -> list[Piece]:
    """Return the segments of a text, each at most `limit` tokens; one where it is no longer than that.

    Where a single character has more tokens than `limit` (no byte-level tokenizer has that), it stands alone.
    """
    if len(text) <= 4 * limit:  # probably one
        total = counter.count(text)
        if total <= limit:
            return [Piece(0, text, total)]
    ends, totals = counter.prefixes(text, max(1, limit // 8))
    if totals[-1] <= limit:
        return [Piece(0, text, totals[-1])]
    return list(_cut_long(text, ends, totals, counter, limit))


def _cut_long(
    text: str, ends: list[int], totals: list[int], counter: TokenCounter, limit: int
) -> Iterator[Piece]:
    start = _skip_space(text, 0)
    while start < len(text):
        first = bisect_right(ends, start)
        before = totals[first - 1] if first else 0
        rest = text[start:].rstrip() if totals[-1] - before <= limit else ""
        if rest and (tokens := counter.count(rest)) <= limit:
            yield Piece(start, rest, tokens)
            return
        # A cut can cost tokens of its own (a word that loses its space), so the budget shrinks until it fits.
        budget = limit
        while True:
            end = _best_cut(text, start, ends, totals, before, budget)
            piece = text[start:end].rstrip()
            tokens = counter.count(piece)
            if tokens <= limit or budget == 1:
                break
            budget = max(1, budget - (tokens - limit))
        yield Piece(start, piece, tokens)
        start = _skip_space(text, end)


def _best_cut(text: str, start: int, ends: list[int], totals: list[int], before: int, budget: int) -> int:
    """Return where the segment that begins at character `start`, behind `before` tokens, should end.

    The place nearest to an even share of what is left, between half that share and the budget, and not so far
    that what follows were less than half a share.
    """
    remaining = max(1, totals[-1] - before)
    share = ceil(remaining / max(2, ceil(remaining / budget)))
    least = max(1, share // 2)

    def behind(tokens: int) -> int:
        """Return the last place with at most so many tokens since `start`."""
        unit = bisect_right(totals, before + tokens) - 1
        return max(start + 1, ends[unit] if unit >= 0 else 0)

    wanted, low, high = behind(share), behind(least), behind(max(least, min(budget, remaining - least)))
    for boundary in _BOUNDARIES:
        places = [match.end() for match in boundary.finditer(text, low, high)]
        if places:
            return min(places, key=lambda place: abs(place - wanted))
    return wanted


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
