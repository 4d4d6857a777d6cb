"""`engine_faults_accounted`: 5,000 segments through a model's stage while everything goes wrong at once.

The server answers 1 % of the calls with 500, 1 % with 429, never 0.5 % of them and 0.5 % with broken JSON; it
is killed once and started again, and once stopped (SIGSTOP, so that connections stand and nobody answers) and
let go. 20 segments are poisoned: refused for good. Counted: the share of the segments that end in exactly one
output, where all but the poisoned are pairs and just the poisoned are dead letters. Beside it, the calls that
were made again though their answer had been given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # first: tests/ has a `streams` too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.flow import filtered, read_lanes
from kit.model_flow import TEMPLATES, Server, matched, model, outputs, write
from kit.processes import Workers

from streams import generations
from streams.broker import Broker
from streams.positions import Kind
from streams.settings import load

LANES = 8
SEGMENTS = 5_000
POISONED = 20
AT_ONCE = 128
FAULTS = {
    "seed": 7,
    "shares": {"500": 0.01, "429": 0.01, "never": 0.005, "broken": 0.005},
    "retry_after": "0.05",
    "median_seconds": 0.05,
    "p99_seconds": 0.5,
}


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker, server, workers = Broker(folder / "broker", start_seconds=120), Server(), Workers(folder)
    try:
        broker.start()
        server.start(**FAULTS)
        settings = load(
            data_dir=folder,
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            pipeline={"lanes": LANES},
            instantiate={
                **model(server, timeout_seconds=3.0),
                "profile": "released",
                "segments_at_once": AT_ONCE,
            },
        )
        generation = generations.create(settings)
        every = SEGMENTS // POISONED
        poisoned = {divmod(n, SEGMENTS // LANES) for n in range(0, SEGMENTS, every)}
        for lane in range(LANES):
            values = [
                matched(lane, n, "[[400]]" if (lane, n) in poisoned else "", TEMPLATES[:1])
                for n in range(SEGMENTS // LANES)
            ]
            write(settings, generation, "matched", lane, values)
        worker = workers.run(settings, [sys.executable, "-m", "workers", "instantiate"])
        deadline = time.monotonic() + 600

        def wait(records: int) -> None:
            while outputs(settings, "instantiated") < records:
                assert worker.alive, worker.said()[-2000:]
                assert time.monotonic() < deadline, f"{outputs(settings, 'instantiated')} of {SEGMENTS}"
                time.sleep(0.2)

        wait(SEGMENTS // 4)
        asked = server.asked()
        server.kill()
        time.sleep(2.0)
        server.start(**FAULTS)
        wait(SEGMENTS // 2)
        assert server.popen is not None
        server.popen.send_signal(signal.SIGSTOP)
        time.sleep(8.0)
        server.popen.send_signal(signal.SIGCONT)
        wait(SEGMENTS)
        right = 0
        for lane, records in read_lanes(settings, "instantiated").items():
            for n, record in enumerate(filtered(records)):
                kind = Kind.DEAD if (lane, n) in poisoned else Kind.SEGMENT
                right += record.position.offset == n and record.header.kind is kind
        calls = (asked + server.asked()).total()
        figure = {
            "name": "engine_faults_accounted",
            "value": right / SEGMENTS,
            "unit": "share of segments",
            "goal": 1,
            "better": "higher",
            "baseline": f"{SEGMENTS} segments, {POISONED} poisoned; {calls} calls with retries",
            "met": right == SEGMENTS,
        }
        print(json.dumps(figure))
        return 0
    finally:
        workers.end()
        server.kill()
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
