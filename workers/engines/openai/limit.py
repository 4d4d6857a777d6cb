"""How many requests a replica may have at once: additive increase, multiplicative decrease.

It begins at the most that the settings allow, so that a GPU never waits for our caution; the price is a queue
in the server until the first look. Where the server shows its queue (vLLM's `num_requests_running` and
`num_requests_waiting`):

- more than a quarter of what runs is waiting: a fifth less, but never less than our share of what runs;
- else, where we reached the limit since the last look: a step more.

A short queue is wanted: it is what the server fills a finished request's place from. Where the server shows
nothing, each 429 halves the limit (once for requests that were under way together), and as many successes as
the limit is raise it by one, as in TCP. The alternative, a gradient of latencies (Vegas), mistakes long
answers for a queue.
"""

from __future__ import annotations

from typing import Final

QUEUE_SHARE: Final = 0.25
SPARE: Final = 2
"""Requests that may wait whatever runs."""
DECREASE: Final = 0.8
STEPS: Final = 32
"""From 0 to the most in so many looks."""


class Limit:
    """The limit of one replica."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.value = most
        self._fraction = 0.0
        self._cut_at = float("-inf")
        self._reached = False
        self._looks = False

    def reached(self) -> None:
        """Note that a request waited for this limit."""
        self._reached = True

    def look(self, running: float, waiting: float, ours: int) -> None:
        """Fit to what the server shows: its requests that run and wait, and how many of both are ours."""
        self._looks = True
        if waiting > QUEUE_SHARE * running + SPARE:
            share = running * min(1.0, ours / (running + waiting))
            self.value = max(1, min(self.value, round(max(self.value * DECREASE, share))))
        elif self._reached:
            self.value = min(self.most, self.value + max(1, self.most // STEPS))
        self._reached = False

    def refused(self, began: float, now: float) -> None:
        """Halve after a 429 to a request that began after the last cut."""
        if began >= self._cut_at:
            self.value = max(1, self.value // 2)
            self._cut_at = now

    def succeeded(self) -> None:
        """Grow by one a round of successes, where no look does it."""
        if self.value == self.most or self._looks:
            return
        self._fraction += 1 / self.value
        if self._fraction >= 1:
            self._fraction = 0.0
            self.value += 1
