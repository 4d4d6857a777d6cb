"""Copy tags to the passages that they stand for: exactly one span of the source, or a named refusal.

`<excerpt>first words<...>last words</excerpt>` stands for the span from the first words to the last, both
included; `<excerpt>text</excerpt>` for itself (paper section 3). Which spans *fit* a tag (the paper says
nothing; our choice): every pair of an occurrence of the first words and one of the last words that begins at
or behind their end; every occurrence of a text. A tag expands where exactly one span fits. Neither nearness
nor a bound on length picks one of several: that would be a guess, and a wrong passage reads as well as the
right one.

Copies are looked up at three levels: as they stand; folded (`folding.py`); folded without capitals. The first
level at which any span fits decides, so a true copy is never ambiguous with a look-alike. What comes out is
always the source's own text with its offsets.

Time is linear in the source: whether there is exactly one pair shows in at most four searches, from the first
occurrences of either end.
"""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass
from typing import Final

from workers.engines.language.folding import Folded, fold, lowered
from workers.engines.language.markup import GAP, TAG

MAX_TAGS: Final = 200
"""Of one text: gold has at most 8, a broken model thousands."""
MAX_SPAN_CHARACTERS: Final = 8_000
"""Longest passage that a tag may stand for: a page's first and last words are no answer."""

Span = tuple[int, int]


class ExcerptReject(enum.StrEnum):
    """Why a text's copy tags do not expand: a closed set."""

    MALFORMED = "excerpt_malformed"  # an open tag, a tag in a tag, two gaps
    TOO_MANY = "excerpt_too_many"
    EMPTY = "excerpt_empty"  # nothing in it, or nothing on one side of the gap
    NOT_FOUND = "excerpt_not_found"
    AMBIGUOUS = "excerpt_ambiguous"  # several spans fit
    TOO_LONG = "excerpt_too_long"
    MID_WORD = "excerpt_mid_word"  # begins or ends inside a word


class Level(enum.IntEnum):
    """How much had to be overlooked to find a copy."""

    EXACT = 0
    FOLDED = 1
    CASELESS = 2


Located = tuple[Span, Level]


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage in an expanded text: `text[start:end] == source[span[0]:span[1]]`."""

    start: int
    end: int
    span: Span


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its tags expanded, without white space around it."""

    text: str
    pieces: tuple[Piece, ...]  # in the text's order
    level: Level  # the loosest that was needed

    @property
    def share(self) -> float:
        """Characters that are excerpts, over all characters; 0 for an empty text."""
        copied = sum(piece.end - piece.start for piece in self.pieces)
        return copied / len(self.text) if self.text else 0.0


class Source:
    """The text that is quoted: folded once for all tags of all its pairs, and only if one is no true copy."""

    __slots__ = ("_folded", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: Folded | None = None

    @property
    def folded(self) -> Folded:
        """The text as look-ups see it that overlook spelling."""
        if self._folded is None:
            self._folded = Folded(self.text)
        return self._folded

    def locate(self, first: str, last: str | None = None) -> Located | ExcerptReject:  # noqa: PLR0911
        """Return the one span that begins with `first` and ends with `last` (None: that is `first`)."""
        if not first.strip() or (last is not None and not last.strip()):
            return ExcerptReject.EMPTY
        found = _locate(self.text, first, last)
        if not isinstance(found, ExcerptReject):
            return found, Level.EXACT
        if found is ExcerptReject.AMBIGUOUS:
            return found
        folded = self.folded
        wanted = fold(first), (None if last is None else fold(last))
        if not wanted[0] or wanted[1] == "":
            return ExcerptReject.EMPTY
        found = _locate(folded.text, *wanted)
        if not isinstance(found, ExcerptReject):
            return folded.span(*found), Level.FOLDED
        if found is ExcerptReject.AMBIGUOUS:
            return found
        found = _locate(
            folded.caseless, lowered(wanted[0]), None if wanted[1] is None else lowered(wanted[1])
        )
        return found if isinstance(found, ExcerptReject) else (folded.span(*found), Level.CASELESS)


def _locate(text: str, first: str, last: str | None) -> Span | ExcerptReject:
    """Return the one span that fits, by at most four searches."""
    start = text.find(first)
    if start < 0:
        return ExcerptReject.NOT_FOUND
    behind = start + len(first)
    again = text.find(first, start + 1)
    if last is None:
        return (start, behind) if again < 0 else ExcerptReject.AMBIGUOUS
    end = text.find(last, behind)
    if end < 0:
        return ExcerptReject.NOT_FOUND  # nor behind any later occurrence of the first words
    # Several fit where the last words come again, or where the first words come again before them.
    if text.find(last, end + 1) >= 0 or 0 <= again <= end - len(first):
        return ExcerptReject.AMBIGUOUS
    return start, end + len(last)


def expand(  # noqa: PLR0911 -- one refusal after another
    raw: str, source: Source, *, whole_words: bool = True
) -> Expansion | ExcerptReject:
    """Return a text with all its copy tags expanded, or the first reason why one does not.

    `whole_words` refuses passages that begin or end inside a word: a cut-off word in an answer is a defect,
    in an instruction (a plural's singular) a way of writing.
    """
    tokens = [*TAG.finditer(raw)]
    if len(tokens) > 2 * MAX_TAGS:
        return ExcerptReject.TOO_MANY
    if len(tokens) % 2 or any(bool(token[1]) is not bool(i % 2) for i, token in enumerate(tokens)):
        return ExcerptReject.MALFORMED
    parts: list[str] = []
    pieces: list[Piece] = []
    level = Level.EXACT
    done = length = 0
    for opening, closing in zip(tokens[::2], tokens[1::2], strict=True):
        ends = GAP.split(raw[opening.end() : closing.start()])
        if len(ends) > 2:
            return ExcerptReject.MALFORMED
        found = source.locate(*ends)
        if isinstance(found, ExcerptReject):
            return found
        (start, end), needed = found
        if end - start > MAX_SPAN_CHARACTERS:
            return ExcerptReject.TOO_LONG
        if whole_words and (inside_word(source.text, start) or inside_word(source.text, end)):
            return ExcerptReject.MID_WORD
        level = max(level, needed)
        before = raw[done : opening.start()]
        parts += (before, source.text[start:end])
        length += len(before)
        pieces.append(Piece(length, length + end - start, (start, end)))
        length += end - start
        done = closing.end()
    parts.append(raw[done:])
    return _stripped("".join(parts), pieces, level)


def _stripped(text: str, pieces: list[Piece], level: Level) -> Expansion:
    """Take the white space around a text away, from the passages at its ends too."""
    kept = text.strip()
    lead = len(text) - len(text.lstrip())
    if len(kept) == len(text):
        return Expansion(text, tuple(pieces), level)
    moved: list[Piece] = []
    for piece in pieces:
        start, end = max(piece.start - lead, 0), min(piece.end - lead, len(kept))
        if start < end:
            begin = piece.span[0] + start - (piece.start - lead)
            moved.append(Piece(start, end, (begin, begin + end - start)))
    return Expansion(kept, tuple(moved), level)


def quoted_whole(text: str, source: Source) -> Expansion:
    """Return an untagged text as one excerpt where it is exactly one span of the source, else as it is.

    For models that copy without tags. Exact only: what a reader gets is the model's text, unchanged.
    """
    text = text.strip()
    span = _locate(source.text, text, None) if text else ExcerptReject.EMPTY
    if (
        isinstance(span, ExcerptReject)
        or inside_word(source.text, span[0])
        or inside_word(source.text, span[1])
    ):
        return Expansion(text, (), Level.EXACT)
    return Expansion(text, (Piece(0, len(text), span),), Level.EXACT)


_UNSPACED: Final = (
    range(0x0E00, 0x1100),  # Thai, Lao, Tibetan, Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x2E80, 0x110000),  # Chinese, Japanese (and Korean, whose particles follow without a space)
)


def inside_word(text: str, offset: int) -> bool:
    """Whether a cut here would part a word, a number, or a letter from its accent.

    Scripts without spaces have no such places; a capital behind a small letter is where a page's words ran
    together, and so is a change between letters and digits.
    """
    if not 0 < offset < len(text):
        return False
    before, after = text[offset - 1], text[offset]
    if unicodedata.category(after)[0] == "M":
        return True
    if not (before.isalnum() and after.isalnum()):
        return False
    if any(ord(c) in script for script in _UNSPACED for c in (before, after)):
        return False
    if before.isdigit() or after.isdigit():
        return before.isdigit() and after.isdigit()
    return not (before.islower() and after.isupper())
