"""One server kept generating: started, waited for, watched, killed when it hangs, started again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, get_args

import aiohttp
import structlog

from monitoring.metrics import ServeMetrics
from streams.broker.probe import port_free
from streams.engine import questions
from streams.engine.command import HOST, api_key, command_line, full_environment
from streams.engine.process import ServerProcess
from streams.engine.state import Server, Standing
from streams.engine.watch import Watch
from streams.errors import ServeError
from streams.settings.serve import ServeSettings

POLL_SECONDS: Final = 0.1
ASK_SECONDS: Final = 0.5
STEADY_SECONDS: Final = 60.0
"""One that was ready for so long is started again at once; one that dies younger waits, longer each time."""
FIRST_PAUSE_SECONDS: Final = 1.0
STOP_SECONDS: Final = 8.0
FIRST_PORT_SECONDS: Final = 3.0
PORT_SECONDS: Final = 10.0
"""A killed server's port is free when the last of its threads is gone; so is that of a keeper before us."""

Reason = Literal["died", "refused", "slow_start", "no_tokens", "no_answer", "sick", "not_started"]
REASONS: Final[tuple[str, ...]] = get_args(Reason)
"""Why a server is started again: it died; it answers and refuses what we ask; it gave no token in
`start_seconds`; it hangs in one of the three ways of watch.py; it could not be started at all."""
_WORDS: Final = {
    "no_tokens": "requests wait and no token was made for {hang_seconds:.0f} s",
    "no_answer": "it did not answer a request for one token within {probe_timeout_seconds:.0f} s",
    "sick": "it answers each request for a token with an error",
}

log = structlog.get_logger("engine")


def pause_seconds(young_deaths: int, most: float) -> float:
    """Return how long to wait before the next start: 0, 1, 2, 4 … up to `most` seconds."""
    if young_deaths <= 1:
        return 0.0
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(young_deaths - 2, 30), most)


class _Ended(Exception):
    """The present process is of no more use."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Keeper:
    """One server, in one event loop. `run` ends when it is cancelled, or with `ServeError`."""

    def __init__(
        self,
        serve: ServeSettings,
        number: int,
        logs: Path,
        metrics: ServeMetrics,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after each change of `server`."""
        self.number = number
        self.server = Server(name=f"engine-{number}", log=str(logs / f"engine-{number}.log"))
        self._root = f"http://{HOST}:{serve.port + number}"
        self.server.url = f"{self._root}/v1"
        self._serve = serve
        self._port = serve.port + number
        self._process = ServerProcess(Path(self.server.log))
        self._metrics = metrics
        self._changed = changed
        self._born = 0.0
        self._ready_at: float | None = None
        self._young_deaths = 0
        self._failed_starts = 0
        self.ever_ready = False

    async def run(self, give_up: Callable[[], bool] = bool) -> None:
        """Keep it. `give_up` says, after `failed_starts`, whether to raise `ServeError` with its last words.

        Raises `SettingsError` for what cannot be put into a command line.
        """
        serve = self._serve
        command, key = command_line(serve, self.number), api_key(serve)
        environment = full_environment(serve, self.number)
        timeout = aiohttp.ClientTimeout(total=None)
        try:
            # A connection for each question: one that a dead server left half open answers nothing.
            connector = aiohttp.TCPConnector(force_close=True)
            async with aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=False
            ) as session:
                while True:
                    try:
                        await self._start(command, environment)
                        await self._until_ready(session, key)
                        await self._watch(session, key)
                    except _Ended as ended:
                        await self._bury(ended, give_up)
        finally:
            await asyncio.shield(self._stop())

    def rotate(self) -> None:
        """Keep its log small."""
        self._process.rotate()

    # ---- one life

    async def _start(self, command: list[str], environment: dict[str, str]) -> None:
        self._born, self._ready_at = time.monotonic(), None
        patience = PORT_SECONDS if self.server.started_at else FIRST_PORT_SECONDS
        while not port_free(self._port):
            if time.monotonic() - self._born >= patience:
                words = f"port {self._port} is taken by another program; choose another with serve.port"
                raise _Ended("not_started", words)
            await asyncio.sleep(POLL_SECONDS)
        self._born = time.monotonic()
        try:
            self._process.start(command, environment)
        except OSError as error:
            raise _Ended("not_started", str(error)) from error
        self.server.started_at = time.time()
        self._stands("starting", self.server.reason)
        log.info("started", server=self.server.name, pid=self._process.pid, port=self._port)

    async def _until_ready(self, session: aiohttp.ClientSession, key: str) -> None:
        """Wait until it really generates."""
        deadline = self._born + self._serve.start_seconds
        while True:
            self._lives()
            left = deadline - time.monotonic()
            if left <= 0:
                words = f"no token within {self._serve.start_seconds:.0f} s (serve.start_seconds)"
                raise _Ended("slow_start", f"{words}: {self._process.last_words()}")
            asking = asyncio.create_task(questions.one_token(session, self.server.url, self._serve.name, key))
            try:
                while not asking.done():  # its death ends the wait
                    await asyncio.wait({asking}, timeout=POLL_SECONDS)
                    self._lives()
                    if time.monotonic() > deadline:
                        break
                else:
                    answer = asking.result()
                    if answer.kind == "token":
                        break
                    if answer.kind == "refused":
                        raise _Ended("refused", f"it refuses a request for one token: {answer.words}")
            finally:
                asking.cancel()
            await asyncio.sleep(ASK_SECONDS)
        self._ready_at = time.monotonic()
        self.server.ready_seconds = round(self._ready_at - self._born, 2)
        self._metrics.ready(self.server.name, self.server.ready_seconds)
        self.ever_ready, self._failed_starts = True, 0
        self._stands("ready", "")
        log.info("ready", server=self.server.name, seconds=self.server.ready_seconds, url=self.server.url)

    async def _watch(self, session: aiohttp.ClientSession, key: str) -> None:
        """Look at it until it dies or hangs."""
        assert self._ready_at is not None
        serve = self._serve
        watch = Watch(serve.hang_seconds, serve.probe_seconds, serve.probe_timeout_seconds, time.monotonic())
        looking = asyncio.create_task(self._look(session, watch))
        probing: asyncio.Task[questions.Answer] | None = None
        try:
            while True:
                self._lives()
                if looking.done():
                    looking.result()  # a defect of ours: said, not waited for
                now = time.monotonic()
                if probing is not None and probing.done():
                    watch.answered(now, well=probing.result().kind in {"token", "refused"})
                    probing = None
                if watch.due(now):
                    asking = questions.one_token(session, self.server.url, serve.name, key)
                    probing = asyncio.create_task(asking)
                    watch.asked(now)
                if hung := watch.hung(now):
                    words = _WORDS[hung].format_map(serve.model_dump())
                    self._stands("hung", words)
                    raise _Ended(hung, words)
                if now - self._ready_at > STEADY_SECONDS:
                    self._young_deaths = 0
                await asyncio.sleep(POLL_SECONDS)
        finally:
            looking.cancel()
            if probing is not None:
                probing.cancel()

    async def _look(self, session: aiohttp.ClientSession, watch: Watch) -> None:
        while True:
            seen = await questions.load(session, self._root)
            watch.saw(seen, time.monotonic())
            await asyncio.sleep(self._serve.look_seconds)

    def _lives(self) -> None:
        if (code := self._process.ended()) is not None:
            how = f"killed by signal {code - 128}" if code > 128 else f"exit {code}"
            raise _Ended("died", f"it died ({how}): {self._process.last_words()}")

    # ---- its end

    async def _bury(self, ended: _Ended, give_up: Callable[[], bool]) -> None:
        await asyncio.to_thread(self._process.kill)
        now = time.monotonic()
        if self._ready_at is None:
            self._failed_starts += 1
        self._young_deaths += 1
        pause = pause_seconds(self._young_deaths, self._serve.restart_most_seconds)
        self.server.restarts += 1
        self._metrics.restarted(self.server.name, ended.reason)
        log.warning(
            "ended", server=self.server.name, reason=ended.reason, lived=round(now - self._born, 1),
            pause=pause, words=str(ended),
        )  # fmt: skip
        if 0 < self._serve.failed_starts <= self._failed_starts and give_up():
            self._stands("failed", str(ended))
            raise ServeError(
                f"{self.server.name} did not start {self._failed_starts} times in a row: {ended} "
                f"(log: {self.server.log})"
            )
        self._stands("restarting", str(ended))
        await asyncio.sleep(pause)

    async def _stop(self) -> None:
        """End it in order, within `STOP_SECONDS`."""
        if self._process.pid:
            self._process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            with contextlib.suppress(_Ended):
                while time.monotonic() < deadline:
                    self._lives()
                    await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self._process.kill)
        if self.server.state != "failed":
            self._stands("stopped", "")

    def _stands(self, state: Standing, reason: str) -> None:
        self.server.state, self.server.reason, self.server.pid = state, reason, self._process.pid
        self._metrics.stands(self.server.name, up=state == "ready")
        self._changed()
