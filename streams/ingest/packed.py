"""A stored file with its own compression taken off: plain, gzip members or zstd frames behind one interface.

FastWARC's readers do the work, bounded (windows of more than 128 MiB are refused). Whether the file ends in a
whole member is found out apart from them: they end a gzip file that was cut without an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, cast

from fastwarc.stream_io import GzipReader, ZstdReader

from streams.ingest import bounded
from streams.ingest.source import Compression
from streams.ingest.stored import StoredFile
from streams.ingest.zstd_frames import FrameWalk, check_dictionary


class _WalkedFile:
    """What the zstd reader reads from; walks along the frames."""

    def __init__(self, file: StoredFile) -> None:
        self._file, self._refusal = file, check_dictionary(file)
        self.walk = FrameWalk()
        self.tell = file.tell

    def read(self, size: int = -1, /) -> bytes:
        if self._refusal:
            raise OSError(self._refusal)
        piece = self._file.read(size)
        self.walk.feed(piece)
        return piece


class Packed:
    """A file that is read once, from its begin.

    `stream` is what to read, `read` its method: up to so many bytes, empty at the end; a piece may hold the
    bytes of several members. Both raise `OSError`, without an errno where the bytes are wrong.
    """

    frame: Callable[[], int]
    """Return the offset of the member of the byte read last; 0 for a plain file."""

    def __init__(self, file: StoredFile, compression: Compression) -> None:
        self._file = file
        self._walk: FrameWalk | None = None
        self.compressed = compression is not Compression.NONE and file.size > 0
        self.stream = cast("BinaryIO", file)
        if not self.compressed:
            self.frame = int
        elif compression is Compression.GZIP:
            self._over(GzipReader(self.stream))
        else:
            walked = _WalkedFile(file)
            self._walk = walked.walk
            self._over(ZstdReader(cast("BinaryIO", walked)))
        self.read: Callable[[int], bytes] = self.stream.read

    def _over(self, reader: GzipReader | ZstdReader) -> None:
        self.stream = cast("BinaryIO", reader)
        position = reader.frame_start_position
        self.frame = lambda: position() or 0

    def ends_whole(self) -> bool:
        """Whether the last member is closed. To be asked once all was read; True for a plain file."""
        if not self.compressed:
            return True
        if self._walk is not None:
            return self._walk.closed
        return bounded.ends_in_whole_member(self._file, self.frame(), self._file.size)

    def cut(self) -> bool:
        """Whether an error that reading just raised is the file's end within a member."""
        walk = self._walk
        return walk is not None and not walk.closed and not walk.lost and self._file.tell() >= self._file.size
