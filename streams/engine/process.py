"""One server's process behind its guard: start, signal, reap, and find out why it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from streams import children
from streams.supervisor.child import rotate

GUARD: Final = Path(__file__).with_name("guard.py")
TAIL_BYTES: Final = 65536
QUOTED_LINES: Final = 4
_ERROR: Final = re.compile(r"\b\w*(?:Error|Exception)\b:|(?:^|\s)error:")
_PREFIX: Final = re.compile(r"^\((?:EngineCore|APIServer|Worker)[^)]*\)\s*(?:ERROR [\d: -]+\[[^\]]*\]\s*)?")
_NO_ERROR: Final = re.compile(r"^(?:DEBUG|INFO|WARNING)\b")


class ServerProcess:
    """At most one process at a time; its words are appended to a log that is kept small."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._guard: subprocess.Popen[bytes] | None = None
        self._begun_at = 0  # where its words begin in the log

    @property
    def pid(self) -> int:
        """Of the guard, which leads the process group; 0: there is none."""
        return self._guard.pid if self._guard is not None else 0

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start it. Raises `OSError` where not even that is possible."""
        self.rotate()
        with self.log.open("ab") as out:
            self._begun_at = out.tell()
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), *command],
                stdin=subprocess.PIPE,  # held by us alone: the guard sees it end when we do
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Return the exit code once it is gone (128 + N: by signal N); None as long as it runs."""
        if self._guard is None:
            return None
        # Unreaped, its number is still its own: no other group can be hit.
        if os.waitid(os.P_PID, self._guard.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        children.signal_group(self._guard.pid, signal.SIGKILL)  # also where the guard itself was killed
        return self._reap()

    def terminate(self) -> None:
        """Ask it to finish."""
        if self._guard is not None:
            self._guard.terminate()

    def kill(self) -> None:
        """End it and everything that it started; blocks for as long as the kernel needs."""
        if self._guard is None:
            return
        assert self._guard.stdin is not None
        self._guard.stdin.close()  # the guard ends every descendant, also those that left the group
        try:
            self._guard.wait(5.0)
        except subprocess.TimeoutExpired:
            children.signal_group(self._guard.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        assert self._guard is not None
        code = self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard = None
        return code if code >= 0 else 128 - code

    def rotate(self) -> None:
        """Keep the log small. Its writers append, so it may be cut under their feet."""
        before = _size(self.log)
        rotate(self.log)
        if _size(self.log) < before:
            self._begun_at = 0

    def last_words(self) -> str:
        """Return what it said about its end: its errors, else its last lines; one line, printable."""
        try:
            with self.log.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(self._begun_at, end - TAIL_BYTES))
                text = stream.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            text = ""
        return quoted(text) or "it said nothing"


def quoted(text: str) -> str:
    """Return the lines of a log that say why a server ended, each once."""
    lines = [_PREFIX.sub("", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    errors = list(dict.fromkeys(line for line in lines if _ERROR.search(line) and not _NO_ERROR.match(line)))
    # The first error is the cause; what follows is mostly what others say about it.
    chosen = [*errors[: QUOTED_LINES - 1], *errors[QUOTED_LINES - 1 :][-1:]] or lines[-QUOTED_LINES:]
    return " / ".join("".join(c if c.isprintable() else " " for c in line)[:300] for line in chosen)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
