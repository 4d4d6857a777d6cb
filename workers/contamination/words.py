"""What a token is where texts are compared with test items: a word without case, accents and punctuation.

Our choice. Tulu 3 (arXiv 2411.15124, section 3.2) does not say what its tokens are; its released code takes
spaCy's tokens of the test item and lets a search engine compare them without case and punctuation. A subword
tokenizer would be the alternative: it cuts a word differently behind a space or a quote, so that equal text
in another layout would not match.

The common text is ASCII with a few typographic quotes and dashes, and `words` must cost a tenth of a
millisecond. So it works on UTF-8 bytes with C-level calls only, and looks at each *distinct* other
character once; texts with many of those go through a table by character, with the same result.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_ASCII: Final = bytes(range(128))
_MANY: Final = 48
"""Distinct characters beyond ASCII from which on one pass by character is cheaper than a pass for each."""
_UNSPACED: Final = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI"}
)
"""Scripts written without spaces, by the first word of their characters' names."""


def words(text: str) -> list[bytes]:
    """Return a text's tokens in order, UTF-8.

    Letters and digits in compatibility form (NFKD), case-folded, without combining marks; all else separates
    tokens. In scripts without spaces each character is a token.
    """
    data = text.encode("utf-8", "replace")
    if not text.isascii():
        others = set(data.translate(None, _ASCII).decode())
        if len(others) > _MANY:
            return text.translate(_FOLDED).encode("utf-8", "replace").translate(_TABLE).split()
        for character in others:
            if (folded := _FOLDED[ord(character)]) != character:
                data = data.replace(character.encode(), folded.encode())
    return data.translate(_TABLE).split()


def _fold(character: str) -> str:
    """Return what stands for a character: letters and digits as they are compared, space for a separator."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(map(_part, decomposed))


def _part(part: str) -> str:
    if unicodedata.combining(part):
        return ""
    if not part.isalnum() and not unicodedata.category(part).startswith("M"):
        return " "
    return f" {part} " if unicodedata.name(part, "").partition(" ")[0] in _UNSPACED else part


class _Folded(dict[int, str]):
    """The folded form of each character met so far: at most as many as Unicode has."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


_FOLDED: Final = _Folded()
_TABLE: Final = b"".join(_fold(chr(code)).encode() for code in range(128)) + bytes(range(128, 256))
