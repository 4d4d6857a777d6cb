"""The duplicate window: what `chunk` remembers of a lane's accepted documents, the verdict on the next.

A verdict is a pure function of the documents accepted at the raw offsets [n - size, n), so it comes out the
same after a crash, when the window is read back from the log. Exact duplicates share the content's hash; near
ones share at least one band of the sketch (LSH) and an estimated similarity of at least the threshold. The
alternative, remembering everything, needs memory without bound and cannot be read back in bounded time.

Memory a document, with 16 bands: 128 bytes of sketch, 24 of content and offsets, 136 to 204 of index
(`nbytes` says it exactly; tests/benchmarks/dedup_records_per_s.py measures it). Without sketches: 24 to 36
bytes. The sketch is read as numbers of this machine's byte order: two orders would only put it in other
buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.settings.duplicates import DuplicateSettings
from workers.key_index import KeyIndex, Keys

DUPLICATE: Final = "duplicate"
NEAR_DUPLICATE: Final = "near_duplicate"
DUPLICATE_ELSEWHERE: Final = "duplicate_elsewhere"
DUPLICATE_REASONS: Final = (DUPLICATE, NEAR_DUPLICATE, DUPLICATE_ELSEWHERE)
SKETCH_BYTES: Final = 128
CANDIDATES_A_BAND: Final = 32
"""Newest documents of a band that are compared: bounds the work that a hostile crawl can make."""
_BAND_TYPES: Final[dict[int, type[np.uint64 | np.uint32]]] = {16: np.uint64, 32: np.uint32}


class Identity(NamedTuple):
    """What a document is compared by: 64 bits of its content's hash (0: never a duplicate), its sketch."""

    content: int
    sketch: bytes = b""


NOBODY: Final = Identity(0)


@dataclass(frozen=True, slots=True)
class Repeats:
    """A verdict: what a document repeats, and how well. `similarity` is None where it is equal."""

    offset: int
    similarity: float | None = None

    @property
    def exact(self) -> bool:
        """Whether the texts are equal."""
        return self.similarity is None

    def __str__(self) -> str:
        """Return the detail of a marker."""
        if self.similarity is None:
            return f"of raw offset {self.offset}"
        return f"of raw offset {self.offset}, similarity {self.similarity:.2f}"


class AdmitWindow:
    """The accepted documents of the last `size` raw offsets of a lane."""

    def __init__(self, size: int, similarity: float = 0.0, bands: int = 16) -> None:
        """Remember so many raw offsets; `similarity` 0: equal documents only."""
        self.size = size
        self._near = similarity > 0
        self._bands = bands
        self._least = least_equal(similarity) if self._near else SKETCH_BYTES + 1
        self._contents = KeyIndex(1, max(1, size))
        # Documents without words have no sketch, so the sketches have an index of their own.
        self._sketched = KeyIndex(bands, max(1, size), _BAND_TYPES[bands]) if self._near else None
        self._offsets = np.zeros(self._contents.capacity, np.int64)
        self._sketch_offsets = np.zeros(self._contents.capacity, np.int64)

    @classmethod
    def of(cls, settings: DuplicateSettings) -> AdmitWindow:
        """Return an empty window as the settings want it."""
        near = settings.near != "off"
        return cls(settings.window, settings.similarity if near else 0.0, settings.bands)

    @property
    def documents(self) -> int:
        """How many documents are held."""
        return self._contents.added - self._contents.oldest

    @property
    def nbytes(self) -> int:
        """Bytes that all tables take."""
        index = self._sketched.nbytes if self._sketched is not None else 0
        return self._offsets.nbytes + self._sketch_offsets.nbytes + self._contents.nbytes + index

    def judge(self, offset: int, identity: Identity) -> Repeats | None:
        """Return what the document at a raw offset repeats, or None where it is new.

        An equal document goes before a similar one; of equal ones the newest, of similar ones the most
        similar and then the newest.
        """
        if not self.size or not identity.content:
            return None
        if (seen := self.equal(offset, identity.content)) is not None:
            return Repeats(seen)
        if self._sketched is None or len(identity.sketch) != SKETCH_BYTES:
            return None
        return self._similar(offset, offset - self.size, identity.sketch)

    def equal(self, offset: int, content: int) -> int | None:
        """Return the newest raw offset within the window of a document with this hash, or None."""
        row = self._contents.newest(content)
        if row < 0:
            return None
        seen = int(self._offsets[row % self._contents.capacity])
        return seen if offset - self.size <= seen < offset else None

    def _similar(self, offset: int, least: int, sketch: bytes) -> Repeats | None:
        index = self._sketched
        assert index is not None
        mine = np.frombuffer(sketch, np.uint8)
        rows = index.sharing(_keys(mine, self._bands), CANDIDATES_A_BAND)
        if not len(rows):
            return None
        slots = rows % index.capacity
        offsets = self._sketch_offsets[slots]
        equal = (index.keys(rows).view(np.uint8) == mine).sum(axis=1)
        equal[(offsets < least) | (offsets >= offset)] = 0
        best = len(equal) - 1 - int(np.argmax(equal[::-1]))  # the newest of the most similar
        if equal[best] < self._least:
            return None
        return Repeats(int(offsets[best]), estimate(int(equal[best])))

    def add(self, offset: int, identity: Identity) -> None:
        """Remember an accepted document; offsets must ascend."""
        if not self.size or not identity.content:
            return
        self._offsets = _room(self._contents, self._offsets, 1)
        self._offsets[self._contents.added % self._contents.capacity] = offset
        self._contents.append(np.array([identity.content], np.uint64))
        if self._sketched is not None and len(identity.sketch) == SKETCH_BYTES:
            self._sketch_offsets = _room(self._sketched, self._sketch_offsets, 1)
            self._sketch_offsets[self._sketched.added % self._sketched.capacity] = offset
            self._sketched.append(_keys(np.frombuffer(identity.sketch, np.uint8), self._bands))

    def extend(
        self, offsets: NDArray[np.int64], contents: NDArray[np.uint64], sketches: NDArray[np.uint8]
    ) -> None:
        """Remember accepted documents by ascending offset; sketches have shape (n, 128), zeros for none.

        Where near duplicates are not sought, the sketches are not looked at.
        """
        if not self.size or not len(offsets):
            return
        offsets, contents, sketches = offsets[-self.size :], contents[-self.size :], sketches[-self.size :]
        self._offsets = _put(self._contents, self._offsets, offsets)
        self._contents.extend(contents.reshape(-1, 1))
        if self._sketched is None:
            return
        if not (there := sketches.any(axis=1)).all():
            offsets, sketches = offsets[there], sketches[there]
        self._sketch_offsets = _put(self._sketched, self._sketch_offsets, offsets)
        self._sketched.extend(_keys(np.ascontiguousarray(sketches), self._bands))


def least_equal(similarity: float) -> int:
    """Return how many of a sketch's bytes must be equal for an estimate of at least `similarity`."""
    return next((n for n in range(SKETCH_BYTES + 1) if estimate(n) >= similarity - 1e-9), SKETCH_BYTES)


def similarity(first: bytes, second: bytes) -> float:
    """Return the estimated Jaccard similarity of two texts' shingles, from their sketches."""
    a, b = np.frombuffer(first, np.uint8), np.frombuffer(second, np.uint8)
    return estimate(int((a == b).sum()))


def estimate(equal: int) -> float:
    """Return the Jaccard similarity that so many equal bytes of 128 speak for: chance gives 1 in 256."""
    return max(0.0, (equal / SKETCH_BYTES - 1 / 256) / (1 - 1 / 256))


def _keys(sketches: NDArray[np.uint8], bands: int) -> Keys:
    """Return the bands of sketches, shape (n, 128), as numbers, shape (n, bands)."""
    keys: Keys = sketches.view(_BAND_TYPES[bands])
    return keys


def _put(index: KeyIndex, kept: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put what belongs to the rows that come now beside those of before; return where all of it is."""
    kept = _room(index, kept, len(values))
    kept[np.arange(index.added, index.added + len(values)) % index.capacity] = values
    return kept


def _room(index: KeyIndex, kept: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Let an index make room for so many rows; return what is kept beside its rows in their new places."""
    if not index.grows(n):
        return kept
    rows, before = index.kept(), kept[index.kept() % index.capacity]
    index.grow(n)
    kept = np.zeros(index.capacity, np.int64)
    kept[rows % index.capacity] = before
    return kept
