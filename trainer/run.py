"""One process of a run, wired up: log and ledger on one side, model and checkpoints on the other."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from importlib.metadata import version

import structlog
from prometheus_client import CollectorRegistry

from monitoring.metrics import BuildMetrics, TrainerMetrics, serve
from streams import books, generations, pipeline
from streams.garbage import collect_seldom
from streams.generations import Generation
from streams.settings import Settings
from streams.tokens import load_tokenizer
from trainer import plan
from trainer.batches import Batches, Terms
from trainer.ledger import LedgerReader, LedgerWriter
from trainer.loader import PlanLoader
from trainer.readings import Readings
from trainer.select import REASONS
from trainer.source import JudgedSource
from trainer.takeover import take_over
from trainer.train import Loop, Report, Trainer

_log = structlog.get_logger(__name__)


def train(
    settings: Settings,
    *,
    until_drained: bool = False,
    obey: str = "",
    stop: threading.Event | None = None,
) -> Report:
    """Train the run that the settings name, from where it stands, and return what was done.

    With `until_drained` the run ends once `judged` has reached the end of `raw` in every lane; with `obey`
    (a run or a ledger's topic) it repeats that ledger and ends with it; otherwise it ends at
    `trainer.max_steps` or when `stop` is set. Raises `Fenced` where another process takes the run over.
    """
    stop = stop or threading.Event()
    config, run = settings.trainer, settings.trainer.run
    registry = CollectorRegistry()
    metrics = TrainerMetrics(registry, run)
    for reason in REASONS:
        metrics.skipped(reason, 0)
    BuildMetrics(registry, "trainer", version("finestream"))
    port = serve(settings.metrics.host, settings.metrics.port, registry)

    generation = generations.load(settings)
    tokenizer = load_tokenizer(config.tokenizer)
    with ExitStack() as stack:
        writer = stack.enter_context(closing(LedgerWriter(settings, run)))
        reader = stack.enter_context(closing(LedgerReader(settings, run)))
        other = stack.enter_context(closing(LedgerReader(settings, obey))) if obey else None
        taken = take_over(settings, generation, tokenizer, writer, reader, other)
        start, state = taken.start, taken.state
        _log.info(
            "started",
            run=run,
            attempt=start.attempt,
            step=state.step,
            threads=start.threads,
            metrics_port=port,
        )
        terms = Terms(
            run=run,
            attempt=start.attempt,
            settings_hash=start.settings_hash,
            generation=generation.id,
            epoch=generation.epoch,
            batch_targets=config.batch_sequences * config.sequence_tokens,
            block_pairs=config.shuffle_block_pairs,
            seed=config.seed,
            pad=tokenizer.pad_id,
            heldout_pairs=config.heldout_pairs,
            books=_book_offsets(settings, generation),
            until_drained=until_drained,
            max_steps=config.max_steps,
        )
        source = JudgedSource(settings, generation, state.cursors(), metrics.duplicates.inc)
        stack.enter_context(closing(source))
        batches = Batches(terms, source, Readings(config, tokenizer, metrics.skipped), writer, state)
        own = reader.steps(state.ledger_offset, state.step)
        items = plan.items(batches, own, (lambda step: other.steps(0, step)) if other else None)
        loader = stack.enter_context(closing(PlanLoader(items, state, batches.stop)))
        loop = Loop(
            Trainer(config, taken.model, taken.optimizer, taken.trained, taken.progress),
            loader,
            writer,
            metrics,
            taken,
            pad=tokenizer.pad_id,
            topic=pipeline.topic("judged", generation.id),
        )
        # What was imported and built stays: collections need not walk it every time (10 % of the encoding).
        stack.callback(collect_seldom())
        return loop.run(stop.is_set)


def _book_offsets(settings: Settings, generation: Generation) -> dict[str, int]:
    """Return, per book that this run obeys, the offset behind the entry that it read."""
    entry = books.read_book(settings, "generations")[generation.id.encode()]
    return {"generations": entry.offset + 1}
