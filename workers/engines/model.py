"""A language model as the stages ask it: a prompt in, its words out, whatever the servers do meanwhile."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack

import msgspec
from prometheus_client import CollectorRegistry

from monitoring.metrics import EngineMetrics
from streams.settings.engines import EngineSettings
from workers.engines.language.message import Prompt
from workers.engines.openai import Client, Completion, JsonSchema, Request, Sampling

ENGINE = "openai"
"""Named in every record that a model made."""
_SEEDS = 2**31


class Model:
    """One model of one stage. Lives in one event loop between `open` and `close`."""

    def __init__(self, settings: EngineSettings, stage: str) -> None:
        self.settings = settings
        self.patient = True
        """Whether a call waits in its place while no server is up: its neighbours are then not repeated."""
        self._stage = stage
        self._metrics: EngineMetrics | None = None
        self._samplings: dict[int, Sampling] = {}
        self._open = AsyncExitStack()
        self._client: Client

    def register(self, registry: CollectorRegistry) -> None:
        """Count requests and tokens in a registry."""
        self._metrics = EngineMetrics(registry, self._stage, self.settings.model)

    async def open(self) -> None:
        """Open the connections; a server that is down is waited for by the calls themselves."""
        self._client = await self._open.enter_async_context(Client(self.settings, self._metrics))

    async def close(self) -> None:
        """Close them."""
        await self._open.aclose()

    async def ask(self, prompt: Prompt, seed: int, near: int) -> Completion:
        """Return the model's answer. `near`: calls with the same number share the head of their prompts.

        Raises `Refused` and `Broken` (of this prompt alone), `Misconfigured` (of all), and `Unavailable`
        unless the model is `patient`.
        """
        request = Request(prompt.messages, self._sampling(prompt), seed, near)
        return await self._client.complete(request, wait=self.patient)

    async def wait_until_up(self) -> None:
        """Return once a server is up. Raise `Misconfigured` where every one refuses every request."""
        await self._client.wait_until_up()

    @property
    def patience_seconds(self) -> float:
        """How long one call may take while a server is up."""
        return self.settings.timeout_seconds * (self.settings.tries + 1)

    def _sampling(self, prompt: Prompt) -> Sampling:
        """Return how prompts of one schema are drawn: the same object each time, encoded once."""
        known = self._samplings.get(id(prompt.schema))
        if known is None:
            form = None if prompt.schema is None else JsonSchema("answer", msgspec.json.encode(prompt.schema))
            known = Sampling(self.settings.temperature, self.settings.max_tokens, schema=form)
            self._samplings[id(prompt.schema)] = known  # schemas are the profiles' constants
        return known


def seed_of(*parts: bytes | str | int) -> int:
    """Return a seed in 0..2^31-1 that is a function of what is asked, so that a replay draws the same."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return int.from_bytes(digest.digest(), "big") % _SEEDS
