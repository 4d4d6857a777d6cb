"""How often one call is tried and how long it pauses between.

Three budgets, since failures differ in whose fault they are:
- `tries`: a 5xx, a timeout, an unusable answer. When they are spent, the client has the server prove with one
  word of the client's own that it is well, and only then takes one last try: a server that fails everything
  buries no record.
- `turned_away`: 429s. The same, only more of them.
- `losses`: the connection ended. A server that dies takes all its calls along, and one of them may be what
  kills it each time. So a call that was lost a few times is a *suspect*, and suspects go one at a time: then
  the guilty one dies alone, and whoever stood beside it gets through.

A request that never left, because nothing listens, spends nothing.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final

from streams.settings.engines import EngineSettings

SUSPECT_LOSSES: Final = 3


class Cost(Enum):
    """Which budget a failure is charged to."""

    TRY = auto()
    TURNED_AWAY = auto()
    LOSS = auto()


@dataclass(slots=True)
class Spent:
    """What a call has used up; it outlives an `Unavailable` in which the call was interrupted."""

    tries: int = 0
    turned_away: int = 0
    losses: int = 0
    proven: bool = False
    """The server has just answered something else: the next failure is the last."""
    blamed: tuple[str, int] | None = None
    """The replica that this call was last counted against, and its turn: once is enough."""

    @property
    def suspect(self) -> bool:
        """Whether it must go alone."""
        return self.losses >= SUSPECT_LOSSES

    def charge(self, cost: Cost, settings: EngineSettings) -> bool:
        """Spend; return whether that budget is used up."""
        if cost is Cost.LOSS:
            self.losses += 1
            return self.losses >= SUSPECT_LOSSES + settings.losses
        if cost is Cost.TURNED_AWAY:
            self.turned_away += 1
            return self.turned_away >= settings.turned_away
        self.tries += 1
        return self.tries >= settings.tries

    def pause_seconds(self, settings: EngineSettings, retry_after: str = "") -> float:
        """Return how long to wait: exponential with jitter, and no less than the server asks for."""
        failures = self.tries + self.turned_away + self.losses
        doubled = settings.backoff_seconds * 2.0 ** min(max(failures - 1, 0), 30)
        pause = min(doubled, settings.backoff_most_seconds) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        asked = min(seconds_of(retry_after), settings.retry_after_most_seconds)
        return max(pause, asked * random.uniform(1.0, 1.1)) if asked else pause  # noqa: S311 - no secret


def seconds_of(retry_after: str) -> float:
    """Return what a `Retry-After` header asks for: a number of seconds or a date; 0 where it is neither."""
    text = retry_after.strip()
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return 0.0
    return min(max(seconds, 0.0), 86400.0) if seconds == seconds else 0.0  # noqa: PLR0124 - not for NaN
