"""Which replica takes the next call: the one with the fewest under way; who finds none free waits in line.

A freed place is handed to the first in line at once, so that nobody who comes later takes it. Waiting costs
nothing but the caller's time; only when no replica is up at all is the caller told so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from streams.errors import EngineError, Misconfigured, Unavailable
from workers.engines.openai.replica import Replica

log = structlog.get_logger(__name__)


class Pool:
    """The replicas of one model. `when_out` is told of each that goes out, to see to its return."""

    def __init__(self, replicas: Sequence[Replica], when_out: Callable[[Replica], None]) -> None:
        self.replicas = tuple(replicas)
        self._when_out = when_out
        self._line: deque[asyncio.Future[Replica]] = deque()
        self._changed = asyncio.Event()
        self._turn = 0

    @property
    def up(self) -> int:
        """How many replicas get calls."""
        return sum(replica.up for replica in self.replicas)

    @property
    def waiting(self) -> int:
        """How many callers are in line."""
        return len(self._line)

    async def acquire(self, avoid: Replica | None = None) -> Replica:
        """Return a replica that holds a place for the caller, who must `release` it.

        `avoid` is taken only where no other has a place. Raises `Unavailable` or `Misconfigured` as soon as
        no replica is up, also while in line.
        """
        if not self._line and (replica := self._choose(avoid)) is not None:
            replica.outstanding += 1
            return replica
        if not self.up:
            raise self._none_up()
        for replica in self.replicas:
            replica.limit.reached()
        place: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(place.result())  # it was handed over in the very moment of the cancellation
            elif place in self._line:
                self._line.remove(place)
            raise

    def release(self, replica: Replica) -> None:
        """Give a place back; the first in line gets it."""
        replica.outstanding -= 1
        self._hand_out()

    def refit(self) -> None:
        """Hand out what a higher limit allows."""
        self._hand_out()

    def go_out(self, replica: Replica, why: str, misconfigured: Misconfigured | None = None) -> None:
        """Give a replica no more calls; where it was the last, tell all who wait."""
        if replica.out:
            return
        replica.go_out(why, misconfigured)
        log.warning(
            "replica is out", replica=replica.url, why=why, outstanding=replica.outstanding, up=self.up
        )
        self._changed.set()
        if not self.up:
            while self._line:
                place = self._line.popleft()
                if not place.done():
                    place.set_exception(self._none_up())
        self._when_out(replica)

    def come_in(self, replica: Replica) -> None:
        """Give a replica calls again."""
        replica.come_in()
        log.info("replica is up", replica=replica.url, up=self.up)
        self._changed.set()
        self._hand_out()

    def still_out(self, replica: Replica, why: str, misconfigured: Misconfigured | None) -> None:
        """Keep up to date why a replica is out."""
        replica.out, replica.misconfigured = why, misconfigured
        self._changed.set()

    async def wait_until_up(self) -> None:
        """Return once a replica is up; raise `Misconfigured` where all refuse every request."""
        while not self.up:
            if isinstance(error := self._none_up(), Misconfigured):
                raise error
            self._changed.clear()
            await self._changed.wait()

    def _choose(self, avoid: Replica | None) -> Replica | None:
        """Return the free replica with the fewest calls under way; equal ones take turns."""
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0] if replicas[0].free else None
        best: Replica | None = None
        self._turn += 1
        for i in range(len(replicas)):
            it = replicas[(self._turn + i) % len(replicas)]
            if not it.free:
                continue
            if best is None or best is avoid or (it is not avoid and it.outstanding < best.outstanding):
                best = it
        return best

    def _hand_out(self) -> None:
        while self._line and (replica := self._choose(None)) is not None:
            place = self._line.popleft()
            if not place.done():
                replica.outstanding += 1
                place.set_result(replica)

    def _none_up(self) -> EngineError:
        """Return the error for callers while nothing is up: a wrong setting only if nothing else is wrong."""
        why = "; ".join(f"{replica.url}: {replica.out}" for replica in self.replicas)
        wrong = [replica.misconfigured for replica in self.replicas]
        if all(wrong):
            return Misconfigured(str(wrong[0]) if len(wrong) == 1 else why)
        return Unavailable(f"no replica is up ({why}); start a server or correct urls")
