"""One slot's process: start it with its log and its port, notice its death, start it again with a pause.

A death is answered at once; only a process that dies young, again and again, is made to wait, twice as long
each time up to 10 s, so that a broken setting doesn't eat the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from streams import children
from streams.broker.probe import free_port, port_free
from streams.supervisor.plan import Slot
from streams.supervisor.state import Process

YOUNG_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
LOG_BYTES: Final = 10 * 1024 * 1024
LOGS_KEPT: Final = 2

log = structlog.get_logger("supervisor")


def pause_seconds(young_deaths: int) -> float:
    """Return how long to wait before the next start: 0, 0.5, 1, 2, 4, 8, 10, 10 … seconds."""
    if young_deaths <= 1:
        return 0.0
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(young_deaths - 2, 30), LONGEST_PAUSE_SECONDS)


class Child:
    """The process in a slot. Use it from one thread that lives as long as the supervisor."""

    def __init__(self, slot: Slot, environment: Mapping[str, str], logs: Path, first_port: int = 0) -> None:
        self.slot = slot
        self.process = Process(role=slot.role, slot=slot.name, log=str(logs / f"{slot.name}.log"))
        self._environment = dict(environment)
        self._log = logs / f"{slot.name}.log"
        self._popen: subprocess.Popen[bytes] | None = None
        self._port = first_port
        self._born = 0.0
        self._young_deaths = 0
        self._due = 0.0  # monotonic; when it may be started again

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        return self._popen is not None

    def start(self) -> None:
        """Start the process; where even that fails (no space, no memory), try again like after a death."""
        try:
            self._start()
        except OSError as error:
            self._postpone(time.monotonic())
            self.process.reason = str(error)
            log.warning("not started", slot=self.slot.name, error=str(error))
        else:
            log.info("started", slot=self.slot.name, pid=self.process.pid, restarts=self.process.restarts)

    def _start(self) -> None:
        if self.slot.metrics and not (self._port and port_free(self._port)):
            self._port = free_port()
        self.rotate()
        with self._log.open("ab") as out:
            self._popen = subprocess.Popen(
                self.slot.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self._environment, "FINESTREAM_METRICS__PORT": str(self._port)},
                start_new_session=True,  # a group of its own: Ctrl-C is ours to pass on
                preexec_fn=children.die_with_parent(),  # noqa: PLW1509 - we start from one thread
            )
        self._born = time.monotonic()
        self.process.state, self.process.reason = "running", ""
        self.process.pid = self._popen.pid
        self.process.started_at = time.time()
        self.process.metrics_port = self._port if self.slot.metrics else 0

    def watch(self) -> bool:
        """Reap the process if it died, start it again when that is due; return whether anything changed."""
        changed = False
        if self._popen is not None and (code := self._exit_code()) is not None:
            self._bury(code, time.monotonic())
            changed = True
        if self.process.state == "waiting" and time.monotonic() >= self._due:
            self.process.restarts += 1
            self.start()
            changed = True
        return changed

    def _exit_code(self) -> int | None:
        """Return the exit code once it is dead, after ending what it had started itself."""
        assert self._popen is not None
        pid = self._popen.pid
        # Unreaped, its number is still its own: no other group can be hit.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        children.signal_group(pid, signal.SIGKILL)
        return self._popen.wait()

    def _bury(self, code: int, now: float) -> None:
        lived = now - self._born
        self._popen = None
        self.process.last_exit, self.process.pid = code, 0
        if code == 0 and self.slot.restart == "failure":
            self.process.state = "done"
            log.info("done", slot=self.slot.name, seconds=round(lived, 1))
            return
        if lived >= YOUNG_SECONDS:
            self._young_deaths = 0
        pause = self._postpone(now)
        log.warning("died", slot=self.slot.name, exit=code, lived=round(lived, 1), pause=pause)

    def _postpone(self, now: float) -> float:
        self._young_deaths += 1
        pause = pause_seconds(self._young_deaths)
        self._due = now + pause
        self.process.state = "waiting"
        return pause

    def terminate(self) -> None:
        """Ask it to finish what is in flight and go."""
        if self._popen is not None:
            self._popen.terminate()

    def reap(self, *, kill: bool) -> bool:
        """Return whether it is gone; `kill` makes it so."""
        if self._popen is not None:
            if kill:
                self._popen.kill()
                os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
            code = self._exit_code()
            if code is None:
                return False
            self._popen = None
            self.process.last_exit = code
        if self.process.state != "done":
            self.process.state = "stopped"
        self.process.pid = 0
        return True

    def rotate(self) -> None:
        """Keep the log small. Its writer appends, so it may be cut under its feet."""
        rotate(self._log)


def rotate(path: Path, limit_bytes: int = LOG_BYTES, kept: int = LOGS_KEPT) -> None:
    """Move a log that is too long to `.1`, `.1` to `.2`, and empty it in place."""
    try:
        if path.stat().st_size <= limit_bytes:
            return
        for i in range(kept, 1, -1):
            older = path.with_name(f"{path.name}.{i - 1}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{i}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as stream:
            stream.truncate(0)
    except FileNotFoundError:
        return
    except OSError as error:  # a full disk must not stop what the supervisor is for
        log.warning("log not rotated", file=str(path), error=str(error))
