"""What makes a run the same run: its settings, its generation, and the versions it was computed with.

A run's settings never change: its ledger would no longer say how its weights came about. A change is
another run. Two hashes are kept apart, since a run may obey another's ledger with another model.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from typing import Final, NamedTuple

from streams.errors import LaneRecreated, SettingsError
from streams.generations import Generation
from streams.settings import Settings, TrainerSettings, Tuning
from streams.tokens import TokenCounter
from trainer.entries import Start, Step

SHAPES_BATCHES: Final = (
    "min_score",
    "min_excerpt_share",
    "allow_contaminated",
    "exclude_flags",
    "tokenizer",
    "sequence_tokens",
    "batch_sequences",
    "heldout_share",
    "shuffle_block_pairs",
    "seed",
)
"""Settings that decide what is in a batch, given the same draws."""


class Hashes(NamedTuple):
    """16 hex digits each."""

    settings: str  # over everything that shapes the weights
    data: str  # over everything that shapes the batches


def hashes(settings: Settings, tokenizer: TokenCounter) -> Hashes:
    """Return the hashes of a run's settings; those that only tune (`Tuning`) are left out."""
    fields = TrainerSettings.model_fields
    values = settings.trainer.model_dump(mode="json")
    shaping = {name: v for name, v in values.items() if (fields[name].json_schema_extra or {}) != Tuning}
    shaping["tokenizer_fingerprint"] = tokenizer.fingerprint
    shaping["generation"] = settings.pipeline.generation
    data = {name: shaping[name] for name in (*SHAPES_BATCHES, "tokenizer_fingerprint", "generation")}
    return Hashes(_hash(shaping), _hash(data))


def versions(tokenizer: TokenCounter) -> dict[str, str]:
    """Return the versions that the bits of the weights depend on."""
    names = ("torch", "transformers", "tokenizers", "numpy", "finestream")
    return {
        **{name: version(name) for name in names},
        "tokenizer": tokenizer.fingerprint,
        "machine": platform.machine(),
    }


def check_same(begun: Start | Step, generation: Generation, mine: Hashes) -> None:
    """Refuse to go on with a run that was begun otherwise; raise `LaneRecreated` or `SettingsError`."""
    _check_generation(begun, generation)
    if begun.settings_hash != mine.settings:
        raise SettingsError(
            f"run {begun.run!r} was begun with other trainer settings (hash {begun.settings_hash}, now "
            f"{mine.settings}); its ledger's START entry holds them. Set them back, or take another (--run)"
        )


def check_obeyed(obeyed: Start, generation: Generation, mine: Hashes) -> None:
    """Refuse to obey a ledger whose batches would come out otherwise."""
    _check_generation(obeyed, generation)
    if obeyed.data_hash != mine.data:
        raise SettingsError(
            f"the ledger of run {obeyed.run!r} was written with other settings of the data (hash "
            f"{obeyed.data_hash}, now {mine.data}); set {', '.join(SHAPES_BATCHES)} as in its START entry"
        )


def _check_generation(begun: Start | Step, generation: Generation) -> None:
    if begun.generation != generation.id:
        raise SettingsError(
            f"run {begun.run!r} trains on generation {begun.generation!r}, the settings name "
            f"{generation.id!r}: set pipeline.generation back, or take another run (--run)"
        )
    if begun.epoch != generation.epoch:
        raise LaneRecreated(
            f"run {begun.run!r} was trained on epoch {begun.epoch} of generation {generation.id!r}, which is "
            f"now {generation.epoch}: the topics were deleted and created anew. Begin a new run (--run NAME)"
        )


def _hash(values: dict[str, object]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()
