"""A progress bar over the bytes of all sources, on a terminal only; elsewhere the same calls do nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from streams.ingest.source import Source


class Progress:
    """Silent progress, and the base of what shows something. A context manager."""

    def begin(self, source: Source) -> None:
        """Begin a source."""

    def at(self, position: int, documents: int) -> None:
        """Say how far into the current source it is: bytes as stored, documents so far."""

    def end(self) -> None:
        """End the current source, however far it got."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""


class Bar(Progress):
    """A bar on stderr: bytes, documents and megabytes a second. None: nobody knows how much it will be."""

    def __init__(self, total_bytes: int | None) -> None:
        from rich.console import Console  # noqa: PLC0415 - not for those without a terminal
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as Columns  # noqa: PLC0415

        self._began = time.monotonic()
        self._before = 0  # bytes of the sources that are over
        self._documents_before = 0
        self._size = 0
        self._documents = 0
        self._columns: Any = Columns(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=False),
            TextColumn("{task.fields[documents]:,} documents, {task.fields[rate]:.1f} MB/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._columns.add_task("", total=total_bytes, documents=0, rate=0.0)

    def begin(self, source: Source) -> None:
        """Show the name of a source."""
        self._size = source.identity.size
        name = source.name.rpartition("/")[2]
        # File names are data: no control characters, no markup.
        shown = "".join(c if c.isprintable() else "?" for c in name)
        self._columns.update(self._task, description=shown[-40:])

    def at(self, position: int, documents: int) -> None:
        """Move the bar."""
        self._documents = documents
        completed = self._before + min(position, self._size)
        rate = completed / max(time.monotonic() - self._began, 1e-3) / 1e6
        self._columns.update(
            self._task, completed=completed, documents=self._documents_before + documents, rate=rate
        )

    def end(self) -> None:
        """Count the source as done with."""
        self._before += self._size
        self._documents_before += self._documents
        self._size = self._documents = 0
        self._columns.update(self._task, completed=self._before)

    def __enter__(self) -> Self:
        self._columns.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._columns.stop()


def for_terminal(total_bytes: int | None) -> Progress:
    """Return a bar where stderr is a terminal, else silence."""
    return Bar(total_bytes) if sys.stderr.isatty() else Progress()
