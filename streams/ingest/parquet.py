"""Parquet files to items: one for every row, one stub for a row group that cannot be read.

Indexes are row numbers, so a stub for a row group has that of its first row not given out, and the next group
goes on with its own. Rows come in batches bounded by what a page may hold: row groups may be larger than
memory. A file without its footer is one stub: nothing in it can be found without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow.parquet as pq

from streams.ingest.columns import ARROW_ERRORS, is_plain, items_of
from streams.ingest.items import Item, Stub, StubReason, digest, stub
from streams.ingest.parquet_layout import BadLayout, Group, pages, read_footer
from streams.ingest.rows import RowMapping
from streams.ingest.seekable import SeekableFile
from streams.ingest.source import Source
from streams.ingest.stored import StoredFile
from streams.settings import IngestSettings

MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
"""Expanded. Writers make pages of a megabyte; one text longer than a page is a page of its own."""
_BATCH_BYTES: Final = 32 * 1024 * 1024
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
            table, columns, groups = self._open()
        except (OSError, BadLayout, *ARROW_ERRORS):
            self._file.check(self._name)
            yield self._unreadable()
            return
        for number, whole in enumerate(groups):
            group = whole.of(columns)
            end = self._index + group.rows
            yield from self._group(table, number, group, columns)
            self._index = max(end, self._index)
        self._reached = self._size

    def _open(self) -> tuple[Any, list[str], list[Group]]:
        groups = read_footer(self._file.range, self._size)
        table = pq.ParquetFile(
            self._file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )
        names = [field.name for field in table.schema_arrow if is_plain(field.type)]
        columns = self._mapping.columns(names) or names[:1]  # at least one tells how many rows there are
        if not columns:
            raise BadLayout("no column of a type that is read")
        return table, columns, groups

    def _group(self, table: Any, number: int, group: Group, columns: list[str]) -> Iterator[Item]:
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
            reason = StubReason.INFLATES
        except (OSError, BadLayout, *ARROW_ERRORS):
            self._file.check(self._name)
            reason = StubReason.UNREADABLE
        else:
            reason = StubReason.TRUNCATED
            if self._index == end:
                return
        yield self._stub(reason, group)
        self._index += 1  # a group of no rows that is broken has a number too

    def _batch_rows(self, group: Group) -> int:
        """Look at the pages to come; return how many rows may be decoded at once."""
        longest = 1
        for chunk in group.chunks:
            for page in pages(self._file.range, chunk.start, chunk.stored_bytes):
                if page.expanded_bytes > MAX_PAGE_BYTES:
                    raise _TooLong
                if page.dictionary or chunk.chained:
                    # Each row may repeat the longest value, which a page of this size can hold.
                    longest = max(longest, page.expanded_bytes)
        return int(max(min(_BATCH_ROWS, _BATCH_BYTES // max(longest, group.row_bytes)), 1))

    def _unreadable(self) -> Stub:
        head = b"".join(self._stored.stored(0, len(_MAGIC)))
        tail = b"".join(self._stored.stored(max(self._size - len(_MAGIC), 0), len(_MAGIC)))
        cut = head == _MAGIC and tail != _MAGIC
        found = digest(self._stored.stored(0, self._size))
        reason = StubReason.TRUNCATED if cut else StubReason.UNREADABLE
        return stub(self._index, reason, found, source=self._name, start=0, length=self._size)

    def _stub(self, reason: StubReason, group: Group) -> Stub:
        found = digest(self._stored.stored(group.start, group.length))
        return stub(self._index, reason, found, source=self._name, start=group.start, length=group.length)
