"""The HTTP header of a captured response: status, media type, codings, and the few fields worth keeping.

Parsed here and not by FastWARC, because its parser consumes what it cannot read (a header with bare line
feeds, a missing reason phrase), and a stub must show the bytes as they were. Costs 2 us a response.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_HEADER_BYTES: Final = 64 * 1024
_STATUS: Final = re.compile(rb"(?:HTTP/\d(?:\.\d)?|ICY)[ \t]+(\d{3})(?!\d)")
_END: Final = re.compile(rb"\r?\n\r?\n")
_KEPT: Final = {
    b"x-robots-tag": "x-robots-tag",
    b"tdm-reservation": "tdm-reservation",
    b"tdm-policy": "tdm-policy",
    b"content-language": "content-language",
    b"last-modified": "last-modified",
    b"link": "link",
}
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


class HttpHeader(NamedTuple):
    """What a response says of itself."""

    status: int
    body: int  # byte offset at which the body begins
    media_type: str  # lower case, without parameters; empty where none is declared
    charset: str
    content_encoding: str
    chunked: bool
    kept: dict[str, str]  # a new one each time: the reader adds to it


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
    fields: dict[bytes, str] = {}
    for name, value in _FIELDS.findall(block[:end]):
        key = name.lower()
        if key not in fields:  # the first one counts, as in browsers for what we need
            fields[key] = value.decode("utf-8", "replace").strip()
    kind, charset = media_type(_FOLD.sub(" ", fields.pop(b"content-type", "")))
    content_encoding = fields.pop(b"content-encoding", "")
    transfer_encoding = fields.pop(b"transfer-encoding", "")
    if b"link" in fields and "license" not in fields[b"link"]:
        del fields[b"link"]
    return HttpHeader(
        status=int(status[1]),
        body=body,
        media_type=kind,
        charset=charset,
        content_encoding=content_encoding,
        chunked="chunked" in transfer_encoding.lower(),
        kept={_KEPT[key]: _FOLD.sub(" ", value)[:MAX_VALUE_CHARACTERS] for key, value in fields.items()},
    )
