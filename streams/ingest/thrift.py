"""Thrift's compact protocol, as far as Parquet uses it: structs to dictionaries by field number.

For the two structs that must be judged before pyarrow sees them. pyarrow gives the same numbers, but ends the
process for some footers that are wrong (its accessors let exceptions of C++ through).
"""

from __future__ import annotations

from typing import Any, Final

_DEPTH: Final = 12
_MAX_VALUES: Final = 2_000_000
"""Of one struct with all in it: some hundred bytes of memory each."""


class BadStruct(Exception):
    """The bytes are no struct, or one beyond all measure."""


class StructReader:
    """Reads structs from bytes; `IndexError` where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._values = data, 0
        self.at = 0

    def read(self, depth: int = 0) -> dict[int, Any]:
        """Return the next struct: integers, bytes, lists and structs by field number, booleans as None."""
        if depth > _DEPTH:
            raise BadStruct("structs within structs without end")
        found: dict[int, Any] = {}
        field = 0
        while (byte := self._byte()) & 15:
            field = field + (byte >> 4) if byte >> 4 else self._signed()
            found[field] = self._value(byte & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise BadStruct(f"more than {_MAX_VALUES} values")
        if kind in {4, 5, 6}:
            return self._signed()
        if kind == 8:
            return self._bytes(self._unsigned())
        if kind == 12:
            return self.read(depth + 1)
        if kind in {9, 10}:
            return self._list(depth)
        if kind in {1, 2}:  # a boolean is its own type
            return None
        if kind in {3, 7}:
            self._bytes(1 if kind == 3 else 8)
            return None
        raise BadStruct(f"a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        byte = self._byte()
        count = byte >> 4
        if count == 15:
            count = self._unsigned()
        if count > len(self._data):
            raise IndexError
        kind = byte & 15
        if kind in {1, 2}:
            self._bytes(count)
            return []
        return [self._value(kind, depth) for _ in range(count)]

    def _bytes(self, count: int) -> bytes:
        begin, self.at = self.at, self.at + count
        if self.at > len(self._data):
            raise IndexError
        return self._data[begin : self.at]

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
                raise BadStruct("a number without end")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
