"""How a process of ours logs: one line an event, UTC, on stderr; the supervisor keeps it in a file a slot."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import Any, TextIO, cast

import structlog


class _NeverFails(io.TextIOBase):
    """stderr, where a full disk loses a line of the log instead of the process that wrote it."""

    def write(self, text: str, /) -> int:
        """Write if that is possible."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: int = logging.INFO) -> None:
    """Set up structlog and the libraries' loggers. Call once, at a process's start."""
    terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=terminal)
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _NeverFails())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=_NeverFails(),
        level=logging.WARNING,
        format="timestamp=%(asctime)s level=%(levelname)s logger=%(name)s event=%(message)r",
    )
