"""Sources and how they are read into `raw`."""

from __future__ import annotations

from pydantic import Field

from streams.settings.section import Section


class FieldSettings(Section):
    """Which fields of a JSONL or Parquet row mean what: the first that is there counts.

    A dot leads into an object: `meta.url`. A source that was begun is finished with the mapping it began
    with.
    """

    text: tuple[str, ...] = ("text", "content", "contents", "raw_content")
    """Plain text."""
    html: tuple[str, ...] = ("html",)
    """Asked where no text field is there."""
    url: tuple[str, ...] = ("url",)
    id: tuple[str, ...] = ("id",)
    title: tuple[str, ...] = ("title",)
    fetched_at: tuple[str, ...] = ("fetched_at", "date", "timestamp")
    metadata: tuple[str, ...] = ("*",)
    """Further fields to carry on; `*`: all that are short."""


class IngestSettings(Section):
    """Crawl files into `raw`."""

    fields: FieldSettings = FieldSettings()
    max_document_bytes: int = Field(6 * 1024 * 1024, ge=1, le=7_864_320)
    """Longer bodies enter as stubs with their first 64 KiB and their hash. A message holds 8 MiB, so there
    is a limit to the limit."""
    inflight_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    """Sent and not yet acknowledged; reading waits beyond it."""
    progress_seconds: float = 0.5
    follow: tuple[str, ...] = ()
    """Folders, globs, URLs that `finestream up` follows with ingesters of its own; none: it runs none."""
    shards: int = Field(1, ge=1, le=4096)
    """How many ingesters `finestream up` runs to follow them; they share the lanes."""
    follow_seconds: float = Field(1.0, gt=0)
    """Between two looks at what is followed; longer where a look itself takes long."""
    remote_seconds: float = Field(5.0, gt=0)
    """Between two listings of a store."""
    quiet_seconds: float = Field(5.0, ge=0)
    """How long a local file's size and time must not have changed before it may be whole."""
    incomplete_seconds: float = Field(900.0, ge=0)
    """After so long without a change, a file that does not end as its format demands is read as it is."""
