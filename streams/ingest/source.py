"""A source: one file or object (or a bundle of small files), what identifies it, and what format it has.

The name is the absolute path or the URL, the identity its size and modification time or ETag: a file that
changed under its name is another source. A hash of the content would be stronger but costs reading every file
twice.
"""

from __future__ import annotations

import enum
import hashlib
import os
import stat
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from streams.errors import SourceError
from streams.ingest.stored import Identity, is_remote, open_stored, stat_remote

HEAD_BYTES: Final = 4096


class Kind(enum.StrEnum):
    """What the records of a source are."""

    WARC = "warc"
    ARC = "arc"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ARROW = "arrow"
    """A table as Hugging Face's `save_to_disk` writes it: an Arrow IPC stream."""
    FILES = "files"
    """A bundle: each file is one document."""


class Compression(enum.StrEnum):
    """Of the whole file; a format's own compression does not count."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_SUFFIXES: Final = {
    ".warc": Kind.WARC,
    ".wet": Kind.WARC,
    ".wat": Kind.WARC,
    ".arc": Kind.ARC,
    ".jsonl": Kind.JSONL,
    ".ndjson": Kind.JSONL,
    ".jsonlines": Kind.JSONL,
    ".parquet": Kind.PARQUET,
    ".arrow": Kind.ARROW,
}
DOCUMENT_TYPES: Final = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
}
"""Suffixes of files that are one document each, and its media type."""
_COMPRESSED: Final = {".gz", ".zst", ".zstd"}
_MAGIC: Final = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_SKIPPABLE_FRAME: Final = b"\x2a\x4d\x18"  # behind a byte 0x50..0x5f: WARC files in zstd may begin with it
_REFUSED: Final = {
    b"\x04\x22\x4d\x18": "LZ4",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
KNOWN: Final = (
    ".warc, .wet, .arc, .jsonl (each also .gz or .zst), .parquet, .arrow, and documents: .html, .txt, .md"
)


class Entry(NamedTuple):
    """One file of a bundle."""

    name: bytes  # relative to the bundle's folder, as the file system has it
    size: int
    mtime_ns: int
    etag: str = ""


class Source(NamedTuple):
    """What is read under one number."""

    location: str  # absolute path or URL; of a bundle, its folder
    identity: Identity
    kind: Kind
    compression: Compression = Compression.NONE
    entries: tuple[Entry, ...] = ()  # of a bundle, in the order of their names

    @property
    def name(self) -> str:
        """The location as text: bytes that are no UTF-8 are shown as escapes."""
        return printable(self.location)


def bundle(folder: str, entries: Sequence[Entry]) -> Source:
    """Return the source that some files of a folder make: its identity is a hash over all of theirs."""
    ordered = tuple(sorted(entries))
    digest = hashlib.blake2b(digest_size=16)
    for name, size, mtime_ns, etag in ordered:
        digest.update(b"%b\0%d\0%d\0%b\0" % (name, size, mtime_ns, etag.encode()))
    newest = max(entry.mtime_ns for entry in ordered)
    identity = Identity(sum(entry.size for entry in ordered), newest, digest.hexdigest())
    return Source(folder, identity, Kind.FILES, entries=ordered)


def printable(location: str) -> str:
    """Return a path or URL as text that any encoding takes."""
    return os.fsencode(location).decode("utf-8", "backslashreplace")


def document_type(location: str) -> str:
    """Return the media type of a file that is one document; empty where it is none."""
    return DOCUMENT_TYPES.get(Path(location.lower()).suffix, "")


def identify(location: str) -> Identity | None:
    """Return what a file or object is now, or None where it has vanished (or is no regular file any more)."""
    if is_remote(location):
        return stat_remote(location)
    try:
        found = os.stat(location)  # noqa: PTH116 - a look at a million files: a Path costs twice the call
    except OSError:
        return None
    return Identity(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def inspect(location: str) -> Source:
    """Look at a file: identity, compression by its first bytes, kind by suffix and then by its first bytes.

    A file that is one document becomes a bundle of one. Raises `SourceError` where it cannot be read or is of
    no format that we know.
    """
    name = printable(location)
    try:
        if not is_remote(location) and not stat.S_ISREG(Path(location).stat().st_mode):
            raise SourceError(f"{name} is no regular file")
        with closing(open_stored(location)) as file:
            identity = file.found
            head = b"".join(file.stored(0, HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror or error}") from error
    if document_type(location):
        folder, _, own = location.rpartition("/")
        return bundle(folder or "/", [Entry(os.fsencode(own), *identity)])
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise SourceError(f"{name} is {what}; recompress it with gzip (known: {KNOWN})")
    compression = _compression(head)
    kind = _by_suffix(location) or _by_content(head, compression)
    if kind is None:
        raise SourceError(f"{name} is of no known format ({KNOWN})")
    return Source(location, identity, kind, compression)


def _compression(head: bytes) -> Compression:
    for magic, compression in _MAGIC.items():
        if head.startswith(magic):
            return compression
    if head[1:4] == _SKIPPABLE_FRAME and 0x50 <= head[0] <= 0x5F:
        return Compression.ZSTD
    return Compression.NONE


def _by_suffix(location: str) -> Kind | None:
    suffixes = Path(location.lower()).suffixes
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _by_content(head: bytes, compression: Compression) -> Kind | None:
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    text = _expanded(head, compression).removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"WARC/"):
        return Kind.WARC
    if text.startswith(b"filedesc:"):
        return Kind.ARC
    return Kind.JSONL if text.startswith(b"{") else None


def _expanded(head: bytes, compression: Compression) -> bytes:
    try:
        if compression is Compression.GZIP:
            return zlib.decompressobj(wbits=31).decompress(head, 1024)
        if compression is Compression.ZSTD:
            return zstandard.ZstdDecompressor().stream_reader(head).read(1024)
    except (zlib.error, zstandard.ZstdError):
        return b""
    return head
