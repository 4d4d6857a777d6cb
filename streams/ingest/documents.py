"""Bundles: files that are one document each, read one after another; every file one item.

A document's address is the file's own URI, so that its lane does not depend on the bundle that it came in.
What became another file since it was listed is a stub and not read: its listing is what was booked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from streams.errors import SourceError
from streams.ingest.items import Document, Item, Skip, SkipReason, Stub, StubReason, digest, fallback_id, stub
from streams.ingest.source import Entry, Source, document_type, printable
from streams.ingest.stored import Identity, RemoteFile, StoredFile, is_remote, open_stored
from streams.records import RawDocument
from streams.settings import IngestSettings

MAX_URL_CHARACTERS: Final = 8192


class DocumentsReader:
    """Iterates once over the files of a bundle; the same contract as `WarcReader`."""

    def __init__(self, source: Source, settings: IngestSettings) -> None:
        self._source, self._name = source, source.name
        self._max_bytes = settings.max_document_bytes
        self._index = 0
        self._passed = 0  # bytes of the files before

    def tell(self) -> int:
        """Return how many of the bundle's bytes were passed."""
        return self._passed

    def identity(self) -> Identity:
        """Return what the bundle was booked as: a file that changed is told by its own stub."""
        return self._source.identity

    def close(self) -> None:
        """Nothing is left open."""

    def __iter__(self) -> Iterator[Item]:
        """Yield an item for each file, in the order of their names."""
        for entry in self._source.entries:
            yield self._file(entry)
            self._index += 1
            self._passed += entry.size

    def _file(self, entry: Entry) -> Item:
        location = f"{self._source.location.rstrip('/')}/{os.fsdecode(entry.name)}"
        try:
            file = open_stored(location)
        except OSError:
            return self._missing(StubReason.VANISHED, location)
        try:
            return self._open(file, Identity(*entry[1:]), location)
        except OSError as error:
            text = f"{printable(location)} cannot be read now: {error.strerror or error}; try again"
            raise SourceError(text) from error
        finally:
            file.close()

    def _open(self, file: StoredFile, booked: Identity, location: str) -> Item:
        found_now = file.found if isinstance(file, RemoteFile) else file.identity()
        if found_now != booked:
            return self._missing(StubReason.CHANGED, location)
        if file.size > self._max_bytes:
            found = digest(file.stored(0, file.size))
            return stub(
                self._index,
                StubReason.OVER_LONG,
                found,
                source=self._name,
                start=0,
                length=file.size,
                url=uri(location),
            )
        payload = b"".join(file.stored(0, file.size))
        if len(payload) != booked.size or file.identity() != booked:
            return self._missing(StubReason.CHANGED, location)
        if not payload.strip():
            return Skip(self._index, SkipReason.EMPTY)
        address = uri(location)
        record = RawDocument(
            id=fallback_id(address, 0),
            url=address,
            source=self._name,
            content_type=document_type(location),
            payload=payload,
        )
        return Document(self._index, record)

    def _missing(self, reason: StubReason, location: str) -> Stub:
        return stub(self._index, reason, digest(()), source=self._name, start=0, length=-1, url=uri(location))


def uri(location: str) -> str:
    """Return the address of a file: a URL as it is, `file://` and the path (escaped) for a local one."""
    address = location if is_remote(location) else f"file://{quote(os.fsencode(location))}"
    return printable(address)[:MAX_URL_CHARACTERS]
