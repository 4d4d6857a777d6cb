"""The handle of a supervisor: start one, find one, wait until all is well, kill a slot, stop it.

Everything goes through the kernel and `processes.json`, so a handle made in another process, or after the
first one is gone, is as good as the one that started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from streams import children
from streams.broker import jars_folder, located, prepare
from streams.broker.jars import Progress
from streams.errors import FinestreamError
from streams.settings import Settings, to_environment
from streams.supervisor import health
from streams.supervisor.plan import Plan, write_plan
from streams.supervisor.state import Process, State, read_state, running_state

POLL_SECONDS = 0.1
DEATHS_TOLERATED = 3
"""Of one slot while we wait for health: then its own last words are the better answer."""


class Supervisor:
    """One supervisor of one data directory, running or not.

    With `attached`, it ends (in order, broker last) when the thread that called `start` does: for the demo
    and tests. Otherwise it outlives us. As a context manager it is stopped at the end.
    """

    def __init__(self, settings: Settings, plan: Plan | None = None, *, attached: bool = False) -> None:
        self.data_dir = settings.data_dir.expanduser().absolute()
        self._settings = settings.model_copy(update={"data_dir": self.data_dir})
        self._plan = plan or Plan()
        self._attached = attached
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        """The settings with the port that the broker really has."""
        return located(self._settings)

    @property
    def log_file(self) -> Path:
        """What the supervisor itself says."""
        return self.data_dir / "logs" / "supervisor.log"

    def state(self) -> State | None:
        """Return how everything stands; None where no supervisor runs."""
        if self._process is not None:
            self._process.poll()  # a dead child of ours must not linger
        return running_state(self.data_dir)

    def processes(self) -> list[Process]:
        """Return the slots, the broker among them; empty where no supervisor runs."""
        state = self.state()
        return state.processes if state else []

    def start(self, *, progress: Progress | None = None, say: Callable[[str], None] | None = None) -> bool:
        """Start it; return False where one runs on this data directory already.

        Fetches the broker's jars first where they are missing (`progress`, `say`). Returns before anything
        is healthy. Raises `BrokerError` where the jars or the folder can't be had.
        """
        if self.state() is not None:
            return False
        if self._settings.embedded:
            prepare(jars_folder(self._settings.broker.jars_dir), progress=progress, say=say)
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            plan = write_plan(self.data_dir, self._plan)
            out = self.log_file.open("ab")
        except OSError as error:
            raise FinestreamError(
                f"{self.data_dir} can't be written ({error.strerror}); choose another with --data-dir"
            ) from error
        with out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams.supervisor", "--plan", str(plan)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=children.clean_environment() | to_environment(self._settings),
                start_new_session=True,
                preexec_fn=children.die_with_parent(signal.SIGTERM) if self._attached else None,  # noqa: PLW1509
            )
        return True

    def wait_healthy(self, seconds: float = 120.0, say: Callable[[str], None] | None = None) -> State:
        """Wait until the broker serves, every process answers and every stage holds all its lanes.

        Raises what the supervisor gave up for, or the last words of a slot that dies again and again, or,
        after `seconds`, what is still missing.
        """
        deadline = time.monotonic() + seconds
        before: dict[str, int] | None = None
        said = ""
        while True:
            state = self.state()
            if state is None:
                if self._process is None or self._process.poll() is not None:
                    raise self._failure()
                missing = ["the supervisor is starting"]
            else:
                missing = health.problems(state, health.scrape_all(state))
                if not missing:
                    return state
                if before is None:
                    before = {process.slot: process.restarts for process in state.processes}
                for process in state.processes:
                    if process.restarts - before.setdefault(process.slot, 0) >= DEATHS_TOLERATED:
                        raise FinestreamError(
                            f"{process.slot} dies again and again: {health.last_words(process)}"
                        )
            if say is not None and missing[0] != said:
                said = missing[0]
                say(said)
            if time.monotonic() > deadline:
                raise FinestreamError(f"not healthy within {seconds:.0f} s: {'; '.join(missing)}")
            time.sleep(POLL_SECONDS)

    def kill(self, slot: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a slot's present process (the broker's: `broker`); return its pid.

        Raises `KeyError` for a slot that there isn't, `ProcessLookupError` where it has no process now.
        """
        state = self.state()
        pid = state.process(slot).pid if state else 0
        if not pid:
            raise ProcessLookupError(f"{slot} has no process")
        os.kill(pid, how)
        return pid

    def stop(self, seconds: float | None = None) -> bool:
        """Stop everything in order; return whether something ran. Bounded: then all is killed, and said."""
        state = self.state()
        if state is None:
            if self._process is not None:  # it may not have come as far as its lock
                self._process.terminate()
                self._process.wait()
            return False
        if seconds is None:
            seconds = self._settings.runner.drain_seconds + 75
        os.kill(state.pid, signal.SIGTERM)
        if not self._gone(state.pid, seconds):
            os.kill(state.pid, signal.SIGKILL)  # its children go with it
            self._gone(state.pid, 10)
            raise FinestreamError(
                f"it did not stop within {seconds:.0f} s and was killed; see {self.log_file}"
            )
        return True

    def _gone(self, pid: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (state := self.state()) is not None and state.pid == pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS / 2)
        return True

    def _failure(self) -> FinestreamError:
        state = read_state(self.data_dir)
        ours = state is not None and self._process is not None and state.pid == self._process.pid
        if state is None or state.failure is None or not ours:
            return FinestreamError(f"the supervisor is gone; its log is {self.log_file}")
        error = FinestreamError(state.failure.message)
        error.exit_code = state.failure.exit_code
        return error
