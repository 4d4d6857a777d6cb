"""Gopher's repetition rules: how much of a page repeats itself, by paragraphs, lines and n-grams of words.

Rae et al. 2021, table A1. Thresholds, order and counting are datatrove 0.10's: a duplicate n-gram counts from
its second time on and is stepped over whole; the top n-gram is the first of the most frequent, times its
length with spaces.

Counting nine kinds of n-grams costs 5 ms a 10 kB page. Most pages are cleared by bounds instead: a page where
words behind repeated 4-grams cover less than the strictest threshold has no duplicate 5- to 10-grams beyond
it, and a 2- or 3-gram cannot recur more often than its words. Bounds only ever clear, so the verdict is the
exact one; what they do not clear is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice
from typing import Final

from streams.settings.filters import GopherRepetitionSettings
from workers.chunk.filters.page import Page
from workers.chunk.filters.reasons import FilterReason, Finding, above

_TOP: Final = {
    2: FilterReason.TOP_2_GRAM,
    3: FilterReason.TOP_3_GRAM,
    4: FilterReason.TOP_4_GRAM,
}
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
            what = f"characters in duplicate {what}, share"
            return above(characters_reason, characters / size, most_characters, what)
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
    hashes = list(map(hash, _grams(words, 4)))
    repeats = len(hashes) - len(set(hashes))
    bound = _top_bound(page.counts)
    for n, most in top.items():
        if len(words) < n:
            continue
        # Once or never repeated, the top n-gram is the first; else its words are among the repeated ones.
        first = len(" ".join(words[:n]))
        enough = n * bound[0] + (n - 1) * bound[1]
        if n == 4 and not repeats:
            enough = 0
        if max(first, enough) > most * size:
            characters = _top_characters(words, n)
            if characters / size > most:
                return above(_TOP[n], characters / size, most, f"characters in the top {n}-gram, share")
    least = min(duplicate.values())
    if not repeats or _covered(words, hashes) <= least * size:
        return None
    ends = [0, *accumulate(map(len, words))]
    for n, most in duplicate.items():
        characters = _duplicate_characters(words, ends, n)
        if characters / size > most:
            return above(_DUPLICATE[n], characters / size, most, f"characters in duplicate {n}-grams, share")
    return None


def _grams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(islice(words, i, None) for i in range(n)), strict=False)


def _top_bound(counts: Counter[str]) -> tuple[int, int]:
    """Return the most characters and the most times that any one word recurs with."""
    characters = times = 0
    for word, count in counts.items():
        if count > 1:
            if count > times:
                times = count
            if count * len(word) > characters:
                characters = count * len(word)
    return characters, times


def _top_characters(words: Sequence[str], n: int) -> int:
    [(gram, count)] = Counter(_grams(words, n)).most_common(1)
    return count * (sum(map(len, gram)) + n - 1)


def _covered(words: Sequence[str], hashes: Sequence[int]) -> int:
    """Return the characters of the words that stand in a 4-gram which was there before."""
    seen: set[int] = set()
    characters = end = 0
    for start, value in enumerate(hashes):
        if value in seen:
            begin = max(start, end)
            end = start + 4
            characters += sum(map(len, words[begin:end]))
        else:
            seen.add(value)
    return characters


def _duplicate_characters(words: Sequence[str], ends: Sequence[int], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    characters = skip = 0
    for start, gram in enumerate(_grams(words, n)):
        if start < skip:
            continue
        if gram in seen:
            skip = start + n
            characters += ends[skip] - ends[start]
        else:
            seen.add(gram)
    return characters
