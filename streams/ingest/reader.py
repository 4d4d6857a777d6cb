"""Opening a source: which reader its format has, over bytes that are still those that were booked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeAlias

from streams.ingest.arc import ArcReader
from streams.ingest.items import Item
from streams.ingest.jsonl import JsonlReader
from streams.ingest.source import Kind, Source
from streams.ingest.stored import Identity, StoredFile, open_stored
from streams.ingest.warc import WarcReader
from streams.settings import IngestSettings

MakeReader: TypeAlias = Callable[[StoredFile, Source, IngestSettings], Iterable[Item]]
READERS: Final[dict[Kind, MakeReader]] = {
    Kind.WARC: WarcReader,
    Kind.ARC: ArcReader,
    Kind.JSONL: JsonlReader,
}
"""Each iterates once. It raises `SourceError` where the bytes cannot be had for a reason that may pass (the
disk, the network), never for what is in them: that becomes a stub."""


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
        self._items = READERS[source.kind](file, source, settings)
        self.tell, self.identity, self.close = file.tell, file.identity, file.close

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


def open_reader(source: Source, settings: IngestSettings) -> Opened | None:
    """Open a source; None where it has vanished or is no longer what it was. Raises `SourceError`."""
    try:
        file = open_stored(source.location)
    except OSError:
        return None
    if file.identity() != source.identity:
        file.close()
        return None
    return _OpenFile(file, source, settings)
