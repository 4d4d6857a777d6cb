"""Pages whose owners ask not to be used: which of the signals that a page carries we obey.

Obeyed by default (our choice): the TDM reservation (W3C community group's TDM Reservation Protocol, which
speaks of exactly this), `noai`, and `noindex` (`none` means it too): who does not want to be found does not
want to be quoted. Not by default: `noimageai` is about pictures, `noarchive` and `nosnippet` are about how a
search engine shows a page; some publishers mean training by them, so they can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.settings.filters import OptOutSettings
from workers.chunk.filters.reasons import FilterReason, Finding
from workers.chunk.page_metadata import signals

_REASONS: Final = {
    "tdm-reservation": FilterReason.TDM_RESERVATION,
    "noai": FilterReason.NOAI,
    "noimageai": FilterReason.NOIMAGEAI,
    "noindex": FilterReason.NOINDEX,
    "noarchive": FilterReason.NOARCHIVE,
    "nosnippet": FilterReason.NOSNIPPET,
}


def opt_out(metadata: Mapping[str, str], settings: OptOutSettings) -> Finding | None:
    """Return the first signal obeyed of a document's metadata, as `page_metadata` leaves it; None without."""
    for signal in signals(metadata):
        if signal in settings.signals:
            said = metadata.get("robots", "") if signal != "tdm-reservation" else "1"
            return Finding(_REASONS[signal], f"the page says {said[:200]}")
    return None
