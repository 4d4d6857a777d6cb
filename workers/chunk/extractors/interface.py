"""What an extractor is, and which one reads a document."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import NamedTuple, Protocol, assert_never
from urllib.parse import urlsplit

from streams.records import RawDocument
from streams.settings.extraction import ExtractionSettings, ExtractorName
from workers.chunk.extractors.resiliparse import ResiliparseExtractor


class Extractor(Protocol):
    """HTML to text. Pure and deterministic; no network.

    Lines of lists and code stay lines, list items bear a bullet or their number, the cells of a table's row
    are parted by a tab. White space need not be in its canonical form.
    """

    name: ExtractorName

    def text(self, html: str, tags: int) -> str:
        """Return the main content of a page that `markup.check` has passed, which has at most `tags` tags.

        Empty where there is no text at all.
        """
        ...


class _Rule(NamedTuple):
    source: re.Pattern[str] | None
    host: re.Pattern[str] | None
    extractor: Extractor


class Extractors:
    """The extractors that the settings name, loaded once."""

    def __init__(self, settings: ExtractionSettings) -> None:
        """Load them. Raise `SettingsError` where one is not installed."""
        names = {settings.extractor, *(rule.extractor for rule in settings.rules)}
        loaded = {name: load(name) for name in sorted(names)}
        self._usual = loaded[settings.extractor]
        self._rules = [
            _Rule(_pattern(rule.source), _pattern(rule.host), loaded[rule.extractor])
            for rule in settings.rules
        ]

    def of(self, document: RawDocument) -> Extractor:
        """Return the extractor of the first rule that fits, else the usual one."""
        if not self._rules:
            return self._usual
        host = _host(document.url)
        for source_pattern, host_pattern, extractor in self._rules:
            if (source_pattern is None or source_pattern.match(document.source)) and (
                host_pattern is None or host_pattern.match(host)
            ):
                return extractor
        return self._usual


def load(name: ExtractorName) -> Extractor:
    """Return an extractor by name. Raise `SettingsError` where it is not installed."""
    match name:
        case "resiliparse":
            return ResiliparseExtractor()
        case "trafilatura":
            # An extra: only who chooses it needs it installed.
            from workers.chunk.extractors.trafilatura import TrafilaturaExtractor  # noqa: PLC0415

            return TrafilaturaExtractor()
        case _:
            assert_never(name)


def _pattern(shell: str) -> re.Pattern[str] | None:
    return re.compile(translate(shell)) if shell else None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
