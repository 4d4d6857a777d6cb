"""`vllm_vs_own_client`: calls a second that our stage gets out of a vLLM, beside vLLM's own `bench serve`.

A tiny random Llama on this machine's CPU, kept by `finestream engine`; the same prompts (the instantiator's
for the released student) held to the same JSON schema, the same 32 tokens an answer, the same number of calls
at once, in turns: the whole stage (consume, window, client, durable commit), our client alone, theirs. Theirs
streams its answers, as it always does; ours takes them whole. The machine's cores are shared by server,
broker and client, so whoever costs more gets less out of it. A round before the first fills the server's
caches for all. The figure is the ratio of the medians of stage and theirs.

Needs vLLM's environment, which `finestream engine` makes on first use (some 6 GB).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from kafka import TopicPartition

sys.path.append(str(Path(__file__).parents[1]))
from kit import tiny_model
from kit.flow import write_lane
from kit.processes import Worker, wait_for

from streams import children, clients, generations
from streams.broker import Broker
from streams.broker.probe import free_port
from streams.engine import Environment, read_state
from streams.positions import Kind, LaneHeader, Origin, Position
from streams.records import Candidate, MatchedSegment, Segment, encode
from streams.settings import Settings, load, to_environment
from streams.settings.engines import EngineSettings
from workers.engines.language.instantiator import instantiator
from workers.engines.openai import Client, JsonSchema, Message, Request, Sampling

RECORDS = 200
TEMPLATES = (
    "What is <fi>a thing</fi>?",
    "How do I use <fi>a tool</fi> well?",
    "Tell me about <fi>a name</fi>.",
)
CALLS = RECORDS * len(TEMPLATES)
LANES = 4
ROUNDS = 3
CONCURRENCY = 64
TOKENS = 32
GOAL = 0.95
START_SECONDS = 400
BENCH = f"""
import json, sys
import vllm.benchmarks.serve as bench
from vllm.benchmarks.datasets import SampleRequest
from vllm.utils.argparse_utils import FlexibleArgumentParser
prompts = json.loads(open(sys.argv.pop()).read())
bench.get_samples = lambda *_: [
    SampleRequest(it, len(it), {TOKENS}, request_id=str(i)) for i, it in enumerate(prompts)
]
parser = FlexibleArgumentParser()
bench.add_cli_args(parser)
bench.main(parser.parse_args())
"""
"""What `vllm bench serve` does: its script looks for a distribution called vllm, its reader for pandas."""
PROFILE = instantiator("released")
SCHEMA = msgspec.json.encode(PROFILE.schema)


def matched(number: int) -> MatchedSegment:
    segment = Segment(
        document_id=f"d{number}", index=0, count=1, start=0, url="http://x/", title="",
        text=f"{number} " + "A page of some crawl, with its words as they come. " * 8,
        language="en", language_score=1.0, tokens=100, tokenizer="none", content_hash=b"%016d" % number,
    )  # fmt: skip
    candidates = [
        Candidate(template_id=f"t{i}", template=template, similarity=0.5, embedding=i)
        for i, template in enumerate(TEMPLATES)
    ]
    return MatchedSegment(segment=segment, bank="test", encoder="none", candidates=candidates)


SEGMENTS = [matched(number) for number in range(RECORDS)]
PROMPTS = [PROFILE.prompt(it.segment, one).messages[0].content for it in SEGMENTS for one in it.candidates]


class Stage:
    """An instantiate worker on lanes of its own, ready and without work."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.epoch = generations.create(settings).epoch
        self.worker = Worker(settings, [sys.executable, "-m", "workers", "instantiate"], log)
        self.written = 0
        self.consumer = clients.sync_consumer(settings)
        self.outputs = [TopicPartition("instantiated", lane) for lane in range(LANES)]
        wait_for(lambda: self.worker.metrics().get("finestream_lanes_open") == LANES, self.worker)

    def run(self) -> float:
        """Return its calls a second, from the first input to the last committed output."""
        values = [encode(it) for it in SEGMENTS]
        now = int(time.time() * 1000)
        began = time.monotonic()
        for lane in range(LANES):
            records = []
            for i, value in enumerate(values[lane::LANES], self.written):
                origin = Origin(1, i * LANES + lane)
                header = LaneHeader(Kind.SEGMENT, self.epoch, 1, origin, origin, i, now, 0, 0)
                records.append((Position(i, 0), header, value))
            write_lane(self.settings, "matched", lane, records)
        self.written += RECORDS // LANES
        whole = self.written * LANES
        wait_for(lambda: sum(self.consumer.end_offsets(self.outputs).values()) >= whole, self.worker, 300)
        return CALLS / (time.monotonic() - began)


def client(url: str) -> float:
    """Return the calls a second of our client alone."""

    async def run() -> float:
        sampling = Sampling(temperature=0.0, max_tokens=TOKENS, schema=JsonSchema("answer", SCHEMA))
        async with Client(EngineSettings.model_validate(asking(url))) as it:
            began = time.monotonic()
            todo = iter(PROMPTS)

            async def worker() -> None:
                for prompt in todo:
                    done = await it.complete(Request((Message("user", prompt),), sampling, seed=0))
                    assert done.completion_tokens == TOKENS

            await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
            return CALLS / (time.monotonic() - began)

    return uvloop.run(run())


def asking(url: str) -> dict:
    # The limit is fixed, like theirs.
    return {
        "urls": [url], "concurrency": CONCURRENCY, "fit_concurrency": False, "max_tokens": TOKENS,
        "extra": {"ignore_eos": True},
    }  # fmt: skip


def theirs(url: str, model: Path, folder: Path) -> float:
    """Return vLLM's own client's requests a second."""
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps(PROMPTS))
    form = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": PROFILE.schema},
    }
    command = [
        str(Environment("cpu").python), "-c", BENCH,
        "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
        "--base-url", url.removesuffix("/v1"), "--model", "default", "--tokenizer", str(model),
        "--num-prompts", str(CALLS),
        "--max-concurrency", str(CONCURRENCY), "--ignore-eos", "--temperature", "0", "--disable-tqdm",
        "--extra-body", json.dumps({"seed": 0, "response_format": form}),
        "--save-result", "--result-dir", str(folder), "--result-filename", "theirs.json",
        str(prompts),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**children.clean_environment(), "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=children.die_with_parent(),
    )
    if done.returncode:
        sys.exit(f"vLLM's client failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    result = json.loads((folder / "theirs.json").read_text())
    assert result["completed"] == CALLS
    assert result["total_output_tokens"] == CALLS * TOKENS
    return result["request_throughput"]


def ready(engine: subprocess.Popen[bytes], settings: Settings, log: Path) -> None:
    """Wait until the engine's server generates."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = read_state(settings.data_dir)
        if state and state.pid == engine.pid and state.servers[0].state == "ready":
            return
        if engine.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"no vLLM:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def figure(stage: list[float], alone: list[float], others: list[float]) -> dict:
    ours, own, bare = (statistics.median(them) for them in (stage, others, alone))
    said = f"vllm bench serve: {own:.1f} a second; the stage {ours:.1f}, our client alone {bare:.1f}"
    ratio = round(ours / own, 3)
    return {
        "name": "vllm_vs_own_client",
        "value": ratio,
        "unit": f"calls a second of the stage over theirs, {CONCURRENCY} at once",
        "goal": GOAL,
        "better": "higher",
        "baseline": said,
        "met": ratio >= GOAL,
        "stage": [round(it, 1) for it in stage],
        "client": [round(it, 1) for it in alone],
        "theirs": [round(it, 1) for it in others],
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_model.make(folder / "model")
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1"
        broker = Broker(folder / "broker", start_seconds=120)
        broker.start()
        settings = load(
            data_dir=folder / "data",
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            pipeline={"lanes": LANES},
            serve={"model": str(model), "device": "cpu", "port": port, "cpu_cache_gigabytes": 1},
            instantiate={"engine": "openai", "profile": "released", "model": asking(url)},
        )
        log = folder / "engine.log"
        with log.open("wb") as out:
            engine = subprocess.Popen(
                [sys.executable, "-m", "streams.engine"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=children.clean_environment() | to_environment(settings) | {"PYTHONUNBUFFERED": "1"},
                preexec_fn=children.die_with_parent(),  # noqa: PLW1509
            )
        worker: Worker | None = None
        stage: list[float] = []
        alone: list[float] = []
        others: list[float] = []
        try:
            ready(engine, settings, log)
            lanes = Stage(settings, folder / "worker.log")
            worker = lanes.worker
            lanes.run()
            for _ in range(ROUNDS):
                stage.append(lanes.run())
                alone.append(client(url))
                others.append(theirs(url, model, folder))
                print(
                    f"stage {stage[-1]:.1f}, client {alone[-1]:.1f}, theirs {others[-1]:.1f} a second",
                    file=sys.stderr,
                )
        finally:
            engine.send_signal(signal.SIGTERM)
            try:
                engine.wait(30)
            except subprocess.TimeoutExpired:
                os.kill(engine.pid, signal.SIGKILL)
            if worker is not None:
                worker.kill()
            broker.stop()
    print(json.dumps(figure(stage, alone, others)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
