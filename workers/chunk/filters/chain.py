"""All filters of one worker, in one order, each off, flagging or dropping: what the stage asks.

Order, cheap before dear: the address (before anything is extracted), opt-outs, then the text: rules about
lines, about words, about sentences, about repetition. The first that drops ends the document; flags are only
collected on the way, and matter where nothing drops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.settings.filters import FilterSettings, UrlSettings
from workers.chunk.filters.blocklist import Blocklist
from workers.chunk.filters.c4 import c4
from workers.chunk.filters.fineweb import fineweb
from workers.chunk.filters.gopher_quality import gopher_quality
from workers.chunk.filters.gopher_repetition import gopher_repetition
from workers.chunk.filters.opt_out import opt_out
from workers.chunk.filters.page import Page
from workers.chunk.filters.reasons import Finding
from workers.stage import Drop

_Rules = Callable[[Page, Any], Finding | None]


class Filters:
    """A document's way through the filters. Pure but for the lists, which are read once."""

    def __init__(self, settings: FilterSettings) -> None:
        """Read the blocklists; raise `SettingsError` where one is wrong."""
        self._url, self._opt_out = settings.url, settings.opt_out
        self._blocklist = Blocklist(settings.url if settings.url.mode != "off" else UrlSettings())
        families: tuple[tuple[_Rules, Any], ...] = (
            (fineweb, settings.fineweb),
            (gopher_quality, settings.gopher_quality),
            (c4, settings.c4),
            (gopher_repetition, settings.gopher_repetition),
        )
        self._families = [(rules, limits) for rules, limits in families if limits.mode != "off"]

    def address(self, url: str, flags: set[str]) -> Drop | None:
        """Return a drop by the address alone, or None; a flag goes into `flags`."""
        return _settle(self._blocklist.find(url), self._url.mode, flags)

    def page(self, text: str, language: str, metadata: Mapping[str, str], flags: set[str]) -> Drop | None:
        """Return a drop by what a page says of itself or by its text, or None; flags go into `flags`."""
        if self._opt_out.mode != "off":
            found = opt_out(metadata, self._opt_out)
            if drop := _settle(found, self._opt_out.mode, flags):
                return drop
        page = Page(text, language)
        for rules, limits in self._families:
            if drop := _settle(rules(page, limits), limits.mode, flags):
                return drop
        return None


def _settle(finding: Finding | None, mode: str, flags: set[str]) -> Drop | None:
    if finding is None:
        return None
    if mode == "drop":
        return Drop(finding.reason.value, finding.detail)
    flags.add(finding.reason.value)
    return None
