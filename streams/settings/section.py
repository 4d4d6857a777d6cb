"""What all sections of the settings tree are made of."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

STAGES: Final = ("chunk", "match", "instantiate", "judge")
"""The stages in the order of the flow."""

Tuning: Final[JsonDict] = {"output": False}
"""Marks a field that changes how fast a stage writes, not what."""


class Section(BaseModel):
    """A frozen part of the tree that knows its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
