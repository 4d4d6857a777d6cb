"""Does a server still make tokens? Decided from what was seen; nothing is asked here, so it can be tested.

A server that hangs keeps its port open, answers /health, and even its gauges stand still as they were. What
cannot be faked is a token. So there is one notion of progress: the token counters moved, or a probe (a
request for one token) was answered. With requests running or waiting and no progress for `hang_seconds` it
hangs; with a probe out and no progress for `probe_timeout_seconds` it hangs too. A probe that waits behind a
long queue is no sign of anything as long as tokens are made. The price: it is suspected after that time only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Hung = Literal["no_tokens", "no_answer", "sick", ""]
SICK_PROBES: Final = 3
"""Probes in a row that were answered with an error: it lives, and generates nothing."""


@dataclass(frozen=True)
class Load:
    """What a server's metrics said."""

    running: float
    waiting: float
    tokens: float
    """Prompt's and generated ones, since it began."""


class Watch:
    """One server from the moment that it was ready. Times are monotonic seconds."""

    def __init__(self, hang_seconds: float, probe_seconds: float, timeout_seconds: float, now: float) -> None:
        self._hang, self._every, self._timeout = hang_seconds, probe_seconds, timeout_seconds
        self._progress = now
        self._load: Load | None = None
        self._busy_since: float | None = None
        self._asked: float | None = None
        self._answered = now
        self._failed = 0

    def saw(self, load: Load | None, now: float) -> None:
        """Take in its metrics; None: it has none, or gave none in time."""
        if load is None:
            return  # what is known of its work stays, and nothing counts as progress
        if self._load is not None and load.tokens != self._load.tokens:
            self._progress, self._failed = now, 0
        busy = load.running + load.waiting > 0
        self._busy_since = (now if self._busy_since is None else self._busy_since) if busy else None
        self._load = load

    def due(self, now: float) -> bool:
        """Whether a probe should be sent now."""
        if self._asked is not None:
            return False
        return now - max(self._progress, self._answered) >= self._every

    def asked(self, now: float) -> None:
        """Say that a probe is under way."""
        self._asked = now

    def answered(self, now: float, *, well: bool) -> None:
        """Say how the probe ended: with a token, or with an error. Without an answer it stays under way."""
        self._asked, self._answered = None, now
        if well:
            self._progress, self._failed = now, 0
        else:
            self._failed += 1

    def hung(self, now: float) -> Hung:
        """Return how it hangs; empty: it does not, as far as is known."""
        if self._busy_since is not None and now - max(self._progress, self._busy_since) >= self._hang:
            return "no_tokens"
        if self._asked is not None and now - max(self._progress, self._asked) >= self._timeout:
            return "no_answer"
        return "sick" if self._failed >= SICK_PROBES else ""
