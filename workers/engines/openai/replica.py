"""One server as the client sees it: its addresses, what it has under way, and whether it is out.

The circuit breaker: a replica goes out when nothing listens there, or after some failures in a row without
a success between. While it is out it gets no calls at all; a probe of the client's own (`probe.py`) decides
when it is back, so no record pays for finding out. Failures of calls that began before it went out count no
more: their deadlines may pass long after it was restarted.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from yarl import URL

from streams.errors import Misconfigured
from workers.engines.openai.limit import Limit
from workers.engines.openai.request import Api


class Replica:
    """The state of one server; changed only by the pool and the client, in the event loop."""

    def __init__(self, url: str, concurrency: int, failures: int) -> None:
        self.url = url
        self.limit = Limit(concurrency)
        self.outstanding = 0
        self.turn = 0
        """How often it went out: a call remembers in which turn it began."""
        self.out = ""
        """Why it gets no calls; empty while it is up."""
        self.misconfigured: Misconfigured | None = None
        """Set where it is out since it refuses every request."""
        self._failures = failures
        self._in_a_row = 0
        self.api = {api: URL(f"{url}/{api.value}") for api in Api}
        self.last_api = Api.CHAT
        self.models = URL(f"{url}/models")
        parts = urlsplit(url)
        root = urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix("/v1"), "", "")).rstrip("/")
        self.health = URL(f"{root}/health")
        self.metrics = URL(f"{root}/metrics")

    @property
    def up(self) -> bool:
        """Whether it gets calls."""
        return not self.out

    @property
    def free(self) -> bool:
        """Whether it may get one more call now."""
        return not self.out and self.outstanding < self.limit.value

    def succeeded(self) -> None:
        """Note a usable answer."""
        self._in_a_row = 0
        self.limit.succeeded()

    def failed(self, turn: int) -> bool:
        """Note a failure of a call that began in `turn`; whether the breaker must open now."""
        if self.out or turn != self.turn:
            return False
        self._in_a_row += 1
        return self._in_a_row >= self._failures

    def go_out(self, why: str, misconfigured: Misconfigured | None = None) -> None:
        """Give it no more calls."""
        self.out = why
        self.misconfigured = misconfigured
        self.turn += 1

    def come_in(self) -> None:
        """Give it calls again."""
        self.out = ""
        self.misconfigured = None
        self._in_a_row = 0
