"""ARC files (versions 1 and 2), plain, gzip or zstd, to items: one for every record, the version block too.

Our own parser: the format is a line and a body, and FastWARC reads none. Like in WARC files, reading stops
where no record begins. The line has fields between spaces and addresses have spaces in them: fields are
counted from the right. Source: the Internet Archive's ARC file format reference (1996, version 2 of 1998).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.ingest.capture import MAX_URL_CHARACTERS, CaptureReader, Claims
from streams.ingest.items import Item, SkipReason, Stub, StubReason, digest, stub
from streams.ingest.members import Members
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

MAX_LINE_BYTES: Final = 16 * 1024
_STEP_BYTES: Final = 512
_FIELDS: Final = {1: 5, 2: 10}
_DATE: Final = re.compile(rb"\d{14}")
_VERSION: Final = re.compile(rb"(\d) \d+ ")
_SWALLOWED: Final = re.compile(
    rb"\n(?:https?|ftp|dns|filedesc):[^\n]{1,2048} \d{1,3}(?:\.\d{1,3}){3} \d{12,20} [^ \n]{1,256} "
    rb"(?:[^\n]{1,512} )?\d+\n"
)
"""The line of another record. Bounded, so that a body made for it costs no more than seconds."""


class _Line(NamedTuple):
    """What precedes a body."""

    url: bytes
    date: bytes
    content_type: bytes
    length: int  # -1 where it is no number


class ArcReader(CaptureReader):
    """Iterates once over the items of an open file; the same contract as `WarcReader`."""

    swallowed = _SWALLOWED.search
    swallowed_bytes = 4096

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        super().__init__(file, source, settings, Members(file, source.compression))
        self._over = b""  # read too far
        self._read = 0  # expanded bytes up to the end of `_over`
        self._fields = _FIELDS[1]
        self._line = b""  # of the record at hand
        self._ended = True  # whether a line end follows it
        self._end = 0  # where the record at hand ends by its own account, in a plain file
        self._body = self

    def read(self, size: int, /) -> bytes:
        """Read on: the file's own bytes, what was read too far first."""
        if self._over:
            piece, self._over = self._over[:size], self._over[size:]
            return piece
        piece = self._packed.read(size)
        self._read += len(piece)
        return piece

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each record, in order; held back as `WarcReader` does."""
        held: Item | None = None
        try:
            while (begin := self._next_line()) is not None:
                line = self._parse()
                # Where the rest of its own member is no record, its length is too short.
                short = line is None and self._alone and begin == self._start
                if held is not None and not short:
                    yield held
                self._index -= short
                held = None
                self._alone = self._packed.compressed and begin != self._start
                self._start = begin
                if line is None:
                    cut = not self._ended and not self.read(1)
                    yield self._from_start(StubReason.TRUNCATED if cut else StubReason.UNREADABLE)
                    return
                held = self._item(line)
                self._index += 1
                if line.length < 0:  # nobody knows where the next begins
                    yield held
                    yield self._from_start(StubReason.UNREADABLE)
                    return
        except OSError as error:
            yield from self._broken(error, held)
            return
        if held is not None:
            yield held
        said = held.record.reason if isinstance(held, Stub) else ""
        if said != StubReason.TRUNCATED and not self._packed.ends_whole():
            yield self._rest(StubReason.TRUNCATED)

    def _from_start(self, reason: StubReason) -> Stub:
        """Make one stub of the line at hand and all that follows it."""
        found = digest(self._file.stored(self._start, self._size - self._start))
        return stub(
            self._index, reason, found, source=self._name, start=self._start, length=self._size - self._start
        )

    def _plain_end(self) -> int:
        end = min(self._end, self._size)
        after = b"".join(self._file.stored(end, 4))
        return end + len(after) - len(after.lstrip(b"\r\n"))

    def _next_line(self) -> int | None:
        """Read the line of the next record; return where the record begins in the file, None at its end.

        Line ends before it are none. What is read too far is of the same member, as all pieces are.
        """
        data = b""
        while not data:
            piece = self.read(_STEP_BYTES)
            if not piece:
                return None
            data = piece.lstrip(b"\r\n")
        start = self._frame() if self._packed.compressed else self._read - len(self._over) - len(data)
        while b"\n" not in data and len(data) < MAX_LINE_BYTES:
            piece = self.read(_STEP_BYTES)
            if not piece:
                break
            data += piece
        self._line, found, after = data.partition(b"\n")
        self._over = after + self._over
        self._end = self._read - len(self._over)
        self._ended = bool(found)
        return start

    def _parse(self) -> _Line | None:
        """Split the line; None where it is none of a record."""
        if not self._ended:
            return None
        fields = self._line.rstrip(b"\r").rsplit(b" ", self._fields - 1)
        if len(fields) < self._fields or b":" not in fields[0]:
            return None
        digits = fields[-1]
        length = int(digits) if digits.isdigit() and len(digits) < 19 else -1
        return _Line(fields[0], fields[2], fields[3], length)

    def _item(self, line: _Line) -> Item:
        self._length = line.length
        url = line.url.decode("utf-8", "replace")[:MAX_URL_CHARACTERS]
        if line.length < 0:
            found = digest((self._line,))
            return stub(
                self._index,
                StubReason.BAD_LENGTH,
                found,
                source=self._name,
                start=self._start,
                length=-1,
                url=url,
            )
        self._end += line.length
        first = self._read_first()
        scheme = url.partition(":")[0].lower()
        if scheme == "filedesc" and self._index == 0:
            version = _VERSION.match(first)
            self._fields = _FIELDS.get(int(version[1]) if version else 1, _FIELDS[1])
            return self._skip(SkipReason.WARCINFO, first)
        if scheme == "dns":
            return self._skip(SkipReason.DNS, first)
        claims = Claims(url, "", _iso(line.date), {})
        said = line.content_type.decode("utf-8", "replace")
        if scheme in {"http", "https"}:
            return self._response(first, claims, "" if said == "no-type" else said)
        return self._page(first, said, claims)


def _iso(date: bytes) -> str:
    """Return an ARC date (14 digits, some writers put more) as ISO 8601; empty where it is none."""
    found = _DATE.match(date)
    if found is None:
        return ""
    d = found[0].decode()
    return f"{d[:4]}-{d[4:6]}-{d[6:8]}T{d[8:10]}:{d[10:12]}:{d[12:]}Z"
