"""One HTTP request: sent, answered in bounded time and bytes, and what went wrong told apart by what to do.

aiohttp has a dozen errors; a caller has four answers to them (`Failed.kind`). Compressed answers are not
asked for: a small body that unpacks to gigabytes cannot happen, and a 3 kB answer on a local line gains
nothing.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from workers.engines.openai.answer import printable

KEEPALIVE_SECONDS: Final = 4.0
"""Idle connections are closed before a server does it (uvicorn, under vLLM: 5 s), else a request may be sent
into a connection that is just being closed."""
CONNECT_SECONDS: Final = 10.0


class Kind(StrEnum):
    """What a failed request says; the value is its outcome in the metrics."""

    UNREACHABLE = "unreachable"
    """Nothing listens: it was never sent."""
    LOST = "lost"
    """The server went away under it."""
    LATE = "timeout"
    """No whole answer within the deadline."""
    TOO_LONG = "too_long"
    """The answer exceeds the bound; it was cut off."""


class Failed(Exception):
    """A request without an answer."""

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Reply(NamedTuple):
    """An answer of whatever status."""

    status: int
    body: bytes
    retry_after: str


def open_session(key: str) -> aiohttp.ClientSession:
    """Return one pool of connections for all replicas; limits are not its business but `pool.py`'s."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "finestream"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=CIMultiDict(headers),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        trust_env=False,  # a proxy meant for the outside must not carry documents to a server of one's own
    )


async def send(
    session: aiohttp.ClientSession, url: URL, body: bytes | None, seconds: float, most_bytes: int
) -> Reply:
    """POST a body (None: GET) and return the answer; raise `Failed`. Cancelled, it closes its connection."""
    try:
        async with (
            asyncio.timeout(seconds),
            session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                allow_redirects=False,  # the key and the document go where the settings say, nowhere else
            ) as response,
        ):
            answer = await _read(response, most_bytes)
            return Reply(response.status, answer, response.headers.get("Retry-After", ""))
    except aiohttp.ConnectionTimeoutError as error:
        raise Failed(Kind.UNREACHABLE, f"no connection within {CONNECT_SECONDS:.0f} s") from error
    except TimeoutError:
        raise Failed(Kind.LATE, f"no whole answer within {seconds:g} s") from None
    except aiohttp.ClientConnectorError as error:
        raise Failed(Kind.UNREACHABLE, printable(str(error), 200)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Failed(
            Kind.LOST, printable(f"{type(error).__name__}: {error}".removesuffix(": "), 200)
        ) from error


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Return the body; past the bound close the connection and raise `Failed`."""
    if (response.content_length or 0) <= most_bytes:
        body = await response.content.readany()
        if response.content.at_eof():
            return body
        parts, size = [body], len(body)
        while size <= most_bytes:
            part = await response.content.readany()
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
    response.close()
    raise Failed(Kind.TOO_LONG, f"the answer is longer than answer_bytes = {most_bytes}; it was cut off")
