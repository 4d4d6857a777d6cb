"""What a reader yields for each record of a source: a document, a skip, or a stub; and the closed lists why.

Every record of the file gets exactly one item, so that record indexes (the second half of an origin) never
depend on a filter and the counts of a source add up to its records.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from streams.records import STUB_HEAD_BYTES, RawDocument, RawStub

READER_VERSION: Final = 2
"""Of all readers together: raise it when a file would give other items or other indexes than before."""


class SkipReason(enum.StrEnum):
    """Why a record is no document though nothing is wrong with it. Counted, never sent."""

    WARCINFO = "warcinfo"
    REQUEST = "request"
    METADATA = "metadata"
    REVISIT = "revisit"
    CONTINUATION = "continuation"
    UNKNOWN_TYPE = "unknown_type"
    DNS = "dns"
    RESOURCE = "resource"
    """A resource or conversion record that is no web page: logs of the crawler, images."""
    ROBOTS = "robots"
    """A robots.txt: rules for crawlers, no text."""
    REDIRECT = "redirect"
    HTTP_ERROR = "http_error"
    """Any status but 200, 203 and the redirects."""
    CONTENT_TYPE = "content_type"
    """Neither HTML nor plain text."""
    EMPTY = "empty"
    """No body; in JSONL a blank line or an empty text."""


class StubReason(enum.StrEnum):
    """What could not become a document. Sent as a stub, so that chunk buries it under this name."""

    OVER_LONG = "over_long"
    INFLATES = "inflates"
    """Its content encoding expands to more than a document may have: a decompression bomb."""
    TRUNCATED = "truncated"
    """The file ends within it, or within its compressed member."""
    UNREADABLE = "unreadable"
    """No record begins where one should; covers the rest of the file."""
    BAD_LENGTH = "bad_length"
    """Content-Length is missing, no number, or swallows records that follow."""
    BAD_HTTP = "bad_http"
    UNDECODABLE = "undecodable"
    """Its content encoding is unknown or broken."""
    INVALID_JSON = "invalid_json"
    INVALID_UTF8 = "invalid_utf8"
    NOT_AN_OBJECT = "not_an_object"
    NO_TEXT = "no_text"
    VANISHED = "vanished"
    """A file of a bundle that is gone since it was listed."""
    CHANGED = "changed"
    """A file of a bundle that is another one by now, or was written to while it was read."""


DAMAGE: Final = frozenset({StubReason.TRUNCATED, StubReason.UNREADABLE})
"""Reasons that say the file itself is broken: the source's outcome is then `damaged`."""


class Document(msgspec.Struct, frozen=True, gc=False):
    """A record that goes on. Its payload may be a view of the reader's bytes, to save a copy."""

    index: int
    record: RawDocument


class Skip(msgspec.Struct, frozen=True, gc=False):
    """A record that is only counted."""

    index: int
    reason: SkipReason


class Stub(msgspec.Struct, frozen=True, gc=False):
    """A record that is buried by name. `record.reason` is a `StubReason`."""

    index: int
    record: RawStub


Item: TypeAlias = Document | Skip | Stub


class ByteSource(Protocol):
    """What the readers need of a stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty at the end."""
        ...


class Digest(NamedTuple):
    """A body that was read and thrown away."""

    sha256: str
    head: bytes  # the first 64 KiB at most
    length: int  # bytes that were there


def digest(body: Iterable[bytes]) -> Digest:
    """Hash a body given in pieces; hold no more of it than its head."""
    sha, head, length = hashlib.sha256(), b"", 0
    for piece in body:
        sha.update(piece)
        length += len(piece)
        if len(head) < STUB_HEAD_BYTES:
            head += piece[: STUB_HEAD_BYTES - len(head)]
    return Digest(sha.hexdigest(), head, length)


def stub(
    index: int, reason: StubReason, found: Digest, *, source: str, start: int, length: int, url: str = ""
) -> Stub:
    """Build a stub; `start` is the byte offset in the file as stored, `length` that of the whole body."""
    return Stub(
        index,
        RawStub(
            reason=reason.value,
            source=source,
            start=start,
            length=length,
            sha256=found.sha256,
            head=found.head,
            url=url,
        ),
    )


def fallback_id(source: str, index: int) -> str:
    """Return an id for a document whose source gives none: a hash of source name and record index."""
    return hashlib.blake2b(f"{source}\0{index}".encode(), digest_size=16).hexdigest()
