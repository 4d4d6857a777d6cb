"""Which replica takes the next call: the one with the fewest under way; who finds none free waits in line.

A freed place is handed to the first in line at once, so that nobody who comes later takes it. Waiting costs
nothing but the caller's time; only when no replica is up at all is the caller told so.

Calls that share the head of their prompts (a segment's, which all begin with its document) may say so by the
same number, `near`: then they go to the same replica, which has that head in its prefix cache, unless it has
clearly more to do than another. In line too, a freed place looks for such a call among the first few, and
passes the first by only so often. The alternative, spreading them, has every replica compute every document.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from streams.errors import EngineError, Misconfigured, Unavailable
from workers.engines.openai.replica import Replica

log = structlog.get_logger(__name__)

LOOK_AHEAD: Final = 32
"""Callers in line among whom a freed place looks for one that wants its replica; and how often the first is
passed by for that."""
LEEWAY: Final = 4
"""Calls more than the least busy replica has, and a quarter, that the wanted one may have."""


class _Place(NamedTuple):
    """A caller in line."""

    promise: asyncio.Future[Replica]
    near: int | None


class Pool:
    """The replicas of one model. `when_out` is told of each that goes out, to see to its return."""

    def __init__(self, replicas: Sequence[Replica], when_out: Callable[[Replica], None]) -> None:
        self.replicas = tuple(replicas)
        self._when_out = when_out
        self._line: deque[_Place] = deque()
        self._passed_by = 0  # how often the first in line was
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

    async def acquire(self, avoid: Replica | None = None, near: int | None = None) -> Replica:
        """Return a replica that holds a place for the caller, who must `release` it.

        `avoid` is taken only where no other has a place. Raises `Unavailable` or `Misconfigured` as soon as
        no replica is up, also while in line.
        """
        if not self._line and (replica := self._choose(avoid, near)) is not None:
            replica.outstanding += 1
            return replica
        if not self.up:
            raise self._none_up()
        for replica in self.replicas:
            replica.limit.reached()
        place = _Place(asyncio.get_running_loop().create_future(), near)
        self._line.append(place)
        try:
            return await place.promise
        except asyncio.CancelledError:
            promise = place.promise
            if promise.done() and not promise.cancelled() and promise.exception() is None:
                self.release(promise.result())  # handed over in the very moment of the cancellation
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
                promise = self._line.popleft().promise
                if not promise.done():
                    promise.set_exception(self._none_up())
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

    def _choose(self, avoid: Replica | None = None, near: int | None = None) -> Replica | None:
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
        if near is not None and best is not None:
            wanted = replicas[near % len(replicas)]
            if wanted.free and wanted is not avoid and wanted.outstanding <= 1.25 * best.outstanding + LEEWAY:
                return wanted
        return best

    def _hand_out(self) -> None:
        while self._line and (replica := self._choose()) is not None:
            place = self._next_for(replica)
            if not place.promise.done():
                replica.outstanding += 1
                place.promise.set_result(replica)

    def _next_for(self, replica: Replica) -> _Place:
        """Take out of the line who gets a place at a replica."""
        line, replicas = self._line, self.replicas
        if len(replicas) > 1 and self._passed_by < LOOK_AHEAD:
            for i in range(min(len(line), LOOK_AHEAD)):
                near = line[i].near
                if near is not None and replicas[near % len(replicas)] is replica:
                    place = line[i]
                    del line[i]
                    self._passed_by = self._passed_by + 1 if i else 0
                    return place
        self._passed_by = 0
        return line.popleft()

    def _none_up(self) -> EngineError:
        """Return the error for callers while nothing is up: a wrong setting only if nothing else is wrong."""
        why = "; ".join(f"{replica.url}: {replica.out}" for replica in self.replicas)
        wrong = [replica.misconfigured for replica in self.replicas]
        if all(wrong):
            return Misconfigured(str(wrong[0]) if len(wrong) == 1 else why)
        return Unavailable(f"no replica is up ({why}); start a server or correct urls")
