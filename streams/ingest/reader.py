"""Opening a source: which reader its format has, over bytes that are still those that were booked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeAlias

from streams.errors import SourceError
from streams.ingest.arc import ArcReader
from streams.ingest.documents import DocumentsReader
from streams.ingest.items import Item
from streams.ingest.jsonl import JsonlReader
from streams.ingest.source import Kind, Source
from streams.ingest.stored import Identity, StoredFile, open_stored
from streams.ingest.warc import WarcReader
from streams.settings import IngestSettings


def _parquet(file: StoredFile, source: Source, settings: IngestSettings) -> Iterable[Item]:
    from streams.ingest.parquet import ParquetReader  # noqa: PLC0415 - pyarrow takes half a second

    return ParquetReader(file, source, settings)


def _arrow(file: StoredFile, source: Source, settings: IngestSettings) -> Iterable[Item]:
    from streams.ingest.arrow import ArrowReader  # noqa: PLC0415 - the same

    return ArrowReader(file, source, settings)


MakeReader: TypeAlias = Callable[[StoredFile, Source, IngestSettings], Iterable[Item]]
READERS: Final[dict[Kind, MakeReader]] = {
    Kind.WARC: WarcReader,
    Kind.ARC: ArcReader,
    Kind.JSONL: JsonlReader,
    Kind.PARQUET: _parquet,
    Kind.ARROW: _arrow,
}
"""Of sources that are one file. Each iterates once. It raises `SourceError` where the bytes cannot be had for
a reason that may pass (the disk, the network), never for what is in them: that becomes a stub."""


class Opened(Protocol):
    """An open source of any kind."""

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in order, once."""

    def tell(self) -> int:
        """Return how many of the source's bytes were read."""

    def identity(self) -> Identity | None:
        """Return what the source is by now."""

    def close(self) -> None:
        """Let it go."""


class _OpenFile:
    """A source that is one file."""

    def __init__(self, file: StoredFile, source: Source, settings: IngestSettings) -> None:
        self._name = source.name
        self._items = READERS[source.kind](file, source, settings)
        # Tables are not read from begin to end: their readers know how far they are.
        self.tell = getattr(self._items, "tell", file.tell)
        self.identity, self.close = file.identity, file.close

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._items
        except OSError as error:  # while what cannot be read was hashed for its stub
            text = f"{self._name} cannot be read now: {error.strerror or error}; try again"
            raise SourceError(text) from error


def open_reader(source: Source, settings: IngestSettings) -> Opened | None:
    """Open a source; None where it has vanished or is no longer what it was. Raises `SourceError`.

    A bundle always opens: of its files each tells for itself what became of it.
    """
    if source.kind is Kind.FILES:
        return DocumentsReader(source, settings)
    try:
        file = open_stored(source.location)
    except OSError:
        return None
    if file.found != source.identity:
        file.close()
        return None
    return _OpenFile(file, source, settings)
