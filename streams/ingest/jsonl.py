"""JSON lines, plain, gzip or zstd, to items: one for every line, blank ones too.

A line is read whole but never beyond the longest document; what is longer, no JSON, no object or without a
text becomes a stub with its reason. What its fields mean is the mapping's matter (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from streams.errors import SourceError
from streams.ingest.bounded import PIECE_BYTES
from streams.ingest.items import (
    Document,
    Item,
    Skip,
    SkipReason,
    Stub,
    StubReason,
    digest,
    stub,
)
from streams.ingest.members import Members
from streams.ingest.rows import RowMapping
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

_LINE_MARGIN_BYTES: Final = 64 * 1024
"""What a line may have beside its text."""
_CUT: Final = frozenset({StubReason.INVALID_JSON, StubReason.INVALID_UTF8})
"""What a last line without a line end looks like where the file was cut within it."""
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
        self._mapping = RowMapping(settings.fields, self._name, self._max_bytes)
        self._packed = Members(file, source.compression)
        self._compressed, self._member = self._packed.compressed, self._packed.frame
        self._index = 0
        self._start = 0  # of the line at hand, in the file (of its member where that is compressed)
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
        if isinstance(last, Stub) and last.record.reason in _CUT:
            last = self._stub(StubReason.TRUNCATED, (self._unended,))
        if self._packed.ends_whole():
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
        while piece := after or self._packed.read(PIECE_BYTES):
            after, begin = b"", 0
            while (end := piece.find(b"\n", begin)) >= 0:
                line = piece[begin:end] if not parts else b"".join((*parts, piece[begin:end]))
                self._start = self._member() if self._compressed else at
                yield line
                at, begin, held = at + len(line) + 1, end + 1, 0
                parts.clear()
            parts.append(piece[begin:])
            held += len(parts[-1])
            if held > limit:
                self._start = self._member() if self._compressed else at
                made, after = self._over_long(parts)
                at += made.record.length + 1
                parts, held = [], 0
                yield made
        self._start = self._member() if self._compressed else at
        self._unended = b"".join(parts)

    def _over_long(self, begun: list[bytes]) -> tuple[Stub, bytes]:
        """Read a line to its end without keeping it; return its stub and what was read behind it."""
        after = b""

        def pieces() -> Iterator[bytes]:
            nonlocal after
            yield from begun
            while piece := self._packed.read(PIECE_BYTES):
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
        return self._mapping.item(row, self._index, self._start, line)

    def _stub(self, reason: StubReason, body: Iterable[bytes]) -> Stub:
        found = digest(body)
        return stub(self._index, reason, found, source=self._name, start=self._start, length=found.length)

    def _rest(self, reason: StubReason) -> Stub:
        """Make one stub of the member that cannot be read and all that follows it, as stored."""
        self._start = self._member()
        length = self._size - self._start
        return self._stub(reason, self._file.stored(self._start, length))


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
