"""Sources and how they are read into `raw`."""

from __future__ import annotations

from pydantic import Field

from streams.settings.section import Section


class IngestSettings(Section):
    """Crawl files into `raw`."""

    max_document_bytes: int = Field(6 * 1024 * 1024, ge=1, le=7_864_320)
    """Longer bodies enter as stubs with their first 64 KiB and their hash. A message holds 8 MiB, so there
    is a limit to the limit."""
    inflight_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    """Sent and not yet acknowledged; reading waits beyond it."""
    progress_seconds: float = 0.5
