"""The training loop: take what the plan committed, step, and now and then save. Nothing is decided here.

The order that makes a kill harmless: (1) the plan commits a step's ledger entry, (2) the step is taken,
(3) a checkpoint is made durable, (4) a committed entry names it, (5) older ones are removed. A process that
dies between any two of them finds, at its next start, a checkpoint that is named and the entries beyond it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
import torch

from monitoring.metrics import TrainerMetrics
from streams.errors import CheckpointError, NonFiniteLoss
from streams.settings import TrainerSettings
from trainer.batches import Batch, End, Waiting
from trainer.checkpoint import Progress
from trainer.entries import Checkpoint
from trainer.heldout import HeldOutLoss, evaluate
from trainer.ledger import LedgerWriter
from trainer.loader import PlanLoader
from trainer.model import Model, loss_sum
from trainer.schedule import learning_rate
from trainer.takeover import Taken

NONFINITE_IN_ROW: Final = 3
"""Steps without a finite loss that stop a run: one is an outlier, three are a trend."""
SAY_SECONDS: Final = 10.0
"""Between two lines of progress."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Report:
    """What a process of a run did; counts are of the run since its first step. Losses in nats a token."""

    steps: int
    tokens: int
    pairs: int
    loss_first: float | None
    loss_last: float | None
    heldout_loss: float | None
    unigram_loss: float | None
    checkpoint: str | None
    ended: str  # "drained", "obeyed", "max_steps", "stopped"


class Trainer:
    """Model, optimizer and the counts that belong to them; one `step` a batch."""

    def __init__(
        self,
        config: TrainerSettings,
        model: Model,
        optimizer: torch.optim.Optimizer,
        trained: torch.Tensor,
        progress: Progress,
    ) -> None:
        self.config = config
        self.model = model
        self.optimizer = optimizer
        self.trained = trained
        """Targets trained on so far, by token; shape (vocabulary,)."""
        self.progress = progress
        self._recent: deque[Batch] = deque(maxlen=NONFINITE_IN_ROW)
        model.train()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(step, self.config.learning_rate, self.config.warmup_steps)

    def step(self, batch: Batch) -> tuple[float | None, float]:
        """Take one optimizer step; return (mean loss in nats a token, gradient norm before clipping).

        A loss or gradient that is no number skips the step, with weights and moments as they were; the loss
        is then None. Raises `NonFiniteLoss` at the third in a row, naming the documents.
        """
        self._recent.append(batch)
        if not batch.packed.targets:
            return None, 0.0
        inputs, labels = (torch.from_numpy(a) for a in batch.packed.rows(self.config.sequence_tokens))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(batch.entry.step)
        loss = loss_sum(self.model, inputs, labels) / batch.packed.targets
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm).item()
        value = loss.item()
        if not (abs(value) < float("inf") and norm < float("inf")):
            self.optimizer.zero_grad(set_to_none=True)
            self._skipped(batch)
            return None, norm
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        targets = torch.from_numpy(batch.packed.tokens[1 : 1 + batch.packed.targets]).long()
        self.trained += torch.bincount(targets, minlength=len(self.trained))
        self.progress = Progress(
            loss_first=value if self.progress.loss_first is None else self.progress.loss_first,
            loss_last=value,
            nonfinite=self.progress.nonfinite,
        )
        return value, norm

    def _skipped(self, batch: Batch) -> None:
        before = self.progress
        self.progress = Progress(
            loss_first=before.loss_first,
            loss_last=before.loss_last,
            nonfinite=before.nonfinite + 1,
            nonfinite_in_row=before.nonfinite_in_row + 1,
        )
        documents = _documents(batch)
        _log.error(
            "nonfinite_loss",
            step=batch.entry.step,
            in_row=self.progress.nonfinite_in_row,
            documents=documents,
        )
        if self.progress.nonfinite_in_row >= NONFINITE_IN_ROW:
            named = "; ".join(f"step {b.entry.step}: {', '.join(_documents(b))}" for b in self._recent)
            raise NonFiniteLoss(
                f"the loss was no number {NONFINITE_IN_ROW} steps in a row. Documents (lane:raw offset) of "
                f"these steps: {named}. Look at them (`finestream topic peek raw`), lower "
                "trainer.learning_rate, or begin another run (--run NAME)"
            )


class Loop:
    """Drives a trainer from a loader; saves, evaluates, counts."""

    def __init__(
        self,
        trainer: Trainer,
        loader: PlanLoader,
        writer: LedgerWriter,
        metrics: TrainerMetrics,
        taken: Taken,
        pad: int,
        topic: str,
    ) -> None:
        self._trainer = trainer
        self._loader = loader
        self._writer = writer
        self._checkpoints = taken.checkpoints
        self._manifest = taken.manifest
        self._metrics = metrics
        self._state = taken.state
        self._kept = list(taken.kept)
        self._saved_step = taken.state.step
        self._tried_at = time.monotonic()
        self._tried_step = taken.state.step
        self._said_at = time.monotonic()
        self._pad = pad
        self._topic = topic

    def run(self, stopped: Callable[[], bool]) -> Report:
        """Train to the plan's end, or until `stopped` says so; save; return the report."""
        ended = self._train(stopped)
        if self._state.step > self._saved_step:
            self.save()  # raises: an end without its checkpoint is no success
        held = HeldOutLoss(None, None, 0) if ended == "stopped" else self.evaluate()
        progress = self._trainer.progress
        return Report(
            steps=self._state.step,
            tokens=self._state.tokens,
            pairs=self._state.pairs,
            loss_first=progress.loss_first,
            loss_last=progress.loss_last,
            heldout_loss=held.model,
            unigram_loss=held.unigram,
            checkpoint=str(self._checkpoints.directory / self._kept[0]) if self._kept else None,
            ended=ended,
        )

    def evaluate(self) -> HeldOutLoss:
        """Evaluate on the pairs held out so far."""
        trainer = self._trainer
        loss = evaluate(
            trainer.model, self._state.heldout, trainer.trained, trainer.config.sequence_tokens, self._pad
        )
        if loss.model is not None:
            self._metrics.heldout.set(loss.model)
        return loss

    def save(self) -> None:
        """Make a checkpoint of the present step real; raise `CheckpointError` where it cannot be written."""
        self._tried_at, self._tried_step = time.monotonic(), self._state.step
        trainer, state = self._trainer, self._state
        manifest = msgspec.structs.replace(
            self._manifest, step=state.step, learning_rate=trainer.rate(state.step)
        )
        name, size = self._checkpoints.save(
            manifest, trainer.model, trainer.optimizer, state, trainer.progress, trainer.trained
        )
        self._writer.append(
            [
                Checkpoint(
                    run=manifest.run,
                    attempt=manifest.attempt,
                    step=state.step,
                    directory=name,
                    next_offset=state.ledger_offset,
                    bytes=size,
                )
            ]
        )
        self._saved_step = state.step
        self._kept = [name, *(old for old in self._kept if old != name)][: trainer.config.checkpoints_kept]
        self._checkpoints.prune(self._kept)
        self._metrics.checkpoint.set_to_current_time()
        for lane, cursor in state.cursors().items():
            self._metrics.offset.labels(manifest.run, self._topic, str(lane)).set(cursor.next_offset)

    def _train(self, stopped: Callable[[], bool]) -> str:
        while not stopped():
            began = time.monotonic()
            item = self._loader.next()
            waited = time.monotonic() - began
            match item:
                case Waiting():
                    self._metrics.waited("supply", waited)
                    self._say("waiting_for_supply")
                case Batch():
                    supply = min(waited, item.supply_seconds)
                    self._metrics.waited("supply", supply)
                    self._metrics.waited("pipeline", waited - supply)
                    self._step(item)
                case End():
                    return item.reason
            self._save_when_due()
        return "stopped"

    def _step(self, batch: Batch) -> None:
        began = time.monotonic()
        before = self._state
        loss, norm = self._trainer.step(batch)
        self._state = batch.state
        metrics = self._metrics
        metrics.step_seconds.observe(time.monotonic() - began)
        metrics.steps.inc()
        metrics.tokens.inc(batch.packed.targets)
        metrics.pairs.inc(batch.state.pairs - before.pairs)
        metrics.learning_rate.set(self._trainer.rate(batch.entry.step))
        if loss is not None:
            metrics.loss.set(loss)
            metrics.grad_norm.set(norm)
        elif batch.packed.targets:
            metrics.nonfinite.inc()
        every = self._trainer.config.evaluate_steps
        if every and batch.entry.step % every == 0:
            held = self.evaluate()
            _log.info("heldout", step=batch.entry.step, loss=held.model, unigram=held.unigram)
        self._say("training", loss=loss)

    def _save_when_due(self) -> None:
        config, step = self._trainer.config, self._state.step
        if step in (self._saved_step, self._tried_step):
            return
        by_steps = bool(config.checkpoint_steps) and step - self._tried_step >= config.checkpoint_steps
        if by_steps or time.monotonic() - self._tried_at >= config.checkpoint_seconds:
            try:
                self.save()
            except CheckpointError as error:
                _log.error("checkpoint_failed", step=step, why=str(error))

    def _say(self, event: str, **more: object) -> None:
        if time.monotonic() - self._said_at >= SAY_SECONDS:
            self._said_at = time.monotonic()
            _log.info(
                event, step=self._state.step, tokens=self._state.tokens, pairs=self._state.pairs, **more
            )


def _documents(batch: Batch) -> list[str]:
    return sorted({f"{span.lane}:{span.position.offset}" for span in batch.entry.pairs})
