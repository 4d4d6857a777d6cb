"""The HTTP header of a captured response: status, media type, codings, and the few fields worth keeping.

Parsed here and not by FastWARC, because its parser consumes what it cannot read (a header with bare line
feeds, a missing reason phrase), and a stub must show the bytes as they were. Costs 3 us a response.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

MAX_HEADER_BYTES: Final = 64 * 1024
_STATUS: Final = re.compile(rb"(?:HTTP/\d(?:\.\d)?|ICY)[ \t]+(\d{3})(?!\d)")
_END: Final = re.compile(rb"\r?\n\r?\n")
_ROBOTS: Final = b"x-robots-tag"
_KEPT: Final = (
    _ROBOTS,
    b"tdm-reservation",
    b"tdm-policy",
    b"content-language",
    b"last-modified",
    b"link",
)
"""Robots and text-and-data-mining signals, a licence link, and what helps to judge a page."""
_FIELDS: Final = re.compile(
    rb"\n(content-type|content-encoding|transfer-encoding|"
    + b"|".join(_KEPT)
    + rb"):[ \t]*([^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*)",
    re.IGNORECASE,
)
_FOLD: Final = re.compile(r"\s*\r?\n\s+")
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9][\w.:+-]{0,63})", re.IGNORECASE)
MAX_VALUE_CHARACTERS: Final = 512
MAX_ROBOTS_CHARACTERS: Final = 4 * MAX_VALUE_CHARACTERS
"""Of all X-Robots-Tag headers together, which are joined by `; `."""


class HttpHeader(NamedTuple):
    """What a response says of itself."""

    status: int
    body: int  # byte offset at which the body begins
    media_type: str  # lower case, without parameters; empty where none is declared
    charset: str
    content_encoding: str
    chunked: bool
    kept: dict[str, str]  # a new one each time: the reader adds to it


@lru_cache(maxsize=256)
def media_type(value: str) -> tuple[str, str]:
    """Split a Content-Type into media type and charset, both lower case and bounded."""
    name, _, parameters = value.partition(";")
    charset = _CHARSET.search(parameters)
    return name.strip().lower()[:128], charset[1].lower() if charset else ""


def parse(block: bytes) -> HttpHeader | None:
    """Parse the header at the start of a response; None where there is none."""
    status = _STATUS.match(block)
    if status is None:
        return None
    end = block.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
    body = end + 4
    if end < 0:  # bare line feeds; or a header without a body, which needs no blank line
        match = _END.search(block, 0, MAX_HEADER_BYTES)
        if match is None and len(block) > MAX_HEADER_BYTES:
            return None
        end, body = (match.start(), match.end()) if match else (len(block), len(block))
    kept: dict[str, str] = {}
    kind = charset = encoding = transfer = ""
    # Backwards, so that the first of equal names counts.
    for name, value in reversed(_FIELDS.findall(block, 0, end)):
        key, text = name.lower(), value[:MAX_VALUE_CHARACTERS].decode("utf-8", "replace")
        if b"\n" in value:
            text = _FOLD.sub(" ", text)
        if key == b"content-type":
            kind, charset = media_type(text)
        elif key == b"content-encoding":
            encoding = text
        elif key == b"transfer-encoding":
            transfer = text.lower()
        elif key != b"link" or "license" in text:
            kept[key.decode()] = _all_robots(text.strip(), kept) if key == _ROBOTS else text.strip()
    return HttpHeader(int(status[1]), body, kind, charset, encoding, "chunked" in transfer, kept)


def _all_robots(text: str, kept: dict[str, str]) -> str:
    """Return a robots header before those behind it: one for each agent is usual, and none may be lost."""
    behind = kept.get(_ROBOTS.decode(), "")
    return f"{text}; {behind}"[:MAX_ROBOTS_CHARACTERS] if behind else text
