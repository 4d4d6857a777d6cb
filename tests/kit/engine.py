"""Calls to a model as a test makes them: short deadlines, one event loop a test, nothing left running."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from kit.fault_server import FaultServer

from streams.settings.engines import EngineSettings
from workers.engines.openai import Client, Message, Request, Sampling

SAMPLING = Sampling(temperature=0.0, max_tokens=64)
QUICK: dict[str, Any] = {
    "timeout_seconds": 20.0,  # a busy machine is no hung server; tests of deadlines say their own
    "backoff_seconds": 0.005,
    "backoff_most_seconds": 0.05,
    "probe_seconds": 0.05,
    "probe_most_seconds": 0.1,
    "look_seconds": 0.02,
    "answer_bytes": 256 * 1024,
}


def run(main: Coroutine[Any, Any, None], seconds: float = 30.0) -> None:
    """Run a test's coroutine; fail where it hangs or leaves a task behind."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await main
        await until(lambda: len(asyncio.all_tasks()) == 1, what="no task is left")

    asyncio.run(bounded())


async def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.002)


def client(*servers: FaultServer | str, **settings: Any) -> Client:
    urls = tuple(it if isinstance(it, str) else it.url for it in servers)
    return Client(EngineSettings(**{**QUICK, "urls": urls, **settings}))


def chat(text: str, **fields: Any) -> Request:
    return Request((Message("user", text),), **{"sampling": SAMPLING, **fields})
