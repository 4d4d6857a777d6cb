"""Bundles: files that are one document each, read one after another; every file one item.

A document's address is the file's own URI, so that its lane does not depend on the bundle that it came in.
What became another file since it was listed is a stub and not read: its listing is what was booked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Final
from urllib.parse import quote

from streams.errors import SourceError
from streams.ingest.items import (
    Digest,
    Document,
    Item,
    Skip,
    SkipReason,
    Stub,
    StubReason,
    digest,
    fallback_id,
    stub,
)
from streams.ingest.source import Entry, Source, document_type, printable
from streams.ingest.stored import Identity, LocalFile, RemoteFile, StoredFile, is_remote
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
        folder = self._source.location.rstrip("/")
        remote = is_remote(folder)
        read = self._remote if remote else self._local
        begin = uri(f"{folder}/")
        for entry in self._source.entries:
            name = os.fsdecode(entry.name)
            address = f"{begin}{name}" if remote else begin + quote(entry.name)
            yield read(f"{folder}/{name}", entry, address[:MAX_URL_CHARACTERS])
            self._index += 1
            self._passed += entry.size

    def _local(self, path: str, entry: Entry, address: str) -> Item:
        """Read a file: four calls of the system, since pages are many and small."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a pipe by now
        except OSError:
            return self._missing(StubReason.VANISHED, address)
        try:
            if not _is(os.fstat(descriptor), entry):
                return self._missing(StubReason.CHANGED, address)
            if entry.size > self._max_bytes:
                with closing(LocalFile(path)) as file:
                    return self._over_long(file, address)
            payload = os.read(descriptor, entry.size + 1)
            if len(payload) != entry.size or not _is(os.fstat(descriptor), entry):
                return self._missing(StubReason.CHANGED, address)
        except OSError as error:
            raise SourceError(f"{printable(path)} cannot be read now: {error.strerror}; try again") from error
        finally:
            os.close(descriptor)
        return self._document(payload, address)

    def _remote(self, url: str, entry: Entry, address: str) -> Item:
        try:
            file = RemoteFile(url)
        except FileNotFoundError:
            return self._missing(StubReason.VANISHED, address)
        booked = Identity(entry.size, entry.mtime_ns, entry.etag)
        with closing(file):
            if file.found != booked:
                return self._missing(StubReason.CHANGED, address)
            if entry.size > self._max_bytes:
                return self._over_long(file, address)
            payload = b"".join(file.stored(0, file.size))
            if file.identity() != booked:
                return self._missing(StubReason.CHANGED, address)
        return self._document(payload, address)

    def _document(self, payload: bytes, address: str) -> Item:
        if not payload or payload.isspace():
            return Skip(self._index, SkipReason.EMPTY)
        record = RawDocument(
            id=fallback_id(address, 0),
            url=address,
            source=self._name,
            content_type=document_type(address),
            payload=payload,
        )
        return Document(self._index, record)

    def _over_long(self, file: StoredFile, address: str) -> Stub:
        found = digest(file.stored(0, file.size))
        return self._stub(StubReason.OVER_LONG, found, address, found.length)

    def _missing(self, reason: StubReason, address: str) -> Stub:
        return self._stub(reason, digest(()), address, -1)

    def _stub(self, reason: StubReason, found: Digest, address: str, length: int) -> Stub:
        return stub(self._index, reason, found, source=self._name, start=0, length=length, url=address)


def _is(found: os.stat_result, entry: Entry) -> bool:
    return found.st_size == entry.size and found.st_mtime_ns == entry.mtime_ns


def uri(location: str) -> str:
    """Return the address of a file: a URL as it is, `file://` and the path (escaped) for a local one."""
    return printable(location) if is_remote(location) else f"file://{quote(os.fsencode(location))}"
