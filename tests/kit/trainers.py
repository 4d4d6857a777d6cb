"""Trainer processes for tests: forked from a server that has torch loaded, so that a kill costs no import."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.errors import FinestreamError
from streams.settings import Settings

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["kit.trainers", "trainer.run", "transformers.models.llama.modeling_llama"])


def small(**more: Any) -> dict[str, Any]:
    """Trainer settings that make many short steps of a small model, on one thread."""
    return {
        "sequence_tokens": 32,
        "batch_sequences": 4,
        "threads": 1,
        "warmup_steps": 5,
        "heldout_pairs": 8,
        **more,
    }


class TrainerProcess:
    """One `trainer.run.train` in a process of its own."""

    def __init__(self, settings: Settings, out: Path, **arguments: Any) -> None:
        self._out = out
        self.process = _CONTEXT.Process(target=_child, args=(settings, out, arguments), daemon=True)
        self.process.start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def join(self, seconds: float = 120) -> int:
        """Wait for its end; return the exit code."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"trainer did not end in {seconds} s"
        return self.process.exitcode

    def report(self) -> dict[str, Any]:
        """Wait for its end and return what it reported."""
        code = self.join()
        words = self.words()
        assert code == 0, f"exit code {code}: {words}"
        return json.loads(self._out.read_text())

    def words(self) -> str:
        """What it said on stderr."""
        path = self._out.with_suffix(".err")
        return path.read_text() if path.exists() else ""


def _child(settings: Settings, out: Path, arguments: dict[str, Any]) -> None:
    from trainer.run import train

    # Unbuffered, and by descriptor, so that the words of a killed process are there too.
    os.dup2(os.open(out.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    os.dup2(2, 1)
    out.unlink(missing_ok=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        report = train(settings, stop=stop, **arguments)
    except FinestreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)
    except BaseException:  # noqa: BLE001 - whatever it is, the test shall see it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)
    out.write_text(json.dumps(dataclasses.asdict(report)))
    os._exit(0)


def weights(settings: Settings, run: str = "") -> dict[str, bytes]:
    """The tensors of a run's newest checkpoint, by file."""
    folder = max((settings.data_dir / "checkpoints" / (run or settings.trainer.run)).glob("step-*-????"))
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer", "other")}


def ticks(seconds: float) -> Iterator[None]:
    """Yield every few milliseconds until the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.003)
