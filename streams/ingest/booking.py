"""The book `sources`: which files were begun and finished, and under which sequence number.

A source is booked before its first record is sent, and booked done after its last one is acknowledged. Its
sequence (first half of every origin) is the offset of the booking plus one: the log itself hands out numbers
that only grow, and no two writers can be given the same one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from streams import books
from streams.errors import SourceError
from streams.ingest.items import READER_VERSION
from streams.ingest.lanes import LANE_HASH_VERSION
from streams.ingest.shard import ALONE, Shard
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
REFUSED: Final = "refused"
"""Never read: of no format that we know, or not ours to read. Booked so that `status` shows it."""
POSTPONED: Final = "postponed"
"""Cannot be read now (the store, the network, the disk). Where it was begun, what follows the records that
were sent is booked as another source, under a later number, once it can be read."""
OUTCOMES: Final = (DONE, DAMAGED, VANISHED, CHANGED, REFUSED, POSTPONED)
REASON_CHARACTERS: Final = 500
_INGESTER: Final = b"\0ingester\0"
"""Keys of the number of ingesters, an entry for each id; no location begins with such a byte."""


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """Value in the book; the key is `booking_key`."""

    url: str  # the location as text
    path: bytes  # the location as the file system has it
    kind: Kind | None  # None where it was refused
    compression: Compression = Compression.NONE
    size: int
    mtime_ns: int
    etag: str = ""
    entries: tuple[Entry, ...] = ()  # of a bundle: fixed here, since the folder goes on changing
    fields: str = ""  # digest of the field mapping: another one would give other documents
    reader: int = READER_VERSION
    lane_hash: int = LANE_HASH_VERSION
    ingesters: int = 1  # n: how many share the lanes
    shard: int = 0  # which of them it belongs to
    resume_at: int = 0  # records before this one were sent under an earlier number; beyond them, postponed
    replaces: int = 0  # number of the source that had this name before: it has grown, or is another
    state: str = OPEN
    sequence: int = 0  # 0 in the booking itself, whose offset decides; repeated in what follows
    outcome: str = ""
    reason: str = ""  # why it was refused or postponed
    counts: dict[str, int] = {}
    booked_at: float = 0.0  # Unix seconds
    done_at: float = 0.0

    @property
    def location(self) -> str:
        """Path or URL; of a bundle, its folder."""
        return os.fsdecode(self.path)

    @property
    def identity(self) -> Identity:
        """Its state when it was booked."""
        return Identity(self.size, self.mtime_ns, self.etag)

    @property
    def source(self) -> Source:
        """The file, as it was when it was booked. Raises `ValueError` for what was refused."""
        if self.kind is None:
            raise ValueError(f"{self.url} was refused")
        return Source(self.location, self.identity, self.kind, self.compression, self.entries)


class Booked(NamedTuple):
    """A booking and the number it was given."""

    sequence: int
    booking: Booking


def file_key(location: str, identity: Identity) -> bytes:
    """Return the key that a file has in this state, and in no other."""
    size, mtime_ns, etag = identity
    return b"%b\0%d\0%d\0%b" % (os.fsencode(location), size, mtime_ns, etag.encode())


def booking_key(source: Source) -> bytes:
    """Return the key of a source in the book."""
    return file_key(source.location, source.identity)


def fields_digest(fields: FieldSettings) -> str:
    """Return what identifies a field mapping."""
    return hashlib.blake2b(fields.model_dump_json().encode(), digest_size=8).hexdigest()


def new_booking(source: Source, fields: str = "", shard: Shard = ALONE) -> Booking:
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
        ingesters=shard.count,
        shard=shard.index,
        booked_at=time.time(),
    )


def ingester_key(number: int) -> bytes:
    """Return the key under which stands how many ingesters share the lanes, as one id was told."""
    return _INGESTER + b"%d" % number


def ingester_of(key: bytes) -> int | None:
    """Return the id that a key of the book speaks of; None for a booking's."""
    return int(key[len(_INGESTER) :]) if key.startswith(_INGESTER) else None


def decode_booking(value: bytes, offset: int) -> Booked:
    """Read an entry. Raises `SourceError` where a newer finestream wrote it."""
    try:
        booking = msgspec.msgpack.decode(value, type=Booking)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(
            f"book {BOOK!r} holds at offset {offset} what is no booking ({error}); was it written by a "
            "newer finestream? Update this one"
        ) from error
    return Booked(booking.sequence or offset + 1, booking)


def each_entry(settings: Settings, first: int = 0) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield (key, value, offset) of everything in the book from an offset on, in order."""
    for record in books.each(settings, BOOK, first=first):
        if record.value is not None:
            yield record.key, record.value, record.offset


def read_bookings(settings: Settings) -> dict[bytes, Booked]:
    """Return the newest entry of every source: for those who want them all in memory."""
    found: dict[bytes, Booked] = {}
    for key, value, offset in each_entry(settings):
        if ingester_of(key) is None:
            found.pop(key, None)
            found[key] = decode_booking(value, offset)
    return found


def files_of(source: Source) -> Iterator[tuple[str, Identity]]:
    """Yield the files that a source stands for: itself, or those of its bundle."""
    if source.kind is not Kind.FILES:
        yield source.location, source.identity
        return
    for entry in source.entries:
        yield entry_location(source.location, entry.name), entry_identity(entry)


def entry_identity(entry: Entry) -> Identity:
    """Return the state of a file of a bundle."""
    return Identity(entry.size, entry.mtime_ns, entry.etag)


def entry_location(folder: str, name: bytes) -> str:
    """Return where a file of a bundle lies."""
    return f"{folder.rstrip('/')}/{os.fsdecode(name)}"
