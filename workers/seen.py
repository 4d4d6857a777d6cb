"""The topic `seen`: per lane, what a large duplicate window remembers, small enough to be read back.

A window of 500 raw offsets is read back from `chunked` itself, where segment 0 carries hash and sketch. For a
million that would be gigabytes a lane, so a generation with a large window has one more topic with the same
lanes. It is an index *derived from* `chunked`, never a second truth:

1. A record of `seen` says "of the raw offsets in (s, c] these were accepted": its key is position (c, 0),
   s + 1 stands where other headers have the input offset, its value is offsets, hashes, sketches, packed.
2. The sender writes it, in lane order, only after the broker has acknowledged the outputs of all documents up
   to c. So `seen` is never ahead of `chunked`: a crash between the two leaves it behind, and a rerun that
   comes out otherwise (a document that is now buried as a killer) finds nothing in it that would contradict.
3. It may be behind, by at most `LAG_OFFSETS` and two rounds. Whoever takes over the lane reads the rest from
   `chunked`, just as a small window is read. So a record is only due every 256 raw offsets, not every
   document: 4,000 records instead of a million to read at a lane's opening.
4. A zombie's late record repeats what is there: a reader takes offsets above the highest `c` it has met, and
   goes further back where an `s` lies above that. What it says is of acknowledged outputs, so it is true.
5. A lane where `seen` is empty or has a hole is read from `chunked` altogether: slower, the same verdicts.

The alternative, one record a document written before its outputs, costs a round trip before each send, 15 us
a record at the opening, and must be checked against the outputs, which it may contradict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.errors import RecordError
from streams.positions import NO_ORIGIN, Kind, LaneHeader, Position, unpack_lane_header, unpack_position
from workers.duplicates import SKETCH_BYTES, Identity

LAG_OFFSETS: Final = 256
"""So many raw offsets behind the lane's outputs, or so many accepted documents, a record is due."""
RECORD_DOCUMENTS: Final = 4096
"""Most in a record: after 5. there may be a whole window of them."""
_PLAIN: Final = np.dtype([("offset", ">u8"), ("content", ">u8")])
_SKETCHED: Final = np.dtype([("offset", ">u8"), ("content", ">u8"), ("sketch", "u1", (SKETCH_BYTES,))])


class Documents(NamedTuple):
    """Accepted documents by ascending raw offset: shapes (n,), (n,), (n, 128); a sketch of zeros is none."""

    offsets: NDArray[np.int64]
    contents: NDArray[np.uint64]
    sketches: NDArray[np.uint8]

    def between(self, above: int, below: int) -> Documents:
        """Return those whose offset lies in (above, below)."""
        wanted = (self.offsets > above) & (self.offsets < below)
        return Documents(self.offsets[wanted], self.contents[wanted], self.sketches[wanted])


def documents(accepted: list[tuple[int, Identity]]) -> Documents:
    """Return a list of accepted documents as arrays."""
    sketches = b"".join(identity.sketch or bytes(SKETCH_BYTES) for _, identity in accepted)
    return Documents(
        np.array([offset for offset, _ in accepted], np.int64),
        np.array([identity.content for _, identity in accepted], np.uint64),
        np.frombuffer(sketches, np.uint8).reshape(-1, SKETCH_BYTES),
    )


@dataclass(slots=True)
class Unseen:
    """What of a lane is not in `seen` yet."""

    covered: int = -1  # documents up to this raw offset are
    accepted: list[tuple[int, Identity]] = field(default_factory=list)

    def due(self, durable: int) -> bool:
        """Whether a record is due, where the outputs of the documents up to a raw offset are durable."""
        return durable - self.covered >= LAG_OFFSETS or len(self.accepted) >= LAG_OFFSETS


def pack(accepted: list[tuple[int, Identity]], *, sketched: bool) -> bytes:
    """Return the value of a record."""
    found = documents(accepted)
    rows = np.zeros(len(accepted), _SKETCHED if sketched else _PLAIN)
    rows["offset"], rows["content"] = found.offsets, found.contents
    if sketched:
        rows["sketch"] = found.sketches
    return rows.tobytes()


def header(epoch: int, since: int, now_ms: int) -> LaneHeader:
    """Return the fixed header of a record that speaks of the raw offsets above `since`."""
    return LaneHeader(Kind.SEGMENT, epoch, 1, NO_ORIGIN, NO_ORIGIN, since + 1, now_ms, 0, 0)


def span(record: Any, epoch: int) -> tuple[int, int]:
    """Return (since, covered) of a record; raise `RecordError` where it is none of this generation."""
    found = unpack_lane_header(record.headers)
    if found.epoch != epoch:
        raise RecordError(f"a record of `seen` of epoch {found.epoch:x} in a generation of {epoch:x}")
    position: Position = unpack_position(record.key)
    return found.input_offset - 1, position.offset


def unpack(value: bytes, *, sketched: bool) -> Documents:
    """Read a record's value; raise `RecordError` where it is none."""
    kind = _SKETCHED if sketched else _PLAIN
    if len(value) % kind.itemsize:
        raise RecordError(f"a record of `seen` has {len(value)} bytes, no multiple of {kind.itemsize}")
    rows = np.frombuffer(value, kind)
    sketches = rows["sketch"] if sketched else np.zeros((len(rows), SKETCH_BYTES), np.uint8)
    return Documents(rows["offset"].astype(np.int64), rows["content"].astype(np.uint64), sketches)
