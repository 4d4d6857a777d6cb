"""WARC files, plain or gzip, to items: one for every record, and one stub for what cannot be read.

FastWARC finds the records; everything that decides about loss is checked here, because it ends a file that
was cut, a record that is short and a length that is absurd without an error. Reading stops at the first
place where no record begins: looking further for something like `WARC/1.0` would recover more of a damaged
file, but would also let the text of a page pass for a record with any address it likes (our choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeAlias, cast

from fastwarc.stream_io import GzipReader
from fastwarc.warc import ArchiveIterator, WarcRecordType

from streams.errors import SourceError
from streams.ingest import bounded, http_header
from streams.ingest.bounded import PIECE_BYTES
from streams.ingest.http_header import HttpHeader
from streams.ingest.items import (
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
from streams.ingest.source import Compression, Source
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
_RESPONSE: Final = int(WarcRecordType.response)
_PAGES: Final = frozenset({int(WarcRecordType.resource), int(WarcRecordType.conversion)})
_SKIPPED: Final = {
    int(WarcRecordType.warcinfo): SkipReason.WARCINFO,
    int(WarcRecordType.request): SkipReason.REQUEST,
    int(WarcRecordType.metadata): SkipReason.METADATA,
    int(WarcRecordType.revisit): SkipReason.REVISIT,
    int(WarcRecordType.continuation): SkipReason.CONTINUATION,
}
_READ_WHOLE: Final = frozenset({StubReason.OVER_LONG, StubReason.BAD_HTTP})
_SWALLOWED: Final = b"\r\n\r\nWARC/1."
"""A record within a record: the outer one's length is wrong."""
_KEPT: Final = (b"warc-truncated", b"warc-identified-payload-type")
Headers: TypeAlias = dict[bytes, bytes]
"""Of a record, by lower-case name."""


class WarcReader:
    """Iterates once over the items of an open file.

    The source's name goes into the records. Raises `SourceError` where the file cannot be read for a reason
    that may pass (the disk, the network), never for what is in it.
    """

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        self._file = file
        self._size = file.size
        self._name = source.name
        self._max_bytes = settings.max_document_bytes
        self._gzip = GzipReader(cast("BinaryIO", file)) if source.compression is Compression.GZIP else None
        self._stream = cast("BinaryIO", file) if self._gzip is None else self._gzip
        self._index = 0  # of the record at hand
        self._start = -1  # where it begins in the file: its gzip member, or itself
        self._length = 0  # of its body
        self._alone = False  # whether it begins a gzip member, so that its length cannot reach others unseen

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each record, in order.

        An item is held back until the reader has got past its record: a gzip member with a wrong checksum
        fails when it is left, and what it held must not pass for a document.
        """
        records = ArchiveIterator(self._stream, parse_http=False, stream_detect=False, inplace=True)
        held: Item | None = None
        try:
            for record in records:
                if held is not None:
                    yield held
                    held = None
                start = record.stream_pos if self._gzip is None else self._frame()
                self._alone, self._start = self._gzip is not None and start != self._start, start
                self._length = length = record.content_length
                first = record.reader.read(min(length, PIECE_BYTES))
                kind = int(record.record_type)
                if kind in _SKIPPED and len(first) == length and length and not self._may_swallow():
                    held = Skip(self._index, _SKIPPED[kind])  # two of three records: nothing to look at
                else:
                    held = self._item(record, kind, first)
                self._index += 1
        except BaseException as error:
            if not _is_content(error):
                if isinstance(error, OSError):  # the disk or the network: to be read again later
                    text = f"{self._name} cannot be read now: {error.strerror}; try again"
                    raise SourceError(text) from error
                raise
            if held is not None:
                if self._alone and self._frame() == self._start:
                    self._index -= 1  # the held record's own member is broken: part of the rest
                else:
                    yield held
            yield self._rest(StubReason.UNREADABLE)
            return
        yield from self._last(held)

    def _last(self, held: Item | None) -> Iterator[Item]:
        """Yield the last item, and say so where the file does not end as a whole one does."""
        cut = not self._ends_cleanly()
        said = held.record.reason if isinstance(held, Stub) else ""
        if cut and said == StubReason.BAD_LENGTH:
            self._index -= 1  # cut within its header: it is part of what the next stub says
        elif held is not None:
            yield held
        if cut and said != StubReason.TRUNCATED:
            yield self._rest(StubReason.TRUNCATED)

    def _item(self, record: Any, kind: int, first: bytes) -> Item:
        length = self._length
        if len(first) < min(length, PIECE_BYTES):
            first += bounded.read_up_to(record.reader, min(length, PIECE_BYTES) - len(first))
        if not length and (record.headers.get("Content-Length") or "").strip() != "0":
            return self._bury(StubReason.BAD_LENGTH, ())  # FastWARC reads 0 where it is none
        if kind == _RESPONSE:
            return self._response(record, first)
        if kind in _PAGES:
            return self._page(record, _headers(record), first)
        return self._skip(_SKIPPED.get(kind, SkipReason.UNKNOWN_TYPE), record, first)

    def _response(self, record: Any, first: bytes) -> Item:
        headers = _headers(record)
        url = _url(headers)
        if not record.is_http:
            if url[:4].lower() == "dns:":
                return self._skip(SkipReason.DNS, record, first)
            return self._page(record, headers, first)
        http = http_header.parse(first)
        if http is None and first:
            return self._bury(StubReason.BAD_HTTP, self._pieces(record, first), url)
        if http is not None and http.media_type in _UNSAID:
            identified, _ = http_header.media_type(_text(headers, b"warc-identified-payload-type"))
            http = http._replace(media_type=identified or _sniff(first[http.body :]))
        reason = SkipReason.EMPTY if http is None else _why_not(http, url)
        if http is None or reason is not None:
            return self._skip(reason or SkipReason.EMPTY, record, first)
        return self._document(record, headers, first, http, url)

    def _page(self, record: Any, headers: Headers, first: bytes) -> Item:
        """A record without HTTP that may be a page: the text of a WET file, a resource of the web."""
        url = _url(headers)
        media_type, charset = http_header.media_type(_text(headers, b"content-type"))
        if media_type not in MEDIA_TYPES or not url.lower().startswith(_WEB):
            return self._skip(SkipReason.RESOURCE, record, first)
        if not charset and int(record.record_type) == int(WarcRecordType.conversion):
            charset = "utf-8"  # as all tools write WET files
        http = HttpHeader(200, 0, media_type, charset, "", chunked=False, kept={})
        return self._document(record, headers, first, http, url)

    def _document(self, record: Any, headers: Headers, first: bytes, http: HttpHeader, url: str) -> Item:
        block = self._block(record, first, http, url)
        if isinstance(block, Stub):
            return block
        metadata = http.kept
        payload = cast("bytes", memoryview(block)[http.body :])  # copied once, into the message
        if http.chunked or http.content_encoding:
            try:
                payload, whole = self._decode(block[http.body :], http)
            except bounded.Undecodable as error:
                return self._bury(error.reason, (block,), url)
            if not whole:
                metadata["http-truncated"] = "yes"  # as it was captured; the record itself is whole
        if not payload:
            return Skip(self._index, SkipReason.EMPTY)
        for name in _KEPT:
            if name in headers:
                metadata[name.decode()] = _text(headers, name)[: http_header.MAX_VALUE_CHARACTERS]
        record_id = _bare(_text(headers, b"warc-record-id")).removeprefix("urn:uuid:")[:256]
        raw = RawDocument(
            id=record_id or fallback_id(self._name, self._index),
            url=url,
            source=self._name,
            content_type=http.media_type,
            payload=payload,
            charset=http.charset,
            fetched_at=_text(headers, b"warc-date")[:64],
            metadata=metadata,
        )
        return Document(self._index, raw)

    def _block(self, record: Any, first: bytes, http: HttpHeader, url: str) -> bytes | Stub:
        """Read the whole record, or bury it: too long, cut, or with others inside."""
        length = self._length
        if length - http.body > self._max_bytes:
            return self._bury(StubReason.OVER_LONG, self._pieces(record, first), url)
        block = first
        if length > len(first):
            block += bounded.read_up_to(record.reader, length - len(first))
        if len(block) < length:
            return self._bury(StubReason.TRUNCATED, (block,), url)
        if self._may_swallow() and _SWALLOWED in block:
            return self._bury(StubReason.BAD_LENGTH, (block,), url)
        return block

    def _decode(self, payload: bytes, http: HttpHeader) -> tuple[bytes, bool]:
        whole = inflated = True
        if http.chunked:
            payload, whole = bounded.unchunk(payload)
        if http.content_encoding:
            payload, inflated = bounded.decode_content(payload, http.content_encoding, self._max_bytes)
        return payload, whole and inflated

    def _skip(self, reason: SkipReason, record: Any, first: bytes) -> Item:
        """Count a record without keeping it, unless it is short or hides others; reads past it."""
        seen, tail, swallows = 0, b"", False
        for piece in self._pieces(record, first):
            seen += len(piece)
            if self._may_swallow():
                swallows = swallows or _SWALLOWED in tail + piece
                tail = piece[-len(_SWALLOWED) :]
        if seen < self._length:
            return self._bury(StubReason.TRUNCATED, (first,))
        if swallows:
            return self._bury(StubReason.BAD_LENGTH, (first,))
        return Skip(self._index, reason)

    def _pieces(self, record: Any, first: bytes) -> Iterator[bytes]:
        """Yield the record's body to its end, beginning with what was read."""
        missing, reader, piece = self._length, record.reader, first
        while piece:
            yield piece
            missing -= len(piece)
            piece = reader.read(min(missing, PIECE_BYTES)) if missing > 0 else b""

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
        start = self._frame() if self._gzip is not None else self._plain_end()
        length = self._size - start
        found = digest(self._file.stored(start, length))
        return stub(self._index, reason, found, source=self._name, start=start, length=length)

    def _frame(self) -> int:
        """Return the offset of the gzip member being read; 0 for a plain file."""
        return 0 if self._gzip is None else self._gzip.frame_start_position() or 0

    def _may_swallow(self) -> bool:
        """Whether a wrong length could have taken in other records: not within a member of its own."""
        return not self._alone or self._frame() != self._start

    def _plain_end(self) -> int:
        """Return where the last record of a plain file ended by its own account, line ends included."""
        if self._start < 0:
            return 0
        head = b"".join(self._file.stored(self._start, PIECE_BYTES))
        blank = head.find(b"\r\n\r\n")
        end = min(self._start + (blank + 4 + self._length if blank >= 0 else 0), self._size)
        after = b"".join(self._file.stored(end, 4))
        return end + len(after) - len(after.lstrip(b"\r\n"))

    def _ends_cleanly(self) -> bool:
        if self._size == 0:
            return True
        if self._gzip is not None:
            return bounded.ends_in_whole_member(self._file, self._frame(), self._size)
        # Records end with two line ends; a file that stops before them was cut.
        return not b"".join(self._file.stored(max(self._size - 4, 0), 4)).strip(b"\r\n")


def _is_content(error: BaseException) -> bool:
    """Whether FastWARC says by this error that the bytes are wrong.

    It raises `OSError` without a number for that. A defect of its own is a Rust panic, which derives from
    BaseException: bytes that set one off must not end the ingester, again at each start.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return type(error).__module__ == "pyo3_runtime"


def _why_not(http: HttpHeader, url: str) -> SkipReason | None:
    """Say why a response is no document; None where it is one."""
    if http.status in _REDIRECTS:
        return SkipReason.REDIRECT
    if http.status not in _OK:
        return SkipReason.HTTP_ERROR
    if http.media_type not in MEDIA_TYPES:
        return SkipReason.CONTENT_TYPE
    return SkipReason.ROBOTS if url.endswith("/robots.txt") else None


def _headers(record: Any) -> Headers:
    # One call for all: each `get` costs as much. The first of equal names counts.
    return {name.lower(): value for name, value in reversed(record.headers.items_bytes())}


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("utf-8", "replace").strip()


def _bare(text: str) -> str:
    """Take off the angle brackets that identifiers have and some writers put around addresses."""
    return text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text


def _url(headers: Headers) -> str:
    return _bare(_text(headers, b"warc-target-uri"))[:MAX_URL_CHARACTERS]


def _sniff(body: bytes) -> str:
    """Tell HTML by its first bytes, where nobody declares a type."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "text/html" if head.startswith((b"<!doctype html", b"<html", b"<head")) else ""
