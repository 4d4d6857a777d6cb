"""`stage_passthrough_us`: CPU of a worker process for each 1 KB record that its stage only copies.

The whole frame is in it: Faust's consumer, decoding, the window, encoding, sending, the broker's answer,
the commit. Beside it `stage_passthrough_vs_aiokafka`: the same over a plain aiokafka consume-and-produce
loop that keeps no order, filters nothing and decodes nothing. Both run in processes of their own, in
turns, on the same broker; the median of the rounds counts. Start-up is left out: the clock begins with the
first output.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from kafka import TopicPartition

from streams import clients, generations, topics
from streams.broker import Broker
from streams.positions import HEADER, Kind, LaneHeader, Origin, Position
from streams.records import Segment, encode
from streams.settings import Settings, load, to_environment

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

KIT = Path(__file__).parents[1] / "kit"
RECORDS = 40_000
ROUNDS = 3
GOAL_US = 150
LANES = 8


def fill(settings: Settings, epoch: int) -> None:
    """Put 1 KB segments into `chunked`, as a chunk worker would."""
    segment = encode(
        Segment(
            document_id="d",
            index=0,
            count=1,
            start=0,
            url="http://example.org/",
            title="t",
            text="word " * 170,
            language="en",
            language_score=1.0,
            tokens=200,
            tokenizer="none",
            content_hash=b"0" * 16,
        )
    )
    producer = clients.sync_producer(settings)
    for i in range(RECORDS // LANES):
        for lane in range(LANES):
            origin = Origin(1, i * LANES + lane)
            header = LaneHeader(Kind.SEGMENT, epoch, 1, origin, origin, i, int(time.time() * 1000), 0, 0)
            producer.send(
                "chunked",
                key=Position(i, 0).pack(),
                value=segment,
                partition=lane,
                headers=[(HEADER, header.pack())],
            )
    producer.flush()
    producer.close()


async def plain_loop(settings: Settings, target: str) -> None:
    """The least that consumes and produces: no order, no filter, no decoding."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    common = clients.common(settings)
    producer = AIOKafkaProducer(
        **common, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=2
    )
    consumer = AIOKafkaConsumer("chunked", **common, group_id=f"plain.{target}", auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=500)).items():
            sent = [
                await producer.send(
                    target, r.value, key=r.key, partition=tp.partition, headers=list(r.headers)
                )
                for r in records
            ]
            await asyncio.gather(*sent)


def cost_us(settings: Settings, command: list[str], target: str, environment: dict[str, str]) -> float:
    """Return CPU microseconds a record of a process from its first output to its last."""
    consumer = clients.sync_consumer(settings)
    tps = [TopicPartition(target, lane) for lane in range(LANES)]
    base = sum(consumer.end_offsets(tps).values())
    process = subprocess.Popen(
        command, env={**os.environ, **to_environment(settings), **environment}, stdout=2
    )
    try:
        watched, deadline = psutil.Process(process.pid), time.monotonic() + 180

        def done() -> int:
            assert process.poll() is None, "the process died"
            assert time.monotonic() < deadline, "the process hangs"
            return int(sum(consumer.end_offsets(tps).values())) - base

        while not done():
            time.sleep(0.01)
        begun, before = done(), sum(watched.cpu_times()[:2])
        while (now := done()) < RECORDS:
            time.sleep(0.05)
        return (sum(watched.cpu_times()[:2]) - before) / (now - begun) * 1e6
    finally:
        process.kill()
        process.wait()
        consumer.close()


def round_of(folder: Path) -> tuple[float, float]:
    """Measure both on a broker of their own."""
    broker = Broker(folder, start_seconds=120)
    try:
        broker.start()
        settings = load(
            data_dir=folder,
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            match={"batch_records": 256},
            pipeline={"lanes": LANES},
        )
        generation = generations.create(settings)
        topics.create(settings, {"plain": (LANES, {})})
        fill(settings, generation.epoch)
        ours = cost_us(settings, [sys.executable, str(KIT / "stages.py"), "pass"], "matched", {})
        plain = cost_us(settings, [sys.executable, __file__, "plain"], "plain", {})
        print(f"ours {ours:.1f} us, plain aiokafka {plain:.1f} us", file=sys.stderr)
        return ours, plain
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    if sys.argv[1:] == ["plain"]:
        asyncio.run(plain_loop(load(), "plain"))
    rounds = [round_of(Path(tempfile.mkdtemp(prefix="finestream-bench-"))) for _ in range(ROUNDS)]
    ours, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
    figures = [
        {
            "name": "stage_passthrough_us",
            "value": round(ours, 1),
            "unit": "us CPU a 1 KB record",
            "goal": GOAL_US,
            "better": "lower",
            "baseline": "the prototype of the runner: 180 us",
            "met": ours <= GOAL_US,
        },
        {
            "name": "stage_passthrough_vs_aiokafka",
            "value": round(ours / plain, 2),
            "unit": "ratio of CPU a record",
            "goal": None,
            "better": "lower",
            "baseline": f"plain aiokafka consume and produce: {plain:.1f} us",
            "met": None,
        },
    ]
    print("\n".join(map(json.dumps, figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
