"""What became of the sources, read from their book: totals by outcome, the last ones, those in trouble."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

from streams import books
from streams.ingest.booking import (
    BOOK,
    OPEN,
    OUTCOMES,
    POSTPONED,
    REFUSED,
    Booked,
    decode_booking,
    each_entry,
    ingester_of,
)
from streams.settings import Settings

MOST_OFFSETS: Final = 100_000
"""Read from the end of the book: some 25,000 sources. A longer one is not read to its begin for a look."""
MOST_IN_TROUBLE: Final = 100


def take(settings: Settings, most: int) -> dict[str, Any]:
    """Return the totals by outcome, the `most` last sources, and those that are open, refused or postponed.

    `complete` says whether the totals are over all. Raises `TopicError` where there is no book.
    """
    first = max(0, books.end(settings, BOOK) - MOST_OFFSETS)
    found: dict[bytes, Booked] = {}
    read = 0
    for key, value, offset in each_entry(settings, first):
        read += 1
        if ingester_of(key) is not None:
            continue
        found.pop(key, None)
        found[key] = decode_booking(value, offset)
    rows = list(found.values())
    outcomes = Counter(one.booking.outcome or OPEN for one in rows)
    return {
        "outcomes": {name: outcomes[name] for name in (*OUTCOMES, OPEN) if outcomes[name]},
        "complete": not first,
        "read": read,
        "last": [_row(one) for one in rows[: -most - 1 : -1]],
        "open": _some(rows, OPEN),
        "refused": _some(rows, REFUSED),
        "postponed": _some(rows, POSTPONED),
    }


def _some(rows: list[Booked], outcome: str) -> list[dict[str, Any]]:
    these = [one for one in rows if (one.booking.outcome or OPEN) == outcome]
    return [_row(one) for one in these[: -MOST_IN_TROUBLE - 1 : -1]]


def _row(one: Booked) -> dict[str, Any]:
    booking = one.booking
    counts = booking.counts

    def named(prefix: str) -> dict[str, int]:
        return {key.removeprefix(prefix): n for key, n in counts.items() if key.startswith(prefix)}

    return {
        "number": one.sequence,
        "source": booking.url,
        "kind": "" if booking.kind is None else booking.kind.value,
        "files": max(len(booking.entries), 1),
        "outcome": booking.outcome or OPEN,
        "reason": booking.reason,
        "replaces": booking.replaces,
        "records": counts.get("records", 0),
        "documents": counts.get("documents", 0),
        "stubs": named("stub."),
        "skipped": named("skipped."),
        "bytes": booking.size,
        "shard": f"{booking.shard}/{booking.ingesters}",
        "seconds": round((booking.done_at or time.time()) - booking.booked_at, 1),
        "done_at": booking.done_at,
    }
