"""What an ingester knows of the book `sources`: which files are known, what is open, what is to be continued.

Of a finished file only two hashes and its number stay in memory, some 250 bytes (measured by a test), so that
millions may be known; a file of a bundle counts like one that stands alone. A file's name and state are
recognised by 128 bits: two of a million million files would be taken for one with a chance of 1 in 10^14.
"""

from __future__ import annotations

import hashlib
import os
import time

import msgspec

from streams import books
from streams.errors import Fenced
from streams.ingest.booking import (
    BOOK,
    DONE,
    OPEN,
    POSTPONED,
    REASON_CHARACTERS,
    REFUSED,
    Booked,
    Booking,
    decode_booking,
    each_entry,
    entry_identity,
    entry_location,
    fields_digest,
    file_key,
    files_of,
    ingester_key,
    ingester_of,
    new_booking,
)
from streams.ingest.shard import ALONE, Shard
from streams.ingest.source import Source, bundle, printable
from streams.ingest.stored import Identity
from streams.settings import Settings


class SourceBook:
    """The book as one of its writers knows it: `writer` is set once its id was taken and the rest read."""

    def __init__(self, settings: Settings, shard: Shard = ALONE) -> None:
        self.fields = fields_digest(settings.ingest.fields)
        self.writer: books.BookWriter | None = None
        self._settings = settings
        self._shard = shard
        self._next = 0  # offset up to which the book was read
        self._known: dict[bytes, int] = {}  # hash of name and state -> number
        self._names: dict[int, int] = {}  # hash of a name -> number of its last source
        self._refused: set[bytes] = set()
        self._open: dict[bytes, Booked] = {}
        self._postponed: dict[bytes, Booked] = {}
        self._ingesters: dict[int, int] = {0: 1}  # id -> how many it works with; 0: it has no place

    # -- reading -----------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Read what was written since the last time."""
        for key, value, offset in each_entry(self._settings, self._next):
            self._next = offset + 1
            number = ingester_of(key)
            if number is None:
                self._note(key, decode_booking(value, offset))
            else:
                self._ingesters[number] = msgspec.msgpack.decode(value, type=int)

    def _note(self, key: bytes, booked: Booked) -> None:
        """Take over an entry."""
        booking = booked.booking
        self._open.pop(key, None)
        self._postponed.pop(key, None)
        if booking.outcome == REFUSED:
            self._refused.add(_digest(key))
            return
        if booking.state == OPEN:
            self._open[key] = booked
        elif booking.outcome == POSTPONED:
            self._postponed[key] = booked
        for location, identity in files_of(booking.source):
            self._known[_digest(file_key(location, identity))] = booked.sequence
            self._names[_name(location)] = booked.sequence

    # -- asking ------------------------------------------------------------------------------------------

    def number(self, location: str, identity: Identity) -> int | None:
        """Return the number under which a file in just this state was booked; None where it was not."""
        return self._known.get(_digest(file_key(location, identity)))

    def before(self, location: str) -> int:
        """Return the number of the last source of that name, in whatever state; 0 where there is none."""
        return self._names.get(_name(location), 0)

    def refused(self, location: str, identity: Identity) -> bool:
        """Whether a file in just this state is booked as refused."""
        return _digest(file_key(location, identity)) in self._refused

    def new_of(self, source: Source) -> Source | None:
        """Return a bundle without the files that are known or another ingester's; None where none is left."""
        new = [
            entry
            for entry in source.entries
            if self._shard.owns(where := entry_location(source.location, entry.name))
            and self.number(where, entry_identity(entry)) is None
        ]
        return bundle(source.location, new) if new else None

    def open(self) -> list[Booked]:
        """Return what was begun and not finished, by anybody."""
        return sorted(self._open.values(), key=lambda booked: booked.sequence)

    def unfinished(self) -> list[Booked]:
        """Return what this ingester has to finish, in the order of its numbers."""
        mine = (self._shard.index, self._shard.count)
        return [one for one in self.open() if (one.booking.shard, one.booking.ingesters) == mine]

    def postponed(self) -> list[Booked]:
        """Return what this ingester has to continue once it can be read."""
        return sorted(
            (one for one in self._postponed.values() if self._shard.owns(_owner(one.booking))),
            key=lambda booked: booked.sequence,
        )

    @property
    def known(self) -> int:
        """How many files are known."""
        return len(self._known)

    # -- how many ingesters ------------------------------------------------------------------------------

    @property
    def ingesters(self) -> int:
        """The number of ingesters; 0 where a change was interrupted and the ids disagree."""
        count = self._ingesters[0]
        return count if self.agrees(count) else 0

    @property
    def highest_id(self) -> int:
        """The highest id that has, or had, a place."""
        return max(self._ingesters)

    def agrees(self, count: int) -> bool:
        """Whether every id says this number."""
        ids = range(max(count, self.highest_id + 1))
        return all(self._ingesters.get(i, 0) == (count if i < count else 0) for i in ids)

    def bind(self, writer: books.BookWriter, number: int, count: int) -> None:
        """Tell an id, by its own producer, how many ingesters there are. Raises `Fenced`."""
        writer.append(BOOK, [(ingester_key(number), msgspec.msgpack.encode(count))])
        self._ingesters[number] = count

    # -- writing -----------------------------------------------------------------------------------------

    def begin(self, source: Source, resume_at: int = 0) -> Booked:
        """Book a source; return it with its number. Raises `Fenced`."""
        locations = [location for location, _ in files_of(source)]
        booking = msgspec.structs.replace(
            new_booking(source, self.fields, self._shard),
            resume_at=resume_at,
            replaces=0 if resume_at or len(locations) > 1 else self.before(locations[0]),
        )
        return self._write(booking)

    def finish(
        self,
        booked: Booked,
        outcome: str,
        counts: dict[str, int],
        *,
        reason: str = "",
        resume_at: int = 0,
    ) -> None:
        """Book a source done. Raises `Fenced`: then another ingester has taken it over."""
        done = msgspec.structs.replace(
            booked.booking,
            state=DONE,
            sequence=booked.sequence,
            outcome=outcome,
            counts=counts,
            reason=reason[:REASON_CHARACTERS],
            resume_at=resume_at,
            done_at=time.time(),
        )
        self._write(done)

    def refuse(self, location: str, identity: Identity, reason: str) -> None:
        """Book a file that is not read, once for each of its states."""
        if self.refused(location, identity):
            return
        now = time.time()
        booking = Booking(
            url=printable(location),
            path=os.fsencode(location),
            kind=None,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            etag=identity.etag,
            ingesters=self._shard.count,
            shard=self._shard.index,
            state=DONE,
            outcome=REFUSED,
            reason=reason[:REASON_CHARACTERS],
            booked_at=now,
            done_at=now,
        )
        self._write(booking)

    def _write(self, booking: Booking) -> Booked:
        if self.writer is None:
            raise Fenced("this ingester has no place among the ingesters yet")
        key = file_key(booking.location, booking.identity)
        (offset,) = self.writer.append(BOOK, [(key, msgspec.msgpack.encode(booking))])
        booked = Booked(booking.sequence or offset + 1, booking)
        self._note(key, booked)
        return booked


def _owner(booking: Booking) -> str:
    """Return the location that decides whose a postponed source is."""
    if booking.entries:
        return entry_location(booking.location, booking.entries[0].name)
    return booking.location


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()


def _name(location: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(location), digest_size=8).digest(), "big")
