"""What all sections of the settings tree are made of."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

STAGES: Final = ("chunk", "match", "instantiate", "judge")
"""The stages in the order of the flow."""

Tuning: Final[JsonDict] = {"output": False}
"""Marks a field that changes how fast a stage writes, not what."""


class Section(BaseModel):
    """A frozen part of the tree that knows its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def shaping(self) -> dict[str, Any]:
        """Return what of this section shapes the output: all but the fields marked `Tuning`.

        A section within says for itself what does. One that names files overrides this and returns their
        digests instead of their paths; then it raises `SettingsError` where one is missing.
        """
        fields = type(self).model_fields
        tuning = {name for name in fields if (fields[name].json_schema_extra or {}) == Tuning}
        within = {name: value for name in fields if isinstance(value := getattr(self, name), Section)}
        shaping = self.model_dump(mode="json", exclude=tuning | within.keys())
        return shaping | {name: section.shaping() for name, section in within.items() if name not in tuning}
