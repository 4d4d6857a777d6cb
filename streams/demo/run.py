"""One run of the demo: start, ingest, kill, wait, account.

1. the supervisor starts the broker and a worker a stage; wait until each holds its lanes;
2. ingest; start the trainer, which ends once everything is through;
3. in the middle, kill a worker: the supervisor starts it again, and it goes on behind its own output;
4. when the trainer has ended, count from the topics that nothing is missing, repeated or made up;
5. stop everything; the data directory stays.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from streams import accounting, generations
from streams.broker.jars import Progress as Fetching
from streams.demo import examples
from streams.demo.display import Display
from streams.demo.memory import PeakMemory
from streams.demo.report import Outcome
from streams.demo.trainer_process import TrainerProcess
from streams.drained import DrainWatch, Progress
from streams.errors import AccountsDiffer, FinestreamError, LaneError
from streams.generations import Generation
from streams.ingest.booking import CHANGED, OPEN, POSTPONED, REFUSED, VANISHED, read_bookings
from streams.ingest.ingester import Ingester
from streams.ingest.inputs import Input
from streams.ingest.progress import Progress as IngestProgress
from streams.ingest.report import KNOWN, SourceReport
from streams.pipeline import TOPICS
from streams.settings import STAGES, Settings
from streams.supervisor import Plan, State, Supervisor, health, stage_slots

KILL_SHARE: Final = 0.25
"""Of the documents are through the first model when a worker is killed."""
HEALTH_SECONDS: Final = 240.0
STALL_SECONDS: Final = 180.0
"""Without any progress, after which the demo gives up: a model may take long to load, not that long."""
POLL_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0
"""Between two looks at the processes."""
DEATHS_TOLERATED: Final = 3
EXAMPLES: Final = 3


class Demo:
    """Holds the supervisor while it runs. `run` may be called once."""

    def __init__(
        self,
        settings: Settings,
        inputs: Sequence[Input],
        *,
        display: Callable[[], Display],
        say: Callable[[str], None],
        ingest_progress: IngestProgress,
        fetching: Fetching | None = None,
    ) -> None:
        self._supervisor = Supervisor(settings, Plan(slots=stage_slots(settings)), attached=True)
        self._inputs = inputs
        self._display = display
        self._say = say
        self._ingest_progress = ingest_progress
        self._fetching = fetching
        self._memory = PeakMemory()
        self._killed = ""
        self._killed_pid = 0
        self._victim = ""
        self.kept: list[examples.Example] = []
        self.rejected: examples.Example | None = None

    def run(self) -> Outcome:
        """Run it all. Raises what went wrong; then, too, nothing is left running."""
        began = time.monotonic()
        if not self._supervisor.start(progress=self._fetching, say=self._say):
            raise FinestreamError(
                f"something runs on {self._supervisor.data_dir} already; `finestream down --data-dir "
                f"{self._supervisor.data_dir}` stops it, or choose another with --data-dir"
            )
        trainer: TrainerProcess | None = None
        try:
            self._supervisor.wait_healthy(HEALTH_SECONDS, say=self._say)
            settings = self._supervisor.settings
            generation = generations.load(settings)
            self._ingest(settings)
            with DrainWatch(settings, generation) as watch:
                trainer = TrainerProcess(settings, self._supervisor.data_dir / "logs" / "trainer.log")
                self._follow(watch, trainer)
                trained_report = trainer.report()
                if not watch.drained():
                    raise AccountsDiffer("the trainer has ended, but the pipeline is not drained")
            self._say("counting from the topics what became of every document")
            accounts, trained = account(settings, generation, trained_report)
            rnd = random.Random()  # noqa: S311 - which examples to show is no secret
            self.kept = examples.trained_on(settings, generation, settings.trainer.run, EXAMPLES, rnd)
            self.rejected = examples.rejected(settings, generation, rnd)
            self._sample(None)
        finally:
            if trainer is not None:
                trainer.stop()
            self._supervisor.stop()
        return Outcome(
            accounts=accounts,
            trained=trained,
            trainer=trained_report,
            seconds=time.monotonic() - began,
            data_dir=str(self._supervisor.data_dir),
            bootstrap_servers=settings.bootstrap_servers,
            memory=self._memory.peaks,
            killed=self._killed,
        )

    # -- ingest ------------------------------------------------------------------------------------------

    def _ingest(self, settings: Settings) -> None:
        with self._ingest_progress as progress:
            reports = Ingester(settings, progress=progress).run(self._inputs)
        for line in ingested(reports):
            self._say(line)

    # -- the middle --------------------------------------------------------------------------------------

    def _follow(self, watch: DrainWatch, trainer: TrainerProcess) -> None:
        """Wait until the trainer has ended; kill the victim once it has enough to do."""
        moved_at = looked_at = time.monotonic()
        before: Any = None
        if watch.drained():
            self._say("nothing is in flight: no worker is killed")
            self._killed = "nothing was in flight, so no worker was killed"
        with self._display() as display:
            while trainer.pid:
                at, sizes = watch.look(), watch.sizes()
                display.flow(at, sizes)
                if not self._killed and sizes["matched"] >= max(1.0, KILL_SHARE * sizes["raw"]):
                    self._kill(display, victim(sizes), at)
                now = time.monotonic()
                if (at, sizes) != before:
                    before, moved_at = (at, sizes), now
                elif now - moved_at > STALL_SECONDS and at.done < at.total:
                    raise FinestreamError(
                        f"nothing has moved for {STALL_SECONDS:.0f} s at {at.done} of {at.total} documents; "
                        f"see the logs in {self._supervisor.data_dir / 'logs'}"
                    )
                if now - looked_at > LOOK_SECONDS:
                    looked_at = now
                    self._sample(trainer)
                    self._check(self._state())
                time.sleep(POLL_SECONDS)
            display.flow(watch.look(), watch.sizes())
        if self._killed_pid:
            process = self._state().process(self._victim)
            became = f"process {process.pid} took over" if process.pid else "it is being started again"
            self._killed += f"; {became} and went on behind the last record in its output"
            self._say(self._killed)

    def _kill(self, display: Display, slot: str, at: Progress) -> None:
        self._sample(None)
        try:
            self._killed_pid = self._supervisor.kill(slot)
        except ProcessLookupError:
            return  # it is just being started: later
        self._victim = slot
        self._killed = (
            f"killed {slot} (SIGKILL, process {self._killed_pid}) "
            f"when {at.done} of {at.total} documents were through"
        )
        display.say(self._killed)

    def _state(self) -> State:
        state = self._supervisor.state()
        if state is None:
            raise FinestreamError(f"the supervisor has ended; its log is {self._supervisor.log_file}")
        return state

    def _check(self, state: State) -> None:
        """Raise where a process dies again and again, or a lane is stopped: waiting would never end."""
        for process in state.processes:
            if process.restarts - (process.slot == self._victim) >= DEATHS_TOLERATED:
                raise FinestreamError(f"{process.slot} dies again and again: {health.last_words(process)}")
        for slot, metrics in health.scrape_all(state).items():
            if metrics.get("finestream_lanes_stopped", 0):
                raise LaneError(f"{slot} has stopped a lane: {health.last_words(state.process(slot))}")

    def _sample(self, trainer: TrainerProcess | None) -> None:
        state = self._state()
        pids = {process.slot: process.pid for process in state.processes}
        pids["supervisor"] = state.pid
        pids["demo"] = os.getpid()
        if trainer is not None:
            pids["trainer"] = trainer.pid
        self._memory.sample(pids)


def account(
    settings: Settings, generation: Generation, report: dict[str, Any]
) -> tuple[accounting.Accounts, accounting.Trained]:
    """Count from the topics, and compare with the book of sources and with the trainer's own report.

    Raises `AccountsDiffer` where anything is missing, repeated or made up.
    """
    accounts = accounting.take(settings, generation)
    accounts.require_whole()
    booked = booked_records(settings)
    sent = accounts.raw - accounts.duplicates.get("raw", 0)
    if booked is not None and booked != sent:
        raise AccountsDiffer(
            f"the sources held {booked} documents, but {sent} are in raw; `finestream topic peek "
            "sources` and `finestream topic count raw` show both"
        )
    trained = accounting.trained(settings, generation, settings.trainer.run)
    trained.require_whole()
    if (trained.steps, trained.pairs) != (report["steps"], report["pairs"]):
        raise AccountsDiffer(
            f"the trainer reports {report['steps']} steps and {report['pairs']} pairs, but its ledger "
            f"holds {trained.steps} and {trained.pairs}"
        )
    return accounts, trained


def victim(sizes: Mapping[str, int]) -> str:
    """Return the worker with most in flight: that of the stage whose output is furthest behind its input."""
    waiting = {
        stage: sizes[source] - sizes[target]
        for stage, (source, target) in zip(STAGES, pairwise(TOPICS), strict=True)
    }
    return f"{max(waiting, key=lambda stage: waiting[stage])}-0"


def ingested(reports: Sequence[SourceReport]) -> list[str]:
    """Say what became of the inputs."""
    known = [report for report in reports if report.outcome == KNOWN]
    lines = []
    if known:
        lines.append(f"{len(known)} of {len(reports)} files were ingested before and are not read again")
    new = [report for report in reports if report.outcome != KNOWN]
    if new:
        sent, found = sum(report.sent for report in new), sum(report.found for report in new)
        more = f", {found} were there already" if found else ""
        skipped = sum(sum(report.skipped.values()) for report in new)
        lines.append(
            f"ingested {len(new)} files: {sent} documents sent{more}; {skipped} records were no documents"
        )
    said = {VANISHED, CHANGED, REFUSED, POSTPONED}
    lines += [
        f"{report.url}: {report.outcome}" + (f", {report.reason}" if report.reason else "")
        for report in new
        if report.outcome in said
    ]
    return lines


def booked_records(settings: Settings) -> int | None:
    """Return how many documents and stubs all finished sources held by the book; None where it can't say.

    A source that vanished or changed while it was read was sent in part.
    """
    total = 0
    for _, booking in read_bookings(settings).values():
        if booking.state == OPEN or booking.outcome in {VANISHED, CHANGED, POSTPONED}:
            return None
        stubs = sum(n for name, n in booking.counts.items() if name.startswith("stub."))
        total += booking.counts.get("documents", 0) + stubs
    return total
