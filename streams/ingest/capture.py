"""Captured responses to documents, skips and stubs: what WARC and ARC records have in common.

A reader of a format finds the records and says what a record claims to be; here its body is read within
bounds, its HTTP header looked at, its codings taken off, and its length held against what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, cast

from streams.errors import SourceError
from streams.ingest import bounded, http_header
from streams.ingest.bounded import PIECE_BYTES
from streams.ingest.http_header import HttpHeader
from streams.ingest.items import (
    ByteSource,
    Document,
    Item,
    Skip,
    SkipReason,
    Stub,
    StubReason,
    digest,
    fallback_id,
    stub,
)
from streams.ingest.members import Members
from streams.ingest.packed import Packed
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.records import RawDocument
from streams.settings import IngestSettings

MEDIA_TYPES: Final = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
"""What becomes a document."""
MAX_URL_CHARACTERS: Final = 8192
_UNSAID: Final = frozenset({"", "application/octet-stream", "unknown", "unk"})
_OK: Final = frozenset({200, 203})
_REDIRECTS: Final = range(300, 400)
_WEB: Final = ("http://", "https://", "ftp://")
_READ_WHOLE: Final = frozenset({StubReason.OVER_LONG, StubReason.BAD_HTTP})


class Claims(NamedTuple):
    """What a record says of its body."""

    url: str
    id: str
    fetched_at: str
    kept: dict[str, str]  # goes into the metadata


class CaptureReader:
    """The state of reading one archive, and its record at hand."""

    swallowed: Callable[[bytes], object]
    """Find the begin of another record in a body: something true where the outer one's length is wrong."""
    swallowed_bytes: int
    """At most so long is what it finds."""

    def __init__(
        self, file: StoredFile, source: Source, settings: IngestSettings, packed: Packed | Members
    ) -> None:
        self._file = file
        self._size = file.size
        self._name = source.name
        self._max_bytes = settings.max_document_bytes
        self._packed = packed
        self._frame = self._packed.frame  # offset of the compressed member being read; 0 for a plain file
        self._body: ByteSource  # of the record at hand
        self._index = 0  # of the record at hand
        self._start = -1  # where it begins in the file: its compressed member, or itself
        self._length = 0  # of its body
        self._alone = False  # whether it begins a member, so that its length cannot reach others unseen

    def _read_first(self) -> bytes:
        """Read the begin of the body: up to a piece, fewer bytes only where there are no more."""
        return bounded.read_up_to(self._body, min(self._length, PIECE_BYTES))

    def _response(self, first: bytes, claims: Claims, identified: str = "") -> Item:
        """What became of an HTTP response; `identified` is its media type as the crawler found it out."""
        http = http_header.parse(first)
        if http is None and first:
            return self._bury(StubReason.BAD_HTTP, self._pieces(first), claims.url)
        if http is not None and http.media_type in _UNSAID:
            kind, _ = http_header.media_type(identified)
            http = http._replace(media_type=kind or _sniff(first[http.body :]))
        reason = SkipReason.EMPTY if http is None else _why_not(http, claims.url)
        if http is None or reason is not None:
            return self._skip(reason or SkipReason.EMPTY, first)
        return self._document(first, http, claims)

    def _page(self, first: bytes, content_type: str, claims: Claims, default_charset: str = "") -> Item:
        """A record without HTTP that may be a page: the text of a WET file, a resource of the web."""
        media_type, charset = http_header.media_type(content_type)
        if media_type not in MEDIA_TYPES or not claims.url.lower().startswith(_WEB):
            return self._skip(SkipReason.RESOURCE, first)
        http = HttpHeader(200, 0, media_type, charset or default_charset, "", chunked=False, kept={})
        return self._document(first, http, claims)

    def _document(self, first: bytes, http: HttpHeader, claims: Claims) -> Item:
        block = self._block(first, http, claims.url)
        if isinstance(block, Stub):
            return block
        metadata = http.kept
        payload = cast("bytes", memoryview(block)[http.body :])  # copied once, into the message
        if http.chunked or http.content_encoding:
            try:
                payload, whole = self._decode(block[http.body :], http)
            except bounded.Undecodable as error:
                return self._bury(error.reason, (block,), claims.url)
            if not whole:
                metadata["http-truncated"] = "yes"  # as it was captured; the record itself is whole
        if not payload:
            return Skip(self._index, SkipReason.EMPTY)
        if claims.kept:
            metadata |= claims.kept
        raw = RawDocument(
            id=claims.id or fallback_id(self._name, self._index),
            url=claims.url,
            source=self._name,
            content_type=http.media_type,
            payload=payload,
            charset=http.charset,
            fetched_at=claims.fetched_at,
            metadata=metadata,
        )
        return Document(self._index, raw)

    def _block(self, first: bytes, http: HttpHeader, url: str) -> bytes | Stub:
        """Read the whole record, or bury it: too long, cut, or with others inside."""
        length = self._length
        if length - http.body > self._max_bytes:
            return self._bury(StubReason.OVER_LONG, self._pieces(first), url)
        block = first
        if length > len(first):
            block += bounded.read_up_to(self._body, length - len(first))
        if len(block) < length:
            return self._bury(StubReason.TRUNCATED, (block,), url)
        if self._may_swallow() and self.swallowed(block):
            return self._bury(StubReason.BAD_LENGTH, (block,), url)
        return block

    def _decode(self, payload: bytes, http: HttpHeader) -> tuple[bytes, bool]:
        whole = inflated = True
        if http.chunked:
            payload, whole = bounded.unchunk(payload)
        if http.content_encoding:
            payload, inflated = bounded.decode_content(payload, http.content_encoding, self._max_bytes)
        return payload, whole and inflated

    def _skip(self, reason: SkipReason, first: bytes) -> Item:
        """Count a record without keeping it, unless it is short or hides others; reads past it."""
        seen, tail, swallows = 0, b"", False
        for piece in self._pieces(first):
            seen += len(piece)
            if self._may_swallow():
                swallows = swallows or bool(self.swallowed(tail + piece))
                tail = piece[-self.swallowed_bytes :]
        if seen < self._length:
            return self._bury(StubReason.TRUNCATED, (first,))
        if swallows:
            return self._bury(StubReason.BAD_LENGTH, (first,))
        return Skip(self._index, reason)

    def _pieces(self, first: bytes) -> Iterator[bytes]:
        """Yield the record's body to its end, beginning with what was read."""
        missing, read, piece = self._length, self._body.read, first
        while piece:
            yield piece
            missing -= len(piece)
            piece = read(min(missing, PIECE_BYTES)) if missing > 0 else b""

    def _bury(self, reason: StubReason, body: Iterable[bytes], url: str = "") -> Stub:
        """Make a stub of the record at hand from what can be read of its body (HTTP header included)."""
        found = digest(body)
        if reason in _READ_WHOLE and found.length < self._length:
            reason = StubReason.TRUNCATED
        length = -1 if reason is StubReason.BAD_LENGTH else self._length
        return stub(
            self._index, reason, found, source=self._name, start=max(self._start, 0), length=length, url=url
        )

    def _rest(self, reason: StubReason) -> Stub:
        """Make one stub of everything from the first unreadable byte to the end of the file, as stored."""
        start = self._frame() if self._packed.compressed else self._plain_end()
        length = self._size - start
        found = digest(self._file.stored(start, length))
        return stub(self._index, reason, found, source=self._name, start=start, length=length)

    def _plain_end(self) -> int:
        """Return where the last record of a plain file ended by its own account."""
        raise NotImplementedError

    def _broken(self, error: OSError, held: Item | None) -> Iterator[Item]:
        """Yield what is left where the bytes turned out wrong; raise where the disk or the network failed."""
        if error.errno is not None:
            raise SourceError(f"{self._name} cannot be read now: {error.strerror}; try again") from error
        yield from self._after_held(
            held, StubReason.TRUNCATED if self._packed.cut() else StubReason.UNREADABLE
        )

    def _after_held(self, held: Item | None, reason: StubReason) -> Iterator[Item]:
        if held is not None:
            if self._alone and self._frame() == self._start:
                self._index -= 1  # the held record's own member is broken: part of the rest
            else:
                yield held
        yield self._rest(reason)

    def _may_swallow(self) -> bool:
        """Whether a wrong length could have taken in other records: not within a member of its own."""
        return not self._alone or self._frame() != self._start


def _why_not(http: HttpHeader, url: str) -> SkipReason | None:
    """Say why a response is no document; None where it is one."""
    if http.status in _REDIRECTS:
        return SkipReason.REDIRECT
    if http.status not in _OK:
        return SkipReason.HTTP_ERROR
    if http.media_type not in MEDIA_TYPES:
        return SkipReason.CONTENT_TYPE
    return SkipReason.ROBOTS if url.endswith("/robots.txt") else None


def _sniff(body: bytes) -> str:
    """Tell HTML by its first bytes, where nobody declares a type."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "text/html" if head.startswith((b"<!doctype html", b"<html", b"<head")) else ""
