"""What is wrong with an answer whatever its template: empty, endless, or told by the instruction already.

Cheap and blunt on purpose: they catch broken generations, not weak ones, which are the judge's affair.
"""

from __future__ import annotations

import re
from typing import Final

GRAM_WORDS: Final = 5
MAX_TOLD_SHARE: Final = 0.5
"""Of an answer's 5-grams that stand in its instruction."""
REPEAT_CHARACTERS: Final = 20
MIN_REPEAT_CHARACTERS: Final = 200
"""Shorter texts may repeat themselves: a list of doses does."""
MIN_DISTINCT_SHARE: Final = 0.5
"""Of a text's 20-character pieces (our choice): gold's answers have 0.90 or more, its pages 0.85, loops 0."""

_WORD: Final = re.compile(r"\w+")
_NULLS: Final = frozenset({"null", "none", "nil", "nan", "n/a", "undefined", "not available"})
_PLACEHOLDER: Final = re.compile(r"(?:\[[^\]]*\]|\{[^}]*\}|<[^>]*>|[_.\u2026\s-]+)")


def words(text: str) -> list[str]:
    """Return a text's words, without case."""
    return _WORD.findall(text.casefold())


def is_null(text: str) -> bool:
    """Whether a text says that there is nothing."""
    return text.strip(" \t\n.\"'`").casefold() in _NULLS


def is_placeholder(text: str) -> bool:
    """Whether a text is a blank to be filled: in brackets from end to end, or nothing but dots and lines."""
    return bool(_PLACEHOLDER.fullmatch(text.strip()))


def told_share(instruction: str, answer: str) -> float:
    """Return the share of the answer's 5-grams that stand in the instruction.

    An answer of fewer words has none: 1.0 where it is the instruction's words, else 0.
    """
    asked, said = words(instruction), words(answer)
    if len(said) < GRAM_WORDS:
        return float(bool(said) and said == asked)
    grams = list(zip(*(said[i:] for i in range(GRAM_WORDS)), strict=False))
    known = set(zip(*(asked[i:] for i in range(GRAM_WORDS)), strict=False))
    return sum(gram in known for gram in grams) / len(grams)


def repeats_endlessly(text: str) -> bool:
    """Whether a text goes round in circles, by words or by characters."""
    n = len(text) - REPEAT_CHARACTERS + 1
    if len(text) < MIN_REPEAT_CHARACTERS:
        return False
    return len({text[i : i + REPEAT_CHARACTERS] for i in range(n)}) < MIN_DISTINCT_SHARE * n
