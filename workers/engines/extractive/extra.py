"""The value of a second slot: the one date, number or name that the answer holds (rule c).

Only where there is exactly one, since which of several the template means no pattern can tell.
"""

from __future__ import annotations

import re
from typing import Final

from workers.engines.extractive import form
from workers.engines.extractive.eligibility import Extra

_PATTERNS: Final = {
    Extra.DATE: re.compile(form.DATE),
    Extra.NUMBER: re.compile(form.NUMBER, re.IGNORECASE),
    Extra.NAME: re.compile(form.NAME),
}


def extra_value(kind: Extra, text: str, span: tuple[int, int]) -> tuple[str, tuple[int, int]] | None:
    """Return (value, its span in the text) from within an answer's span, or None unless there is just one."""
    found = {match.group(): match.span() for match in _PATTERNS[kind].finditer(text, *span)}
    return next(iter(found.items())) if len(found) == 1 else None
