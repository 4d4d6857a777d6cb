"""Document to segments: extraction, filters, duplicates, contamination, cutting."""

from __future__ import annotations

from pydantic import Field

from streams.settings.contamination import ContaminationSettings
from streams.settings.duplicates import DuplicateSettings
from streams.settings.extraction import ExtractionSettings, ScrubSettings
from streams.settings.filters import FilterSettings
from streams.settings.stages import StageSettings


class ChunkSettings(StageSettings):
    """Document to segments: text, encoding, language, length, exact duplicates, cutting."""

    segment_tokens: int = Field(3000, ge=16)
    """Most tokens a segment has: an instantiator's context of 4,096 less template and answer (our choice)."""
    tokenizer: str = "finestream-bpe"
    min_characters: int = Field(200, ge=1)
    """Shorter texts are dropped as `too_short` (our choice; the paper is silent)."""
    max_payload_bytes: int = 6 * 1024 * 1024
    max_text_characters: int = 2_000_000
    extraction: ExtractionSettings = ExtractionSettings()
    scrub: ScrubSettings = ScrubSettings()
    languages: tuple[str, ...] = ("en",)
    """Kept ones; empty: all. Dropped as `language`."""
    min_language_score: float = 0.0
    filters: FilterSettings = FilterSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    contamination: ContaminationSettings = ContaminationSettings()
