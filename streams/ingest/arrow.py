"""Arrow tables (IPC streams, as Hugging Face's `save_to_disk` writes them, and files) to items: one a row.

Indexes are row numbers, so a stub for a batch that cannot be read has that of its first row, and the next
batch goes on with its own. A batch is held whole: writers make them of a thousand rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from streams.ingest.arrow_messages import (
    BATCH,
    SCHEMA,
    BadMessage,
    Message,
    ends_whole,
    first_offset,
    next_message,
)
from streams.ingest.columns import ARROW_ERRORS, as_binary, is_plain, items_of
from streams.ingest.items import Item, Stub, StubReason, digest, stub
from streams.ingest.rows import RowMapping
from streams.ingest.seekable import SeekableFile
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

MAX_BATCH_BYTES: Final = 512 * 1024 * 1024
"""Of one batch, stored and expanded; and of all dictionaries."""
_SLICE_BYTES: Final = 32 * 1024 * 1024
"""Of the rows that are turned into Python values at once."""
_SLICE_ROWS: Final = 512


class ArrowReader:
    """Iterates once over the items of an open file; the same contract as `WarcReader`."""

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        self._stored, self._size = file, file.size
        self._name = source.name
        self._mapping = RowMapping(settings.fields, self._name, settings.max_document_bytes)
        self._file = SeekableFile(file)
        self._at = 0  # of the next message
        self._index = 0  # of the next row
        self._schema: Any = None
        self._dictionaries: list[bytes] = []  # with the schema before them; none where there are none

    def tell(self) -> int:
        """Return up to where the file was read."""
        return self._at

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each row, in order."""
        if self._size == 0:
            return
        try:
            self._at = first_offset(self._file.range)
            while isinstance(message := next_message(self._file.range, self._at), Message):
                if message.end > self._size:
                    message = None
                    break
                yield from self._message(message)
                self._at = message.end
        except (OSError, BadMessage, *ARROW_ERRORS):
            self._file.check(self._name)
            yield self._rest(StubReason.UNREADABLE)
            return
        if message is None:
            yield self._rest(StubReason.TRUNCATED)
        elif not ends_whole(self._file.range, message, self._size):
            self._at = message
            yield self._rest(StubReason.UNREADABLE if message < self._size else StubReason.TRUNCATED)
        self._at = self._size

    def _message(self, message: Message) -> Iterator[Item]:
        if (message.kind == SCHEMA) is not (self._schema is None):
            raise BadMessage("the schema is not the first message")
        if message.kind == BATCH:
            yield from self._batch(message)
            return
        data = self._read(message)
        if data is None or len(data) + sum(map(len, self._dictionaries)) > MAX_BATCH_BYTES:
            raise BadMessage("dictionaries beyond what is read")
        if message.kind == SCHEMA:
            self._schema = pa.ipc.read_schema(pa.py_buffer(data))
            self._schema_message = data
        else:
            self._dictionaries.append(data)

    def _batch(self, message: Message) -> Iterator[Item]:
        end = self._index + message.rows
        reason = StubReason.UNREADABLE
        try:
            data = self._read(message)
            if data is None:
                reason = StubReason.INFLATES
            else:
                for part in self._slices(self._decode(data, message.rows), len(data)):
                    yield from items_of(part, self._mapping, self._index, message.start)
                    self._index += len(part)
                if self._index == end:
                    return
        except (OSError, *ARROW_ERRORS):
            self._file.check(self._name)
        yield self._stub(reason, message.start, message.end)
        self._index = max(end, self._index + 1)  # a batch of no rows that is broken has a number too

    def _read(self, message: Message) -> bytes | None:
        """Read a message whole; None where it is, or claims to expand to, more than is held."""
        length = message.end - message.start
        if length > MAX_BATCH_BYTES:
            return None
        data = self._file.range(message.start, length)
        expanded = 0
        for at in message.buffers:
            place = at - message.start
            expanded += max(int.from_bytes(data[place : place + 8], "little", signed=True), 0)
        return data if expanded <= MAX_BATCH_BYTES else None

    def _decode(self, data: bytes, rows: int) -> Any:
        if self._dictionaries:
            whole = b"".join((self._schema_message, *self._dictionaries, data))
            batch = pa.ipc.open_stream(pa.py_buffer(whole)).read_next_batch()
        else:
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)
        if len(batch) != rows:
            raise ValueError("a batch of other than its rows")
        wanted = set(self._mapping.columns(batch.schema.names)) or {*batch.schema.names[:1]}
        kept = [n for n, field in enumerate(batch.schema) if field.name in wanted and is_plain(field.type)]
        if not kept:
            raise ValueError("no column of a type that is read")
        for n in kept:
            # An offset that leads out of its buffer must be found before anybody follows it.
            as_binary(batch.column(n)).validate(full=True)
        return batch.select(kept)

    @staticmethod
    def _slices(batch: Any, length: int) -> Iterator[Any]:
        longest = length // max(len(batch), 1)
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):  # each row may be its longest value
                longest = max(longest, column.dictionary.nbytes)
        rows = max(min(_SLICE_ROWS, _SLICE_BYTES // max(longest, 1)), 1)
        for start in range(0, len(batch), rows):
            yield batch.slice(start, rows)

    def _rest(self, reason: StubReason) -> Stub:
        return self._stub(reason, self._at, self._size)

    def _stub(self, reason: StubReason, start: int, end: int) -> Stub:
        found = digest(self._stored.stored(start, end - start))
        return stub(self._index, reason, found, source=self._name, start=start, length=end - start)
