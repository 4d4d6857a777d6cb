"""The messages of an Arrow IPC stream or file, found by their own headers before anything is decoded.

pyarrow's stream reader would find them too, but ends a stream that was cut between two messages without an
error, gives up at the first broken batch, and allocates what a compressed buffer claims to expand to. Only
the few header fields that are needed are read (FlatBuffers; Arrow's Message.fbs).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
_CONTINUES: Final = 0xFFFFFFFF
_FILE_MAGIC: Final = b"ARROW1"
_MAX_BUFFERS: Final = 100_000
Range = Callable[[int, int], bytes]


class BadMessage(Exception):
    """No message begins where one should."""


class Message(NamedTuple):
    """What a message says of itself."""

    kind: int
    start: int  # offset in the file
    body: int  # offset of its body
    end: int
    rows: int  # of a record batch
    buffers: tuple[int, ...]  # offsets in the file of its compressed buffers; none where it is not compressed


def first_offset(read: Range) -> int:
    """Return where the messages begin: behind the magic of an IPC file, at once in a stream."""
    return 8 if read(0, len(_FILE_MAGIC)) == _FILE_MAGIC else 0


def ends_whole(read: Range, end: int, size: int) -> bool:
    """Whether what follows the last message is what a complete stream or file has there."""
    is_file = first_offset(read) > 0
    return read(size - len(_FILE_MAGIC), len(_FILE_MAGIC)) == _FILE_MAGIC if is_file else end == size


def next_message(read: Range, at: int) -> Message | int | None:
    """Return the message at an offset; where the end marker stands, the offset behind it; None where the
    bytes end before either. Raises `BadMessage`.
    """
    prefix = read(at, 8)
    if len(prefix) < 4:
        return None
    length, begin = int.from_bytes(prefix[:4], "little"), at + 4
    if length == _CONTINUES:
        if len(prefix) < 8:
            return None
        length, begin = int.from_bytes(prefix[4:], "little"), at + 8
    if length == 0:
        return begin
    if length > MAX_HEADER_BYTES:
        raise BadMessage(f"a header of {length} bytes")
    header = read(begin, length)
    if len(header) < length:
        return None
    try:
        return _parse(header, at, begin + length)
    except (struct.error, IndexError) as error:
        raise BadMessage(str(error)) from error


def _parse(header: bytes, start: int, body: int) -> Message:
    message = _Table(header, _offset(header, 0))
    kind, length = message.number(1, "<B"), message.number(3, "<q")
    if kind not in {SCHEMA, DICTIONARY, BATCH} or not 0 <= length < 1 << 48:
        raise BadMessage(f"a message of kind {kind} and {length} bytes")
    rows, buffers = 0, tuple[int, ...]()
    if kind != SCHEMA:
        batch = message.table(2)
        if kind == DICTIONARY:
            batch = batch.table(1)
        rows = batch.number(0, "<q")
        if not 0 <= rows < 1 << 48:
            raise BadMessage(f"a batch of {rows} rows")
        buffers = batch.compressed_buffers(body)
    return Message(kind, start, body, body + length, rows, buffers)


def _offset(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from("<I", data, at)
    return at + int(value)


class _Table:
    """A FlatBuffers table."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        (back,) = struct.unpack_from("<i", data, at)
        self._vtable = at - back
        if self._vtable < 0:
            raise IndexError("a table outside of its message")
        (self._size,) = struct.unpack_from("<H", data, self._vtable)

    def _field(self, slot: int) -> int:
        """Return where a field is; 0 where it is absent."""
        entry = 4 + 2 * slot
        if entry + 2 > self._size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._vtable + entry)
        return self._at + int(offset) if offset else 0

    def number(self, slot: int, form: str) -> int:
        at = self._field(slot)
        return int(struct.unpack_from(form, self._data, at)[0]) if at else 0

    def table(self, slot: int) -> _Table:
        at = self._field(slot)
        if not at:
            raise IndexError("a part is missing")
        return _Table(self._data, _offset(self._data, at))

    def compressed_buffers(self, body: int) -> tuple[int, ...]:
        """Return the offsets of a batch's buffers where it is compressed: the size of each stands there."""
        if not self._field(3):
            return ()
        at = _offset(self._data, self._field(2))
        (count,) = struct.unpack_from("<I", self._data, at)
        if count > _MAX_BUFFERS:
            raise BadMessage(f"a batch of {count} buffers")
        places = [struct.unpack_from("<qq", self._data, at + 4 + 16 * n) for n in range(count)]
        return tuple(body + int(offset) for offset, length in places if length > 0)
