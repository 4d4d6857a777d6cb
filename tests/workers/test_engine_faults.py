"""2,000 calls over two servers with everything that goes wrong at once: each is accounted for.

The servers are processes: one is killed with SIGKILL under its calls and started again, the other stopped
with SIGSTOP, so that the kernel accepts connections and nobody ever answers.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

from kit.engine import chat, client, run, until

from streams import children
from streams.errors import Broken, Refused

SERVER = Path(__file__).parents[1] / "kit" / "fault_server.py"
SHARES = {"500": 0.01, "429": 0.01, "never": 0.005, "broken": 0.005}
CALLS = 2_000


class Process:
    """A fault server as a process."""

    def __init__(self, port: int = 0) -> None:
        faults = {
            "seed": 7,
            "shares": SHARES,
            "retry_after": "0.05",
            "median_seconds": 0.02,
            "p99_seconds": 0.2,
        }
        self.popen = subprocess.Popen(
            [sys.executable, str(SERVER), "--port", str(port), "--faults", json.dumps(faults)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=children.die_with_parent(),  # noqa: PLW1509
        )
        self.port = port or int(self.popen.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=10) as answer:
            return Counter(json.load(answer)["counts"])

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()


def test_two_thousand_calls_are_accounted_for():
    servers = [Process(), Process()]
    outcomes: dict[str, str] = {}
    asked: Counter[str] = Counter()

    async def main():
        async with client(
            *(server.url for server in servers), timeout_seconds=1.5, concurrency=64, look_seconds=0.2
        ) as it:
            todo = iter(range(CALLS))

            async def caller():
                for i in todo:
                    # one in 250 is refused for good, one in 500 fails whatever is tried
                    prompt = f"p{i}" + (" [[400]]" if i % 250 == 99 else " [[500]]" if i % 500 == 7 else "")
                    try:
                        outcomes[prompt] = (await it.complete(chat(prompt), wait=True)).text
                    except (Refused, Broken) as error:
                        outcomes[prompt] = type(error).__name__

            callers = [asyncio.create_task(caller()) for _ in range(96)]
            await until(lambda: len(outcomes) > CALLS // 4)
            asked.update(await asyncio.to_thread(servers[0].counts))
            servers[0].end()
            await until(lambda: it.pool.up == 1)
            await until(lambda: len(outcomes) > CALLS // 2)
            servers[0] = Process(servers[0].port)
            await until(lambda: it.pool.up == 2)
            servers[1].popen.send_signal(signal.SIGSTOP)
            await until(lambda: it.pool.up == 1, what="the stopped server is out")
            servers[1].popen.send_signal(signal.SIGCONT)
            await asyncio.gather(*callers)
            await until(lambda: it.pool.up == 2)
            told = it.counts
            print(dict(told), file=sys.stderr)
            assert told["ok"] + told["refused"] + told["broken"] == CALLS

    try:
        run(main(), seconds=90)
        for server in servers:
            asked.update(server.counts())
    finally:
        for server in servers:
            server.end()
    assert len(outcomes) == CALLS
    refused = {prompt for prompt, outcome in outcomes.items() if outcome == "Refused"}
    broken = {prompt for prompt, outcome in outcomes.items() if outcome == "Broken"}
    assert refused == {prompt for prompt in outcomes if "[[400]]" in prompt}
    assert broken == {prompt for prompt in outcomes if "[[500]]" in prompt}
    assert all(outcome == prompt for prompt, outcome in outcomes.items() if prompt not in refused | broken)
    repeats = sum(asked[prompt] - 1 for prompt in outcomes if prompt not in refused | broken)
    # Each fault costs one repeat (3 % of the calls), a kill and a stop what was under way at that server.
    assert repeats <= CALLS * 0.06 + 2 * 64, repeats
