"""A near-duplicate sketch of a text: 128 MinHash values over its word 5-grams, one byte of each kept.

The sketch is all that is remembered of a document, so it is small: 128 bytes (b-bit minwise hashing, Li and
König, WWW 2010, with b = 8) instead of rensa's 512. The price is a match by chance in one of 256 values,
which the estimate takes out; its standard error stays `sqrt(J (1 - J) / 128)`, 0.035 at a Jaccard similarity
of 0.8 (measured over 300 random pairs each: at most 0.046, bias below 0.003). Half the bytes would make it
0.05.

The words' hashes and the MinHash itself are rensa's, in Rust; the 5-grams are made from the words' hashes
with numpy, which costs a tenth of joining strings. All of it is integer arithmetic with fixed seeds: the
same on every machine (a test holds golden bytes, `ALGORITHM_VERSION` is checked).
"""

from __future__ import annotations

import re
import string
from typing import Any, Final

import msgspec
import numpy as np
import rensa
from numpy.typing import NDArray

from streams.errors import SettingsError
from streams.records import Segment, decode, encode
from workers.duplicates import SKETCH_BYTES

_ALGORITHM: Final = 2
_SEED: Final = 0x66696E65
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser
_PUNCTUATION: Final = string.punctuation + "\u00a0\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026"
_TO_SPACE: Final = (
    string.punctuation.encode() + b"\x1c\x1d\x1e\x1f"
)  # the last are spaces to characters alone
_SPACES: Final = bytes.maketrans(_TO_SPACE, b" " * len(_TO_SPACE))
_WORD: Final = re.compile(rf"[^\s{re.escape(_PUNCTUATION)}]+")
_LETTERS_A_WORD: Final = 16
"""Above so many on average there are no spaces between words (Chinese, Japanese, Thai): letters are taken."""
_MinHash: Final[Any] = rensa.RMinHash


def check_algorithm() -> None:
    """Raise `SettingsError` where rensa computes other sketches than those that lie in the log."""
    if (found := _MinHash.ALGORITHM_VERSION) != _ALGORITHM:
        raise SettingsError(
            f"rensa's MinHash is of version {found}, near-duplicate sketches are made with {_ALGORITHM}: "
            "install rensa==0.5.0, or set chunk.duplicates.near=off"
        )


def sketch(text: str, shingle_words: int = 5) -> bytes:
    """Return a text's sketch, 128 bytes; equal for texts that differ in case, punctuation or spaces.

    Where it has fewer than `shingle_words` words, they are one shingle; no words at all give b"".
    """
    words = normalised(text)
    most = len(words) * _LETTERS_A_WORD
    if words and most < len(text) and most < sum(map(len, words)):
        words = list(b"".join(words).decode() if isinstance(words[0], bytes) else "".join(words))
    if not words:
        return b""
    hashes = np.array(_MinHash.hash_token_sets([words])[0], dtype=np.uint64)
    shingles = _shingles(hashes, min(shingle_words, len(words)))
    matrix = _MinHash.digest_matrix_from_flat_token_hashes(shingles, [0, len(shingles)], SKETCH_BYTES, _SEED)
    return np.array(matrix.to_rows()[0], dtype=np.uint32).astype(np.uint8).tobytes()


def normalised(text: str) -> list[Any]:
    """Return what spaces and punctuation part, in lower case: the same in both ways, each the faster one.

    Where all is ASCII they are bytes: rensa hashes a word's UTF-8, so both have the same hash.
    """
    lower = text.lower()
    return lower.encode().translate(_SPACES).split() if lower.isascii() else _WORD.findall(lower)


def _shingles(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Return a hash of each `n` words in a row: a polynomial modulo 2^64, well mixed."""
    size = len(words) - n + 1
    out = words[:size].copy()
    for i in range(1, n):
        out *= _FACTOR
        out += words[i : i + size]
    out ^= out >> np.uint64(30)
    out *= _MIX[0]
    out ^= out >> np.uint64(27)
    out *= _MIX[1]
    out ^= out >> np.uint64(31)
    return out


class _Fingerprint(msgspec.Struct):
    """The one field of a `Segment` that a window needs: the others are stepped over, not decoded."""

    fingerprint: bytes = b""


_FINGERPRINTS: Final = msgspec.msgpack.Decoder(_Fingerprint)


def fingerprint_of(value: bytes) -> bytes:
    """Return the sketch in an encoded segment; b"" where it holds none, or is none."""
    try:
        return _FINGERPRINTS.decode(value).fingerprint
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""


def with_flag(value: bytes, flag: str) -> bytes:
    """Return an encoded segment with one more flag, a few bytes longer."""
    segment = decode(value, Segment)
    return encode(msgspec.structs.replace(segment, flags=sorted({*segment.flags, flag})))
