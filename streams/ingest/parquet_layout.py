"""Where the parts of a Parquet file are and how long they get, found out before pyarrow allocates anything.

The footer's totals bind nobody: pyarrow allocates what a page's own header says. So the pages that are about
to be read are walked, header by header. Source: parquet.thrift (FileMetaData, PageHeader).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from streams.ingest.thrift import BadStruct, StructReader

MAX_FOOTER_BYTES: Final = 64 * 1024 * 1024
_FIRST_BYTES: Final = 256
_MAX_HEADER_BYTES: Final = 1 << 20
"""Of a page; with the statistics that some writers put in."""
_DICTIONARY_PAGE: Final = 2
_DELTA_BYTE_ARRAY: Final = 7
_MAX_ROWS: Final = 1 << 48
_MAGIC: Final = b"PAR1"
Range = Callable[[int, int], bytes]


class BadLayout(Exception):
    """A header or footer is none, or says what cannot be."""


class Page(NamedTuple):
    """What a page's header says."""

    dictionary: bool
    expanded_bytes: int
    stored_bytes: int


class Chunk(NamedTuple):
    """A column of a row group."""

    name: bytes  # of the outermost field
    start: int
    stored_bytes: int
    expanded_bytes: int
    chained: bool  # a value may begin with all of the one before


class Group(NamedTuple):
    """A row group."""

    rows: int
    chunks: tuple[Chunk, ...]

    def of(self, names: Sequence[str]) -> Group:
        """Return what is left of it with some of its columns."""
        wanted = {name.encode() for name in names}
        return Group(self.rows, tuple(chunk for chunk in self.chunks if chunk.name in wanted))

    @property
    def start(self) -> int:
        """Where its first column begins."""
        return min((chunk.start for chunk in self.chunks), default=0)

    @property
    def length(self) -> int:
        """Bytes from there to the end of its last column."""
        return max((chunk.start + chunk.stored_bytes for chunk in self.chunks), default=0) - self.start

    @property
    def row_bytes(self) -> int:
        """Of a row on average, expanded, by the footer's word."""
        return sum(chunk.expanded_bytes for chunk in self.chunks) // max(self.rows, 1)


def read_footer(read: Range, size: int) -> list[Group]:
    """Return the row groups of a file. Raises `BadLayout`."""
    tail = read(size - 8, 8) if size >= 12 else b""
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or not 0 < length <= min(MAX_FOOTER_BYTES, size - 12):
        raise BadLayout("no footer")
    try:
        footer = StructReader(read(size - 8 - length, length)).read()
        return [_group(group, size) for group in footer[4]]
    except (BadStruct, IndexError, KeyError, TypeError, AttributeError) as error:
        raise BadLayout(f"a footer that is none: {error}") from error


def _group(fields: dict[int, Any], size: int) -> Group:
    rows = fields[3]
    if not 0 <= rows < _MAX_ROWS:
        raise BadLayout(f"a row group of {rows} rows")
    return Group(rows, tuple(_chunk(column[3], size) for column in fields[1]))


def _chunk(fields: dict[int, Any], size: int) -> Chunk:
    start, length = fields[9], fields[7]
    first = fields.get(11) or start
    start = min(start, first) if first > 0 else start
    if start < 0 or length < 0 or start + length > size:
        raise BadLayout("a column outside of the file")
    return Chunk(fields[3][0], start, length, max(fields[6], 0), _DELTA_BYTE_ARRAY in fields[2])


def pages(read: Range, start: int, length: int) -> Iterator[Page]:
    """Yield the pages of a column chunk that begins at `start`. Raises `BadLayout`."""
    at, end = start, start + length
    while at < end:
        page, header = _header(read, at, end - at)
        at += header + page.stored_bytes
        if page.stored_bytes < 0 or page.expanded_bytes < 0 or at > end:
            raise BadLayout(f"a page of {page.stored_bytes} bytes, {page.expanded_bytes} expanded")
        yield page


def _header(read: Range, at: int, left: int) -> tuple[Page, int]:
    size = _FIRST_BYTES
    while True:
        size = min(size, left)
        data = read(at, size)
        reader = StructReader(data)
        try:
            fields = reader.read()
            kind, expanded, stored = int(fields[1]), int(fields[2]), int(fields[3])
            return Page(kind == _DICTIONARY_PAGE, expanded, stored), reader.at
        except IndexError:
            if len(data) < size or size in {left, _MAX_HEADER_BYTES}:
                raise BadLayout("a page header without end") from None
            size = min(size * 16, _MAX_HEADER_BYTES)
        except (BadStruct, KeyError, TypeError, ValueError) as error:
            raise BadLayout(f"a page header that is none: {error}") from error
