"""`finestream engine`: the environment first, then every server kept, until a signal.

One event loop for all servers: they are watched by requests, and ten of them need no thread each. Only the
installation runs in a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from monitoring.metrics import BuildMetrics, ServeMetrics, serve
from streams import children
from streams.engine.command import api_key, command_line, environment_of, servers
from streams.engine.environment import Environment
from streams.engine.keeper import REASONS, Keeper
from streams.engine.state import LOCK, EngineState, write_state
from streams.errors import FinestreamError, ServeError
from streams.settings import Settings
from streams.supervisor.child import rotate

ROTATE_SECONDS: Final = 5.0
SAY_SECONDS: Final = 10.0
"""Between two words about an installation that goes on."""
INSTALL_LOG: Final = "engine-install.log"
VERSION: Final = "0.1.0"

log = structlog.get_logger("engine")


class Taken(FinestreamError):
    """Another engine works on the data directory."""

    exit_code = 3


class Loop:
    """One run of `finestream engine`. `run` blocks until SIGTERM or SIGINT, or until it can't go on."""

    def __init__(self, settings: Settings) -> None:
        self.data_dir = settings.data_dir.expanduser().absolute()
        self._settings = settings
        self._serve = settings.serve
        self._logs = self.data_dir / "logs"
        self._stopping = threading.Event()
        self._lock: int | None = None
        self._keepers: list[Keeper] = []
        self._state = EngineState(pid=os.getpid(), model=self._serve.model, name=self._serve.name)
        self._metrics: ServeMetrics

    def run(self) -> None:
        """Raise `SettingsError`, `Taken`, or `ServeError` where no server can be had."""
        count = servers(self._serve)
        for number in range(count):
            command_line(self._serve, number)  # what cannot be is said before anything is installed
        api_key(self._serve)
        self._own()
        registry = CollectorRegistry()
        BuildMetrics(registry, "engine", VERSION)
        named = [(f"engine-{i}", self._serve.port + i) for i in range(count)]
        self._metrics = ServeMetrics(registry, named, REASONS)
        metrics = self._settings.metrics
        self._state.metrics_port = serve(metrics.host, metrics.port, registry)
        self._keepers = [Keeper(self._serve, i, self._logs, self._metrics, self._say) for i in range(count)]
        self._state.servers = [keeper.server for keeper in self._keepers]
        for keeper in self._keepers:
            self._metrics.stands(keeper.server.name, up=False)
        self._say()
        asyncio.run(self._run())

    def _own(self) -> None:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._lock = children.hold_lock(self.data_dir / LOCK)
        except OSError as error:
            raise ServeError(
                f"{self.data_dir} can't be used ({error.strerror}); choose another with --data-dir"
            ) from error
        if self._lock is None:
            owner = children.lock_holder(self.data_dir / LOCK)
            raise Taken(f"another engine (process {owner}) works on {self.data_dir}; stop that one first")

    async def _run(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            log.info("stopping")
            self._stopping.set()
            ended.set()

        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, stop)
        work = asyncio.create_task(self._work())
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            return
        except FinestreamError:
            if not self._stopping.is_set():
                raise

    async def _work(self) -> None:
        if (environment := environment_of(self._serve)) is not None and not environment.whole():
            await self._install(environment)
        keeping = [asyncio.create_task(keeper.run(self._none_ever_ready)) for keeper in self._keepers]
        try:
            await asyncio.gather(self._rotate(), *keeping)
        finally:  # one gave up, or we were asked to end: all end, in order
            for task in keeping:
                if not task.cancelling():  # a second time would cut its orderly end short
                    task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    def _none_ever_ready(self) -> bool:
        return not any(keeper.ever_ready for keeper in self._keepers)

    async def _install(self, environment: Environment) -> None:
        """Make the environment in a thread. On a terminal the installer draws its bars, else a log grows."""
        self._metrics.installing.set(1)
        began = time.monotonic()

        def make() -> None:
            if sys.stderr.isatty():
                environment.ensure(_tell, None, self._stopping.is_set)
                return
            with (self._logs / INSTALL_LOG).open("wb") as out:
                environment.ensure(_tell, out, self._stopping.is_set)

        making = asyncio.create_task(asyncio.to_thread(make))
        for server in self._state.servers:
            server.state, server.reason = "installing", f"vLLM's environment is made in {environment.path}"
        self._say()
        said = began
        try:
            while not making.done():
                await asyncio.wait({making}, timeout=1.0)
                if time.monotonic() - said >= SAY_SECONDS and not sys.stderr.isatty():
                    said = time.monotonic()
                    log.info("installing", seconds=round(said - began))
            making.result()
        except asyncio.CancelledError:
            await asyncio.wait({making})  # it ends soon: it asks whether we are stopping
            raise
        except ServeError as error:
            for server in self._state.servers:
                server.state, server.reason = "failed", str(error)
            self._say()
            raise
        finally:
            self._metrics.installing.set(0)

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            for keeper in self._keepers:
                keeper.rotate()
            rotate(self._logs / INSTALL_LOG)

    def _say(self) -> None:
        """Write down how everything stands."""
        try:
            write_state(self.data_dir, self._state)
        except OSError as error:  # a full disk passes; what we are there for goes on meanwhile
            log.warning("state not written", error=str(error))


def _tell(text: str) -> None:
    log.info(text)
