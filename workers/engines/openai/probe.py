"""Requests of the client's own: is a replica that is out back, does a server accept requests of this shape.

/health alone is no sign of life: a vLLM whose engine hangs answers it with 200. So a replica comes back only
when it has generated a token for us; the price is that token. Nothing of a stage's input is used, so no
record pays for the question.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import aiohttp

from streams.errors import Broken
from streams.settings.engines import EngineSettings
from workers.engines.openai.answer import read, safe, words
from workers.engines.openai.exchange import Failed, send
from workers.engines.openai.replica import Replica
from workers.engines.openai.request import Api, Sampling, Wire

HEALTH_SECONDS: Final = 5.0
TRANSIENT: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now"."""


class Verdict(StrEnum):
    """What a one-word request met."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """For good: no request like it can succeed."""
    NOT_NOW = "not now"


class Sign(NamedTuple):
    """The verdict, and the server's words or what went wrong."""

    verdict: Verdict
    status: int
    said: str


class Prober:
    """Asks replicas for signs of life."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: EngineSettings, wire: Wire, key: str
    ) -> None:
        self._session = session
        self._settings = settings
        self._wire = wire
        self._key = key
        self.one_token = wire.shape(Sampling(temperature=settings.temperature, max_tokens=1))

    async def back(self, replica: Replica) -> Sign:
        """Ask a replica that is out whether it answers again: its /health first, where it has one."""
        try:
            health = await send(self._session, replica.health, None, HEALTH_SECONDS, 64 * 1024)
        except Failed as failed:
            return Sign(Verdict.NOT_NOW, 0, str(failed))
        if health.status >= 500:
            return Sign(Verdict.NOT_NOW, health.status, f"/health says {health.status}")
        return await self.ask(replica, replica.last_api, self.one_token)

    async def ask(self, replica: Replica, api: Api, shape: bytes) -> Sign:
        """Send a one-word request of a shape."""
        body = self._wire.sign_of_life(api, shape)
        settings = self._settings
        try:
            reply = await send(
                self._session, replica.api[api], body, settings.timeout_seconds, settings.answer_bytes
            )
            if reply.status == 200:
                read(api, reply.body, replica.url, 0.0)
                return Sign(Verdict.ANSWERED, 200, "")
        except (Failed, Broken) as error:
            return Sign(Verdict.NOT_NOW, 0, safe(str(error), self._key))
        said = f"{reply.status}: {safe(words(reply.body), self._key)}"
        not_now = reply.status >= 500 or reply.status in TRANSIENT
        return Sign(Verdict.NOT_NOW if not_now else Verdict.REFUSED, reply.status, said)
