"""Reading a file's items as the ingester does, under the name `source`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from streams.ingest.items import Item
from streams.ingest.reader import READERS
from streams.ingest.source import Compression, Kind, Source
from streams.ingest.stored import LocalFile
from streams.settings import FieldSettings, IngestSettings

MAX_BYTES = 1_000_000


def read_items(
    path: Path,
    kind: Kind,
    compression: Compression = Compression.NONE,
    max_bytes: int = MAX_BYTES,
    fields: FieldSettings | None = None,
) -> Iterator[Item]:
    """Yield a file's items one by one."""
    settings = IngestSettings(max_document_bytes=max_bytes, fields=fields or FieldSettings())
    with closing(LocalFile(str(path))) as file:
        source = Source("source", file.identity(), Kind(kind), Compression(compression))
        yield from READERS[source.kind](file, source, settings)
