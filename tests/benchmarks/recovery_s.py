"""`recovery_s`: kill -9 of a chunk worker that holds lanes of 48, until each of its lanes moves again.

Two ways back: `recovery_restart_s`, the slot is started anew under its static member id (the supervisor's
command, at once); `recovery_takeover_s`, nobody restarts it and the other worker takes its lanes when the
session ends. For a model stage the load time of its
model comes on top of a restart (not of a take-over): measured and printed beside.

Documents flow into all lanes the whole time; a lane moves again with its first output after the kill.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "kit"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from flow import RawWriter
from kafka import TopicPartition

from streams import clients, generations
from streams.broker import Broker
from streams.settings import Settings, load, to_environment

LANES = 48
ROUNDS = 3
GOALS = {"recovery_restart_s": 4.0, "recovery_takeover_s": 8.0}
TEXT = (
    b"The river rises in the hills and flows past the old town to the sea, where boats wait for the tide. "
    * 4
)


class Feed(threading.Thread):
    """Writes a document into every lane ten times a second."""

    def __init__(self, settings: Settings, generation: generations.Generation, source: int) -> None:
        super().__init__(daemon=True)
        self._writer = RawWriter(settings, generation, source)
        self.end = threading.Event()

    def run(self) -> None:
        n = 0
        while not self.end.wait(0.1):
            for lane in range(LANES):
                n += 1
                self._writer.write(lane, TEXT + str(n).encode())
            self._writer.flush()


class Ends:
    """The end offsets of `chunked`."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = clients.sync_consumer(settings)
        self._tps = [TopicPartition("chunked", lane) for lane in range(LANES)]

    def now(self) -> list[int]:
        ends = self._consumer.end_offsets(self._tps)
        return [ends[tp] for tp in self._tps]

    def wait_all_move(self, since: list[int], seconds: float, lanes: set[int]) -> dict[int, float]:
        """Return when each lane first went past `since`, in seconds from now."""
        began, moved = time.monotonic(), {}
        while len(moved) < len(lanes):
            assert time.monotonic() - began < seconds, f"only {len(moved)} of {len(lanes)} lanes moved"
            for lane, end in enumerate(self.now()):
                if lane in lanes and lane not in moved and end > since[lane]:
                    moved[lane] = time.monotonic() - began
            time.sleep(0.02)
        return moved


def start(settings: Settings, slot: str | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workers", "chunk", *(("--slot", slot) if slot else ())]
    environment = {**os.environ, **to_environment(settings)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def recovery(settings: Settings, ends: Ends, *, restart: bool) -> tuple[float, float]:
    """Return the seconds until the killed worker's lanes all moved, and the longest stall of the others."""
    slots = ["bench-0", "bench-1"] if restart else [None, None]
    workers = [start(settings, slot) for slot in slots]
    everything = set(range(LANES))
    try:
        time.sleep(12)  # both have joined and the lanes are shared
        ends.wait_all_move(ends.now(), 60, everything)
        workers[0].kill()
        workers[0].wait()
        since = ends.now()
        if restart:
            workers[0] = start(settings, slots[0])
        moved = ends.wait_all_move(since, 60, everything)
        times = sorted(moved.values())
        return times[-1], statistics.median(times)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def load_seconds(settings: Settings) -> float:
    """Return how long a model stage takes to open, in a process of its own."""
    code = (
        "import time\nt = time.monotonic()\nfrom workers.__main__ import stage_class\n"
        "from streams.settings import load\nstage = stage_class('match')(load())\nstage.open()\n"
        "print(time.monotonic() - t)"
    )
    environment = {**os.environ, **to_environment(settings)}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(out.stdout.split()[-1])


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker = Broker(folder, start_seconds=120)
    try:
        broker.start()
        settings = load(
            data_dir=folder, kafka={"bootstrap_servers": broker.bootstrap_servers}, pipeline={"lanes": LANES}
        )
        generation = generations.create(settings)
        ends = Ends(settings)
        feed = Feed(settings, generation, 1)
        feed.start()
        loading = load_seconds(settings)
        for name, restart in (("recovery_restart_s", True), ("recovery_takeover_s", False)):
            found = [recovery(settings, ends, restart=restart) for _ in range(ROUNDS)]
            print(name, [tuple(round(x, 2) for x in one) for one in found], file=sys.stderr)
            value = statistics.median(all_moved for all_moved, _ in found)
            start_of = "a Python start, about 1 s idle" if restart else "the broker's session time-out, 6 s"
            figure = {
                "name": name,
                "value": round(value, 2),
                "unit": "s until all 48 lanes move",
                "goal": GOALS[name],
                "better": "lower",
                "baseline": start_of,
                "met": value <= GOALS[name],
                "model_stage_s": round(value + (loading if restart else 0), 2),
                "model_load_s": round(loading, 2),
            }
            print(json.dumps(figure), flush=True)
        feed.end.set()
        return 0
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
