"""The supervisor's own process: broker first, then the children, until a signal; then all down, broker last.

One thread and one short poll instead of an event loop: ten children need no more, and the kernel ties the
children's lives to the thread that starts them. While the broker is being started again nothing else is
looked at: workers without a broker have nothing to do.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from monitoring.metrics import BuildMetrics, SupervisorMetrics, serve
from streams import children, clients, generations
from streams.broker import Broker
from streams.errors import BrokerError, FinestreamError
from streams.settings import Settings, to_environment
from streams.supervisor.child import Child, pause_seconds, rotate
from streams.supervisor.plan import ENGINE, Plan
from streams.supervisor.state import BROKER, LOCK, Failure, Phase, Process, State, write_state

POLL_SECONDS: Final = 0.05
ROTATE_SECONDS: Final = 5.0
SAY_SECONDS: Final = 1.0
"""Between two tries to write the state where that fails."""
GRACE_SECONDS: Final = 5.0
"""Beyond the workers' own time to drain, before they are killed."""
VERSION: Final = "0.1.0"

log = structlog.get_logger("supervisor")


class Taken(FinestreamError):
    """Another supervisor owns the data directory."""

    exit_code = 3


class Loop:
    """One run of a supervisor. `run` blocks until SIGTERM or SIGINT, or until it can't go on."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self.data_dir = settings.data_dir.absolute()
        self._settings = settings
        self._plan = plan
        self._stopping = False
        self._lock: int | None = None
        self._broker: Broker | None = None
        self._broker_process = Process(role=BROKER, slot=BROKER, log=str(self._logs / "broker.log"))
        self._broker_born = 0.0
        self._broker_young_deaths = 0
        self._broker_due = 0.0
        self._children: list[Child] = []
        self._state = State(pid=0, started_at=time.time(), embedded=settings.embedded)
        self._metrics: SupervisorMetrics | None = None
        self._said, self._unsaid = 0.0, False

    @property
    def _logs(self) -> Path:
        return self.data_dir / "logs"

    def run(self) -> None:
        """Own the data directory, keep everything running. Raises `FinestreamError` where it can't begin."""
        self._own()
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self._on_signal)
        try:
            self._begin()
            self._keep()
        except FinestreamError as error:
            if not self._stopping:  # a signal during the start is no failure
                self._state.failure = Failure(str(error), error.exit_code)
                log.critical("given up", error=str(error))
                raise
        finally:
            self._end()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        log.info("stopping", signal=signal.Signals(number).name)
        self._stopping = True

    # ---- start

    def _own(self) -> None:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._lock = children.hold_lock(self.data_dir / LOCK)
        except OSError as error:
            raise BrokerError(
                f"{self.data_dir} can't be used ({error.strerror}); choose another with --data-dir"
            ) from error
        if self._lock is None:
            owner = children.lock_holder(self.data_dir / LOCK)
            raise Taken(
                f"another supervisor (process {owner}) owns {self.data_dir}; "
                f"`finestream down --data-dir {self.data_dir}` stops it"
            )

    def _begin(self) -> None:
        self._state.pid = os.getpid()
        registry = CollectorRegistry()
        BuildMetrics(registry, "supervisor", VERSION)
        self._metrics = SupervisorMetrics(registry, [BROKER, *(slot.name for slot in self._plan.slots)])
        self._state.metrics_port = serve(self._settings.metrics.host, 0, registry)
        self._say("broker")
        if self._settings.embedded:
            self._broker = Broker.from_settings(self._settings)
            started = self._broker.start(lambda: self._stopping)
            self._broker_runs()
            log.info("broker runs", port=self._broker.port, pid=self._broker.pid, found=not started)
            broker = self._settings.broker.model_copy(update={"port": self._broker.port})
            self._settings = self._settings.model_copy(update={"broker": broker})
        else:
            clients.check_reachable(self._settings)
        self._state.bootstrap_servers = self._settings.bootstrap_servers
        if self._plan.create and not self._stopping:
            self._say("create")
            generation = generations.create(self._settings)
            self._state.generation, self._state.lanes = generation.id, generation.lanes
            log.info("pipeline is there", generation=generation.id, lanes=generation.lanes)
        settings = self._settings.model_copy(update={"data_dir": self.data_dir})
        environment = children.clean_environment() | to_environment(settings)
        first = self._settings.metrics.port
        self._children = [
            Child(slot, environment, self._logs, first + i if first else 0)
            for i, slot in enumerate(self._plan.slots)
        ]
        for child in self._children:
            if self._stopping:
                break
            child.start()
        self._say("running")

    # ---- run

    def _keep(self) -> None:
        rotated = time.monotonic()
        while not self._stopping:
            changed = self._keep_broker()
            for child in self._children:
                if self._broker_process.state == "running" or self._broker is None:
                    changed |= child.watch()
            if changed or (self._unsaid and time.monotonic() - self._said > SAY_SECONDS):
                self._say("running")
            if time.monotonic() - rotated > ROTATE_SECONDS:
                rotated = time.monotonic()
                for child in self._children:
                    child.rotate()
                for name in ("supervisor.log", "broker.out"):
                    rotate(self._logs / name)
            time.sleep(POLL_SECONDS)

    def _keep_broker(self) -> bool:
        broker, process = self._broker, self._broker_process
        if broker is None or (process.state == "running" and broker.running()):
            return False
        now = time.monotonic()
        if process.state == "running":
            young = now - self._broker_born < 10
            self._broker_young_deaths = self._broker_young_deaths + 1 if young else 1
            process.reason = broker.reason_of_death()
            log.warning("broker died", reason=process.reason)
            process.pid, process.state, process.last_exit = 0, "waiting", broker.exit_code
            self._broker_due = now + pause_seconds(self._broker_young_deaths)
            self._say("running")
        if now < self._broker_due:
            return False
        process.restarts += 1
        try:
            broker.start(lambda: self._stopping)
        except BrokerError as error:
            if not self._stopping:
                self._broker_young_deaths += 1
                self._broker_due = time.monotonic() + pause_seconds(self._broker_young_deaths)
                process.reason = str(error)
                log.warning("broker can't be started", error=str(error))
            return True
        self._broker_runs()
        log.info("broker runs again", port=broker.port, pid=broker.pid)
        return True

    def _broker_runs(self) -> None:
        assert self._broker is not None
        self._broker_born = time.monotonic()
        self._broker_process.state, self._broker_process.reason = "running", ""
        self._broker_process.pid = self._broker.pid or 0
        self._broker_process.started_at = time.time()

    def _say(self, phase: Phase) -> None:
        """Write down how everything stands."""
        self._said = time.monotonic()
        processes = [child.process for child in self._children]
        self._state.phase = phase
        self._state.processes = [self._broker_process, *processes] if self._broker else processes
        try:
            write_state(self.data_dir, self._state)
            self._unsaid = False
        except OSError as error:  # a full disk passes; what we are there for goes on meanwhile
            log.warning("state not written", error=str(error))
            self._unsaid = True
        if self._metrics is not None:
            for process in self._state.processes:
                self._metrics.stands(process.slot, process.state == "running", process.restarts)

    # ---- stop

    def _end(self) -> None:
        self._say("stopping")
        # The model's servers last: calls in flight are paid for, and end within the workers' time to drain.
        self._end_children([child for child in self._children if child.slot.role != ENGINE])
        self._end_children([child for child in self._children if child.slot.role == ENGINE])
        if self._broker is not None:
            self._broker.stop()
            if self._broker_process.state != "starting":
                self._broker_process.state, self._broker_process.pid = "stopped", 0
        self._say("failed" if self._state.failure else "stopped")
        log.info("stopped")

    def _end_children(self, left: list[Child]) -> None:
        for child in left:
            child.terminate()
        deadline = time.monotonic() + self._settings.runner.drain_seconds + GRACE_SECONDS
        while left := [child for child in left if not child.reap(kill=time.monotonic() > deadline)]:
            time.sleep(POLL_SECONDS)
