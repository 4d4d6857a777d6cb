"""The storm: one whole run under fire, and what became of it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from chaos import oracle
from chaos.harness import (
    SIGNALS,
    Chaos,
    Report,
    Say,
    chaos_settings,
    finish_training,
    spread_files,
    train,
    weights,
)
from kafka.errors import KafkaError

from streams.errors import FinestreamError
from streams.settings import STAGES

TOPICS = ("raw", "chunked", "matched", "instantiated", "judged")


@dataclass
class Outcome:
    """What is told in the end."""

    verdict: oracle.Verdict
    report: Report
    steps: int
    weights_equal: bool


def storm(
    folder: Path, documents: int, kills: int | list[tuple[str, str]], gap_seconds: float, seed: int = 1,
    killers: int = 0, say: Say = lambda text: None,
) -> Outcome:  # fmt: skip
    """Let documents flow for a gap a kill, and shoot at every gap; then compare everything.

    `kills` is how many, each victim and each kind in turn, or a list of (victim, kind).
    """
    settings = chaos_settings(folder / "data")
    files = spread_files(folder / "input", documents, settings.pipeline.lanes, seed, killers)
    chaos, rnd = Chaos(folder, settings, seed, say), random.Random(seed)
    with chaos.running():
        chaos.begin_training()
        plan = chaos.plan_kills(kills) if isinstance(kills, int) else kills
        chaos.flow(files, len(plan) * gap_seconds / documents)
        began = time.monotonic()
        for number, (victim, kind) in enumerate(plan, 1):
            chaos.tick()
            while time.monotonic() < began + number * gap_seconds:
                chaos.tick()
            if not chaos.shoot(victim, kind):  # it is frozen, or between two lives
                while not chaos.shoot(rnd.choice(STAGES), rnd.choice(list(SIGNALS))):
                    chaos.tick()
            weather(chaos, rnd, number)
        say(f"{chaos.report.killed} kills; waiting until all is through")
        assert chaos.ingest is not None
        chaos.wait(lambda: chaos.ingest is not None and chaos.ingest.done, 120 + documents / 5, "ingest ends")
        say("everything is ingested")
        chaos.wait(chaos.judged_reaches, 180, "judged reaches the end of raw")
        say("judged has reached the end of raw")
        for lane in range(settings.pipeline.lanes):  # the very last in the log are late writes
            chaos.late_writes("judged", lane)
        report = finish_training(chaos)
        say(f"trained {report['steps']} steps; repeating them from the ledger")
        train(chaos, ["--run", "obeyed", "--obey", settings.trainer.run])
        say("asking the oracle")
        verdict = oracle.judge(chaos.settings.bootstrap_servers, files, settings.trainer.run)
        equal = weights(chaos, settings.trainer.run) == weights(chaos, "obeyed")
    return Outcome(verdict, chaos.report, report["steps"], equal)


def weather(chaos: Chaos, rnd: random.Random, number: int) -> None:
    """What happens beside kills: late writes of zombies, records of somebody else."""
    if not chaos.broker_serves():
        return
    try:
        if number % 3 == 0:
            chaos.late_writes(rnd.choice(TOPICS))
        if number % 4 == 0:
            chaos.alien(rnd.choice(TOPICS))
    except (FinestreamError, KafkaError, OSError):
        pass  # it died just now
