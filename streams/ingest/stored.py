"""The bytes of a source as they are stored: a local file, or an object behind a URL read by ranges.

Readers see one interface. A remote object is read in blocks, the next one fetched while the last is parsed,
and a request that fails is repeated: a night's crawl must not end at a connection that was reset. The
buffered files that fsspec offers would be less code, but leave neither the retries nor short answers to us.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, TypeVar

from streams.errors import SourceError, SourceUnavailable

T = TypeVar("T")
PIECE_BYTES: Final = 1 << 20
BLOCK_BYTES: Final = 8 << 20
"""Of one range request."""
TRIES: Final = 6
"""Of one request; with the pauses between them about a minute."""
_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 20.0
_WORTH_A_RETRY: Final = frozenset({408, 425, 429})
_HTTP_OPTIONS: Final = {
    # As stored: a server that labels a .gz as a content encoding must not have it undone on the way.
    "headers": {"Accept-Encoding": "identity"},
    "client_kwargs": {"auto_decompress": False},
}


_VERSIONS: Final = ("ETag", "etag", "Content-MD5", "content-md5", "generation", "Last-Modified")
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated", "created")
"""As the stores of fsspec name them."""


class Identity(NamedTuple):
    """Tells two states of a file or object apart."""

    size: int  # bytes
    mtime_ns: int  # 0 where the store tells none
    etag: str = ""  # of an object, where the store tells one


class StoredFile(Protocol):
    """An open source."""

    found: Identity
    """What it was when it was opened."""
    size: int
    """Bytes, as the store says; never what was read."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; empty at the end. Raise `OSError` with an errno."""

    def tell(self) -> int:
        """Return how many bytes `read` has given out."""

    def stored(self, start: int, length: int) -> Iterator[bytes]:
        """Yield a range, wherever `read` stands."""

    def identity(self) -> Identity | None:
        """Return what the file is now; None where it has gone."""

    def close(self) -> None:
        """Let it go."""


class LocalFile:
    """A file on this machine, open once: its name may come to mean another while it is read."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close
        self.found = self.identity()
        self.size = self.found.size
        self.read, self.tell = self._file.read, self._file.tell  # no call in between: readers ask often

    def stored(self, start: int, length: int) -> Iterator[bytes]:
        """Yield a range of the file."""
        end, fd = start + length, self._file.fileno()
        while start < end and (piece := os.pread(fd, min(PIECE_BYTES, end - start), start)):
            start += len(piece)
            yield piece

    def identity(self) -> Identity:
        """Return the state of the open file, whatever its name means by now."""
        found = os.fstat(self._file.fileno())
        return Identity(found.st_size, found.st_mtime_ns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RemoteFile:
    """An object behind a URL that fsspec knows."""

    def __init__(
        self, url: str, *, block_bytes: int = BLOCK_BYTES, pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._url, self._block_bytes, self._pause = url, block_bytes, pause_seconds
        self._store, self._path = store_of(url)
        self.found = self._asked(lambda: identity_of_info(self._info()))
        self.size = self.found.size
        self._block, self._used = b"", 0  # what was fetched, and how much of that was given out
        self._at = 0  # how much was given out in all
        self._fetched = 0  # up to where blocks were asked for
        self._next: Future[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetch")

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`."""
        if self._used == len(self._block):
            if self._next is None:
                self._ask_next()
            if self._next is None:
                return b""
            self._block, self._used = self._next.result(), 0
            self._ask_next()
        piece = self._block[self._used : self._used + size] if size >= 0 else self._block[self._used :]
        self._used += len(piece)
        self._at += len(piece)
        return piece

    def tell(self) -> int:
        """Return how many bytes `read` has given out."""
        return self._at

    def stored(self, start: int, length: int) -> Iterator[bytes]:
        """Yield a range of the object."""
        end = min(start + length, self.size)
        while start < end:
            piece = self._range(start, min(start + self._block_bytes, end))
            start += len(piece)
            yield piece

    def identity(self) -> Identity | None:
        """Ask the store for the object's state."""
        try:
            return self._asked(lambda: identity_of_info(self._info()))
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Drop what is being fetched."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask_next(self) -> None:
        start, end = self._fetched, min(self._fetched + self._block_bytes, self.size)
        self._fetched = end
        self._next = self._thread.submit(self._range, start, end) if start < end else None

    def _range(self, start: int, end: int) -> bytes:
        def ask() -> bytes:
            piece: bytes = self._store.cat_file(self._path, start=start, end=end)
            if len(piece) > end - start:
                raise SourceError(
                    f"{self._url}: the server sends the whole object where a range is asked for; "
                    "copy the object to a disk or a store that serves ranges"
                )
            if len(piece) < end - start:
                raise ConnectionError(f"{len(piece)} bytes where {end - start} were asked for")
            return piece

        return self._asked(ask)

    def _info(self) -> dict[str, Any]:
        self._store.invalidate_cache()
        info: dict[str, Any] = self._store.info(self._path)
        return info

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask the store, again where the network or the server failed. Raises `SourceError` in the end."""
        for number in range(1, TRIES + 1):
            try:
                return ask()
            except SourceError:
                raise
            except FileNotFoundError as error:
                if _said_gone(error):
                    raise
                self._wait(number, error.__cause__ or error)
            except PermissionError as error:
                raise SourceError(
                    f"{self._url}: access was refused ({error}); set the credentials in the environment"
                ) from error
            except Exception as error:  # noqa: BLE001 - each store has its own; none of them voids a record
                self._wait(number, error)
        raise AssertionError

    def _wait(self, number: int, error: BaseException) -> None:
        """Wait before the next try, or raise `SourceError` where it was the last or another is in vain."""
        status = getattr(error, "status", 0)
        final = 400 <= status < 500 and status not in _WORTH_A_RETRY
        if number == TRIES or final:
            raise (SourceError if final else SourceUnavailable)(
                f"{self._url} cannot be read now: {type(error).__name__} {error}; try again"
            ) from error
        pause = min(self._pause * 2 ** (number - 1), _LONGEST_PAUSE_SECONDS)
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _said_gone(error: FileNotFoundError) -> bool:
    """Whether the store itself said so: fsspec's HTTP calls whatever goes wrong a missing file."""
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return True
    return getattr(cause, "status", 0) in {404, 410}


def is_remote(location: str) -> bool:
    """Whether a location is a URL and no path."""
    scheme, found, _ = location.partition("://")
    return bool(found) and scheme.isascii() and scheme.replace("+", "").isalnum()


def open_stored(location: str) -> StoredFile:
    """Open a path or URL. Raises `OSError` where a file cannot be opened, `SourceError` for a store."""
    return RemoteFile(location) if is_remote(location) else LocalFile(location)


def stat_remote(url: str) -> Identity | None:
    """Return the state of an object; None where there is none."""
    try:
        file = RemoteFile(url)
    except FileNotFoundError:
        return None
    file.close()
    return file.found


def store_of(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it. Raises `SourceError`."""
    import fsspec  # noqa: PLC0415 - half a second that local files need not pay

    try:
        options = _HTTP_OPTIONS if url.startswith(("http://", "https://")) else {}
        store, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise SourceError(f"{url}: {error}") from error
    return store, path


def identity_of_info(info: dict[str, Any]) -> Identity:
    """Read a state from what a store says of an object. Raises `SourceError` where it tells no size."""
    size = info.get("size")
    if size is None or info.get("type") == "directory":
        raise SourceError(f"{info.get('name')}: the server does not tell its size; copy it to a disk first")
    etag = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    changed = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return Identity(int(size), int(changed * 1e9) if isinstance(changed, int | float) else 0, etag.strip('"'))
