"""Looking at an input: the source that it is, or why it is none now, so that one bad file stops no other."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from streams.errors import SourceError, SourceUnavailable
from streams.ingest.booking import CHANGED, POSTPONED, REFUSED, VANISHED
from streams.ingest.source import Kind, Source, identify, inspect
from streams.ingest.stored import Identity, is_remote

_GONE: Final = (FileNotFoundError, NotADirectoryError)


class Refusal(NamedTuple):
    """An input that cannot be read."""

    location: str
    identity: Identity | None  # None where it could not be asked for
    outcome: str  # `refused` for as long as it does not change, `postponed`, or `vanished`
    reason: str


def look(location: str) -> Source | Refusal:
    """Inspect a path or URL. Raises nothing that is about this one file."""
    try:
        return inspect(location)
    except SourceUnavailable as error:
        return Refusal(location, None, POSTPONED, str(error))
    except SourceError as error:
        if isinstance(error.__cause__, _GONE):
            return Refusal(location, None, VANISHED, str(error))
        if isinstance(error.__cause__, PermissionError):  # not booked: rights change without a trace
            return Refusal(location, None, REFUSED, str(error))
        return _refused(location, str(error))


def _refused(location: str, reason: str) -> Refusal:
    try:
        identity = identify(location)
    except SourceUnavailable as error:
        return Refusal(location, None, POSTPONED, str(error))
    except SourceError:  # a store that does not let us in
        return Refusal(location, None, REFUSED, reason)
    there = identity is not None or (not is_remote(location) and os.path.lexists(location))
    return Refusal(location, identity, REFUSED if there else VANISHED, reason)


def gone_how(source: Source) -> str:
    """Say whether a source that cannot be opened as it was has vanished or changed."""
    if source.kind is Kind.FILES:
        return CHANGED
    try:
        return VANISHED if identify(source.location) is None else CHANGED
    except SourceError:
        return CHANGED
