"""What the trainer's tests over a real broker share: a generation of their own, and its writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from kit.judged import JudgedWriter
from kit.trainers import small

from streams import generations
from streams.settings import Settings


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small models are faster on one thread, above all where other tests share the cores."""
    torch.set_num_threads(1)


@pytest.fixture
def stream(clean_broker: Any, settings: Callable[..., Settings]) -> Iterator[Callable[..., Any]]:
    """Make (settings, writer) of a fresh pipeline: `stream(lanes=4, run="main", **trainer)`."""
    writers: list[JudgedWriter] = []

    def make(lanes: int = 4, **trainer: Any) -> tuple[Settings, JudgedWriter]:
        made = settings(pipeline={"lanes": lanes}, trainer=small(**trainer))
        writers.append(JudgedWriter(made, generations.create(made)))
        return made, writers[-1]

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def branch() -> Callable[..., Settings]:
    """Return the same settings for another run: `branch(settings, run="again", **trainer)`."""

    def make(settings: Settings, **trainer: Any) -> Settings:
        return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=trainer)})

    return make
