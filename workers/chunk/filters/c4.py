"""C4's rules, as a verdict: a page without sentences, with a curly bracket or with filler text.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
section 2.2; order and bounds as in datatrove 0.10. C4 also deletes lines (too short, about JavaScript,
cookies or terms of use, without a final mark). We never rewrite a text: its offsets, hash and excerpts refer
to what the page says. Such lines are only left out of the count of sentences, so the verdict is the same.
"""

from __future__ import annotations

import re
from typing import Final

from streams.settings.filters import C4Settings
from workers.chunk.filters.page import Page
from workers.chunk.filters.reasons import FilterReason, Finding, below
from workers.chunk.filters.splitter import sentences, words

_CITATION: Final = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_FINAL_MARKS: Final = (".", "?", "!", '"', "'")
_POLICY: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


def c4(page: Page, limits: C4Settings) -> Finding | None:
    """Return the first rule that the page fails, None where it passes all.

    Sentences are counted until there are enough, most pages' in their first lines. What the phrases are, and
    that a line has three words, is English; our choice for other languages: a page is asked for brackets and
    filler alone.
    """
    text = page.text
    lower = page.lower
    filler = limits.lorem_ipsum and "lorem ipsum" in lower
    bracket = limits.curly_bracket and "{" in text
    if not page.english:
        return _filler() if filler else _bracket() if bracket else None
    banned = tuple(phrase for phrase in _POLICY if phrase in lower) if limits.policy else ()
    if limits.javascript and "javascript" in lower:
        banned = ("javascript", *banned)
    if not (filler or bracket or banned or limits.terminal_punctuation) and _enough_lines(page, limits):
        return None
    return _line_by_line(text, limits, banned, filler=filler, bracket=bracket)


def _line_by_line(
    text: str, limits: C4Settings, banned: tuple[str, ...], *, filler: bool, bracket: bool
) -> Finding | None:
    """Go through the lines as C4 does: a bracket counts only in a line that is not left out before."""
    wanted = limits.min_sentences
    found = 0
    for each in text.splitlines():
        line = _counts(each.strip(), limits)
        if not line:
            continue
        if filler or bracket or banned:
            lower = line.lower()
            if filler and "lorem ipsum" in lower:
                return _filler()
            script = banned[:1] == ("javascript",) and "javascript" in lower
            if bracket and not script and "{" in line:
                return _bracket()
            if any(phrase in lower for phrase in banned):
                continue
        if found < wanted:
            found += sentences(words(line), wanted - found)
        elif not filler and not bracket:
            break
    return below(FilterReason.FEW_SENTENCES, found, wanted, "sentences:") if found < wanted else None


def _counts(line: str, limits: C4Settings) -> str:
    """Return a line without citations; nothing where its words or its end leave it out."""
    pieces = line.split()
    if len(pieces) < limits.min_line_words:
        return ""
    longest = limits.max_word_characters
    if len(line) > longest and any(len(piece) > longest for piece in pieces):
        return ""
    if "[" in line:
        line = _CITATION.sub("", line)
    if limits.terminal_punctuation and (not line.endswith(_FINAL_MARKS) or line.endswith("...")):
        return ""
    return line


def _enough_lines(page: Page, limits: C4Settings) -> bool:
    """Return whether enough lines count, each of at least one sentence, to need no look into them."""
    found, least = 0, limits.min_line_words
    for line in page.lines:
        if len(line) <= limits.max_word_characters and len(line.split(None, least)) >= least:
            found += 1
            if found >= limits.min_sentences:
                return True
    return False


def _filler() -> Finding:
    return Finding(FilterReason.LOREM_IPSUM, "holds the phrase lorem ipsum")


def _bracket() -> Finding:
    return Finding(FilterReason.CURLY_BRACKET, "holds a curly bracket")
