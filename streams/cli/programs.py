"""Turning the command's process into one of our programs: no parent stays behind, signals reach it itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from streams.children import clean_environment
from streams.settings import Settings, to_environment


def become(settings: Settings, module: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `python -m MODULE ARGUMENTS` under exactly these settings."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = clean_environment() | to_environment(settings)
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606
