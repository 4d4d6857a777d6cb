"""Worker processes as a test holds them: started with their settings, signalled, asked for metrics, awaited.

None outlives the test: the kernel kills them with the thread that started them, and `Workers.end` before.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streams import children
from streams.broker.probe import free_port
from streams.settings import Settings, to_environment

KIT = Path(__file__).parent


class Worker:
    """One process of a scripted stage (`kind` of stages.py), or of any command."""

    def __init__(
        self, settings: Settings, command: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.log = log
        self.began = time.monotonic()
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={
                    **children.clean_environment(),
                    **to_environment(settings),
                    "FINESTREAM_METRICS__PORT": str(self.port),
                    "PYTHONFAULTHANDLER": "",
                    **(environment or {}),
                },
                start_new_session=True,
                preexec_fn=children.die_with_parent(),  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, how: signal.Signals) -> None:
        self._popen.send_signal(how)

    def kill(self) -> None:
        """SIGKILL, with everything that it started; returns when it is gone."""
        if self.alive:
            children.signal_group(self.pid, signal.SIGKILL)
            self._popen.wait()

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; return the exit code."""
        self.send(signal.SIGTERM)
        return self.exit_code(seconds)

    def exit_code(self, seconds: float = 60) -> int:
        """Wait until it ends by itself."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s:\n{self.said()[-3000:]}") from None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        """Scrape it (once it serves): sample name and the labels that tell its series apart, to the value."""
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
                break
            except OSError:
                assert self.alive, f"it died:\n{self.said()[-3000:]}"
                assert time.monotonic() < deadline, f"no metrics:\n{self.said()[-3000:]}"
                time.sleep(0.05)
        out: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = [v for k, v in sample.labels.items() if k not in {"stage", "mode", "le"}]
                name = " ".join([sample.name, *labels])
                out[name] = out.get(name, 0) + sample.value
        return out


class Workers:
    """All processes of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._made: list[Worker] = []

    def start(self, settings: Settings, kind: str, slot: str | None = None, **environment: str) -> Worker:
        """Start a scripted stage."""
        command = [sys.executable, str(KIT / "stages.py"), kind, *([slot] if slot else [])]
        return self.run(settings, command, **environment)

    def run(self, settings: Settings, command: list[str], **environment: str) -> Worker:
        """Start any command."""
        log = self._folder / f"worker-{next(self._numbers)}.log"
        worker = Worker(settings, command, log, environment)
        self._made.append(worker)
        return worker

    def end(self) -> None:
        """Kill what is left."""
        for worker in self._made:
            worker.kill()

    def said(self) -> str:
        """Everything that any of them wrote, for the report of a failed test."""
        return "\n".join(f"--- {worker.log.name}\n{worker.said()[-2000:]}" for worker in self._made)


def wait_for(condition: Callable[[], Any], worker: Worker, seconds: float = 60, what: str = "") -> Any:
    """Wait for a condition while a worker lives; its death ends the wait with its last words."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert worker.alive, f"the worker died while {what or 'waiting'}:\n{worker.said()[-3000:]}"
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{worker.said()[-3000:]}"
        time.sleep(0.05)
    return value
