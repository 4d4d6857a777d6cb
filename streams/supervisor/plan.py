"""What a supervisor runs: slots, each with exactly one owner, one command and one name that never changes.

A worker's slot is also its static membership in the consumer group: a restarted process takes its lanes
back in 3 s, without a rebalance for the others (6 s and a stall for all where membership is dynamic). The
price is that two owners of one name evict each other, so names carry what makes the supervisor unique.
"""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from streams.errors import SettingsError
from streams.settings import STAGES, Settings

TRAINER = "trainer"
INGEST = "ingest"
ENGINE = "engine"


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One child process, again and again."""

    role: str
    name: str
    command: list[str]
    restart: Literal["always", "failure"] = "always"
    """`failure`: exit code 0 means that its work is done."""
    metrics: bool = True
    """Whether it serves /metrics on the port that it is given."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one supervisor runs beside the broker."""

    slots: list[Slot] = []
    create: bool = True
    """Create the pipeline (topics, books, generation) before the first child, or verify the one there is."""


def stage_slots(settings: Settings, workers: int | Mapping[str, int] = 1) -> list[Slot]:
    """Return the workers' slots: `workers` of each stage, or as many as the mapping says (else one)."""
    counts = dict.fromkeys(STAGES, 1)
    counts.update(dict.fromkeys(STAGES, workers) if isinstance(workers, int) else workers)
    if unknown := sorted(set(counts) - set(STAGES)):
        raise SettingsError(f"{unknown[0]} is no stage; the stages are {', '.join(STAGES)}")
    if min(counts.values()) < 0:
        raise SettingsError("a stage can't have less than 0 workers")
    return [
        Slot(
            role=stage,
            name=f"{stage}-{i}",
            command=[sys.executable, "-m", "workers", stage, "--slot", instance_id(settings, f"{stage}-{i}")],
        )
        for stage in STAGES
        for i in range(counts[stage])
    ]


def trainer_slot(arguments: Sequence[str] = ()) -> Slot:
    """Return the trainer's slot; it ends by itself only where its arguments say so."""
    ends = {"--until-drained", "--max-steps", "--obey"} & set(arguments)
    return Slot(
        role=TRAINER,
        name=TRAINER,
        command=[sys.executable, "-m", "trainer", *arguments],
        restart="failure" if ends else "always",
    )


def ingest_slots(settings: Settings) -> list[Slot]:
    """Return the slots of the ingesters that follow `ingest.follow`; none where nothing is followed."""
    count = settings.ingest.shards if settings.ingest.follow else 0
    # Relative paths mean where `up` was called; globs stay globs.
    paths = [
        text if "://" in text else str(Path(text).expanduser().absolute()) for text in settings.ingest.follow
    ]
    program = "from streams.cli import main; main()"
    return [
        Slot(
            role=INGEST,
            name=f"{INGEST}-{i}",
            command=[
                *(sys.executable, "-c", program, INGEST),
                *("--follow", "--shard", f"{i}/{count}", "--format", "json", "--", *paths),
            ],
        )
        for i in range(count)
    ]


def engine_slots(settings: Settings) -> list[Slot]:
    """Return the slot that keeps the model's servers; none where no model is to be served here."""
    if not settings.serve.model:
        return []
    return [Slot(role=ENGINE, name=ENGINE, command=[sys.executable, "-m", "streams.engine"])]


def instance_id(settings: Settings, slot: str) -> str:
    """Return a slot's group instance id, such as `finestream-1-match-0`.

    On an outside cluster other supervisors may have a slot of this name: host and data directory are added.
    """
    plain = f"finestream-{settings.pipeline.generation}-{slot}"
    if settings.embedded:
        return plain
    where = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    return f"{plain}-{hashlib.blake2b(where.encode(), digest_size=4).hexdigest()}"


def plan_file(data_dir: Path) -> Path:
    """Where the plan of the supervisor that runs, or ran last, is kept."""
    return data_dir / "plan.json"


def write_plan(data_dir: Path, plan: Plan) -> Path:
    """Keep the plan for the supervisor process to read."""
    path = plan_file(data_dir)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    return path


def read_plan(path: Path) -> Plan:
    """Read a plan. Raises `SettingsError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{path} is no plan of a supervisor: {error}") from error
