"""The bytes of a gzip or zstd file for parsers of our own, member by member: no piece holds bytes of two.

FastWARC's readers give pieces that cross members, and a member that turns out broken then takes the good ones
before it along. These cost some microseconds more a member and lose nothing but the broken one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import zstandard

from streams.ingest.source import Compression
from streams.ingest.stored import StoredFile
from streams.ingest.zstd_frames import block_header, frame_header, read_dictionary

_INPUT_BYTES: Final = 32 * 1024
MAX_WINDOW_BYTES: Final = 128 * 1024 * 1024
"""Of a zstd frame, as the command line tool has it: what asks for more is refused."""
_MAX_BLOCK_BYTES: Final = 128 * 1024 + 16
_MIN_HEADER_BYTES: Final = 8


class _Reader(Protocol):
    member: int
    closed: bool

    def read(self, size: int, /) -> bytes: ...


class Members:
    """A file that is read once, from its begin; plain ones too.

    `read` gives up to so many bytes, nothing at the end; it raises `OSError`, without an errno where the
    bytes are wrong.
    """

    def __init__(self, file: StoredFile, compression: Compression) -> None:
        self.compressed = compression is not Compression.NONE and file.size > 0
        self._reader: _Reader | None = None
        if self.compressed:
            gzip = compression is Compression.GZIP
            self._reader = _GzipMembers(file) if gzip else _ZstdFrames(file)
        self.read: Callable[[int], bytes] = self._reader.read if self._reader else file.read

    def frame(self) -> int:
        """Return the offset of the member that the last piece is from; 0 for a plain file."""
        return self._reader.member if self._reader else 0

    def ends_whole(self) -> bool:
        """Whether the last member is closed, once all was read; True for a plain file."""
        return self._reader is None or self._reader.closed

    def cut(self) -> bool:
        """Whether the error that reading just raised is the file's end: these end without one."""
        return False


class _GzipMembers:
    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._data = b""  # read and not yet inflated
        self._inflater = zlib.decompressobj(wbits=31)
        self.member = 0  # offset of the one at hand
        self.closed = True  # whether it is complete, or none was begun

    def read(self, size: int, /) -> bytes:
        while True:
            if not self._data:
                self._data = self._file.read(_INPUT_BYTES)
                if not self._data:
                    return b""
            if self.closed:
                self.member = self._file.tell() - len(self._data)
                self._inflater = inflater = zlib.decompressobj(wbits=31)
                self.closed = False
            else:
                inflater = self._inflater
            try:
                piece = inflater.decompress(self._data, size)
            except zlib.error as error:
                raise OSError(str(error)) from error
            self.closed = inflater.eof
            self._data = inflater.unused_data if self.closed else inflater.unconsumed_tail
            if piece:
                return piece


class _ZstdFrames:
    """Feeds libzstd block by block: a block expands to 128 KiB at most, whatever the frame may claim."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._data, self._at = b"", 0  # what was read, and how much of it is used
        self._piece = b""  # what was expanded and not given out
        self._refusal = ""
        try:
            dictionary = read_dictionary(file)
            shared = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
            self._zstd = zstandard.ZstdDecompressor(dict_data=shared, max_window_size=MAX_WINDOW_BYTES)
        except (OSError, ValueError, zstandard.ZstdError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            self._refusal = str(error)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._checksum = 0
        self.member = 0
        self.closed = True

    def read(self, size: int, /) -> bytes:
        while not self._piece:
            if self._refusal:
                raise OSError(self._refusal)
            if not (self._block() if self._frame else self._begin()):
                return b""
        piece, self._piece = self._piece[:size], self._piece[size:]
        return piece

    def _begin(self) -> bool:
        """Go into the next frame, or past one that is skipped; False at the file's end."""
        if not self._have(_MIN_HEADER_BYTES):
            self.closed = self._at == len(self._data)
            return False
        start = self._file.tell() - len(self._data) + self._at
        header = frame_header(self._data, self._at, start)
        if header is None:
            self.member = start
            raise OSError("no frame begins where one should")
        if not self._have(header.length):
            self.member, self.closed = start, False
            return False
        if header.is_skipped:
            self.closed = False
            left = header.length + header.skipped
            while left:
                if not self._have(1):
                    self.member = start
                    return False
                step = min(left, len(self._data) - self._at)
                self._at += step
                left -= step
            self.closed = True
            return True
        self.member, self.closed, self._checksum = start, False, header.checksum
        self._frame = self._zstd.decompressobj()
        self._expand(header.length)
        return True

    def _block(self) -> bool:
        if not self._have(3):
            return False
        length, last = block_header(self._data, self._at)
        length += 3 + (self._checksum if last else 0)
        if length > _MAX_BLOCK_BYTES:
            raise OSError("a block that is too long")
        if not self._have(length):
            return False
        self._expand(length)
        if last:
            self._frame, self.closed = None, True
        return True

    def _expand(self, length: int) -> None:
        assert self._frame is not None
        part = self._data[self._at : self._at + length]
        self._at += length
        try:
            self._piece = self._frame.decompress(part)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error

    def _have(self, length: int) -> bool:
        """Read until so many bytes are at hand; False where the file ends before."""
        while len(self._data) - self._at < length:
            more = self._file.read(_INPUT_BYTES)
            if not more:
                return False
            self._data, self._at = self._data[self._at :] + more, 0
        return True
