"""How the demo says where it stands: a bar on a terminal, a plain line now and then elsewhere. On stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from streams.drained import Progress

PLAIN_SECONDS: Final = 10.0
"""Between two plain lines."""


class Display:
    """Plain lines, and the base of the bar. A context manager."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._said_at = 0.0

    def flow(self, at: Progress, sizes: Mapping[str, int]) -> None:
        """Show how far the documents are, and how many records each topic holds."""
        if time.monotonic() - self._said_at >= PLAIN_SECONDS:
            self._said_at = time.monotonic()
            self.say(f"{at.done} of {at.total} documents are through ({_sizes(sizes)})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""


class Bar(Display):
    """A bar over the documents. What is said meanwhile is printed above it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        from rich.console import Console  # noqa: PLC0415 - not for those without a terminal
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
        from rich.progress import Progress as Columns  # noqa: PLC0415

        super().__init__(self._above)
        self._say = say
        self._columns: Any = Columns(
            TextColumn("documents"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[sizes]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._columns.add_task("", total=None, sizes="")

    def flow(self, at: Progress, sizes: Mapping[str, int]) -> None:
        """Move the bar."""
        self._columns.update(self._task, completed=at.done, total=at.total, sizes=_sizes(sizes))

    def _above(self, text: str) -> None:
        self._columns.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._columns.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._columns.stop()


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())
