"""Why chunk drops a document: the closed list, and the exception that carries one through the extraction."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Value of a marker's `reason` (and of the metric's label)."""

    STUB = "stub"  # the ingester could not make a document of it; the detail says why
    NOT_TEXT = "not_text"  # a media type that holds no text, or bytes that are none whatever is declared
    UNDECODABLE = "undecodable"  # no character encoding reads it without a flood of errors
    TOO_LONG = "too_long"  # payload or text beyond the configured bound
    TOO_COMPLEX = "too_complex"  # markup on which a parser would spend minutes or gigabytes
    EMPTY = "empty"  # no text at all
    TOO_SHORT = "too_short"
    LANGUAGE = "language"


class Unusable(Exception):
    """A document that ends here for a named reason. The stage always catches it and makes a `Drop`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
