"""Checkpoints: whole or not at all, whatever happens to the disk."""

import errno
import os
import shutil
import subprocess

import msgspec
import pytest
import torch

from streams.errors import CheckpointError
from streams.settings import TrainerSettings
from trainer import checkpoint as module
from trainer import model as models
from trainer.checkpoint import FORMAT, MANIFEST, Checkpoints, Manifest, Progress, seal
from trainer.state import PipelineState

CONFIG = TrainerSettings()
STATE = PipelineState(step=3, tokens=12, lanes={0: b"opaque"})
PROGRESS = Progress(loss_first=9.0, loss_last=8.5, nonfinite=1)
VOCABULARY = 64


def made(seed=0, steps=2):
    model = models.build(CONFIG.model_copy(update={"seed": seed}), VOCABULARY)
    optimizer = models.optimizer(model, CONFIG)
    for n in range(steps):
        x = torch.arange(16).reshape(2, 8) + n
        models.loss_sum(model, x, x).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def manifest(step=3, attempt=1):
    return Manifest(
        format=FORMAT, run="main", attempt=attempt, step=step, settings_hash="", generation="1", epoch=1,
        threads=1, learning_rate=0.1, versions={}, files={},
    )  # fmt: skip


def save(checkpoints, model, optimizer, **more):
    trained = torch.arange(VOCABULARY)
    return checkpoints.save(manifest(**more), model, optimizer, STATE, PROGRESS, trained)[0]


def test_what_is_saved_is_restored_to_the_bit_and_training_goes_on_the_same(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    model, optimizer = made()
    name = save(checkpoints, model, optimizer)
    other, other_optimizer = made(seed=7, steps=1)
    restored = checkpoints.load(name, other, other_optimizer)
    assert (restored.pipeline, restored.progress) == (STATE, PROGRESS)
    assert restored.trained.tolist() == list(range(VOCABULARY))
    x = torch.arange(16).reshape(2, 8)
    for one, its in ((model, optimizer), (other, other_optimizer)):
        models.loss_sum(one, x, x).backward()
        its.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not list(tmp_path.glob("**/*.tmp"))


def test_the_random_state_is_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model, optimizer = made()
    torch.manual_seed(5)
    name = save(checkpoints, model, optimizer)
    expected = torch.rand(4)
    torch.manual_seed(6)
    checkpoints.load(name, model, optimizer)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "pipeline.msgpack", MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_refused_before_a_weight_changes(tmp_path, file, damage):
    checkpoints = Checkpoints(tmp_path)
    model, optimizer = made()
    name = save(checkpoints, model, optimizer)
    path = tmp_path / name / file
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0x40
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(CheckpointError):
        checkpoints.load(name, model, optimizer)
    assert not any(p.any() for p in model.parameters())


def test_another_model_or_format_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model, optimizer = made()
    name = save(checkpoints, model, optimizer)
    bigger = models.build(CONFIG, VOCABULARY + 1)
    with pytest.raises(CheckpointError, match="another model"):
        checkpoints.load(name, bigger, models.optimizer(bigger, CONFIG))
    path = tmp_path / name / MANIFEST
    later = msgspec.structs.replace(checkpoints.manifest(name), format=FORMAT + 1)
    path.write_bytes(seal(later))
    with pytest.raises(CheckpointError, match="format 2"):
        checkpoints.load(name, model, optimizer)


@pytest.mark.parametrize("name", ["../step-1", "/etc", "", "step-000000009-0001"])
def test_names_lead_nowhere_else(tmp_path, name):
    with pytest.raises(CheckpointError):
        Checkpoints(tmp_path / "run").manifest(name)


def test_pruning_spares_what_the_ledger_names_and_takes_the_rest(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model, optimizer = made()
    names = [save(checkpoints, model, optimizer, step=n) for n in (1, 2, 3)]
    (tmp_path / "step-000000004-0001.tmp").mkdir()  # left by a kill during a save
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints.prune(names[1:])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", *names[1:]]


class Disk:
    """A file system of a few megabytes, really full."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.mounted = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )

    def close(self):
        if self.mounted:
            subprocess.run(["umount", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    it = Disk(tmp_path / "small")
    yield it
    it.close()


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(disk, monkeypatch):
    checkpoints = Checkpoints(disk.path / "run")
    model = torch.nn.Sequential(torch.nn.Linear(256, 256))  # 0.8 MB with its moments
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 256)).sum().backward()
    optimizer.step()
    first = save(checkpoints, model, optimizer, step=1)
    if not disk.mounted:  # no right to mount: the same through a write that fails as a full disk does
        written = 0
        real = os.write

        def write(handle, content):
            nonlocal written
            written += len(content)
            if written > 300_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(handle, content)

        monkeypatch.setattr(module.os, "write", write)
    else:
        free = shutil.disk_usage(disk.path).free
        (disk.path / "ballast").write_bytes(bytes(free - 400_000))
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(checkpoints, model, optimizer, step=2)
    monkeypatch.undo()
    assert checkpoints.names() == {first}
    assert not list(checkpoints.directory.glob("*.tmp")), "what was half written is gone, its space is free"
    assert checkpoints.load(first, model, optimizer).manifest.step == 1
    (disk.path / "ballast").unlink(missing_ok=True)
    assert save(checkpoints, model, optimizer, step=2) in checkpoints.names()
