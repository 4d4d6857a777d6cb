"""Checkpoints: whole or not at all, named by step and attempt, real only once the ledger names them.

A save writes everything into a temporary directory, syncs each file and the directory, renames it and syncs
the parent. A kill at any instant leaves the earlier checkpoints as they were, plus perhaps a directory that
no ledger entry names, which the next pruning removes. The attempt in the name keeps a zombie that wakes
during its save away from what its successor writes.

Tensors are safetensors (no pickle anywhere), the rest is msgpack, and a manifest holds the CRC-32C of each
file, so that a damaged checkpoint is recognised and the one before it is used. Everything is written by our
own `os.write`: a full disk is then an OSError here, and not a fatal signal in a library's memory map.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import crc32c
import msgspec
import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from safetensors.torch import save as tensors_to

from streams.errors import CheckpointError, RecordError
from trainer.model import Model
from trainer.state import PipelineState, decode, encode

FORMAT: Final = 1
MANIFEST: Final = "manifest.msgpack"
_TEMPORARY: Final = ".tmp"

_log = structlog.get_logger(__name__)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the training loop itself must remember."""

    loss_first: float | None = None  # of the first step with a finite loss, nats a token
    loss_last: float | None = None
    nonfinite: int = 0  # steps skipped so far for a loss that is no number
    nonfinite_in_row: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint is, and the CRC-32C of its files."""

    format: int
    run: str
    attempt: int
    step: int
    settings_hash: str
    generation: str
    epoch: int
    threads: int
    learning_rate: float  # of the last step: the schedule is a function of the step and stores nothing
    versions: dict[str, str]
    files: dict[str, int]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint read back, its tensors already in model and optimizer."""

    manifest: Manifest
    pipeline: PipelineState
    progress: Progress
    trained: torch.Tensor  # counts of the targets trained on, shape (vocabulary,)


class Checkpoints:
    """The checkpoints of one run, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(
        self,
        manifest: Manifest,
        model: Model,
        optimizer: torch.optim.Optimizer,
        pipeline: PipelineState,
        progress: Progress,
        trained: torch.Tensor,
    ) -> tuple[str, int]:
        """Write a checkpoint; return its name and bytes. Raises `CheckpointError` where it cannot be kept.

        When this returns, the checkpoint is durable; it counts once the ledger names it.
        """
        name = f"step-{manifest.step:09d}-{manifest.attempt:04d}"
        final, temporary = self.directory / name, self.directory / (name + _TEMPORARY)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            files: dict[str, int] = {}
            total = 0
            for file, content in _contents(model, optimizer, pipeline, progress, trained):
                files[file] = crc32c.crc32c(content)
                _write(temporary / file, content)
                total += len(content)
            _write(temporary / MANIFEST, seal(msgspec.structs.replace(manifest, files=files)))
            _sync(temporary)
            if final.exists():  # the same step was saved before by this attempt
                shutil.rmtree(final)
            temporary.rename(final)
            _sync(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"checkpoint {name} cannot be written under {self.directory} ({error.strerror or error}). "
                "The checkpoint before it stays; free some disk, or set data_dir elsewhere"
            ) from error
        return name, total

    def load(self, name: str, model: Model, optimizer: torch.optim.Optimizer) -> Restored:
        """Read a checkpoint into model and optimizer; raise `CheckpointError` where it is not whole.

        Everything is read and checked before the first weight changes.
        """
        manifest = self.manifest(name)
        content = {file: self._checked(name, file, crc) for file, crc in manifest.files.items()}
        try:
            weights = tensors_from(content["model.safetensors"])
            moments = tensors_from(content["optimizer.safetensors"])
            other = tensors_from(content["other.safetensors"])
            pipeline = decode(content["pipeline.msgpack"], PipelineState)
            progress = decode(content["progress.msgpack"], Progress)
            _check_shapes(name, model, weights)
        except (KeyError, SafetensorError, RecordError) as error:
            raise CheckpointError(f"checkpoint {name} cannot be read: {error}") from error
        _restore(model, optimizer, weights, moments)
        torch.set_rng_state(other["torch_rng"])
        return Restored(manifest=manifest, pipeline=pipeline, progress=progress, trained=other["trained"])

    def manifest(self, name: str) -> Manifest:
        """Read what a checkpoint is; raise `CheckpointError` where it is missing or of another format."""
        if Path(name).name != name:
            raise CheckpointError(f"{name!r} is no name of a checkpoint")
        try:
            content = (self.directory / name / MANIFEST).read_bytes()
            manifest = _unseal(content)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {name} is not under {self.directory}: {error.strerror}"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"checkpoint {name} has a damaged manifest: {error}") from error
        if manifest.format != FORMAT:
            raise CheckpointError(
                f"checkpoint {name} has format {manifest.format}, this version reads {FORMAT}: use the "
                "version of finestream that wrote it"
            )
        return manifest

    def names(self) -> set[str]:
        """Return the names of the checkpoints that lie here, whether or not a ledger names them."""
        return {path.name for path in self.directory.glob("step-*") if path.suffix != _TEMPORARY}

    @staticmethod
    def step(name: str) -> int:
        """Return the step in a checkpoint's name; -1 where it is none of ours."""
        parts = name.split("-")
        return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else -1

    def prune(self, keep: Iterable[str]) -> list[str]:
        """Remove all but the named checkpoints; return what went. The names must be in the ledger."""
        kept = set(keep)
        if not self.directory.is_dir():
            return []
        gone = [
            path
            for path in self.directory.iterdir()
            if path.name.startswith("step-") and path.name not in kept
        ]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return [path.name for path in gone]

    def _checked(self, name: str, file: str, crc: int) -> bytes:
        try:
            content = (self.directory / name / Path(file).name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"checkpoint {name} lacks {file}: {error.strerror}") from error
        if crc32c.crc32c(content) != crc:
            raise CheckpointError(f"checkpoint {name} is damaged: the checksum of {file} does not match")
        return content


def seal(manifest: Manifest) -> bytes:
    """Return the manifest's bytes with their own CRC-32C beside them."""
    body = msgspec.msgpack.encode(manifest)
    return msgspec.msgpack.encode((crc32c.crc32c(body), body))


def _unseal(content: bytes) -> Manifest:
    crc, body = msgspec.msgpack.decode(content, type=tuple[int, bytes])
    if crc32c.crc32c(body) != crc:
        raise msgspec.DecodeError("its checksum does not match")
    return msgspec.msgpack.decode(body, type=Manifest)


def _contents(
    model: Model,
    optimizer: torch.optim.Optimizer,
    pipeline: PipelineState,
    progress: Progress,
    trained: torch.Tensor,
) -> Iterator[tuple[str, bytes]]:
    """Yield (file, bytes) one after the other, so that only one of them is in memory twice."""
    named = dict(model.named_parameters())
    yield "model.safetensors", tensors_to({name: p.detach().contiguous() for name, p in named.items()})
    moments = {
        f"{name}/{key}": value.contiguous()
        for name, p in named.items()
        for key, value in optimizer.state.get(p, {}).items()
    }
    yield "optimizer.safetensors", tensors_to(moments)
    yield "other.safetensors", tensors_to({"torch_rng": torch.get_rng_state(), "trained": trained})
    yield "pipeline.msgpack", encode(pipeline)
    yield "progress.msgpack", encode(progress)


def _restore(
    model: Model,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, torch.Tensor],
    moments: dict[str, torch.Tensor],
) -> None:
    state: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
            state[parameter] = {
                key.removeprefix(f"{name}/"): value.clone()
                for key, value in moments.items()
                if key.startswith(f"{name}/")
            }
    optimizer.state.clear()
    optimizer.state.update({p: s for p, s in state.items() if s})


def _check_shapes(name: str, model: Model, weights: dict[str, torch.Tensor]) -> None:
    mine = {key: tuple(p.shape) for key, p in model.named_parameters()}
    theirs = {key: tuple(p.shape) for key, p in weights.items()}
    if mine != theirs:
        raise CheckpointError(
            f"checkpoint {name} holds another model than trainer.preset and trainer.tokenizer describe: set "
            "them back, or begin a new run (--run NAME)"
        )


def _write(path: Path, content: bytes) -> None:
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)


def _sync(directory: Path) -> None:
    with _opened(directory, os.O_RDONLY | os.O_DIRECTORY) as handle:
        os.fsync(handle)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    handle = os.open(path, flags, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)
