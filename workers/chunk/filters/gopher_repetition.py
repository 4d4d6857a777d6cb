"""Gopher's repetition rules: how much of a page repeats itself, by paragraphs, lines and n-grams of words.

Rae et al. 2021, table A1. Thresholds, order and counting are datatrove 0.10's: a duplicate n-gram counts from
its second time on and is stepped over whole; the top n-gram is the first of the most frequent, times its
length with spaces.

Counting nine kinds of n-grams costs 3 ms a 10 kB page. Instead, the places where a 4-gram stands that occurs
twice are found first: longer repeated n-grams start there and nowhere else, so only those are compared, and
not even they where they cover less than the strictest threshold. A 2- or 3-gram occurs no more often than its
words, which clears most pages of them. All this only saves work: the verdict is that of the full count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from streams.settings.filters import GopherRepetitionSettings
from workers.chunk.filters.page import Page, Tally
from workers.chunk.filters.reasons import FilterReason, Finding, above

_TOP: Final = {
    2: FilterReason.TOP_2_GRAM,
    3: FilterReason.TOP_3_GRAM,
    4: FilterReason.TOP_4_GRAM,
}
_MIXERS: Final = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], dtype=np.uint64
)
"""Odd constants, so that the order of words counts."""
_DUPLICATE: Final = {
    5: FilterReason.DUPLICATE_5_GRAMS,
    6: FilterReason.DUPLICATE_6_GRAMS,
    7: FilterReason.DUPLICATE_7_GRAMS,
    8: FilterReason.DUPLICATE_8_GRAMS,
    9: FilterReason.DUPLICATE_9_GRAMS,
    10: FilterReason.DUPLICATE_10_GRAMS,
}


def gopher_repetition(page: Page, limits: GopherRepetitionSettings) -> Finding | None:
    """Return the first rule that the page fails, None where it passes all.

    No rule is about a language; those about n-grams are left out where words are not parted by spaces.
    """
    size = len(page.text)
    if not size:
        return None
    for parts, share_reason, most_share, characters_reason, most_characters, what in (
        (
            page.paragraphs,
            FilterReason.DUPLICATE_PARAGRAPHS,
            limits.max_duplicate_paragraphs,
            FilterReason.DUPLICATE_PARAGRAPH_CHARACTERS,
            limits.max_duplicate_paragraph_characters,
            "paragraphs",
        ),
        (
            page.broken_lines,
            FilterReason.DUPLICATE_LINES,
            limits.max_duplicate_lines,
            FilterReason.DUPLICATE_LINE_CHARACTERS,
            limits.max_duplicate_line_characters,
            "lines",
        ),
    ):
        count, characters = duplicates(parts)
        if count / len(parts) > most_share:
            return above(share_reason, count / len(parts), most_share, f"duplicate {what}, share")
        if characters / size > most_characters:
            return above(
                characters_reason,
                characters / size,
                most_characters,
                f"characters in duplicate {what}, share",
            )
    return _n_grams(page, limits) if page.spaced else None


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Return how many parts were there before, and their characters."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        else:
            seen.add(part)
    return count, characters


def _n_grams(page: Page, limits: GopherRepetitionSettings) -> Finding | None:
    words, size = page.words, len(page.text)
    top = {2: limits.max_top_2_gram, 3: limits.max_top_3_gram, 4: limits.max_top_4_gram}
    duplicate = {
        5: limits.max_duplicate_5_grams,
        6: limits.max_duplicate_6_grams,
        7: limits.max_duplicate_7_grams,
        8: limits.max_duplicate_8_grams,
        9: limits.max_duplicate_9_grams,
        10: limits.max_duplicate_10_grams,
    }
    if len(words) < min(top):
        return None
    tally = page.tally
    repeats = _repeats(words, 4)
    for n, most in top.items():
        if len(words) < n:
            continue
        if n == 4:
            gram = words[repeats.top : repeats.top + 4]
            characters = repeats.times * (sum(map(len, gram)) + 3)
        elif max(_bound(tally, n), len(" ".join(words[:n]))) > most * size:
            characters = _top_characters(words, n)
        else:
            continue
        if characters / size > most:
            return above(_TOP[n], characters / size, most, f"characters in the top {n}-gram, share")
    covered = _covered(words, repeats.later) if repeats.later else 0
    for n, most in duplicate.items():
        if covered <= most * size:
            continue
        characters = _duplicate_characters(words, n, repeats.places)
        if characters / size > most:
            return above(_DUPLICATE[n], characters / size, most, f"characters in duplicate {n}-grams, share")
    return None


def _bound(tally: Tally, n: int) -> int:
    """Return the most characters of an n-gram that recurs: it does so no more often than its words."""
    return n * tally.recurring_characters + (n - 1) * tally.recurring


class _Repeats(NamedTuple):
    """n-grams that occur twice or more."""

    places: list[int]  # the words at which one starts
    later: list[int]  # of these, all but each one's first
    top: int  # where the first of the most frequent starts
    times: int  # how often that occurs: 1 where nothing is repeated


def _repeats(words: Sequence[str], n: int) -> _Repeats:
    """Find n-grams that recur, by 64-bit hashes: a page of a million words errs once in 10^7.

    Sorted as numbers, equal ones stand side by side: a third of the time of counting tuples.
    """
    length = len(words) - n + 1
    if length < 2:
        return _Repeats([], [], 0, 1)
    hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    grams = hashes[:length] * _MIXERS[0]
    for i in range(1, n):
        grams += hashes[i : i + length] * _MIXERS[i]
    order = np.argsort(grams, kind="stable")  # of equal ones, the first in the text stands first
    ordered = grams[order]
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return _Repeats([], [], 0, 1)
    starts = np.flatnonzero(np.concatenate(([True], ~same)))
    counts = np.diff(starts, append=length)
    times = int(counts.max())
    later = order[1:][same]
    firsts = order[starts]
    places = np.concatenate((later, firsts[counts > 1]))
    places.sort()
    later.sort()
    return _Repeats(places.tolist(), later.tolist(), int(firsts[counts == times].min()), times)


def _top_characters(words: Sequence[str], n: int) -> int:
    """Return the characters, spaces included, that the first of the most frequent n-grams has."""
    [(gram, count)] = Counter(zip(*(islice(words, i, None) for i in range(n)), strict=False)).most_common(1)
    return count * (sum(map(len, gram)) + n - 1)


def _covered(words: Sequence[str], starts: Sequence[int]) -> int:
    """Return the characters of the words that stand in 4-grams which start there."""
    characters = end = 0
    for start in starts:
        begin, end = max(start, end), start + 4
        characters += sum(map(len, words[begin:end]))
    return characters


def _duplicate_characters(words: Sequence[str], n: int, repeated: Sequence[int]) -> int:
    """Return the characters of n-grams that were there before; an n-gram not in `repeated` occurs once."""
    seen: set[tuple[str, ...]] = set()
    characters = behind = 0
    last = len(words) - n
    for start in repeated:
        if start < behind or start > last:
            continue
        gram = tuple(words[start : start + n])
        if gram in seen:
            behind = start + n
            characters += sum(map(len, gram))
        else:
            seen.add(gram)
    return characters
