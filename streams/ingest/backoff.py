"""When to try again what cannot be read now: a store as a whole, or a file of this machine."""

from __future__ import annotations

from typing import Final

from streams.ingest.stored import is_remote

FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0


class Backoff:
    """Pauses that double with each failure, 5 s to 5 minutes. Times are `time.monotonic`'s.

    What lies in one store waits together: each object of a store that is down costs a minute to find that
    out, and everything else would wait for it.
    """

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}  # what -> (when, the pause until then)

    def due(self, location: str, now: float) -> bool:
        """Whether a location may be tried."""
        return self._until.get(_whole(location), (0.0, 0.0))[0] <= now

    def failed(self, location: str, now: float) -> None:
        """Wait, for longer than the last time."""
        what = _whole(location)
        pause = min(max(self._until.get(what, (0.0, 0.0))[1] * 2, FIRST_SECONDS), LONGEST_SECONDS)
        self._until[what] = (now + pause, pause)

    def worked(self, location: str) -> None:
        """Forget what failed before."""
        self._until.pop(_whole(location), None)


def _whole(location: str) -> str:
    """Return the store of a URL: scheme and host or bucket. A path stands for itself."""
    if not is_remote(location):
        return location
    scheme, _, rest = location.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
