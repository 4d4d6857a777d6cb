"""What is asked of a server: one token, and its metrics. Every answer is bounded in time and bytes."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp

from streams.engine.watch import Load

ANSWER_BYTES: Final = 1 << 20
METRICS_BYTES: Final = 4 << 20
METRICS_SECONDS: Final = 5.0
_SAMPLE: Final = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|prompt_tokens_total|generation_tokens_total)"
    r"(?:\{[^}\n]*\})? ([0-9.eE+-]+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Answer:
    """How a request for one token ended."""

    kind: Literal["token", "down", "failed", "refused"]
    """`down`: nobody listens; `failed`: an error of the server's; `refused`: of ours (4xx)."""
    words: str = ""


async def one_token(session: aiohttp.ClientSession, url: str, model: str, key: str) -> Answer:
    """Ask for one token; returns when there is an answer, however long that takes."""
    body = {"model": model, "prompt": "One", "max_tokens": 1, "temperature": 0}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with session.post(f"{url}/completions", json=body, headers=headers) as response:
            raw = await _bounded(response, ANSWER_BYTES)
            status = response.status
    except aiohttp.ClientConnectorError:
        return Answer("down")
    except (aiohttp.ClientError, OSError) as error:
        return Answer("down", type(error).__name__)
    if status != 200:
        words = f"{status}: {_words(raw)}"
        return Answer("refused" if 400 <= status < 500 and status != 429 else "failed", words)
    try:
        generated = bool(json.loads(raw)["choices"])
    except (ValueError, KeyError, TypeError):
        generated = False
    return Answer("token") if generated else Answer("failed", f"no completion: {_words(raw)}")


async def load(session: aiohttp.ClientSession, root: str) -> Load | None:
    """Return what the server's metrics say; None where it gives none in time, or not these."""
    try:
        async with asyncio.timeout(METRICS_SECONDS), session.get(f"{root}/metrics") as response:
            if response.status != 200:
                return None
            text = (await _bounded(response, METRICS_BYTES)).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    return read_load(text)


def read_load(text: str) -> Load | None:
    """Read vLLM's metrics, summed over its engines; None where there are no such."""
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        try:
            sums[name] = sums.get(name, 0.0) + float(value)
        except ValueError:
            return None
    if "num_requests_running" not in sums or "generation_tokens_total" not in sums:
        return None
    tokens = sums["generation_tokens_total"] + sums.get("prompt_tokens_total", 0.0)
    return Load(sums["num_requests_running"], sums.get("num_requests_waiting", 0.0), tokens)


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            response.close()
            break
    return b"".join(parts)[:most]


def _words(raw: bytes) -> str:
    text = raw[:4096].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)[:300]
