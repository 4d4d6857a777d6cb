"""The headers of a Parquet column's pages, read before anything is decompressed.

A page says how long it gets, and pyarrow allocates that; the footer's totals bind nobody. So the pages that
are about to be read are walked, header by header (Thrift's compact protocol; parquet.thrift, PageHeader).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_FIRST_BYTES: Final = 256
_MAX_HEADER_BYTES: Final = 1 << 20
"""With the statistics that some writers put in."""
_DEPTH: Final = 8
_DICTIONARY: Final = 2
Range = Callable[[int, int], bytes]


class BadPage(Exception):
    """A page header is none, or leads out of its column."""


class Page(NamedTuple):
    """What a page's header says."""

    dictionary: bool
    expanded_bytes: int
    stored_bytes: int


def pages(read: Range, start: int, length: int) -> Iterator[Page]:
    """Yield the pages of a column chunk that begins at `start`. Raises `BadPage`."""
    at, end = start, start + length
    while at < end:
        page, header = _header(read, at, end - at)
        at += header + page.stored_bytes
        if page.stored_bytes < 0 or page.expanded_bytes < 0 or at > end:
            raise BadPage(f"a page of {page.stored_bytes} bytes, {page.expanded_bytes} expanded")
        yield page


def _header(read: Range, at: int, left: int) -> tuple[Page, int]:
    size = _FIRST_BYTES
    while True:
        size = min(size, left)
        data = read(at, size)
        try:
            struct = _Struct(data)
            numbers = struct.numbers()
            return Page(numbers[1] == _DICTIONARY, numbers[2], numbers[3]), struct.at
        except IndexError:
            if len(data) < size or size in {left, _MAX_HEADER_BYTES}:
                raise BadPage("a page header without end") from None
            size = min(size * 16, _MAX_HEADER_BYTES)
        except KeyError:
            raise BadPage("a page header without sizes") from None


class _Struct:
    """Reads one struct; `IndexError` where the bytes end before it."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def numbers(self) -> dict[int, int]:
        """Return the integer fields of the outermost struct."""
        return self._fields(0)

    def _fields(self, depth: int) -> dict[int, int]:
        found: dict[int, int] = {}
        field = 0
        while (byte := self._byte()) & 15:
            field = field + (byte >> 4) if byte >> 4 else self._signed()
            value = self._value(byte & 15, depth)
            if value is not None:
                found[field] = value
        return found

    def _value(self, kind: int, depth: int) -> int | None:
        if kind in {1, 2}:  # a boolean is its own type
            return None
        if kind == 3:
            self._skip(1)
        elif kind in {4, 5, 6}:
            return self._signed()
        elif kind == 7:
            self._skip(8)
        elif kind == 8:
            self._skip(self._unsigned())
        elif kind == 12 and depth < _DEPTH:
            self._fields(depth + 1)
        elif kind in {9, 10} and depth < _DEPTH:
            self._list(depth)
        else:
            raise BadPage(f"a page header with a field of type {kind}")
        return None

    def _list(self, depth: int) -> None:
        byte = self._byte()
        count = byte >> 4
        if count == 15:
            count = self._unsigned()
        for _ in range(count):
            if byte & 15 in {1, 2}:
                self._skip(1)
            else:
                self._value(byte & 15, depth + 1)

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise BadPage("a number without end")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
