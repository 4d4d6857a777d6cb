"""Sources: local files given by path or glob, what identifies them, and what format they have.

The name is the absolute path, the identity its size and modification time: a file that changed under its
name is another source. A hash of the content would be stronger but costs reading every file twice.
"""

from __future__ import annotations

import enum
import glob
import os
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from streams.errors import SourceError


class Kind(enum.StrEnum):
    """What the records of a file are."""

    WARC = "warc"
    JSONL = "jsonl"


_SUFFIXES: Final = {
    ".warc": Kind.WARC,
    ".wet": Kind.WARC,
    ".wat": Kind.WARC,
    ".jsonl": Kind.JSONL,
    ".ndjson": Kind.JSONL,
    ".jsonlines": Kind.JSONL,
}
_GZIP: Final = b"\x1f\x8b"
_REFUSED: Final = {
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
KNOWN: Final = ".warc, .warc.gz, .jsonl, .jsonl.gz"


class Identity(NamedTuple):
    """Tells two states of a file apart."""

    size: int  # bytes
    mtime_ns: int


class Source(NamedTuple):
    """A file to read."""

    path: str  # absolute
    identity: Identity
    kind: Kind
    compressed: bool

    @property
    def name(self) -> str:
        """The path as text: bytes that are no UTF-8 are shown as escapes."""
        return printable(self.path)


def printable(path: str) -> str:
    """Return a path as text that any encoding takes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def expand(inputs: Iterable[str]) -> list[str]:
    """Return the absolute paths that paths and globs (`**` too) name: sorted, each once.

    Raises `SourceError` for a name that matches no file.
    """
    paths: set[str] = set()
    for text in inputs:
        found = _matches(text)
        files = [path for path in found if not path.is_dir()]
        if not files and found:
            example = printable(str(Path(text) / "**" / "*.warc.gz"))
            raise SourceError(f"{printable(text)} is a directory; name its files, e.g. '{example}'")
        if not files:
            raise SourceError(f"no file matches {printable(text)!r}")
        # Not resolve(): a link that is turned to another file is another state of the same name.
        paths.update(os.path.abspath(path) for path in files)  # noqa: PTH100
    return sorted(paths)


def _matches(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if os.path.lexists(path):  # a file may be called `a[1].warc.gz`: what exists is meant literally
        return [path]
    return [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - takes absolute ones


def identify(path: str) -> Identity | None:
    """Return a file's identity now, or None where it has vanished (or is no regular file any more)."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return Identity(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def identity_of_open(file: BinaryIO) -> Identity:
    """Return the identity of an open file, whatever its path means by now."""
    found = os.fstat(file.fileno())
    return Identity(found.st_size, found.st_mtime_ns)


def inspect(path: str) -> Source:
    """Look at a file: identity, compression by its first bytes, kind by suffix and then by its first bytes.

    Raises `SourceError` where it cannot be read or is of no format that we know.
    """
    name = printable(path)
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise SourceError(f"{name} is no regular file")
        with Path(path).open("rb") as file:
            identity = identity_of_open(file)
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}") from error
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise SourceError(f"{name} is {what}; recompress it with gzip (known: {KNOWN})")
    compressed = head.startswith(_GZIP)
    kind = _by_suffix(path) or _by_content(head, compressed)
    if kind is None:
        arc = "; it is ARC, the format before WARC: convert it, e.g. with `warcio recompress`"
        seen = _inflate(head) if compressed else head
        raise SourceError(
            f"{name} is of no known format ({KNOWN}){arc if seen.startswith(b'filedesc:') else ''}"
        )
    return Source(path, identity, kind, compressed)


def open_source(source: Source) -> BinaryIO | None:
    """Open a source unbuffered; None where it has vanished or is no longer what it was."""
    try:
        file = Path(source.path).open("rb", buffering=0)  # noqa: SIM115 - the caller's
    except OSError:
        return None
    if identity_of_open(file) != source.identity:
        file.close()
        return None
    return file


def _by_suffix(path: str) -> Kind | None:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _by_content(head: bytes, compressed: bool) -> Kind | None:
    text = (_inflate(head) if compressed else head).removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"WARC/"):
        return Kind.WARC
    return Kind.JSONL if text.startswith(b"{") else None


def _inflate(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 1024)
    except zlib.error:
        return b""
