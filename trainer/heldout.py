"""How good is the model on documents it never saw, and is it better than counting words?

The held-out loss stands beside a unigram baseline on the same tokens: a model that has learned anything but
token frequencies lies below it. Both are in nats a token, so they compare directly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch

from trainer.model import Model, loss_sum
from trainer.pack import IGNORED, concatenated
from trainer.state import HeldOut
from trainer.tokenise import Tokens

_ROWS: Final = 8
"""Rows evaluated at once."""


class HeldOutLoss(NamedTuple):
    """Mean losses over the held-out pairs' tokens, in nats a token; None where no pair was held out."""

    model: float | None
    unigram: float | None
    tokens: int


def evaluate(
    model: Model, held: Sequence[HeldOut], trained: torch.Tensor, sequence_tokens: int, pad: int
) -> HeldOutLoss:
    """Return the losses on the held-out pairs, packed as in training, the last row padded and masked.

    `trained` counts the targets trained on, shape (vocabulary,). The unigram model is these counts with one
    added to each (Laplace), so every token has a probability. Changes neither weights nor random state.
    """
    tokens = concatenated([np.frombuffer(h.tokens, "<i4").astype(np.int32) for h in held])
    targets = max(0, len(tokens) - 1)
    if not targets:
        return HeldOutLoss(None, None, 0)
    inputs, labels = _rows(tokens, sequence_tokens, pad)
    total = 0.0
    model.eval()
    with torch.no_grad():
        for at in range(0, len(inputs), _ROWS):
            total += loss_sum(model, inputs[at : at + _ROWS], labels[at : at + _ROWS]).item()
    model.train()
    return HeldOutLoss(total / targets, unigram_loss(tokens[1:], trained), targets)


def unigram_loss(targets: Tokens, trained: torch.Tensor) -> float:
    """Return the mean of -log p(target) under add-one smoothed counts, in nats."""
    counts = trained[torch.from_numpy(targets.astype(np.int64))].double() + 1.0
    whole = math.log(float(trained.sum().item() + len(trained)))
    return whole - counts.log().mean().item()


def _rows(tokens: Tokens, width: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = -(-(len(tokens) - 1) // width)
    inputs = np.full(rows * width, pad, np.int64)
    labels = np.full(rows * width, IGNORED, np.int64)
    inputs[: len(tokens) - 1] = tokens[:-1]
    labels[: len(tokens) - 1] = tokens[1:]
    return (
        torch.from_numpy(inputs).reshape(rows, width),
        torch.from_numpy(labels).reshape(rows, width),
    )
