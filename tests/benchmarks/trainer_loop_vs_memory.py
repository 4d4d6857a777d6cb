"""`loop_vs_memory`: trained tokens a second of the loop, over those of the same model on tensors in memory.

The loop reads a backlog from Kafka on its own thread and commits each step's entry before the step; the
baseline takes the same steps (same model, optimizer, batches' shape, clipping) on batches made beforehand.
Both take turns in this process, a step at a time, so that a busy machine slows both alike; the ratio of the
median step times counts. `pipeline_wait_share` is the share of the loop's time spent waiting for its own
pipeline (not for supply). `loop_vs_memory_cpu` is the ratio of CPU times, where the pipeline's thread counts
as if it had no core to itself. Saving is left out.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # first: tests/ has a `streams` too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.judged import JudgedWriter, judged

from streams import generations
from streams.broker import Broker
from streams.settings import Settings, load
from streams.tokens import load_tokenizer
from trainer import model as models
from trainer import plan
from trainer.batches import Batch, Batches, Terms
from trainer.checkpoint import Progress
from trainer.ledger import LedgerReader, LedgerWriter
from trainer.loader import PlanLoader
from trainer.readings import Readings
from trainer.source import JudgedSource
from trainer.takeover import beginning
from trainer.train import Trainer

STEPS = 80
WARM = 6
GOAL = 0.99
WAIT_GOAL = 0.001


def trainer_of(settings: Settings) -> Trainer:
    """A fresh trainer: both sides have the same weights at the same step."""
    import torch

    tokenizer = load_tokenizer()
    model = models.build(settings.trainer, tokenizer.vocab_size)
    optimizer = models.optimizer(model, settings.trainer)
    return Trainer(
        settings.trainer, model, optimizer, torch.zeros(tokenizer.vocab_size, dtype=torch.int64), Progress()
    )


def batches_of(settings: Settings, stack: ExitStack, run: str) -> PlanLoader:
    """The loader of a run over the whole backlog, as `trainer.run` sets it up."""
    tokenizer, config = load_tokenizer(), settings.trainer
    generation = generations.load(settings)
    state = beginning(generation)
    terms = Terms(
        run=run,
        attempt=1,
        settings_hash="",
        generation=generation.id,
        epoch=generation.epoch,
        batch_targets=config.batch_sequences * config.sequence_tokens,
        block_pairs=1,
        seed=0,
        pad=tokenizer.pad_id,
        heldout_pairs=0,
        books={},
    )
    writer = stack.enter_context(closing(LedgerWriter(settings, run)))
    reader = stack.enter_context(closing(LedgerReader(settings, run)))
    source = stack.enter_context(closing(JudgedSource(settings, generation, state.cursors(), lambda: None)))
    batches = Batches(terms, source, Readings(config, tokenizer, lambda reason, n: None), writer, state)
    items = plan.items(batches, reader.steps())
    return stack.enter_context(closing(PlanLoader(items, state, batches.stop)))


def next_batch(loader: PlanLoader) -> Batch:
    """The next batch; the backlog never ends here."""
    while not isinstance(item := loader.next(), Batch):
        pass
    return item


class Turn(NamedTuple):
    """What one step cost."""

    wall: float
    cpu: float  # of the training thread
    waited: float


def turn(take: Callable[[], Batch], trainer: Trainer) -> Turn:
    """Take one step; torch has one thread, so the training thread's CPU time is the step's."""
    wall, cpu = time.perf_counter(), time.thread_time()
    batch = take()
    waited = time.perf_counter() - wall
    trainer.step(batch)
    return Turn(time.perf_counter() - wall, time.thread_time() - cpu, waited)


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        broker = Broker(Path(folder) / "broker", start_seconds=120)
        broker.start()
        stack.callback(broker.stop)
        settings = load(
            data_dir=Path(folder) / "data",
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            trainer={"heldout_share": 0.0, "threads": 1},
        )
        models.make_deterministic(1)
        writer = JudgedWriter(settings, generations.create(settings))
        steps = STEPS + WARM
        tokenizer = load_tokenizer()
        tokens = steps * settings.trainer.batch_sequences * settings.trainer.sequence_tokens
        for number in range(tokens // 150 + 1000):
            writer.document(number % settings.pipeline.lanes, [judged(number, 6, 60, tokenizer=tokenizer)])
        writer.close()

        first = batches_of(settings, stack, "memory")
        held: Iterator[Batch] = iter([next_batch(first) for _ in range(steps)])
        first.close()
        loader = batches_of(settings, stack, "loop")
        print(f"{steps} batches are held", file=sys.stderr)
        loop, memory = trainer_of(settings), trainer_of(settings)
        for _ in range(WARM):
            turn(lambda: next_batch(loader), loop)
            turn(lambda: next(held), memory)
        ours, bare = [], []
        process = time.process_time()
        for n in range(STEPS):
            if n % 20 == 0:
                print(f"step {n} of {STEPS}", file=sys.stderr)
            for mine in (True, False) if n % 2 else (False, True):
                if mine:
                    ours.append(turn(lambda: next_batch(loader), loop))
                else:
                    bare.append(turn(lambda: next(held), memory))
        process = time.process_time() - process
        loader.close()
    ratio = statistics.median(t.wall for t in bare) / statistics.median(t.wall for t in ours)
    share = sum(t.waited for t in ours) / sum(t.wall for t in ours)
    beside = process - sum(t.cpu for t in bare)  # our steps, and the pipeline's threads
    cpu = sum(t.cpu for t in bare) / beside
    step = statistics.median(t.wall for t in bare)
    words = f"same steps on tensors in memory: {step * 1e3:.0f} ms a step"
    figures: list[tuple[str, float, str, float | None, str, str]] = [
        ("loop_vs_memory", round(ratio, 4), "ratio", GOAL, "higher", words),
        ("loop_vs_memory_cpu", round(cpu, 4), "ratio", None, "higher", "CPU seconds of the same"),
        ("pipeline_wait_share", round(share, 5), "share", WAIT_GOAL, "lower", "of the loop's wall time"),
    ]
    for name, value, unit, goal, better, baseline in figures:
        met = None if goal is None else value >= goal if better == "higher" else value <= goal
        print(
            json.dumps(
                {
                    "name": name,
                    "value": value,
                    "unit": unit,
                    "goal": goal,
                    "better": better,
                    "baseline": baseline,
                    "met": met,
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
