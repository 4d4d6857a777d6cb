"""Which templates say what another says already: exactly, once normalised, or nearly.

Exact: equal after Unicode compatibility folding, without case, white space at the edges of words and closing
punctuation; slots keep their descriptions. Near (our choice, the paper is silent): the documents that two
templates fit are described alike (cosine of the descriptions at least 0.90) *and* the templates share at
least four fifths of their words. The description alone would throw away different questions to one kind of
page, which is what makes a bank useful; embedding the templates too would double the encoding. Of two, the
earlier row stays, so the order of the inputs is the order of preference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.match.index import TemplateIndex

NEAR_COSINE: Final = 0.90
NEAR_WORDS: Final = 0.8
NEIGHBOURS: Final = 16
"""Of each template: one with more near duplicates than that loses the rest in their own turn."""

_WORD: Final = re.compile(r"\w+")


def normalised(template: str) -> str:
    """Return what two equal templates have in common."""
    folded = unicodedata.normalize("NFKC", template).casefold()
    return " ".join(folded.split()).rstrip(" .?!…")


def words(template: str) -> frozenset[str]:
    """Return a template's words, slots' descriptions included."""
    folded = unicodedata.normalize("NFKC", template).casefold()
    return frozenset(_WORD.findall(folded.replace("<fi>", " ").replace("</fi>", " ")))


def near_duplicates(
    templates: Sequence[str],
    vectors: Any,
    index: TemplateIndex,
    first: int = 0,
    say: Callable[[str], None] | None = None,
) -> NDArray[np.bool_]:
    """Say of each row whether it nearly repeats an earlier one that stays; shape (n,).

    `vectors`, shape (n, d), are the normalised descriptions, `index` one over the same rows. Rows before
    `first` are known to be distinct and stay.
    """
    count = len(templates)
    repeats = np.zeros(count, dtype=np.bool_)
    for row in range(first, count):
        query = np.asarray(vectors[row : row + 1], dtype=np.float32)
        hits = index.search(query, NEIGHBOURS + 1)
        mine: frozenset[str] | None = None
        for similarity, other in zip(hits.similarities[0], hits.rows[0], strict=True):
            if similarity < NEAR_COSINE:
                break
            if not 0 <= other < row or repeats[other]:
                continue
            mine = words(templates[row]) if mine is None else mine
            theirs = words(templates[int(other)])
            if len(mine & theirs) >= NEAR_WORDS * len(mine | theirs):
                repeats[row] = True
                break
        if say is not None and row % 100_000 == 99_999:
            say(f"{row + 1} of {count} templates were compared with their neighbours")
    return repeats
