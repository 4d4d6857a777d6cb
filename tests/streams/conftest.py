"""Processes that a test starts and that end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.processes import Workers


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.end()
