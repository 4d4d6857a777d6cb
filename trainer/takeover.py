"""Taking a run over from whatever process had it: where it stood, and the START entry that says so.

The caller has opened the writer, which fenced every older process of the run; only then may the ledger be
read here. The START is committed before anything else is written, so each process has an attempt number and
checkpoint names of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import torch

from streams.errors import CheckpointError
from streams.generations import Generation
from streams.positions import Position
from streams.settings import Settings
from streams.tokens import TokenCounter
from trainer import identity
from trainer import model as models
from trainer.checkpoint import FORMAT, Checkpoints, Manifest, Progress, Restored
from trainer.entries import Start
from trainer.ledger import LedgerReader, LedgerWriter
from trainer.state import Cursor, LaneState, PipelineState, encode

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """A run as this process has taken it over: ready to go on behind `state.step`."""

    start: Start
    state: PipelineState
    progress: Progress
    trained: torch.Tensor
    model: models.Model
    optimizer: torch.optim.AdamW
    checkpoints: Checkpoints
    kept: list[str]  # checkpoints that the ledger names and pruning must spare, newest first
    manifest: Manifest  # of this process's checkpoints, but for step, rate and files


def take_over(
    settings: Settings,
    generation: Generation,
    tokenizer: TokenCounter,
    writer: LedgerWriter,
    reader: LedgerReader,
    other: LedgerReader | None,
) -> Taken:
    """Restore the run that the settings name and commit its START.

    Raises `SettingsError` or `LaneRecreated` where the run, or the `other` ledger that it is to obey, was
    begun otherwise than the settings say.
    """
    config, run = settings.trainer, settings.trainer.run
    hashes = identity.hashes(settings, tokenizer)
    newest = reader.newest()
    if newest is not None:
        identity.check_same(newest, generation, hashes)
    first = reader.first_start() or (other.first_start() if other else None)
    if other is not None and (obeyed := other.first_start()) is not None:
        identity.check_obeyed(obeyed, generation, hashes)
    threads = models.make_deterministic(config.threads or (first.threads if first else 0))
    torch.manual_seed(config.seed)  # whatever the process did before; a checkpoint brings its own state
    model = models.build(config, tokenizer.vocab_size)
    optimizer = models.optimizer(model, config)
    checkpoints = Checkpoints(settings.data_dir.absolute() / "checkpoints" / run)
    restored, kept = _restore(reader, checkpoints, model, optimizer, config.checkpoints_kept)
    if restored is None:
        state, progress = beginning(generation), Progress()
        trained = torch.zeros(tokenizer.vocab_size, dtype=torch.int64)
    else:
        state, progress, trained = restored.pipeline, restored.progress, restored.trained
    start = Start(
        run=run,
        attempt=1 if newest is None else newest.attempt + 1,
        step=state.step,
        generation=generation.id,
        epoch=generation.epoch,
        lanes=generation.lanes,
        settings_hash=hashes.settings,
        data_hash=hashes.data,
        settings=config.model_dump(mode="json"),
        threads=threads,
        versions=identity.versions(tokenizer),
        obeys=other.topic if other else "",
    )
    writer.append([start])
    manifest = Manifest(
        format=FORMAT,
        run=run,
        attempt=start.attempt,
        step=state.step,
        settings_hash=hashes.settings,
        generation=generation.id,
        epoch=generation.epoch,
        threads=threads,
        learning_rate=0.0,
        versions=start.versions,
        files={},
    )
    return Taken(start, state, progress, trained, model, optimizer, checkpoints, kept, manifest)


def beginning(generation: Generation) -> PipelineState:
    """Return the state of a run that has not read anything."""
    lanes: dict[int, bytes] = {}
    for lane in range(generation.lanes):
        first = Position._make(generation.first_position(lane))
        lanes[lane] = encode(LaneState(Cursor(first=first), first=first))
    return PipelineState(lanes=lanes)


def _restore(
    reader: LedgerReader,
    checkpoints: Checkpoints,
    model: models.Model,
    optimizer: torch.optim.Optimizer,
    most: int,
) -> tuple[Restored | None, list[str]]:
    """Load the newest whole checkpoint that the ledger names; return it and the names to keep, newest first.

    A damaged one is reported and the one before is used; without any, the run begins at its first step and
    obeys its whole ledger, which is exact too, only slower.
    """
    restored: Restored | None = None
    kept: list[str] = []
    there = checkpoints.names()
    for entry in reader.checkpoints() if there else ():
        if entry.directory in there:
            there.remove(entry.directory)
            if restored is None:
                try:
                    restored = checkpoints.load(entry.directory, model, optimizer)
                except CheckpointError as error:
                    _log.error("checkpoint_unusable", name=entry.directory, why=str(error))
                    continue
            kept.append(entry.directory)
        if len(kept) == most or not any(checkpoints.step(name) <= entry.step for name in there):
            break  # what is left here is older than nothing that the ledger could still name
    if restored is None and reader.newest_step() > 0:
        _log.warning("no_checkpoint", directory=str(checkpoints.directory), doing="obeying the whole ledger")
    return restored, kept
