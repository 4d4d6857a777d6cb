"""`client_vs_aiohttp`, `client_cpu_ms_per_call`: what our client costs beside a bare aiohttp loop.

3.2 KB documents, 256 calls at once, against a server that answers at once with some 200 characters, in a
process of its own (a bare asyncio protocol on uvloop, so that it is never what is measured). Both loops make
the same calls in this process, in turns: encode the request, POST it over one pooled session, read the
answer's JSON. The bare one does nothing else: no deadline, no bound, no retry, no balance. CPU time of this
process counts: the median of the rounds, of the ratio the median of each round's.

Our runner's share (tail, window, durable commit) is not in it (`engine_stage` has it): this is the client
alone. `profile` as an argument prints where the client's time goes instead.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import time

import aiohttp
import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from monitoring.metrics import EngineMetrics
from streams import children
from streams.settings.engines import EngineSettings
from workers.engines.openai import Client, Message, Request, Sampling

CALLS = 3_000
ROUNDS = 7
CONCURRENCY = 256
GOAL_MS = 0.30
GOAL_RATIO = 2.5
DOCUMENT = ("A page of some crawl, with its words as they come. " * 64)[:3200]
ANSWER = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 0,
    "model": "default",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "word " * 40}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 800, "completion_tokens": 40, "total_tokens": 840},
}


class Echo(asyncio.Protocol):
    """Answers each request once its body is whole."""

    body = json.dumps(ANSWER).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )

    def connection_made(self, transport):
        self.transport = transport
        self.got = b""

    def data_received(self, data):
        self.got += data
        while (end := self.got.find(b"\r\n\r\n")) >= 0:
            head = self.got[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.got) < end + 4 + length:
                return
            self.got = self.got[end + 4 + length :]
            self.reply()

    def reply(self):
        self.transport.write(self.answer)


async def serve(protocol: type[Echo] = Echo) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def many(call) -> None:
    """Make all calls, so many at once."""
    todo = iter(range(CALLS))

    async def worker() -> None:
        for i in todo:
            await call(i)

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def bare(url: str) -> float:
    """Return CPU-ms a call of the least that does the same."""
    encode, decode = msgspec.json.encode, msgspec.json.decode
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def call(i: int) -> None:
            body = {
                "model": "default",
                "messages": [{"role": "user", "content": f"{i} {DOCUMENT}"}],
                "temperature": 0.0,
                "max_tokens": 64,
                "seed": i,
            }
            async with session.post(f"{url}/chat/completions", data=encode(body)) as response:
                answer = decode(await response.read())
            assert answer["choices"][0]["message"]["content"]

        return await cost(call)


async def ours(url: str, profile: cProfile.Profile | None = None) -> float:
    """Return CPU-ms a call of our client."""
    sampling = Sampling(temperature=0.0, max_tokens=64)
    metrics = EngineMetrics(CollectorRegistry(), "instantiate", "default")
    async with Client(EngineSettings(urls=(url,), concurrency=CONCURRENCY), metrics) as client:

        async def call(i: int) -> None:
            completion = await client.complete(
                Request((Message("user", f"{i} {DOCUMENT}"),), sampling, seed=i)
            )
            assert completion.text

        return await cost(call, profile)


async def cost(call, profile: cProfile.Profile | None = None) -> float:
    await asyncio.gather(*(call(i) for i in range(CONCURRENCY)))  # connections are open now
    before = time.process_time()
    if profile:
        profile.enable()
    await many(call)
    if profile:
        profile.disable()
    return (time.process_time() - before) / CALLS * 1e3


def figures(mine: float, plain: float, ratio: float) -> list[dict]:
    return [
        {
            "name": "client_cpu_ms_per_call",
            "value": round(mine, 4),
            "unit": "CPU-ms a call, client alone",
            "goal": GOAL_MS,
            "better": "lower",
            "baseline": f"bare aiohttp loop: {plain:.4f} CPU-ms",
            "met": round(mine, 4) <= GOAL_MS,
        },
        {
            "name": "client_vs_aiohttp",
            "value": round(ratio, 3),
            "unit": "ratio of CPU a call, client alone",
            "goal": GOAL_RATIO,
            "better": "lower",
            "baseline": "bare aiohttp loop doing the same calls in the same minute",
            "met": round(ratio, 3) <= GOAL_RATIO,
        },
    ]


def main() -> int:
    if sys.argv[1:] == ["serve"]:
        uvloop.run(serve())
        return 0
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=children.die_with_parent(),  # noqa: PLW1509
    )
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        if sys.argv[1:] == ["profile"]:
            profile = cProfile.Profile()
            uvloop.run(ours(url, profile))
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(40)
            return 0
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((uvloop.run(ours(url)), uvloop.run(bare(url))))
            print("ours {:.4f} ms, bare {:.4f} ms".format(*rounds[-1]), file=sys.stderr)
    finally:
        server.kill()
        server.wait()
    mine, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print("\n".join(map(json.dumps, figures(mine, plain, ratio))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
