"""Parquet files to items: one for every row, one stub for a row group that cannot be read.

Indexes are row numbers, so a stub for a row group has that of its first row not given out, and the next group
goes on with its own. Rows come in batches bounded by what a page may hold: row groups may be larger than
memory. A file without its footer is one stub: nothing in it can be found without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow.parquet as pq

from streams.errors import SourceError
from streams.ingest.columns import ARROW_ERRORS, is_plain, items_of
from streams.ingest.items import Item, Stub, StubReason, digest, stub
from streams.ingest.parquet_pages import BadPage, pages
from streams.ingest.rows import RowMapping
from streams.ingest.seekable import SeekableFile
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
"""Expanded. Writers make pages of a megabyte; one text longer than a page is a page of its own."""
_BATCH_BYTES: Final = 64 * 1024 * 1024
"""Of the rows decoded at once, if each had the longest value that its pages allow."""
_BATCH_ROWS: Final = 512
_MAGIC: Final = b"PAR1"
_BUFFER_BYTES: Final = 1 << 20


class _TooLong(Exception):
    """A page would expand beyond what one may."""


class ParquetReader:
    """Iterates once over the items of an open file; the same contract as `WarcReader`."""

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        self._stored, self._size = file, file.size
        self._name = source.name
        self._mapping = RowMapping(settings.fields, self._name, settings.max_document_bytes)
        self._file = SeekableFile(file)
        self._index = 0  # of the next row
        self._reached = 0

    def tell(self) -> int:
        """Return up to where the file was read, its footer left out."""
        return self._reached

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each row, in order."""
        if self._size == 0:
            return
        try:
            table = pq.ParquetFile(
                self._file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
            names = [field.name for field in table.schema_arrow if is_plain(field.type)]
            columns = self._mapping.columns(names) or names[:1]  # at least one tells how many rows there are
            if not columns:
                raise ValueError("no column of a type that is read")
            groups = [_Group(table.metadata.row_group(n), columns) for n in range(table.num_row_groups)]
        except (OSError, *ARROW_ERRORS) as error:
            self._check(error)
            yield self._unreadable()
            return
        for number, group in enumerate(groups):
            end = self._index + group.rows
            yield from self._group(table, number, group, columns)
            self._index = end
        self._reached = self._size

    def _group(self, table: Any, number: int, group: _Group, columns: list[str]) -> Iterator[Item]:
        end = self._index + group.rows
        try:
            rows = self._batch_rows(group)
            batches = table.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False)
            for batch in batches:
                # No more than the footer says: the numbers behind are the next group's.
                kept = batch.slice(0, end - self._index)
                yield from items_of(kept, self._mapping, self._index, group.start)
                self._index += len(kept)
                share = 1 - (end - self._index) / max(group.rows, 1)
                self._reached = max(self._reached, group.start + int(share * group.length))
        except _TooLong:
            yield self._stub(StubReason.INFLATES, group)
        except (OSError, BadPage, *ARROW_ERRORS) as error:
            self._check(error)
            yield self._stub(StubReason.UNREADABLE, group)
        else:
            if self._index < end:
                yield self._stub(StubReason.TRUNCATED, group)

    def _batch_rows(self, group: _Group) -> int:
        """Look at the pages to come; return how many rows may be decoded at once."""
        longest = 1
        for start, length, chained in group.chunks:
            for page in pages(self._file.range, start, length):
                if page.expanded_bytes > MAX_PAGE_BYTES:
                    raise _TooLong
                if page.dictionary or chained:
                    # Each row may repeat the longest value, which a page of this size can hold.
                    longest = max(longest, page.expanded_bytes)
        return int(max(min(_BATCH_ROWS, _BATCH_BYTES // max(longest, group.row_bytes)), 1))

    def _check(self, error: Exception) -> None:
        """Raise where the disk or the network failed, and not the file."""
        failed = self._file.failed or error
        if isinstance(failed, SourceError):
            raise failed
        if isinstance(failed, OSError) and failed.errno is not None:
            text = f"{self._name} cannot be read now: {failed.strerror}; try again"
            raise SourceError(text) from failed

    def _unreadable(self) -> Stub:
        head = b"".join(self._stored.stored(0, len(_MAGIC)))
        tail = b"".join(self._stored.stored(max(self._size - len(_MAGIC), 0), len(_MAGIC)))
        cut = head == _MAGIC and tail != _MAGIC
        found = digest(self._stored.stored(0, self._size))
        reason = StubReason.TRUNCATED if cut else StubReason.UNREADABLE
        return stub(self._index, reason, found, source=self._name, start=0, length=self._size)

    def _stub(self, reason: StubReason, group: _Group) -> Stub:
        found = digest(self._stored.stored(group.start, group.length))
        return stub(self._index, reason, found, source=self._name, start=group.start, length=group.length)


class _Group:
    """What the footer says of a row group, as far as it can be true."""

    def __init__(self, metadata: Any, columns: list[str]) -> None:
        self.rows: int = metadata.num_rows
        if not 0 <= self.rows < 1 << 48:
            raise ValueError(f"a row group of {self.rows} rows")
        self.chunks: list[tuple[int, int, bool]] = []  # offset, stored bytes, whether values are chained
        expanded = 0
        for number in range(metadata.num_columns):
            chunk = metadata.column(number)
            if not f"{chunk.path_in_schema}.".startswith(tuple(f"{name}." for name in columns)):
                continue
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < (first := chunk.dictionary_page_offset or 0) < start:
                start = first
            chained = "DELTA_BYTE_ARRAY" in chunk.encodings  # a value may begin with all of the one before
            self.chunks.append((start, chunk.total_compressed_size, chained))
            expanded += max(chunk.total_uncompressed_size, 0)
        self.row_bytes = expanded // max(self.rows, 1)
        self.start = max(min((start for start, _, _ in self.chunks), default=0), 0)
        ends = max((start + length for start, length, _ in self.chunks), default=0)
        self.length = max(ends - self.start, 0)
