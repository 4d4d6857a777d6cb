"""A stage that asks a model, whole: consume, window, client, durable commit. Four figures.

- `engine_cpu_ms_per_call`: CPU of the worker for each call on 3.2 KB documents, 256 records at once, against
  a server that answers at once; `engine_vs_aiohttp`: the same over a bare aiohttp loop that makes the same
  calls (`engine_client` has that loop and its server).
- `window_vs_perfect`: under lognormal latency (median 100 ms, p99 2 s), calls answered a second over those of
  64 places that are never empty, while there is a backlog.
- `window_rss_growth`: how much the worker's memory grows from a fifth of the calls to their end.

Worker and server are processes of their own; the clock begins with the first outputs and ends before the
backlog does, so that neither start-up nor the last slow calls count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import engine_client as client_alone
import psutil
import uvloop
from kafka import TopicPartition

from streams import children, clients, generations
from streams.broker import Broker
from streams.positions import HEADER, Kind, LaneHeader, Origin, Position
from streams.records import Segment, encode
from streams.settings import Settings, load, to_environment

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

KIT = Path(__file__).parents[1] / "kit"
LANES = 8
AT_ONCE = 256
CALLS = 100_000
SLOW_AT_ONCE = 64
SLOW_CALLS = 12_000
ENOUGH = 0.9
"""Share of the calls up to which there is a backlog in all lanes."""
MEDIAN, P99 = 0.1, 2.0
SIGMA = math.log(P99 / MEDIAN) / 2.3263
GOAL_MS, GOAL_RATIO, GOAL_PERFECT, GOAL_GROWTH = 0.30, 2.5, 0.95, 0.05


def fill(settings: Settings, epoch: int, records: int) -> None:
    """Put 3.2 KB segments into `chunked`."""
    producer = clients.sync_producer(settings)
    for i in range(records // LANES):
        for lane in range(LANES):
            segment = Segment(
                document_id="d", index=0, count=1, start=0, url="http://example.org/", title="t",
                text=client_alone.DOCUMENT, language="en", language_score=1.0, tokens=800, tokenizer="none",
                content_hash=b"0" * 16,
            )  # fmt: skip
            origin = Origin(1, i * LANES + lane)
            header = LaneHeader(Kind.SEGMENT, epoch, 1, origin, origin, i, int(time.time() * 1000), 0, 0)
            producer.send(
                "chunked", key=Position(i, 0).pack(), value=encode(segment), partition=lane,
                headers=[(HEADER, header.pack())],
            )  # fmt: skip
    producer.flush()
    producer.close()


class Slow(client_alone.Echo):
    """Answers each request after its time."""

    draw = random.Random(2026)

    def reply(self) -> None:
        seconds = MEDIAN * math.exp(SIGMA * self.draw.gauss(0.0, 1.0))
        asyncio.get_running_loop().call_later(seconds, self.transport.write, self.answer)


class Run:
    """What one run of a worker showed."""

    def __init__(self, cpu_ms: float, per_second: float, growth: float) -> None:
        self.cpu_ms, self.per_second, self.growth = cpu_ms, per_second, growth


def run(server: list[str], calls: int, at_once: int) -> Run:
    """Let a worker ask a server about `calls` records."""
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker = Broker(folder, start_seconds=120)
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
            preexec_fn=children.die_with_parent(),  # noqa: PLW1509
        )  # fmt: skip
        processes.append(process)
        return process

    try:
        broker.start()
        settings = load(
            data_dir=folder,
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            pipeline={"lanes": LANES},
        )
        fill(settings, generations.create(settings).epoch, calls)
        answers = start(server)
        assert answers.stdout is not None
        url = f"http://127.0.0.1:{int(answers.stdout.readline())}/v1"
        worker = start(
            [sys.executable, str(KIT / "stages.py"), "ask"],
            **{**to_environment(settings), "ASK_URL": url, "ASK_AT_ONCE": str(at_once)},
        )
        return watch(settings, worker, calls)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def watch(settings: Settings, worker: subprocess.Popen[str], calls: int) -> Run:
    consumer = clients.sync_consumer(settings)
    tps = [TopicPartition("matched", lane) for lane in range(LANES)]
    watched, deadline = psutil.Process(worker.pid), time.monotonic() + 600

    def done() -> int:
        assert worker.poll() is None, "the worker died"
        assert time.monotonic() < deadline, "the worker hangs"
        return int(sum(consumer.end_offsets(tps).values()))

    def wait(records: float) -> tuple[int, float, float, int]:
        while (now := done()) < records:
            time.sleep(0.02)
        return now, sum(watched.cpu_times()[:2]), time.monotonic(), watched.memory_info().rss

    try:
        first = wait(2 * AT_ONCE)
        fifth = wait(calls / 5)
        last = wait(ENOUGH * calls)
    finally:
        consumer.close()
    n = last[0] - first[0]
    return Run((last[1] - first[1]) / n * 1000, n / (last[2] - first[2]), (last[3] - fifth[3]) / fifth[3])


def bare_ms() -> float:
    """Return CPU milliseconds a call of the bare loop."""
    server = subprocess.Popen(
        [sys.executable, client_alone.__file__, "serve"], stdout=subprocess.PIPE, text=True,
        preexec_fn=children.die_with_parent(),  # noqa: PLW1509
    )  # fmt: skip
    try:
        assert server.stdout is not None
        return uvloop.run(client_alone.bare(f"http://127.0.0.1:{int(server.stdout.readline())}/v1"))
    finally:
        server.kill()
        server.wait()


def figure(name: str, value: float, unit: str, goal: float | None, better: str, baseline: str) -> None:
    met = None if goal is None else (value <= goal if better == "lower" else value >= goal)
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "better": better,
                      "baseline": baseline, "met": met}), flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", choices=["slow"])
    if parser.parse_args().role == "slow":
        asyncio.run(client_alone.serve(Slow))
        return 0
    instant = run([sys.executable, client_alone.__file__, "serve"], CALLS, AT_ONCE)
    bare = statistics.median(bare_ms() for _ in range(3))
    beside = f"bare aiohttp loop: {bare:.3f} ms"
    unit = "ms CPU a call, durable commit included"
    figure("engine_cpu_ms_per_call", instant.cpu_ms, unit, GOAL_MS, "lower", beside)
    figure("engine_vs_aiohttp", instant.cpu_ms / bare, "ratio of CPU a call", GOAL_RATIO, "lower", beside)
    slow = run([sys.executable, __file__, "slow"], SLOW_CALLS, SLOW_AT_ONCE)
    perfect = SLOW_AT_ONCE / (MEDIAN * math.exp(SIGMA**2 / 2))
    beside = f"{SLOW_AT_ONCE} places never empty: {perfect:.0f} calls/s"
    unit = "share of perfect concurrency"
    figure("window_vs_perfect", slow.per_second / perfect, unit, GOAL_PERFECT, "higher", beside)
    beside = f"memory at a fifth of {CALLS} calls"
    figure("window_rss_growth", instant.growth, "share of the worker's memory", GOAL_GROWTH, "lower", beside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
