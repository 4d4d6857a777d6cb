"""The book `sources`: which files were begun and finished, and under which sequence number.

A source is booked before its first record is sent, and booked done after its last one is acknowledged. Its
sequence (first half of every origin) is the offset of the booking plus one: the log itself hands out numbers
that only grow, and no two writers can be given the same one.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final, NamedTuple

import msgspec

from streams import books
from streams.errors import SourceError
from streams.ingest.items import READER_VERSION
from streams.ingest.lanes import LANE_HASH_VERSION
from streams.ingest.source import Compression, Entry, Kind, Source
from streams.ingest.stored import Identity
from streams.settings import FieldSettings, Settings

BOOK: Final = "sources"
OPEN: Final = "open"

DONE: Final = "done"
DAMAGED: Final = "damaged"
"""Read to where it is broken; what follows is one stub."""
VANISHED: Final = "vanished"
"""Begun, then gone before it was finished: what was sent stays, the rest is lost at its origin."""
CHANGED: Final = "changed"
"""Begun, then another size or time: numbers of its records would mean others."""
OUTCOMES: Final = (DONE, DAMAGED, VANISHED, CHANGED)


def transactional_id(pipeline: str = "main", ingester: int = 0) -> str:
    """Return the transactional id that fences zombies of one ingester."""
    return f"ingest.{pipeline}.{ingester}"


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """Value in the book; the key is `booking_key`."""

    url: str  # the location as text
    path: bytes  # the location as the file system has it
    kind: Kind
    compression: Compression = Compression.NONE
    size: int
    mtime_ns: int
    etag: str = ""
    entries: tuple[Entry, ...] = ()  # of a bundle: fixed here, since the folder goes on changing
    fields: str = ""  # digest of the field mapping: another one would give other documents
    reader: int = READER_VERSION
    lane_hash: int = LANE_HASH_VERSION
    ingesters: int = 1  # n: how many share the lanes
    state: str = OPEN
    sequence: int = 0  # 0 in the booking itself, whose offset decides; repeated in what follows
    outcome: str = ""
    counts: dict[str, int] = {}
    booked_at: float = 0.0  # Unix seconds
    done_at: float = 0.0

    @property
    def source(self) -> Source:
        """The file, as it was when it was booked."""
        identity = Identity(self.size, self.mtime_ns, self.etag)
        return Source(os.fsdecode(self.path), identity, self.kind, self.compression, self.entries)


class Booked(NamedTuple):
    """A booking and the number it was given."""

    sequence: int
    booking: Booking


def booking_key(source: Source) -> bytes:
    """Return the key that a file has in this state, and in no other."""
    size, mtime_ns, etag = source.identity
    return b"%b\0%d\0%d\0%b" % (os.fsencode(source.location), size, mtime_ns, etag.encode())


def fields_digest(fields: FieldSettings) -> str:
    """Return what identifies a field mapping."""
    return hashlib.blake2b(fields.model_dump_json().encode(), digest_size=8).hexdigest()


def new_booking(source: Source, fields: str = "") -> Booking:
    """Return the value that books a source."""
    size, mtime_ns, etag = source.identity
    return Booking(
        url=source.name,
        path=os.fsencode(source.location),
        kind=source.kind,
        compression=source.compression,
        size=size,
        mtime_ns=mtime_ns,
        etag=etag,
        entries=source.entries,
        fields=fields,
        booked_at=time.time(),
    )


class SourceBook:
    """The book as its one writer knows it. Open the writer before this is read."""

    def __init__(self, settings: Settings, writer: books.BookWriter) -> None:
        self._writer = writer
        self.fields = fields_digest(settings.ingest.fields)
        self._entries: dict[bytes, Booked] = {}
        for key, entry in books.read_book(settings, BOOK).items():
            try:
                booking = msgspec.msgpack.decode(entry.value, type=Booking)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise SourceError(
                    f"book {BOOK!r} holds at offset {entry.offset} what is no booking ({error}); was it "
                    "written by a newer finestream? Update this one"
                ) from error
            self._entries[key] = Booked(booking.sequence or entry.offset + 1, booking)

    def get(self, source: Source) -> Booked | None:
        """Return what is known of a file in just this state."""
        return self._entries.get(booking_key(source))

    def unfinished(self) -> list[Booked]:
        """Return what was begun and not finished, in the order of its numbers."""
        return sorted(booked for booked in self._entries.values() if booked.booking.state == OPEN)

    def begin(self, source: Source) -> Booked:
        """Book a source; return it with its number. Raises `Fenced`."""
        key, booking = booking_key(source), new_booking(source, self.fields)
        (offset,) = self._writer.append(BOOK, [(key, msgspec.msgpack.encode(booking))])
        self._entries[key] = Booked(offset + 1, booking)
        return self._entries[key]

    def finish(self, booked: Booked, outcome: str, counts: dict[str, int]) -> None:
        """Book a source done. Raises `Fenced`: then another ingester has taken it over."""
        done = msgspec.structs.replace(
            booked.booking,
            state=DONE,
            sequence=booked.sequence,
            outcome=outcome,
            counts=counts,
            done_at=time.time(),
        )
        key = booking_key(booked.booking.source)
        self._writer.append(BOOK, [(key, msgspec.msgpack.encode(done))])
        self._entries[key] = Booked(booked.sequence, done)
