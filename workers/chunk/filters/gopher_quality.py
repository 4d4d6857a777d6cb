"""Gopher's quality rules: is this prose, by the shape of its words and lines.

Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix A.1.1.
Thresholds and the order of the rules are datatrove 0.10's, as FineWeb used them; names are ours.
"""

from __future__ import annotations

from typing import Final

from streams.settings.filters import GopherQualitySettings
from workers.chunk.filters.page import Page
from workers.chunk.filters.reasons import FilterReason, Finding, above, below

STOP_WORDS: Final = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS: Final = ("•", "-")
_ELLIPSES: Final = ("...", "…")


def gopher_quality(page: Page, limits: GopherQualitySettings) -> Finding | None:
    """Return the first rule that the page fails, None where it passes all.

    Our choice for other languages than English: stop words and the length of words are not asked about, since
    both are about English; nor is anything about words where they are not parted by spaces.
    """
    if not page.spaced:
        return _lines(page, limits)
    finding = _length(page, limits)
    if finding or not page.words:
        return finding
    return _marks(page, limits) or _lines(page, limits) or _vocabulary(page, limits)


def _length(page: Page, limits: GopherQualitySettings) -> Finding | None:
    named = page.tally.named
    if named < limits.min_words:
        return below(FilterReason.SHORT_DOC, named, limits.min_words, "words:")
    if limits.max_words and named > limits.max_words:
        return above(FilterReason.LONG_DOC, named, limits.max_words, "words:")
    if page.english and named:
        mean = page.tally.named_characters / named
        if mean < limits.min_mean_word_characters:
            return below(FilterReason.SHORT_WORDS, mean, limits.min_mean_word_characters, "mean word length")
        if limits.max_mean_word_characters and mean > limits.max_mean_word_characters:
            return above(FilterReason.LONG_WORDS, mean, limits.max_mean_word_characters, "mean word length")
    return None


def _marks(page: Page, limits: GopherQualitySettings) -> Finding | None:
    text, words = page.text, page.tally.words
    if (ratio := text.count("#") / words) > limits.max_hashes_per_word:
        return above(FilterReason.HASHES, ratio, limits.max_hashes_per_word, "hash signs a word:")
    if (ratio := _ellipses(text) / words) > limits.max_ellipses_per_word:
        return above(FilterReason.ELLIPSES, ratio, limits.max_ellipses_per_word, "ellipses a word:")
    return None


def _vocabulary(page: Page, limits: GopherQualitySettings) -> Finding | None:
    if (ratio := page.tally.alpha / page.tally.words) < limits.min_alpha_words:
        return below(FilterReason.FEW_ALPHA_WORDS, ratio, limits.min_alpha_words, "words with letters, share")
    if page.english:
        found = sum(word in page.counts for word in STOP_WORDS)
        if found < limits.min_stop_words:
            return below(FilterReason.FEW_STOP_WORDS, found, limits.min_stop_words, "stop words, distinct:")
    return None


def _lines(page: Page, limits: GopherQualitySettings) -> Finding | None:
    text = page.text
    lines = text.splitlines()
    if not lines:
        return None
    # Counting marks is cheap, and looking at each line seldom needed.
    if text.count("•") + text.count("-") > limits.max_bullet_lines * len(lines):
        bullets = sum(line.lstrip().startswith(_BULLETS) for line in lines) / len(lines)
        if bullets > limits.max_bullet_lines:
            return above(FilterReason.BULLET_LINES, bullets, limits.max_bullet_lines, "bulleted lines, share")
    if _ellipses(text) > limits.max_ellipsis_lines * len(lines):
        open_ended = sum(line.rstrip().endswith(_ELLIPSES) for line in lines) / len(lines)
        if open_ended > limits.max_ellipsis_lines:
            most = limits.max_ellipsis_lines
            return above(FilterReason.ELLIPSIS_LINES, open_ended, most, "lines ending in an ellipsis, share")
    return None


def _ellipses(text: str) -> int:
    return text.count("...") + text.count("…")
