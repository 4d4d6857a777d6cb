"""WARC files, plain, gzip or zstd, to items: one for every record, and one stub for what cannot be read.

FastWARC finds the records; everything that decides about loss is checked here, because it ends a file that
was cut, a record that is short and a length that is absurd without an error. Reading stops at the first
place where no record begins: looking further for something like `WARC/1.0` would recover more of a damaged
file, but would also let the text of a page pass for a record with any address it likes (our choice).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from fastwarc.warc import ArchiveIterator, WarcRecordType

from streams.ingest import bounded, http_header
from streams.ingest.bounded import PIECE_BYTES
from streams.ingest.capture import MAX_URL_CHARACTERS, CaptureReader, Claims
from streams.ingest.items import Item, Skip, SkipReason, Stub, StubReason
from streams.ingest.packed import Packed
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

_RESPONSE: Final = int(WarcRecordType.response)
_CONVERSION: Final = int(WarcRecordType.conversion)
_PAGES: Final = frozenset({int(WarcRecordType.resource), _CONVERSION})
_SKIPPED: Final = {
    int(WarcRecordType.warcinfo): SkipReason.WARCINFO,
    int(WarcRecordType.request): SkipReason.REQUEST,
    int(WarcRecordType.metadata): SkipReason.METADATA,
    int(WarcRecordType.revisit): SkipReason.REVISIT,
    int(WarcRecordType.continuation): SkipReason.CONTINUATION,
}
_SWALLOWED: Final = b"\r\n\r\nWARC/1."
_KEPT: Final = (b"warc-truncated", b"warc-identified-payload-type")
Headers: TypeAlias = dict[bytes, bytes]
"""Of a record, by lower-case name."""


class WarcReader(CaptureReader):
    """Iterates once over the items of an open file.

    The source's name goes into the records. Raises `SourceError` where the file cannot be read for a reason
    that may pass (the disk, the network), never for what is in it.
    """

    swallowed_bytes = len(_SWALLOWED)

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        packed = Packed(file, source.compression)
        super().__init__(file, source, settings, packed)
        self._stream = packed.stream

    swallowed = staticmethod(lambda body: _SWALLOWED in body)

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each record, in order.

        An item is held back until the reader has got past its record: a gzip member with a wrong checksum
        fails when it is left, and what it held must not pass for a document.
        """
        if self._size == 0:
            return
        records = ArchiveIterator(self._stream, parse_http=False, stream_detect=False, inplace=True)
        compressed = self._packed.compressed
        held: Item | None = None
        try:
            for record in records:
                if held is not None:
                    yield held
                    held = None
                start = self._frame() if compressed else record.stream_pos
                self._alone, self._start = compressed and start != self._start, start
                self._length = length = record.content_length
                self._body = reader = record.reader
                first = reader.read(min(length, PIECE_BYTES))
                kind = int(record.record_type)
                if kind in _SKIPPED and len(first) == length and length and not self._may_swallow():
                    held = Skip(self._index, _SKIPPED[kind])  # two of three records: nothing to look at
                else:
                    held = self._item(record, kind, first)
                self._index += 1
        except OSError as error:
            yield from self._broken(error, held)
            return
        except BaseException as error:
            if not _is_defect(error):
                raise
            yield from self._after_held(held, StubReason.UNREADABLE)
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
            first += bounded.read_up_to(self._body, min(length, PIECE_BYTES) - len(first))
        if not length and (record.headers.get("Content-Length") or "").strip() != "0":
            return self._bury(StubReason.BAD_LENGTH, ())  # FastWARC reads 0 where it is none
        if kind != _RESPONSE and kind not in _PAGES:
            return self._skip(_SKIPPED.get(kind, SkipReason.UNKNOWN_TYPE), first)
        headers = _headers(record)
        claims = _claims(headers)
        if kind == _RESPONSE and record.is_http:
            return self._response(first, claims, _text(headers, b"warc-identified-payload-type"))
        if kind == _RESPONSE and claims.url[:4].lower() == "dns:":
            return self._skip(SkipReason.DNS, first)
        # WET files are UTF-8, as all tools write them.
        charset = "utf-8" if kind == _CONVERSION else ""
        return self._page(first, _text(headers, b"content-type"), claims, charset)

    def _plain_end(self) -> int:
        """Return where the last record ended by its own account, line ends included."""
        if self._start < 0:
            return 0
        head = b"".join(self._file.stored(self._start, PIECE_BYTES))
        blank = head.find(b"\r\n\r\n")
        end = min(self._start + (blank + 4 + self._length if blank >= 0 else 0), self._size)
        after = b"".join(self._file.stored(end, 4))
        return end + len(after) - len(after.lstrip(b"\r\n"))

    def _ends_cleanly(self) -> bool:
        if self._packed.compressed:
            return self._packed.ends_whole()
        # Records end with two line ends; a file that stops before them was cut.
        return not b"".join(self._file.stored(max(self._size - 4, 0), 4)).strip(b"\r\n")


def _is_defect(error: BaseException) -> bool:
    """Whether FastWARC met a defect of its own: a Rust panic, which derives from BaseException.

    Bytes that set one off must not end the ingester, again at each start.
    """
    return type(error).__module__ == "pyo3_runtime"


def _headers(record: Any) -> Headers:
    # One call for all: each `get` costs as much. The first of equal names counts.
    return {name.lower(): value for name, value in reversed(record.headers.items_bytes())}


def _claims(headers: Headers) -> Claims:
    return Claims(
        url=_bare(_text(headers, b"warc-target-uri"))[:MAX_URL_CHARACTERS],
        id=_bare(_text(headers, b"warc-record-id")).removeprefix("urn:uuid:")[:256],
        fetched_at=_text(headers, b"warc-date")[:64],
        kept={
            name.decode(): _text(headers, name)[: http_header.MAX_VALUE_CHARACTERS]
            for name in _KEPT
            if name in headers
        },
    )


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("utf-8", "replace").strip()


def _bare(text: str) -> str:
    """Take off the angle brackets that identifiers have and some writers put around addresses."""
    return text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
