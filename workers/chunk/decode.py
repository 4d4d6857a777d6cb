"""Bytes to characters: which encoding a payload is in, whatever it claims.

Bytes that are valid UTF-8 are UTF-8: other encodings pass that test by accident almost never, while pages
that declare ISO-8859-1 and send UTF-8 are common (and every byte string is valid ISO-8859-1). Otherwise the
HTTP header is tried, then the page's own declaration, then a detector. The WHATWG order, declaration
first, would keep such pages garbled as browsers do.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from workers.chunk.reasons import Reason, Unusable

MAX_ERRORS: Final = 0.01
"""Share of characters that may be unreadable (our choice): a page cut inside a character is still a page."""
_DECLARED_IN_PAGE: Final = re.compile(
    rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE
)
_PAGE_HEAD_BYTES: Final = 4096
_SAMPLE_BYTES: Final = 128 * 1024
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(payload: bytes, declared: str = "") -> str:
    """Return the text of a payload; raise `Unusable` where it is binary or no encoding fits."""
    for bom, encoding in _BOMS:
        if payload.startswith(bom):
            return _leniently(payload[len(bom) :], encoding)
    # ISO-2022-JP, which lives on escapes, is plain ASCII to a UTF-8 decoder; and so is half of UTF-16.
    if b"\x1b" not in payload and b"\0" not in payload:
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError:
            pass
    tried: set[str] = set()
    for encoding in _claims(payload, declared):
        if encoding in tried:
            continue
        tried.add(encoding)
        try:
            return payload.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    detected = detect_encoding(payload, max_len=_SAMPLE_BYTES, html5_compatible=True) or "utf-8"
    # A single bad byte must not make a UTF-8 page Latin: what was declared goes before what was guessed.
    candidates = ["utf-8"] if "utf-8" in tried else []
    for encoding in candidates:
        try:
            return _leniently(payload, encoding)
        except Unusable:
            continue
    return _leniently(payload, detected)


def _claims(payload: bytes, declared: str) -> list[str]:
    """Return the encodings that header and page name, as Python knows them."""
    names = [declared] if declared else []
    found = _DECLARED_IN_PAGE.search(payload, 0, _PAGE_HEAD_BYTES)
    if found:
        names.append(found[1].decode("ascii"))
    mapped = (map_encoding_to_html5(name.strip().lower(), fallback_utf8=False) for name in names)
    # Any even number of ASCII bytes is valid UTF-16 too, namely Chinese.
    wide = b"\0" in payload
    return [name for name in mapped if name and (wide or not name.startswith("utf-16"))]


def _leniently(payload: bytes, encoding: str) -> str:
    try:
        text = payload.decode(encoding, errors="replace")
    except LookupError as error:
        raise Unusable(Reason.UNDECODABLE, f"unknown encoding {encoding}") from error
    bad = text.count("\ufffd") + text.count("\0")
    if bad > MAX_ERRORS * len(text):
        raise Unusable(Reason.UNDECODABLE, f"{bad} of {len(text)} characters are unreadable as {encoding}")
    return text
