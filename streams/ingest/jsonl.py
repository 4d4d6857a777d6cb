"""JSON lines, plain or gzip, to items: one for every line, blank ones too.

A line is read whole but never beyond the longest document; what is longer, no JSON, no object or without a
text becomes a stub with its reason. Fields: `text`, `content` (plain text) or `html`; `url`, `id`, `title`,
`fetched_at` or `date`; whatever else is short goes into the metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, cast

import msgspec
from fastwarc.stream_io import GzipReader

from streams.errors import SourceError
from streams.ingest import bounded
from streams.ingest.bounded import PIECE_BYTES
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

TEXT_FIELDS: Final = {"text": "text/plain", "content": "text/plain", "html": "text/html"}
"""In this order; the first that holds a string is the document."""
_DATES: Final = ("fetched_at", "date", "timestamp")
_NAMED: Final = frozenset({*TEXT_FIELDS, "url", "id", "title"})
MAX_URL_CHARACTERS: Final = 8192
MAX_FIELD_CHARACTERS: Final = 512
MAX_FIELDS: Final = 32
_LINE_MARGIN_BYTES: Final = 64 * 1024
"""What a line may have beside its text."""
_BOM: Final = b"\xef\xbb\xbf"
_DECODER: Final = msgspec.json.Decoder()


class JsonlReader:
    """Iterates once over the items of an open file; the same contract as `WarcReader`.

    The text of a line is bounded as the bytes of its JSON, escapes included: `over_long` beyond that.
    """

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        self._file = file
        self._size = file.size
        self._name = source.name
        self._max_bytes = settings.max_document_bytes
        self._gzip = GzipReader(cast("BinaryIO", file)) if source.compression is Compression.GZIP else None
        self._stream = file if self._gzip is None else self._gzip
        self._index = 0
        self._start = 0  # of the line at hand, in the file (of its gzip member where that is compressed)
        self._unended = b""  # the last line, where no line end follows it

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each line, in order."""
        try:
            for line in self._lines():
                yield line if isinstance(line, Stub) else self._item(line)
                self._index += 1
        except OSError as error:
            if error.errno is not None:
                raise SourceError(f"{self._name} cannot be read now: {error.strerror}; try again") from error
            yield self._rest(StubReason.UNREADABLE)
            return
        last = self._item(self._unended) if self._unended else None
        if self._gzip is None or bounded.ends_in_whole_member(self._file, self._member(), self._size):
            if last is not None:
                yield last
            return
        if isinstance(last, Document):
            yield last
            self._index += 1
        yield self._rest(StubReason.TRUNCATED)

    def _lines(self) -> Iterator[bytes | Stub]:
        """Yield the lines that end, and a stub for each that is too long to hold."""
        limit = self._max_bytes + _LINE_MARGIN_BYTES
        parts: list[bytes] = []  # of the line at hand
        held, at = 0, 0  # their bytes; where the line begins
        after = b""  # what was read behind an over-long line
        while piece := after or self._stream.read(PIECE_BYTES):
            after, begin = b"", 0
            while (end := piece.find(b"\n", begin)) >= 0:
                line = piece[begin:end] if not parts else b"".join((*parts, piece[begin:end]))
                self._start = at if self._gzip is None else self._member()
                yield line
                at, begin, held = at + len(line) + 1, end + 1, 0
                parts.clear()
            parts.append(piece[begin:])
            held += len(parts[-1])
            if held > limit:
                self._start = at if self._gzip is None else self._member()
                made, after = self._over_long(parts)
                at += made.record.length + 1
                parts, held = [], 0
                yield made
        self._start = at if self._gzip is None else self._member()
        self._unended = b"".join(parts)

    def _over_long(self, begun: list[bytes]) -> tuple[Stub, bytes]:
        """Read a line to its end without keeping it; return its stub and what was read behind it."""
        after = b""

        def pieces() -> Iterator[bytes]:
            nonlocal after
            yield from begun
            while piece := self._stream.read(PIECE_BYTES):
                line, found, after = piece.partition(b"\n")
                yield line
                if found:
                    return

        return self._stub(StubReason.OVER_LONG, pieces()), after

    def _item(self, line: bytes) -> Item:
        if self._index == 0:
            line = line.removeprefix(_BOM)
        if not line.strip():
            return Skip(self._index, SkipReason.EMPTY)
        row = _row(line)
        if isinstance(row, StubReason):
            return self._stub(row, (line,))
        field = next((name for name in TEXT_FIELDS if isinstance(row.get(name), str)), None)
        if field is None:
            return self._stub(StubReason.NO_TEXT, (line,))
        payload = row[field].encode()
        if len(payload) > self._max_bytes:
            return self._stub(StubReason.OVER_LONG, (line,))
        if not payload.strip():
            return Skip(self._index, SkipReason.EMPTY)
        dated = next((name for name in _DATES if row.get(name)), "")
        return Document(
            self._index,
            RawDocument(
                id=_text(row.get("id"))[:256] or fallback_id(self._name, self._index),
                url=_text(row.get("url")).strip()[:MAX_URL_CHARACTERS],
                source=self._name,
                content_type=TEXT_FIELDS[field],
                payload=payload,
                charset="utf-8",
                fetched_at=_text(row.get(dated))[:64],
                title=_text(row.get("title"))[:MAX_FIELD_CHARACTERS],
                metadata=_metadata(row, {*_NAMED, dated}),
            ),
        )

    def _stub(self, reason: StubReason, body: Iterable[bytes]) -> Stub:
        found = digest(body)
        return stub(self._index, reason, found, source=self._name, start=self._start, length=found.length)

    def _rest(self, reason: StubReason) -> Stub:
        """Make one stub of the member that cannot be read and all that follows it, as stored."""
        self._start = self._member()
        length = self._size - self._start
        return self._stub(reason, self._file.stored(self._start, length))

    def _member(self) -> int:
        """Return the offset of the gzip member being read."""
        return 0 if self._gzip is None else self._gzip.frame_start_position() or 0


def _row(line: bytes) -> dict[str, Any] | StubReason:
    """Read a line's object, or say what is wrong with it."""
    try:
        row = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            line.decode()
        except UnicodeDecodeError:
            return StubReason.INVALID_UTF8
        return StubReason.INVALID_JSON
    return row if isinstance(row, dict) else StubReason.NOT_AN_OBJECT


def _text(value: Any) -> str:
    """Return a scalar as text; empty for nothing and for what is no scalar."""
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _metadata(row: dict[str, Any], used: set[str]) -> dict[str, str]:
    """Return the other fields as strings, what is no scalar as JSON; long ones are left out."""
    rest: dict[str, str] = {}
    for key, value in row.items():
        if key in used or value is None or len(key) > MAX_FIELD_CHARACTERS:
            continue
        if isinstance(value, dict | list):
            # Encoding may not cost more than it is worth: what has many parts is no label.
            text = msgspec.json.encode(value).decode() if len(value) <= MAX_FIELDS else ""
        else:
            text = _text(value)
        if 0 < len(text) <= MAX_FIELD_CHARACTERS:
            rest[key] = text
        if len(rest) == MAX_FIELDS:
            break
    return rest
