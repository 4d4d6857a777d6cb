"""A text without what copying loses (kinds of quotes, dashes, white space, accents), and the way back.

A model that copies a passage straightens its quotes, joins its lines, drops its zero-width spaces. So copies
are looked up in a folded text, and what is found there is led back to character offsets of the source. Built
once a text, in C where it matters: the distinct characters are looked at one by one, the text only as a
whole, so that 100 kB take 1 to 4 ms (12 where every second character is an accent). The alternative, a
pattern that tolerates every spelling at every place, is neither linear nor exact.

What folds (our choice): compatibility forms (NFKD: ligatures, full-width forms, superscripts), accents, the
kinds of quotes, dashes and white space, and what is invisible. Only lookups see the folded text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import Final

_QUOTES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc\u02b9\u2039\u203a\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u301d\u301e\u301f\uff02", '"'),
}
_DASHES: Final = dict.fromkeys(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u2e3a\u2e3b", "-"
)
_ACCENTS: Final = range(0x300, 0x370)
_HANGUL: Final = range(0xAC00, 0xD7A4)
_PLAIN: Final = frozenset(map(chr, range(0x21, 0x7F))) - {"`"} | {" "}
_MANY: Final = 128
"""From so many different characters on, one pass with a table is faster than one `replace` for each."""


@lru_cache(maxsize=65_536)
def fold_character(character: str) -> str:
    """Return what stands for one character: a space, nothing, itself, or one to a few others."""
    if character.isspace():
        return " "
    known = _QUOTES.get(character) or _DASHES.get(character)
    if known:
        return known
    if unicodedata.category(character) in ("Cf", "Cc") or ord(character) in _ACCENTS:
        return ""
    if ord(character) in _HANGUL:
        return character  # syllables stay whole: their parts would triple the text for nothing
    parts = unicodedata.normalize("NFKD", character)
    folded = "".join(_QUOTES.get(c) or _DASHES.get(c) or c for c in parts if ord(c) not in _ACCENTS)
    return character if not folded or any(map(str.isspace, folded)) else folded


class Folded:
    """A text folded: `text` to look things up in, `span` to lead back what was found.

    `caseless` is the same without capitals, character for character.
    """

    __slots__ = ("_caseless", "_places", "_source", "_starts", "text")

    def __init__(self, source: str) -> None:
        self._source = source
        self._caseless: str | None = None
        # From folded offset _starts[i] on, offsets run in step with the source's from _places[i] on; where
        # the same start stands twice, the later one counts.
        self._starts = [0]
        self._places = [0]
        one: list[tuple[str, str]] = []
        dropped: list[str] = []
        longer: dict[str, str] = {}
        for character in set(source) - _PLAIN:
            folded = fold_character(character)
            if not folded:
                dropped.append(character)
            elif len(folded) > 1:
                longer[character] = folded
            elif folded != character:
                one.append((character, folded))
        text = source
        if len(one) > _MANY:
            text = text.translate({ord(a): b for a, b in one})
        else:
            for a, b in one:
                text = text.replace(a, b)
        self.text = self._resized(text, "".join(dropped), longer)

    @property
    def caseless(self) -> str:
        """The folded text in lower case; as long as `text`, since what grows in lower case is folded away."""
        if self._caseless is None:
            self._caseless = lowered(self.text)
        return self._caseless

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the source's span for a span of the folded text (not empty).

        It takes in the accents of its last letter, and the whole of a character of which it has a part.
        """
        first = self._place(start)
        last = self._place(end - 1) + 1
        while last < len(self._source) and unicodedata.category(self._source[last])[0] == "M":
            last += 1
        return first, last

    def _place(self, offset: int) -> int:
        i = bisect_right(self._starts, offset) - 1
        place = self._places[i] + offset - self._starts[i]
        return min(place, self._places[i + 1] - 1) if i + 1 < len(self._places) else place

    def _resized(self, text: str, dropped: str, longer: dict[str, str]) -> str:
        """Collapse runs of white space, drop and expand characters, and note where lengths changed."""
        if not dropped and not longer and "  " not in text:
            return text
        patterns = ["  +"]
        if dropped:  # may stand among spaces
            gone = re.escape(dropped)
            patterns = [f"[ {gone}]{{2,}}|[{gone}]"]
        if longer:
            patterns.append(f"[{re.escape(''.join(longer))}]")
        # One search each: a pattern with alternatives looks closely at every single space.
        runs = sorted(
            (found.span() for pattern in patterns for found in re.finditer(pattern, text)),
        )
        parts: list[str] = []
        starts, places = self._starts, self._places
        done = length = 0
        for start, end in runs:
            run = text[start:end]
            made = longer.get(run) or (" " if " " in run else "")
            parts += (text[done:start], made)
            length += start - done + len(made)
            starts.append(length)
            places.append(end)
            done = end
        parts.append(text[done:])
        return "".join(parts)


def lowered(text: str) -> str:
    """Return a folded text in lower case, each character for itself (a final sigma is a sigma)."""
    return text.lower().replace("\u03c2", "\u03c3")


def fold(text: str) -> str:
    """Return a text folded, without the white space around it: what to look for."""
    return Folded(text).text.strip()
