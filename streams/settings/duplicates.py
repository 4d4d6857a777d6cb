"""What is asked of the past before a document is accepted: equal and similar ones, in its lane and beyond."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streams.settings.section import Section

READ_BACK_OFFSETS: int = 2000
"""A window up to so long is read back from `chunked` itself; a longer one has a topic of hashes, `seen`."""


class DuplicateSettings(Section):
    """Duplicates, `chunk.duplicates`. A verdict looks back over the window and no further."""

    window: int = Field(500, ge=0, le=100_000_000)
    """Raw offsets of the lane among which duplicates are sought; 0: none are. A document that is remembered
    takes 25 to 36 bytes of the worker's memory, and 290 to 360 where near duplicates are sought."""
    near: Literal["off", "flag", "drop"] = "flag"
    """Near duplicates: not sought, kept with the flag `near_duplicate`, or dropped under that reason."""
    similarity: float = Field(0.8, gt=0, le=1)
    """Least Jaccard similarity of the shingles, as estimated (standard error 0.035) from 128 bytes a text."""
    shingle_words: int = Field(5, ge=1, le=32)
    """Words in a row that are one shingle (5, as FineWeb has it)."""
    bands: int = Field(16, ge=16, le=32, multiple_of=16)
    """Of the sketch, 16 or 32; texts that share none are not compared. 16 find 95 % of pairs at 0.8, 81 % at
    0.75; 32 nearly all at 0.6, for 128 bytes a document more and more comparisons."""
    global_exact: Literal["off", "drop"] = "off"
    """Whether a document is dropped as `duplicate_elsewhere` where an equal one, in any lane, came first."""
    claims: int = Field(10_000_000, ge=100_000, le=1_000_000_000)
    """Contents that `global_exact` remembers: 40 bytes each, in every worker of chunk."""

    @property
    def has_seen_topic(self) -> bool:
        """Whether a generation has the topic `seen`."""
        return self.window > READ_BACK_OFFSETS

    @property
    def has_claims_topic(self) -> bool:
        """Whether a generation has the topic `claims`."""
        return self.global_exact != "off"
