"""The client: one call to a model, carried to an answer over replicas that fail in every way servers do.

One call, step by step:
1. take a place at the replica with the fewest calls under way (`pool.py`; waits where all are full);
2. send it (`exchange.py`), with a deadline and a bound in bytes; give the place back, whatever happens;
3. a usable answer is returned;
4. nothing listens: the replica is out, and the call goes to another, for nothing;
5. lost, late, 429, 5xx, unusable: charge one of the call's budgets (`retry.py`), tell the replica's breaker,
   pause, go on elsewhere. Where a budget is used up, the server must prove that it is well before the call is
   `Broken`; where it does not, it is out, and the call waits with the others;
6. refused for good (any other 4xx): whose fault is it? Where requests of this shape were answered before, a
   400, 413 or 422 is this request's own: `Refused`. Else the client asks with one word of its own in the same
   shape. Answered: `Refused` after all. Refused again: nothing can succeed, `Misconfigured`, and no record is
   buried for a wrong setting.

The alternative, the official client library, balances nothing, and tells neither a server that is down nor a
wrong setting from a bad request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import structlog

from monitoring.metrics import EngineMetrics
from streams.errors import AnswerTooLong, Broken, Misconfigured, Refused, Unavailable
from streams.settings.engines import EngineSettings
from workers.engines.openai import exchange, fit
from workers.engines.openai.answer import Completion, read, safe, words
from workers.engines.openai.exchange import Failed, Kind, Reply
from workers.engines.openai.pool import Pool
from workers.engines.openai.probe import TRANSIENT, Prober, Sign, Verdict
from workers.engines.openai.replica import Replica
from workers.engines.openai.request import Api, Request, Wire
from workers.engines.openai.retry import Cost, Spent

log = structlog.get_logger(__name__)

OK: Final = 200
TOO_MANY: Final = 429
OWN_FAULT: Final = frozenset({400, 413, 415, 422})
"""Statuses that speak of one request's content; other refusals speak of key, model or address."""
SHAPES: Final = 1024
"""Shapes of requests known to be accepted, at most."""


class _Call(NamedTuple):
    """One call on its way."""

    api: Api
    shape: bytes
    body: bytes
    spent: Spent


class _Try(NamedTuple):
    """One request for it."""

    replica: Replica
    turn: int
    began: float


class Client:
    """A model behind one or more servers. Lives in one event loop.

    `async with` opens and closes it; calls under way must have ended or been cancelled before.
    """

    def __init__(self, settings: EngineSettings, metrics: EngineMetrics | None = None) -> None:
        self.settings = settings
        self._metrics = metrics
        secret = settings.api_key()
        self._key = secret.get_secret_value() if secret else ""
        self._wire = Wire(settings.model, settings.extra)
        self.pool = Pool(
            [Replica(url, settings.concurrency, settings.failures) for url in settings.urls], self._see_to
        )
        self.counts: Counter[str] = Counter()
        """Requests by how they ended (`monitoring.metrics.LLM_OUTCOMES`), and `broken` calls."""
        self._accepted: set[tuple[Api, bytes]] = set()
        self._asking: dict[tuple[Replica, Api, bytes], asyncio.Task[Sign]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        if metrics is not None:
            replicas = self.pool.replicas
            metrics.replicas_up.set_function(lambda: self.pool.up)
            metrics.limit.set_function(lambda: sum(it.limit.value for it in replicas if it.up))
            metrics.inflight.set_function(lambda: sum(it.outstanding for it in replicas))
            metrics.waiting.set_function(lambda: self.pool.waiting)
        self._alone = asyncio.Lock()  # for suspects
        self._session: aiohttp.ClientSession
        self._prober: Prober

    async def __aenter__(self) -> Self:
        self._session = exchange.open_session(self._key)
        self._prober = Prober(self._session, self.settings, self._wire, self._key)
        if self.settings.fit_concurrency:
            for replica in self.pool.replicas:
                self._begin(self._look(replica))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        tasks = [*self._tasks, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def wait_until_up(self) -> None:
        """Return once a replica is up. Raise `Misconfigured` where every one refuses every request."""
        await self.pool.wait_until_up()

    async def complete(
        self, request: Request, *, wait: bool = False, spent: Spent | None = None
    ) -> Completion:
        """Return the model's answer.

        Raises `Refused`, `Broken`, `Misconfigured`; and `Unavailable` where no replica is up, unless `wait`:
        then the call waits in its place, with what it has spent, until one is. A caller that catches
        `Unavailable` itself passes the same `spent` again, so that a call which kills every server it meets
        is not tried for ever.
        """
        body = self._wire.encode(request)
        call = _Call(request.api, self._wire.shape(request.sampling), body, spent or Spent())
        avoid: Replica | None = None
        while True:
            try:
                if call.spent.suspect:
                    async with self._alone:
                        replica = await self.pool.acquire(avoid, request.near)
                        completion, pause = await self._try(
                            call, _Try(replica, replica.turn, time.monotonic())
                        )
                else:
                    replica = await self.pool.acquire(avoid, request.near)
                    completion, pause = await self._try(call, _Try(replica, replica.turn, time.monotonic()))
            except Unavailable:
                if not wait:
                    raise
                await self.pool.wait_until_up()
                continue
            if completion is not None:
                return completion
            avoid = replica
            if pause:
                await asyncio.sleep(pause)

    async def _try(self, call: _Call, it: _Try) -> tuple[Completion | None, float]:
        """Send to a replica whose place is held; return the answer, or how long to pause before the next."""
        settings, replica = self.settings, it.replica
        replica.last_api = call.api
        try:
            try:
                reply = await exchange.send(
                    self._session,
                    replica.api[call.api],
                    call.body,
                    settings.timeout_seconds,
                    settings.answer_bytes,
                )
            finally:
                self.pool.release(replica)
            if reply.status == OK:
                completion = read(call.api, reply.body, replica.url, time.monotonic() - it.began)
                replica.succeeded()
                self._accept(call)
                self._count("truncated" if completion.finish_reason == "length" else "ok")
                if self._metrics is not None:
                    self._metrics.answered(
                        completion.prompt_tokens,
                        completion.cached_tokens,
                        completion.completion_tokens,
                        completion.seconds,
                    )
                return completion, 0.0
        except Failed as failed:
            return None, await self._failed(call, it, failed)
        except Broken as broken:
            self._count("unusable")
            return None, await self._charge(call, it, Cost.TRY, safe(str(broken), self._key))
        return None, await self._turned_away(call, it, reply)

    async def _failed(self, call: _Call, it: _Try, failed: Failed) -> float:
        """Account for a request without an answer; return how long to pause."""
        self._count(failed.kind.value)
        replica, why = it.replica, f"{it.replica.url}: {failed}"
        if failed.kind is Kind.UNREACHABLE:
            if it.turn == replica.turn:
                self.pool.go_out(replica, str(failed))
            return 0.0
        if failed.kind is Kind.TOO_LONG:
            return await self._charge(call, it, Cost.TRY, why, kind=AnswerTooLong)
        self._blame(call, it, str(failed))
        if failed.kind is Kind.LOST:
            return await self._charge(call, it, Cost.LOSS, why)
        self._begin(self._find_out(it))  # with few calls the breaker alone would notice a hung server late
        return await self._charge(call, it, Cost.TRY, why)

    async def _turned_away(self, call: _Call, it: _Try, reply: Reply) -> float:
        """Account for an answer that is none; return how long to pause, or raise what the call must."""
        replica, said = it.replica, safe(words(reply.body), self._key)
        why = f"{replica.url} says {reply.status}: {said}"
        if reply.status >= 500 or reply.status in TRANSIENT:
            self._count("turned_away" if reply.status in TRANSIENT else "error")
            self._blame(call, it, f"{reply.status}: {said}")
            if reply.status == TOO_MANY:
                replica.limit.refused(it.began, time.monotonic())
            cost = Cost.TURNED_AWAY if reply.status in TRANSIENT else Cost.TRY
            return await self._charge(call, it, cost, why, reply.retry_after)
        if reply.status in OWN_FAULT and (call.api, call.shape) in self._accepted:
            raise self._refused(why)
        sign = await self._ask(replica, call.api, call.shape)
        if sign.verdict is Verdict.ANSWERED:
            self._accept(call)
            raise self._refused(why)
        if sign.verdict is Verdict.NOT_NOW:
            return await self._charge(call, it, Cost.TURNED_AWAY, f"{why}; asked again: {sign.said}")
        error = misconfigured(replica, sign, self.settings)
        if sign.status in OWN_FAULT:
            raise error  # this sampling is wrong, not the replica: other requests may be fine there
        if it.turn == replica.turn:
            self.pool.go_out(replica, sign.said, error)
        return 0.0

    async def _charge(
        self,
        call: _Call,
        it: _Try,
        cost: Cost,
        why: str,
        retry_after: str = "",
        kind: type[Broken] = Broken,
    ) -> float:
        """Charge a call for a failure; return how long to pause, or raise `Broken` where it is the last."""
        spent = call.spent
        if spent.charge(cost, self.settings):
            if cost is Cost.LOSS:
                raise self._broken(f"the connection ended {spent.losses} times under it, also alone: {why}")
            if spent.proven:
                raise self._broken(
                    f"{spent.tries + spent.turned_away} requests failed; the last: {why}", kind
                )
            spent.proven = await self._doubt(it)
            return 0.0
        spent.proven = False
        return spent.pause_seconds(self.settings, retry_after)

    async def _doubt(self, it: _Try) -> bool:
        """Have a replica generate one token; whether it could. Else it is out."""
        sign = await self._ask(it.replica, it.replica.last_api, self._prober.one_token)
        if sign.verdict is Verdict.ANSWERED:
            return True
        if it.turn == it.replica.turn:
            wrong = sign.verdict is Verdict.REFUSED
            error = misconfigured(it.replica, sign, self.settings) if wrong else None
            self.pool.go_out(it.replica, sign.said, error)
        return False

    def _blame(self, call: _Call, it: _Try, why: str) -> None:
        """Count a failure against a replica, once a call: a bad request tried again says nothing new."""
        blamed = (it.replica.url, it.turn)
        if call.spent.blamed == blamed:
            return
        call.spent.blamed = blamed
        if it.replica.failed(it.turn):
            self.pool.go_out(it.replica, f"{self.settings.failures} calls failed in a row; the last: {why}")

    def _accept(self, call: _Call) -> None:
        if len(self._accepted) > SHAPES:
            self._accepted.clear()  # at worst a question is asked again
        self._accepted.add((call.api, call.shape))

    def _broken(self, why: str, kind: type[Broken] = Broken) -> Broken:
        self.counts["broken"] += 1
        return kind(why)

    def _refused(self, why: str) -> Refused:
        self._count("refused")
        return Refused(why)

    def _count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        if self._metrics is not None:
            self._metrics.ended(outcome)

    async def _ask(self, replica: Replica, api: Api, shape: bytes) -> Sign:
        """Ask with one word of our own; calls that wonder about the same share one question."""
        key = (replica, api, shape)
        if (task := self._asking.get(key)) is None:
            task = self._asking[key] = asyncio.create_task(self._prober.ask(replica, api, shape))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    # -- beside the calls --------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_out(self, it: _Try) -> None:
        await self._doubt(it)

    def _see_to(self, replica: Replica) -> None:
        self._begin(self._bring_back(replica))

    async def _bring_back(self, replica: Replica) -> None:
        """Probe a replica that is out until it generates again."""
        pause = self.settings.probe_seconds
        while replica.out:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            sign = await self._prober.back(replica)
            if sign.verdict is Verdict.ANSWERED:
                self.pool.come_in(replica)
                return
            pause = min(2 * pause, self.settings.probe_most_seconds)
            wrong = sign.verdict is Verdict.REFUSED
            self.pool.still_out(
                replica, sign.said, misconfigured(replica, sign, self.settings) if wrong else None
            )

    async def _look(self, replica: Replica) -> None:
        """Fit a replica's limit to its queue, as often as the settings say, while it has calls of ours."""
        while True:
            await asyncio.sleep(self.settings.look_seconds)
            if not replica.outstanding or replica.out:
                continue
            try:
                reply = await exchange.send(
                    self._session, replica.metrics, None, self.settings.timeout_seconds, fit.METRICS_BYTES
                )
            except Failed:
                continue  # the calls themselves say what is wrong with it
            queue = fit.read_queue(reply.body) if reply.status == OK else None
            if queue is None:
                continue
            if self.pool.waiting:
                replica.limit.reached()
            before = replica.limit.value
            replica.limit.look(queue.running, queue.waiting, replica.outstanding)
            if replica.limit.value > before:
                self.pool.refit()


def misconfigured(replica: Replica, sign: Sign, settings: EngineSettings) -> Misconfigured:
    """Say which setting to correct."""
    fix = {
        401: f"correct the key: set api_key_env (now {settings.api_key_env or 'empty'}) and export it",
        402: "the account behind the key is not paid",
        403: f"the key in {settings.api_key_env or 'api_key_env, which is empty,'} may not use this model",
        404: f"correct model (now {settings.model!r}) or urls; {replica.models} lists what is served",
    }.get(sign.status, "even one word is refused: correct model, max_tokens, temperature, extra or urls")
    return Misconfigured(f"{replica.url} refuses every request ({sign.said}): {fix}")
