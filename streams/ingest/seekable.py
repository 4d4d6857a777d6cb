"""A stored file as the seekable file that pyarrow wants.

Ranges go through `StoredFile.stored`, so that a remote object has its retries; pyarrow's own file systems
would read objects too, without them.
"""

from __future__ import annotations

import io

from streams.errors import SourceError
from streams.ingest.stored import StoredFile


class SeekableFile(io.RawIOBase):
    """Reads where it is told; knows what failed below pyarrow."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file, self._at = file, 0
        self.size = file.size
        self._failed: Exception | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, fewer only at the end."""
        left = max(self.size - self._at, 0)
        data = self.range(self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data

    def range(self, start: int, length: int) -> bytes:
        """Return a range, as far as the file has it. Raises what the store raises, and keeps it."""
        if start < 0 or length < 0:
            raise ValueError(f"{length} bytes at {start}")
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        try:
            pieces = list(self._file.stored(start, length))
        except Exception as error:
            self._failed = error
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check(self, name: str) -> None:
        """Raise `SourceError` where the disk or the network failed.

        To be asked when pyarrow raised: it has errors with an errno for bytes that are wrong, and tells
        another error than the one that it met here.
        """
        failed = self._failed
        if isinstance(failed, SourceError):
            raise failed
        if failed is not None:
            text = getattr(failed, "strerror", None) or failed
            raise SourceError(f"{name} cannot be read now: {text}; try again") from failed
