"""Which extractor reads which pages, and which personal data become placeholders."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from streams.settings.section import Section

ExtractorName = Literal["resiliparse", "trafilatura"]


class ExtractionRule(Section):
    """Pages of some sources or hosts go to one extractor. What is left empty holds for all."""

    source: str = ""
    """Pattern of the source's name, as in a shell: `*news*.warc.gz`."""
    host: str = ""
    """Pattern of the host in the page's address, in lower case: `*.gov`."""
    extractor: ExtractorName

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.source and not self.host:
            raise ValueError("a rule needs a pattern for source or host; for all pages set `extractor`")
        return self


class ExtractionSettings(Section):
    """How HTML becomes text. Plain text and Markdown stay as they are."""

    extractor: ExtractorName = "resiliparse"
    """`resiliparse` is 10-20 times as fast; `trafilatura` (extra `extract`) is a little more precise."""
    rules: tuple[ExtractionRule, ...] = ()
    """The first that fits a page decides."""


class ScrubSettings(Section):
    """Personal data that become placeholders before segmentation; counted in `Segment.scrubbed`."""

    emails: bool = True
    ip_addresses: bool = True
    """Public ones only."""
    phone_numbers: bool = True
