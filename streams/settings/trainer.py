"""The online trainer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streams.settings.section import Section, Tuning


class TrainerSettings(Section):
    """The online trainer (paper section 5 where it speaks)."""

    run: str = Field("main", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", json_schema_extra=Tuning)
    """Names the ledger, the checkpoints and the metric label."""
    min_score: int = Field(4, ge=1, le=5)
    min_excerpt_share: float = Field(0.80, ge=0, le=1)
    allow_contaminated: bool = False
    """Train on segments that hold a test item of a benchmark (`chunk.contamination`) all the same."""
    exclude_flags: tuple[str, ...] = ()
    """Segments that one of these filters flagged (`chunk.filters`) stay out: names of rules such as
    `fineweb.short_lines`, or of families such as `fineweb`. None by default: who wants documents out lets the
    filter drop them; a flag is for runs to differ in, and pairs are judged one by one anyway (our choice)."""
    tokenizer: str = "finestream-bpe"
    preset: Literal["tiny", "small", "paper-1.8b"] = "tiny"
    sequence_tokens: int = Field(256, ge=8)
    batch_sequences: int = Field(4, ge=1)
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    heldout_share: float = Field(0.05, ge=0, lt=1)
    """Of documents, by content hash: never trained on."""
    heldout_pairs: int = Field(64, ge=0, json_schema_extra=Tuning)
    """Most pairs kept to evaluate on."""
    evaluate_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Evaluate every so many steps; 0: only at the end."""
    shuffle_block_pairs: int = Field(1, ge=1, le=1)
    """Pairs a shuffle block holds. One for now: the stream's own order."""
    checkpoint_seconds: float = Field(60.0, gt=0, json_schema_extra=Tuning)
    checkpoint_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Also every so many steps; 0: by time alone."""
    checkpoints_kept: int = Field(2, ge=1, json_schema_extra=Tuning)
    max_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Of the run, not of this process; 0: without end."""
    seed: int = 0
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: those that the run began with, else as many as there are cores."""
