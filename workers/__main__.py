"""Entry of a worker process, `python -m workers STAGE [--slot NAME]`; command line and supervisor use it.

The stage is opened (its models loaded) *before* the process joins its consumer group, so that no lane waits
for a model.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from monitoring.metrics import BuildMetrics, StageMetrics, serve
from streams import generations, logs
from streams.errors import FinestreamError
from streams.settings import STAGES, Settings, load
from workers.stage import Stage

STAGE_CLASSES: Final = {
    "chunk": "workers.chunk.stage:ChunkStage",
    "match": "workers.match.stage:MatchStage",
    "instantiate": "workers.instantiate.stage:InstantiateStage",
    "judge": "workers.judge.stage:JudgeStage",
}

MODEL_STAGE_CLASSES: Final = {
    "instantiate": "workers.instantiate.model_stage:ModelInstantiateStage",
    "judge": "workers.judge.model_stage:ModelJudgeStage",
}

log = structlog.get_logger("workers")


def stage_class(name: str, settings: Settings | None = None) -> type[Stage[Any, Any]]:
    """Import the class that carries a stage with its engine; only this one's libraries are loaded."""
    by_model = settings is not None and getattr(settings.stage(name), "engine", "") == "openai"
    module, _, attribute = (MODEL_STAGE_CLASSES if by_model else STAGE_CLASSES)[name].partition(":")
    found: type[Stage[Any, Any]] = getattr(importlib.import_module(module), attribute)
    return found


def work(stage_type: type[Stage[Any, Any]], settings: Settings, slot: str | None = None) -> None:
    """Open a stage and carry it until SIGTERM or SIGINT."""
    from workers.runner import run_worker  # noqa: PLC0415 - after the arguments are known to be right

    logs.configure()
    registry = CollectorRegistry()
    BuildMetrics(registry, f"worker-{stage_type.name}", "0.1.0")
    metrics = StageMetrics(registry, stage_type.name, stage_type.reasons)
    port = serve(settings.metrics.host, settings.metrics.port, registry)
    generation = generations.load(settings, stage_type.name)
    started = time.monotonic()
    stage = stage_type(settings)
    for kind, name in stage.known_marks():
        metrics.marked(kind, name, 0)
    stage.open()
    stage.register(registry)
    log.info("stage open", stage=stage_type.name, seconds=round(time.monotonic() - started, 2),
             metrics=f"http://{settings.metrics.host}:{port}/metrics", slot=slot)  # fmt: skip
    run_worker(stage, settings, generation, metrics, slot)


def main() -> int:
    """Run one worker."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--slot", help="static group member id; only for slots with exactly one owner")
    arguments = parser.parse_args()
    try:
        settings = load()
        work(stage_class(arguments.stage, settings), settings, arguments.slot)
    except FinestreamError as error:
        print(f"finestream worker {arguments.stage}: {error}", file=sys.stderr)  # noqa: T201 - the user's answer
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
