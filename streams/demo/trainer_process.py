"""The demo's trainer: one `python -m trainer --until-drained`, whose report is its answer.

It is a child of the demo and not of the supervisor: it must begin after the ingest, since an empty pipeline
is drained, and it ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from streams import children
from streams.errors import FinestreamError
from streams.settings import Settings, to_environment


class TrainerProcess:
    """Started at once; dies with us. Use it from the thread that made it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "trainer", "--until-drained", "--format", "json"]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
                env=children.clean_environment() | to_environment(settings),
                start_new_session=True,  # Ctrl-C is ours to pass on
                preexec_fn=children.die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one thread
            )

    @property
    def pid(self) -> int:
        """Its process number; 0 once it has ended."""
        return self._process.pid if self._process.poll() is None else 0

    def report(self) -> dict[str, Any]:
        """Return what it reported; wait until it has ended. Raises `FinestreamError` where it failed."""
        out, _ = self._process.communicate()
        if self._process.returncode:
            code = self._process.returncode
            error = FinestreamError(
                f"the trainer failed (exit {code}): {self._last_words()} (log: {self._log})"
            )
            error.exit_code = code if 0 < code < 5 else 1
            raise error
        try:
            found: dict[str, Any] = json.loads(out)
        except ValueError as error:
            raise FinestreamError(f"the trainer's report cannot be read (log: {self._log})") from error
        return found

    def stop(self) -> None:
        """End it if it still runs: it saves a checkpoint when it is asked, and is killed when it won't go."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _last_words(self) -> str:
        lines = self._log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"
