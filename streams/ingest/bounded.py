"""Bounded reading of bytes that nobody vouches for: gzip files, stored ranges, and HTTP bodies.

Nothing here holds more than its caller's limit, whatever a length field or a compressor claims. FastWARC ends
a gzip file that was cut *without an error*, so whether the last member is whole is asked separately, at the
price of inflating that one member twice.
"""

from __future__ import annotations

import io
import zlib
from typing import Final

from fastwarc.stream_io import BrotliReader, ZstdReader

from streams.ingest.items import ByteSource, StubReason
from streams.ingest.stored import StoredFile

PIECE_BYTES: Final = 128 * 1024
"""Most pages fit one."""
_MAX_CODINGS: Final = 4
"""Content encodings on top of each other; more is an attack."""


class Undecodable(Exception):
    """A body's content encoding is unknown or broken, or (`INFLATES`) expands beyond the limit."""

    def __init__(self, text: str, reason: StubReason = StubReason.UNDECODABLE) -> None:
        super().__init__(text)
        self.reason = reason


def ends_in_whole_member(file: StoredFile, start: int, size: int) -> bool:
    """Whether what follows from a gzip member's `start` to the end of the file is whole members."""
    inflater, pieces, data = zlib.decompressobj(wbits=31), file.stored(start, size - start), b""
    begun = False
    try:
        while True:
            data = data or next(pieces, b"")
            if not data:
                return not begun
            if inflater.eof:
                inflater = zlib.decompressobj(wbits=31)
            inflater.decompress(data, 1 << 20)
            data = inflater.unconsumed_tail or inflater.unused_data
            begun = not inflater.eof
    except zlib.error:
        return False


def read_up_to(reader: ByteSource, length: int) -> bytes:
    """Read up to `length` bytes, fewer only at the end of the stream."""
    piece = reader.read(length)
    if len(piece) >= length or not piece:
        return piece
    pieces, missing = [piece], length - len(piece)
    while missing and (piece := reader.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def unchunk(body: bytes) -> tuple[bytes, bool]:
    """Undo HTTP's chunked transfer coding; return the bytes and whether the last chunk was there.

    A body that does not begin like a chunk is returned as it is: many crawlers undo the coding and keep
    its header.
    """
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at, at + 1024)
        digits = body[at:end].partition(b";")[0].strip() if end >= 0 else b""
        size = _hexadecimal(digits)
        if size is None:
            return (body, True) if at == 0 else (b"".join(pieces), False)
        if size == 0:
            return b"".join(pieces), True
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
        if at > len(body):
            return b"".join(pieces), False


def _hexadecimal(digits: bytes) -> int | None:
    if not 0 < len(digits) <= 16 or digits.strip(b"0123456789abcdefABCDEF"):
        return None
    return int(digits, 16)


def decode_content(body: bytes, encodings: str, limit: int) -> tuple[bytes, bool]:
    """Undo HTTP content encodings (`gzip`, `deflate`, `br`, `zstd`); return the bytes and whether all came.

    Raises `Undecodable`. A body that is visibly not encoded is returned as it is, since many crawlers decode
    it and keep the header.
    """
    names = [name for part in encodings.lower().split(",") if (name := part.strip())]
    if len(names) > _MAX_CODINGS:
        raise Undecodable(f"{len(names)} content encodings")
    whole = True
    for name in reversed(names):
        if name in {"identity", "none", "utf-8", "binary"}:
            continue
        body, complete = _decode_one(body, name, limit)
        whole = whole and complete
    return body, whole


def _decode_one(body: bytes, name: str, limit: int) -> tuple[bytes, bool]:
    if name in {"gzip", "x-gzip"}:
        return _inflate(body, 31, limit) if body.startswith(b"\x1f\x8b") else (body, True)
    if name == "deflate":
        zlib_header = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        try:
            return _inflate(body, 15 if zlib_header else -15, limit)
        except Undecodable:
            if _looks_like_text(body):
                return body, True
            raise
    if name in {"br", "zstd"}:
        reader = (BrotliReader if name == "br" else ZstdReader)(io.BytesIO(body))
        try:
            decoded = read_up_to(reader, limit + 1)
        except OSError as error:
            if _looks_like_text(body):
                return body, True
            raise Undecodable(f"{name}: {error}") from error
        return _within(decoded, limit), True
    if _looks_like_text(body):
        return body, True
    raise Undecodable(f"content encoding {name[:40]!r}")


def _inflate(body: bytes, wbits: int, limit: int) -> tuple[bytes, bool]:
    inflater = zlib.decompressobj(wbits=wbits)
    try:
        decoded = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Undecodable(str(error)) from error
    return _within(decoded, limit), inflater.eof


def _within(decoded: bytes, limit: int) -> bytes:
    if len(decoded) > limit:
        raise Undecodable(f"more than {limit} bytes", StubReason.INFLATES)
    return decoded


def _looks_like_text(body: bytes) -> bool:
    """Whether the first kilobyte has no control bytes but white space."""
    head = body[:1024]
    return not head.translate(None, _TEXT)


_TEXT: Final = bytes([9, 10, 12, 13, *range(32, 127), *range(128, 256)])
