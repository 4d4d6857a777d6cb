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
        banned += ("javascript",)
    wanted = limits.min_sentences
    found = 0
    for each in text.splitlines():
        line = each.strip()
        pieces = line.split()
        if limits.max_word_characters < len(line) and any(
            len(piece) > limits.max_word_characters for piece in pieces
        ):
            continue
        if "[" in line:
            line = _CITATION.sub("", line)
        if limits.terminal_punctuation and (not line.endswith(_FINAL_MARKS) or line.endswith("...")):
            continue
        if len(pieces) < limits.min_line_words:
            continue
        if filler or bracket or banned:
            lower_line = line.lower()
            if filler and "lorem ipsum" in lower_line:
                return _filler()
            script = "javascript" in banned and "javascript" in lower_line
            if not script and bracket and "{" in line:
                return _bracket()
            if script or any(phrase in lower_line for phrase in banned):
                continue
        if found < wanted:
            found += sentences(words(line), wanted - found)
        elif not filler and not bracket:
            break
    if found < wanted:
        return below(FilterReason.FEW_SENTENCES, found, wanted, "sentences:")
    return None


def _filler() -> Finding:
    return Finding(FilterReason.LOREM_IPSUM, "holds the phrase lorem ipsum")


def _bracket() -> Finding:
    return Finding(FilterReason.CURLY_BRACKET, "holds a curly bracket")
