"""FineWeb's own rules: lists, menus and pages without sentences, by the shape of their lines.

Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale", section 3.6;
thresholds and order as in datatrove 0.10.
"""

from __future__ import annotations

from streams.settings.filters import FineWebSettings
from workers.chunk.filters.gopher_repetition import duplicates
from workers.chunk.filters.page import TERMINAL, Page
from workers.chunk.filters.reasons import FilterReason, Finding, above, below


def fineweb(page: Page, limits: FineWebSettings) -> Finding | None:
    """Return the first rule that the page fails, None where it passes all.

    The marks that end a line are those of all scripts, so no rule is about a language; the one that counts
    words is left out where they are not parted by spaces.
    """
    lines = page.lines
    if not lines:
        return Finding(FilterReason.EMPTY_LINES, "no line that is not blank")
    ratio = sum(line[-1] in TERMINAL for line in lines) / len(lines)
    if ratio < limits.min_line_punctuation:
        least = limits.min_line_punctuation
        return below(FilterReason.LINE_PUNCTUATION, ratio, least, "lines that end a sentence, share")
    longest = limits.short_line_characters
    ratio = sum(len(line) <= longest for line in lines) / len(lines)
    if ratio > limits.max_short_lines:
        return above(FilterReason.SHORT_LINES, ratio, limits.max_short_lines, "short lines, share")
    line_ends = page.text.count("\n")
    ratio = duplicates(lines)[1] / (len(page.text) - line_ends)
    if ratio > limits.max_duplicate_characters:
        most = limits.max_duplicate_characters
        return above(FilterReason.DUPLICATE_CHARACTERS, ratio, most, "characters in duplicate lines, share")
    if line_ends and page.spaced and page.words:
        ratio = line_ends / len(page.words)
        if ratio > limits.max_lines_per_word:
            return above(FilterReason.LIST, ratio, limits.max_lines_per_word, "line ends a word:")
    return None
