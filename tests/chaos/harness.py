"""A whole pipeline under fire: real processes, killed, terminated and frozen while documents flow.

The product's own supervisor keeps the broker and two workers of each stage; ingester and trainer are kept by
this harness as a user would keep them. chunk is the real stage; match, instantiate and judge are scripted
(tests/kit/stages.py), so that the oracle knows what they must make and a kill costs no model's start.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.corpus import SEGMENT_TOKENS, Writer, spread
from kafka import TopicPartition
from kit.unfiltered import UNFILTERED

from streams import children, clients
from streams.settings import STAGES, Settings, load, to_environment
from streams.supervisor import Plan, Slot, Supervisor
from streams.supervisor.health import scrape
from streams.supervisor.plan import instance_id

KIT = Path(__file__).resolve().parents[1] / "kit"
SCRIPTS = {"match": "match", "instantiate": "pairs", "judge": "best"}
WORKERS = 2
FREEZE_SECONDS = 8.0
"""Longer than the group's session (6 s): others take over, and what wakes up is a zombie."""
LATE_SECONDS = 3.0
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "freeze": signal.SIGSTOP}

Say = Callable[[str], None]


def chaos_settings(data_dir: Path, lanes: int = 6, **sections: Any) -> Settings:
    """Settings that make everything small and fast, and nothing else different."""
    return load(
        **{
            "data_dir": data_dir,
            "broker": {"port": 0, "start_seconds": 120},
            "pipeline": {"lanes": lanes},
            "runner": {"drain_seconds": 5},
            "chunk": {
                "segment_tokens": SEGMENT_TOKENS,
                "min_characters": 150,
                "batch_records": 4,
                "filters": UNFILTERED,
            },
            "trainer": {
                "heldout_share": 0.0,
                "sequence_tokens": 32,
                "batch_sequences": 4,
                "threads": 1,
                "warmup_steps": 5,
                "checkpoint_seconds": 4.0,
            },
            **sections,
        }
    )


class Kept:
    """A process that is started again whenever it dies, until it is done; for one thread."""

    def __init__(
        self, name: str, command: list[str], settings: Settings, log: Path, **environment: str
    ) -> None:
        self.name, self._command, self._log = name, command, log
        self._environment = {**children.clean_environment(), **to_environment(settings), **environment}
        self._popen: subprocess.Popen[bytes] | None = None
        self._rivals: list[subprocess.Popen[bytes]] = []
        self.starts = 0
        self.done = False
        self.told: set[int] = set()  # processes that were asked to go

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start a process; it dies with the calling thread."""
        self.starts += 1
        with self._log.open("ab") as errors, self._log.with_suffix(".out").open("ab") as out:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=self._environment,
                start_new_session=True, preexec_fn=children.die_with_parent(),  # noqa: PLW1509
            )  # fmt: skip

    def tick(self) -> None:
        """Start it where it is not there and not done."""
        self._rivals = [rival for rival in self._rivals if rival.poll() is None]
        if self._popen is not None and self._popen.poll() is not None:
            told = self._popen.pid in self.told
            self.done = self._popen.returncode == 0 and not told and self._finished()
            self._popen = None
        if self._popen is None and not self.done:
            self._popen = self.spawn()

    def _finished(self) -> bool:
        return False

    def add_rival(self) -> None:
        """Start a second one beside a process that is frozen: it takes over."""
        self._rivals.append(self.spawn())

    @property
    def pid(self) -> int:
        return self._popen.pid if self._popen is not None and self._popen.poll() is None else 0

    def stop(self, how: signal.Signals = signal.SIGKILL, seconds: float = 60) -> None:
        """End it and every rival."""
        for popen in [*self._rivals, *([self._popen] if self._popen else [])]:
            if popen.poll() is None:
                popen.send_signal(signal.SIGCONT)
                popen.send_signal(how)
            try:
                popen.wait(seconds)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
        self._popen, self._rivals, self.done = None, [], True


class Ingest(Kept):
    """`finestream ingest FILES`, until it says that nothing was left."""

    def __init__(
        self, files: list[Path], settings: Settings, log: Path, seconds: float, burst: int = 10
    ) -> None:
        command = [sys.executable, str(KIT / "slow_ingest.py"), "--format", "json", *map(str, files)]
        super().__init__("ingest", command, settings, log, SLOW_BURST=str(burst), SLOW_SECONDS=str(seconds))

    def _finished(self) -> bool:
        return True  # exit code 0, and nobody had told it to go


@dataclass
class Report:
    """What was done to the pipeline, and how it took it."""

    kills: Counter[str] = field(default_factory=Counter)  # "chunk kill" …
    recovery: dict[str, list[float]] = field(default_factory=dict)  # seconds, by the same names
    late_writes: int = 0
    aliens: int = 0
    seconds: float = 0.0

    @property
    def killed(self) -> int:
        return self.kills.total()


class Chaos:
    """One run: start, let documents flow, shoot, wait until all is through."""

    def __init__(self, folder: Path, settings: Settings, seed: int, say: Say = lambda text: None,
                 entries: dict[str, list[str]] | None = None) -> None:  # fmt: skip
        """`entries` replaces the commands of stages and of the trainer: faults are planted so."""
        self.folder, self._say, self._rnd = folder, say, random.Random(seed)
        self.report = Report()
        self._entries = entries or {}
        slots = [self._slot(settings, stage, i) for stage in STAGES for i in range(WORKERS)]
        self.supervisor = Supervisor(settings, Plan(slots=slots), attached=True)
        self.settings = settings
        self.ingest: Kept | None = None
        self.trainer: Kept | None = None
        self._frozen: list[tuple[float, int]] = []
        self._next_look = 0.0
        self._watched: list[tuple[str, float, Callable[[], bool]]] = []

    def _slot(self, settings: Settings, stage: str, i: int) -> Slot:
        name = f"{stage}-{i}"
        command = self._entries.get(stage) or (
            [sys.executable, str(KIT / "stages.py"), SCRIPTS[stage]]
            if stage in SCRIPTS
            else [sys.executable, "-m", "workers", stage, "--slot"]
        )
        return Slot(role=stage, name=name, command=[*command, instance_id(settings, name)])

    # -- start and end -----------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[Chaos]:
        """Start broker and workers; end everything."""
        began = time.monotonic()
        try:
            self.supervisor.start()
            self.supervisor.wait_healthy(180, self._say)
            self.settings = self.supervisor.settings
            yield self
        finally:
            self._thaw(float("inf"))
            for kept in (self.ingest, self.trainer):
                if kept is not None:
                    kept.stop()
            self.supervisor.stop()
            self.report.seconds = time.monotonic() - began

    def begin_training(self) -> None:
        command = self._entries.get("trainer") or [sys.executable, "-m", "trainer"]
        self.trainer = Kept("trainer", command, self.settings, self.folder / "trainer.log")
        self.trainer.tick()

    def flow(self, files: list[Path], seconds: float, burst: int = 10) -> None:
        """Begin to ingest files; they take about so long a document."""
        self.ingest = Ingest(
            files, self.settings, self.folder / f"ingest-{files[0].stem}.log", seconds, burst
        )
        self.ingest.tick()

    def wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Keep everything going until something is true."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self.words()}"
            self.tick()

    def tick(self) -> None:
        """What is due: restarts, thaws, a look at who has recovered."""
        for kept in (self.ingest, self.trainer):
            if kept is not None:
                kept.tick()
        self._thaw(time.monotonic())
        self._look()
        time.sleep(0.1)

    # -- shooting ----------------------------------------------------------------------------------------

    def plan_kills(self, n: int) -> list[tuple[str, str]]:
        """Return n (victim, kind): each victim in turn, each kind in turn, shuffled."""
        victims = ["ingest", "trainer", "broker", *STAGES]
        every = [(victim, kind) for kind in SIGNALS for victim in victims]
        self._rnd.shuffle(every)
        # A freeze takes long, and the broker holds up everything: both are there, not more often than others.
        return (every * (n // len(every) + 1))[:n]

    def shoot(self, victim: str, kind: str) -> bool:
        """Send a signal to a process of a victim; return whether there was one."""
        pid, slot = self._target(victim)
        if not pid or any(pid == frozen for _, frozen in self._frozen):
            return False
        try:
            os.kill(pid, SIGNALS[kind])
        except ProcessLookupError:
            return False
        kept = self.ingest if victim == "ingest" else self.trainer if victim == "trainer" else None
        if kept is not None and kind == "terminate":
            kept.told.add(pid)
        self.report.kills[f"{victim} {kind}"] += 1
        self._say(f"{kind} {slot} ({pid})")
        if kind == "freeze":
            self._frozen.append((time.monotonic() + FREEZE_SECONDS, pid))
            if kept is not None:
                kept.add_rival()  # it fences the frozen one, which must notice when it wakes up
        self._watch(victim, kind, pid)
        return True

    def _target(self, victim: str) -> tuple[int, str]:
        if victim in {"ingest", "trainer"}:
            kept = self.ingest if victim == "ingest" else self.trainer
            return (kept.pid if kept is not None else 0), victim
        slot = "broker" if victim == "broker" else f"{victim}-{self._rnd.randrange(WORKERS)}"
        state = self.supervisor.state()
        return (state.process(slot).pid if state is not None else 0), slot

    def _thaw(self, now: float) -> None:
        for due, pid in list(self._frozen):
            if due <= now:
                self._frozen.remove((due, pid))
                if children.started(pid) is not None:
                    os.kill(pid, signal.SIGCONT)

    # -- recovery ----------------------------------------------------------------------------------------

    def _watch(self, victim: str, kind: str, pid: int) -> None:
        name, began = f"{victim} {kind}", time.monotonic()
        if victim in STAGES:
            self._watched.append((name, began, lambda: self._whole(victim, pid)))
        elif victim == "broker" and kind != "freeze":
            self._watched.append((name, began, lambda: self._broker_back(pid)))

    def _whole(self, stage: str, victim: int) -> bool:
        """Whether living, waking workers hold all lanes of a stage again."""
        state = self.supervisor.state()
        if state is None or (children.started(victim) is not None and not self._is_frozen(victim)):
            return False  # told to go, and not gone yet
        held = 0
        for process in state.processes:
            if process.role == stage and process.pid and not self._is_frozen(process.pid):
                metrics = scrape(process.metrics_port, 0.5) or {}
                held += int(metrics.get("finestream_lanes_open", 0))
        return held == self.settings.pipeline.lanes

    def _is_frozen(self, pid: int) -> bool:
        return any(pid == frozen for _, frozen in self._frozen)

    def _broker_back(self, victim: int) -> bool:
        state = self.supervisor.state()
        broker = state.process("broker") if state is not None else None
        return broker is not None and broker.state == "running" and broker.pid not in {0, victim}

    def _look(self) -> None:
        for watched in list(self._watched):
            name, began, recovered = watched
            seconds = time.monotonic() - began
            if recovered():
                self.report.recovery.setdefault(name, []).append(seconds)
                self._watched.remove(watched)
            elif seconds > 60 or (name.endswith("freeze") and seconds > FREEZE_SECONDS + 20):
                self._watched.remove(watched)  # shot again meanwhile; what counts is the oracle

    def broker_serves(self) -> bool:
        """Whether the broker runs and is not frozen."""
        state = self.supervisor.state()
        broker = state.process("broker") if state is not None else None
        return broker is not None and broker.state == "running" and not self._is_frozen(broker.pid)

    # -- other weather -----------------------------------------------------------------------------------

    def late_writes(self, topic: str, lane: int | None = None, most: int = 12) -> None:
        """Write again, in order, what is already in a lane: as a zombie would whose sends were delayed."""
        consumer = clients.sync_consumer(self.settings)
        producer = clients.sync_producer(self.settings)
        try:
            lane = self._rnd.randrange(self.settings.pipeline.lanes) if lane is None else lane
            tp = TopicPartition(topic, lane)
            consumer.assign([tp])
            end = consumer.end_offsets([tp])[tp]
            if not end:
                return
            begin = max(0, end - self._rnd.randrange(1, 3 * most))
            consumer.seek(tp, begin)
            records: list[Any] = []
            deadline = time.monotonic() + 5
            while consumer.position(tp) < end and time.monotonic() < deadline:
                records += consumer.poll(timeout_ms=500).get(tp, [])
            for record in records[:most]:
                producer.send(
                    topic, record.value, key=record.key, headers=list(record.headers), partition=lane
                )
                self.report.late_writes += 1
            producer.flush(5)
        finally:
            consumer.close()
            producer.close(1)

    def alien(self, topic: str) -> None:
        """Write what is no record of ours into a lane."""
        producer = clients.sync_producer(self.settings)
        lane = self._rnd.randrange(self.settings.pipeline.lanes)
        producer.send(topic, b"\xc1 nobody's", key=self._rnd.choice([None, b"short"]), partition=lane)
        producer.flush(5)
        producer.close(1)
        self.report.aliens += 1

    # -- how far -----------------------------------------------------------------------------------------

    def judged_reaches(self, lanes: list[int] | None = None) -> bool:
        """Whether judged has reached the end of raw (in some lanes), looked at once a second."""
        from kit.flow import behind, raw_ends

        if time.monotonic() < self._next_look:
            return False
        left = behind(self.settings, "judged", raw_ends(self.settings))
        self._next_look = time.monotonic() + 1.0
        return not [lane for lane in left if lanes is None or lane in lanes]

    def words(self) -> str:
        """Return what helps where it did not go on."""
        state = self.supervisor.state()
        lines = [
            f"{p.slot}: {p.state} pid {p.pid} restarts {p.restarts}"
            for p in (state.processes if state else [])
        ]
        logs = [*(self.folder / "data" / "logs").glob("*.log"), *self.folder.glob("*.log")]
        for log in sorted(logs):
            said = [
                line
                for line in log.read_text(errors="replace").splitlines()
                if "rror" in line or "stopped" in line
            ]
            lines += [f"--- {log.name}", *[line[:300] for line in said[-4:]]]
        return "\n".join(lines)


def finish_training(chaos: Chaos, seconds: float = 180) -> dict[str, Any]:
    """Stop the trainer in peace and let the next one train what is left; return its report."""
    assert chaos.trainer is not None
    chaos.trainer.stop(signal.SIGTERM)
    return train(chaos, ["--until-drained"], seconds)


def train(chaos: Chaos, arguments: list[str], seconds: float = 180) -> dict[str, Any]:
    """Run one trainer to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "--format", "json", *arguments],
        env={**children.clean_environment(), **to_environment(chaos.settings)},
        capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        preexec_fn=children.die_with_parent(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def weights(chaos: Chaos, run: str) -> dict[str, bytes]:
    """Return the tensors of a run's newest checkpoint, by file."""
    folder = max((chaos.settings.data_dir / "checkpoints" / run).glob("step-*-????"))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def spread_files(folder: Path, documents: int, lanes: int, seed: int, killers: int = 0) -> list[Path]:
    """Write the input files."""
    folder.mkdir(parents=True, exist_ok=True)
    return Writer(folder, spread(lanes), seed).write(documents, killers)
