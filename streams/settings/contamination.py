"""Which benchmarks the crawl is held against, and from when on a segment counts as contaminated."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, StringConstraints, model_validator

from streams.settings.files import digest
from streams.settings.section import Section

MOST_BENCHMARKS: Final = 64
"""Their names are labels of a metric."""

BenchmarkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class ContaminationSettings(Section):
    """Test items of benchmarks found in segments (after Tulu 3, section 3.2; `workers/contamination/`)."""

    benchmarks: dict[BenchmarkName, str] = Field({}, max_length=MOST_BENCHMARKS)
    """Name to a file or glob: `.jsonl`, `.json`, `.csv`, `.tsv`, or `.txt` with an item a line. Empty: none
    is looked for."""
    fields: dict[BenchmarkName, tuple[str, ...]] = Field({})
    """Name to the fields that hold an item's text, such as `history.user`; without, they are recognised."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """A segment is flagged where more than this share of one item's tokens lies in 8-grams that it holds."""

    @model_validator(mode="after")
    def _fields_belong(self) -> Self:
        if strangers := sorted(self.fields.keys() - self.benchmarks.keys()):
            raise ValueError(f"fields are given for {', '.join(strangers)}, which benchmarks does not name")
        return self

    def shaping(self) -> dict[str, Any]:
        """Return what of this section shapes the output: the files' contents, not their paths.

        Raises `SettingsError` where a file that is named is missing.
        """
        return {
            **super().shaping(),
            "benchmarks": {name: digest(pattern) for name, pattern in self.benchmarks.items()},
        }
