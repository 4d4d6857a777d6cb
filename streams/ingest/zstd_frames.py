"""The frames of a zstd file, walked by their block headers: is the last closed, is its dictionary bounded.

libzstd is not asked: a reader that ends a cut file without an error must be found out by somebody else. The
walk decompresses nothing and costs some microseconds a frame.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import zstandard

from streams.ingest.stored import StoredFile

MAX_DICTIONARY_BYTES: Final = 16 * 1024 * 1024
"""Expanded. Trained ones have some 100 KB; libraries read what is here whole."""
_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = 0x184D2A50
"""To 0x184D2A5F: a frame that decoders pass over."""
_DICTIONARY: Final = 0x184D2A5D
"""Of WARC files in zstd (IIPC's proposal): the first frame holds the dictionary of all the others."""
_RLE, _RESERVED = 1, 3
_DICTIONARY_ID_BYTES: Final = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)


class FrameHeader(NamedTuple):
    """What comes before a frame's blocks."""

    length: int  # bytes
    checksum: int  # bytes behind the last block
    is_skipped: bool = False
    skipped: int = 0  # bytes that follow then


def frame_header(data: bytes, at: int, start: int) -> FrameHeader | None:
    """Read the header at `at`, of which 8 bytes must be there; None where it is none.

    `start` is its offset in the file: raises `OSError` (without a number: it is about content) for a
    dictionary in the middle. A file has one, at its begin, where it was checked.
    """
    magic = int.from_bytes(data[at : at + 4], "little")
    if magic == _MAGIC:
        flags = data[at + 4]
        single, content = flags >> 5 & 1, _CONTENT_SIZE_BYTES[flags >> 6]
        length = 5 + (not single) + _DICTIONARY_ID_BYTES[flags & 3] + (content or single)
        return FrameHeader(length, 4 if flags & 4 else 0)
    if magic & ~0xF == _SKIPPABLE:
        if magic == _DICTIONARY and start:
            raise OSError("a dictionary in the middle of the file")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        return FrameHeader(8, 0, is_skipped=True, skipped=size)
    return None


def block_header(data: bytes, at: int) -> tuple[int, bool]:
    """Return the stored bytes of a block behind its header of three, and whether it is the frame's last.

    Raises `OSError` for a reserved type.
    """
    head = int.from_bytes(data[at : at + 3], "little")
    kind = head >> 1 & 3
    if kind == _RESERVED:
        raise OSError("a block of a reserved type")
    return 1 if kind == _RLE else head >> 3, bool(head & 1)


class FrameWalk:
    """Follows the frames of a file whose bytes are given piece by piece."""

    def __init__(self) -> None:
        self._carry = b""  # the begin of a header
        self._skip = 0  # bytes of a block or frame still to come
        self._blocks = False  # whether a block header comes next
        self._checksum = 0  # bytes behind the last block
        self._walked = 0  # bytes before the piece at hand and its carry
        self.lost = False
        """What is no frame was met."""

    @property
    def closed(self) -> bool:
        """Whether all frames so far are complete."""
        return not (self._carry or self._skip or self._blocks or self.lost)

    def feed(self, piece: bytes) -> None:  # noqa: C901 - one loop: small pages have many frames
        """Walk on. Raises `OSError` (without a number: it is about content) for a dictionary in the middle.

        A file has one dictionary, at its begin, where it was checked.
        """
        if self.lost:
            return
        data = self._carry + piece if self._carry else piece
        at, length, skip, blocks = 0, len(data), self._skip, self._blocks
        while True:
            if skip:
                if skip > length - at:
                    skip -= length - at
                    at = length
                    break
                at += skip
                skip = 0
            left = length - at
            if blocks:
                if left < 3:
                    break
                skip, last = block_header(data, at)
                at += 3
                if last:
                    blocks = False
                    skip += self._checksum
                continue
            if left < 8:  # the shortest frame is longer
                break
            header = frame_header(data, at, self._walked + at)
            if header is None:
                self.lost = True
                break
            if left < header.length:
                break
            at += header.length
            skip, blocks, self._checksum = header.skipped, not header.is_skipped, header.checksum
        self._carry, self._skip, self._blocks = data[at:], skip, blocks
        self._walked += at


def check_dictionary(file: StoredFile) -> str:
    """Say what is wrong with the dictionary that a file begins with; empty where nothing is, or none is."""
    try:
        read_dictionary(file)
    except OSError as error:
        if error.errno is not None:
            raise
        return str(error)
    return ""


def read_dictionary(file: StoredFile) -> bytes:
    """Return the dictionary that a file begins with, expanded; empty where there is none.

    Raises `OSError` where it is longer than one may be, or broken.
    """
    head = b"".join(file.stored(0, 8))
    if len(head) < 8 or int.from_bytes(head[:4], "little") != _DICTIONARY:
        return b""
    size = int.from_bytes(head[4:], "little")
    if size > MAX_DICTIONARY_BYTES:
        raise OSError(f"a dictionary of {size} bytes")
    stored = b"".join(file.stored(8, size))
    if int.from_bytes(stored[:4], "little") != _MAGIC:
        return stored
    try:
        expander = zstandard.ZstdDecompressor(max_window_size=2 * MAX_DICTIONARY_BYTES)
        expanded = expander.stream_reader(stored).read(MAX_DICTIONARY_BYTES + 1)
    except zstandard.ZstdError as error:
        raise OSError(f"an unreadable dictionary: {error}") from error
    if len(expanded) > MAX_DICTIONARY_BYTES:
        raise OSError("a dictionary that expands without end")
    return expanded
