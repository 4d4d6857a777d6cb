"""Sizes, initial weights, the schedule, and the two losses."""

import math

import numpy as np
import pytest
import torch

from streams.positions import Position
from streams.settings import TrainerSettings
from trainer import model as models
from trainer.heldout import evaluate, unigram_loss
from trainer.pack import Packer, Text
from trainer.schedule import learning_rate
from trainer.state import HeldOut


@pytest.mark.parametrize(
    ("preset", "vocabulary", "expected"),
    [("tiny", 8192, 2_901_120), ("small", 8192, 34_087_424), ("paper-1.8b", 128_256, 1_809_946_624)],
)
def test_parameter_counts(preset, vocabulary, expected):
    model = models.build(TrainerSettings(preset=preset), vocabulary, meta=True)
    assert models.parameters(model) == expected


def test_initial_weights_depend_on_the_seed_alone():
    config = TrainerSettings()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = models.build(config, 64)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    torch.manual_seed(2)
    two = models.build(config, 64)
    three = models.build(config.model_copy(update={"seed": 1}), 64)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, three)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_decay_acts_on_matrices_only():
    groups = models.optimizer(models.build(TrainerSettings(), 64), TrainerSettings()).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert all(p.dim() == 2 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])


def test_the_schedule():
    rates = [learning_rate(n, 1e-3, 4) for n in range(1, 8)]
    assert rates == [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3, 1e-3]
    assert learning_rate(1, 1e-3, 0) == 1e-3


def test_padding_changes_neither_loss_nor_gradient():
    model = models.build(TrainerSettings(), 64)
    tokens = np.arange(1, 12, dtype=np.int32)
    losses, gradients = [], []
    for width, pad in ((10, 0), (16, 0), (16, 63)):
        packer = Packer(width)
        packer.add(Text(0, Position(0, 0), "t", tokens))
        batch = packer.take() if width == 10 else packer.finish(pad)
        inputs, labels = (torch.from_numpy(a) for a in batch.rows(width))
        loss = models.loss_sum(model, inputs, labels) / batch.targets
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)
    for gradient in gradients[1:]:
        assert torch.allclose(gradient, gradients[0], atol=1e-5)


def test_unigram_by_hand():
    trained = torch.tensor([3, 0, 1, 0])
    expected = -(math.log(4 / 8) + math.log(1 / 8)) / 2
    assert unigram_loss(np.array([0, 1], np.int32), trained) == pytest.approx(expected)


def test_evaluation_is_over_all_held_out_tokens_and_changes_nothing():
    model = models.build(TrainerSettings(), 64)
    held = [
        HeldOut(b"", 0, Position(i, 0), "t", np.arange(1, n, dtype="<i4").tobytes())
        for i, n in enumerate((20, 9, 33))
    ]
    before = torch.get_rng_state()
    loss = evaluate(model, held, torch.zeros(64, dtype=torch.int64), 8, pad=0)
    assert loss.tokens == 19 + 8 + 32 - 1
    assert loss.unigram == pytest.approx(math.log(64))
    assert loss.model == pytest.approx(math.log(64), abs=0.3), "an untrained model knows nothing"
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert evaluate(model, [], torch.zeros(64), 8, pad=0) == (None, None, 0)
