"""An OpenAI-compatible server that fails on request: in the test's event loop, or as a process of its own.

It answers with the prompt itself. What goes wrong is said in one of three ways:
- by a mark in the prompt, `[[500]]`, `[[never*2]]`: it meets that fault always, or its first two times;
- by shares (`Faults.shares`), drawn from a hash of seed, prompt and how often the prompt was seen, so that a
  run meets the same faults in whatever order its calls arrive;
- for all at once: `hanging`, `sick` (every answer is that status), `key` and `model` that it insists on.

Faults: a status (`500`, `429`, `400`, `404`, …), `never` (no answer), `broken` (no JSON), `truncated` (the
connection ends within the body), `reset` (it ends before the headers), `kill` (the whole server dies),
`huge` (2 MB), `huge-chunked` (the same without a length), `empty` (no choices), `null` (null for a text),
`types` (a number for a text), `surrogate` (half of a pair), `gzip` (compressed although not asked for).

`counts` holds how often each prompt was asked, `answered` how often it was answered rightly.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import math
import random
import re
import socket
import struct
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from aiohttp import web

MARK = re.compile(r"\[\[([a-z0-9-]+)(?:\*(\d+))?\]\]")
HUGE = 2 * 1024 * 1024
P99 = 2.3263  # standard deviations


@dataclass
class Faults:
    """How the server behaves; may be changed while it runs."""

    seed: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    median_seconds: float = 0.0
    p99_seconds: float = 0.0
    retry_after: str = ""
    capacity: int = 10_000  # requests that run at once; others wait, as in vLLM
    hanging: bool = False
    sick: int = 0
    health: int = 200
    location: str = ""  # of redirections
    key: str = ""
    model: str = ""
    longest: int = 10**9  # max_tokens beyond it is a 400
    cut_answers: int = 10**9  # characters of a prompt that are said back


def chance(*parts: object) -> random.Random:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


class FaultServer:
    """`async with FaultServer(Faults(…)) as server`: listens on `server.url` in this event loop."""

    def __init__(self, faults: Faults | None = None, port: int = 0) -> None:
        self.faults = faults or Faults()
        self.port = port
        self.counts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()  # whose client left before the answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.keep_bodies = False
        self.running = 0
        self.most_running = 0
        self.killed = 0
        self.waiting = 0
        self._slots: asyncio.Semaphore
        self._runner: web.AppRunner | None = None
        self._transports: set[Any] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Listen: on a free port first, on the same one after a kill."""
        self._slots = asyncio.Semaphore(self.faults.capacity)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._text),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/counts", self._counts),
                web.post("/faults", self._set_faults),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, backlog=1024)
        await site.start()
        if not self.port:
            self.port = site._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stop as a killed process does: nothing listens, every connection is reset."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            if site._server is not None:  # killed while it starts
                site._server.close()
        for transport in list(self._transports):
            reset(transport)
        await runner.cleanup()

    # -- routes ------------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        return await self._generate(request, body, prompt, lambda text: {"message": {"content": text}})

    async def _text(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return await self._generate(request, body, body["prompt"], lambda text: {"text": text})

    async def _generate(self, request, body, prompt, choice) -> web.StreamResponse:
        self.counts[prompt] += 1
        if self.keep_bodies:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        if (refusal := self._refusal(request, body)) is not None:
            return refusal
        self._transports.add(request.transport)
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            fault = self._fault(prompt)
            if fault != "kill":
                await self._dawdle(prompt)
            return await self._answer(request, body, prompt, choice, fault)
        except asyncio.CancelledError:
            self.gone[prompt] += 1
            raise
        finally:
            self.running -= 1
            self._slots.release()
            self._transports.discard(request.transport)

    def _refusal(self, request, body) -> web.Response | None:
        faults = self.faults
        if faults.key and request.headers.get("Authorization") != f"Bearer {faults.key}":
            said = request.headers.get("Authorization", "none")
            return self._error(401, f"Incorrect API key provided: {said}")
        if faults.model and body.get("model") != faults.model:
            return self._error(404, f"The model `{body.get('model')}` does not exist.")
        if body.get("max_tokens", 0) > faults.longest:
            return self._error(400, f"max_tokens must not exceed {faults.longest}")
        if faults.sick:
            return self._error(faults.sick, "sick")
        return None

    def _fault(self, prompt: str) -> str:
        if self.faults.hanging:
            return "never"
        if found := MARK.search(prompt):
            times = int(found[2]) if found[2] else math.inf
            return found[1] if self.counts[prompt] <= times else ""
        draw = chance(self.faults.seed, prompt, self.counts[prompt]).random()
        for fault, share in self.faults.shares.items():
            if draw < share:
                return fault
            draw -= share
        return ""

    async def _dawdle(self, prompt: str) -> None:
        faults = self.faults
        if faults.median_seconds:
            sigma = math.log(max(faults.p99_seconds / faults.median_seconds, 1.0)) / P99
            draw = chance(faults.seed, "latency", prompt, self.counts[prompt]).gauss(0.0, 1.0)
            await asyncio.sleep(faults.median_seconds * math.exp(sigma * draw))

    async def _answer(self, request, body, prompt, choice, fault) -> web.StreamResponse:
        if fault.isdigit():
            words = f"This model's maximum context length is 10 tokens: {prompt}" if fault == "400" else fault
            return self._error(int(fault), words)
        if fault in {"never", "kill"}:
            if fault == "kill":
                self.killed += 1
                self._killing = asyncio.create_task(self.kill())
            await asyncio.Event().wait()
        if fault in {"reset", "truncated"}:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            if fault == "truncated":
                await response.prepare(request)
                await response.write(b'{"choices": [')
            reset(request.transport)
            return response
        text = "x" * HUGE if fault.startswith("huge") else prompt[: self.faults.cut_answers]
        raw = self._json(body, prompt, choice, text, fault)
        if fault == "huge-chunked":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for i in range(0, len(raw), 65536):
                await response.write(raw[i : i + 65536].encode())
            return response
        headers = {"Content-Type": "application/json"}
        if fault == "gzip":
            return web.Response(
                body=gzip.compress(raw.encode()), headers={**headers, "Content-Encoding": "gzip"}
            )
        if not fault:
            self.answered[prompt] += 1
        return web.Response(text=raw, content_type="application/json")

    def _json(self, body, prompt, choice, text, fault) -> str:
        if fault == "broken":
            return '{"choices": [{"mess'
        whole = {
            "id": "1",
            "object": "chat.completion",
            "model": body.get("model"),
            "choices": [{"index": 0, "finish_reason": "stop", **choice(text)}],
            "usage": {
                "prompt_tokens": len(prompt.split()),
                "completion_tokens": len(text.split()),
                "prompt_tokens_details": {"cached_tokens": 1 if self.counts[prompt] > 1 else 0},
            },
        }
        if fault == "empty":
            whole["choices"] = []
        elif fault == "null":
            whole["choices"] = [{**choice(None), "finish_reason": "length"}]
        elif fault == "types":
            whole["choices"] = [choice(7)]
        raw = json.dumps(whole)
        return raw.replace(json.dumps(text), '"\\ud800"') if fault == "surrogate" else raw

    def _error(self, status: int, message: str) -> web.Response:
        headers = {}
        if status in {429, 503} and self.faults.retry_after:
            headers["Retry-After"] = self.faults.retry_after
        if self.faults.location:
            headers["Location"] = self.faults.location
        body = {"error": {"message": message, "type": "Error", "code": status}}
        return web.json_response(body, status=status, headers=headers)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self.faults.model or "default"}]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=self.faults.health)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            text="# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
            "# TYPE vllm:num_requests_running gauge\n"
            f'vllm:num_requests_running{{engine="0",model_name="default"}} {float(self.running)}\n'
            "# TYPE vllm:num_requests_waiting gauge\n"
            f'vllm:num_requests_waiting{{engine="0",model_name="default"}} {float(self.waiting)}\n'
        )

    async def _counts(self, request: web.Request) -> web.Response:
        return web.json_response({"counts": self.counts, "answered": self.answered})

    async def _set_faults(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(self.faults, name, value)
        return web.json_response(asdict(self.faults))


def reset(transport: Any) -> None:
    """End a connection with a RST."""
    if transport is None or transport.is_closing():
        return
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def serve(port: int, faults: Faults) -> None:
    async with FaultServer(faults, port) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """As a process: prints its port, serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=json.loads, default={})
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, Faults(**arguments.faults)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
