"""`vllm_vs_own_client`: calls a second that our client gets out of a vLLM, beside vLLM's own `bench serve`.

A tiny random Llama on this machine's CPU, kept by `finestream engine`; the same prompts, the same 32 tokens
an answer, the same number of calls at once, in turns: ours, theirs, ours, theirs. Both are asked for chat
completions; theirs streams its answers, as it always does, ours takes them whole, as the stages do. The
machine's cores are shared by server and client, so a client that costs more gets less out of it. A round
before the first fills the server's caches for both. The figure is the ratio of the medians.

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

import uvloop

sys.path.append(str(Path(__file__).parents[1]))
from kit import tiny_model

from streams import children
from streams.broker.probe import free_port
from streams.engine import Environment, read_state
from streams.settings import Settings, load, to_environment
from streams.settings.engines import EngineSettings
from workers.engines.openai import Client, Message, Request, Sampling

CALLS = 600
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
PROMPTS = [f"{i} " + "A page of some crawl, with its words as they come. " * 8 for i in range(CALLS)]


def ours(url: str) -> float:
    """Return our calls a second."""

    async def run() -> float:
        # Its limit is fixed, like theirs.
        settings = EngineSettings(
            urls=(url,), concurrency=CONCURRENCY, fit_concurrency=False, extra={"ignore_eos": True}
        )
        sampling = Sampling(temperature=0.0, max_tokens=TOKENS)
        async with Client(settings) as client:
            began = time.monotonic()
            todo = iter(PROMPTS)

            async def worker() -> None:
                for prompt in todo:
                    done = await client.complete(Request((Message("user", prompt),), sampling, seed=0))
                    assert done.completion_tokens == TOKENS

            await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
            return CALLS / (time.monotonic() - began)

    return uvloop.run(run())


def theirs(url: str, model: Path, folder: Path) -> float:
    """Return vLLM's own client's requests a second."""
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps(PROMPTS))
    command = [
        str(Environment("cpu").python), "-c", BENCH,
        "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
        "--base-url", url.removesuffix("/v1"), "--model", "default", "--tokenizer", str(model),
        "--num-prompts", str(CALLS),
        "--max-concurrency", str(CONCURRENCY), "--ignore-eos", "--temperature", "0", "--disable-tqdm",
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


def ready(engine: subprocess.Popen[bytes], settings: Settings, log: Path) -> str:
    """Wait until the engine's server generates; return its URL."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = read_state(settings.data_dir)
        if state and state.pid == engine.pid and state.servers[0].state == "ready":
            return state.servers[0].url
        if engine.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"no vLLM:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def figure(mine: list[float], others: list[float]) -> dict:
    mine_, others_ = statistics.median(mine), statistics.median(others)
    ratio = round(mine_ / others_, 3)
    return {
        "name": "vllm_vs_own_client",
        "value": ratio,
        "unit": f"calls a second over theirs, {CONCURRENCY} at once",
        "goal": GOAL,
        "better": "higher",
        "baseline": f"vllm bench serve: {others_:.1f} a second; ours {mine_:.1f}",
        "met": ratio >= GOAL,
        "ours": [round(it, 1) for it in mine],
        "theirs": [round(it, 1) for it in others],
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_model.make(folder / "model")
        settings = load(
            data_dir=folder / "data",
            serve={"model": str(model), "device": "cpu", "port": free_port(), "cpu_cache_gigabytes": 1},
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
        try:
            url = ready(engine, settings, log)
            ours(url)
            mine: list[float] = []
            others: list[float] = []
            for _ in range(ROUNDS):
                mine.append(ours(url))
                others.append(theirs(url, model, folder))
                print(f"ours {mine[-1]:.1f}, theirs {others[-1]:.1f} a second", file=sys.stderr)
        finally:
            engine.send_signal(signal.SIGTERM)
            try:
                engine.wait(30)
            except subprocess.TimeoutExpired:
                os.kill(engine.pid, signal.SIGKILL)
    print(json.dumps(figure(mine, others)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
