"""A pipeline of a test's own on the shared broker, and the processes that work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.processes import Workers

from streams import generations
from streams.broker import Broker
from streams.generations import Generation
from streams.settings import Settings

MakePipeline = Callable[..., tuple[Settings, Generation]]


@pytest.fixture
def pipeline(clean_broker: Broker, settings: Callable[..., Settings]) -> MakePipeline:
    """Create the topics of a pipeline: `pipeline(lanes, **sections)` gives its settings and generation."""

    def make(lanes: int, **sections: Any) -> tuple[Settings, Generation]:
        it = settings(clean_broker, pipeline={"lanes": lanes}, **sections)
        return it, generations.create(it)

    return make


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Start processes that end with the test."""
    it = Workers(tmp_path)
    yield it
    it.end()
    print(it.said())  # shown where the test failed
