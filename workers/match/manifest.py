"""A built bank's manifest: what it holds, how it was made, and the version that follows from it.

The version is a hash over everything in the manifest but the time, and the manifest holds the digest of each
file: so equal versions give equal matches, and whatever shapes a match (templates, vectors, index, sampling,
calibration) is in it. The alternative, a version counter, would say nothing about two machines' banks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from streams.errors import BankError

FORMAT: Final = 1
COMPLEXITIES: Final = 10
"""Bins of complexity: 1 … 9 slots, and 10 or more, which the paper calls complex (section 1)."""
SHAPING_DIGITS: Final = 16  # bytes of a digest


class Stored(msgspec.Struct, frozen=True):
    """A file of the bank."""

    bytes: int
    blake2b: str


class Sampling(msgspec.Struct, frozen=True):
    """How one template is drawn of an embedding's candidates (paper section 2); all fixed with the bank."""

    encoder: str
    threshold: float
    gaussians: int
    segments: int  # on which candidate(n) and the usage were measured
    target: tuple[float, ...]  # shares of complexity 1..9 and 10+, wanted
    candidate: tuple[float, ...]  # the same among the candidates, each embedding counting once
    cap: float  # most that a template should be of all draws
    thinned: int  # templates that are kept with a probability below 1 for it
    with_match: float = 0.0  # share of those segments that have a candidate
    used: int = 0  # templates that any of them would draw
    top_share: float = 0.0  # of the most used one, in all draws, thinned
    evenness: float = 0.0  # of use: its entropy over that of an even spread over all templates
    target_source: str = ""


class Calibration(msgspec.Struct, frozen=True):
    """A threshold, and how sure it is."""

    encoder: str
    gaussians: int
    threshold: float
    wanted: float  # precision
    precision: float  # at the threshold, on the labelled pairs
    low: float  # Wilson interval, 95 %
    high: float
    pairs: int
    above: int  # of them at or above the threshold
    languages: dict[str, float] = {}  # a threshold of its own, where one language's pairs allow one


class IndexFacts(msgspec.Struct, frozen=True):
    """What the index is and how well it finds."""

    factory: str
    nprobe: int  # 0: exact
    recall: float  # of the exact best `candidates`, measured when built
    candidates: int
    queries: int  # of that measurement; 0: exact, nothing to measure


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All about one version of a bank."""

    format: int = FORMAT
    name: str
    version: str = ""
    created_at: str = ""
    count: int
    encoder: str
    dimension: int
    dtype: str  # of vectors.npy
    index: IndexFacts
    files: dict[str, Stored]
    languages: dict[str, int]
    domains: dict[str, int]
    complexity: tuple[int, ...]  # templates of 1..9 and 10+ slots
    disabled: int = 0
    left_out: dict[str, int] = {}  # rows of the inputs that are not in the bank, by reason
    sampling: Sampling | None = None
    calibration: Calibration | None = None
    parent: str = ""  # version that this one was made from


def version_of(manifest: Manifest) -> str:
    """Return the 32 hex digits that the contents give."""
    bare = msgspec.structs.replace(manifest, version="", created_at="")
    text = msgspec.json.encode(bare, order="deterministic")
    return hashlib.blake2b(text, digest_size=SHAPING_DIGITS).hexdigest()


def encode(manifest: Manifest) -> bytes:
    """Return a manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; raise `BankError`."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise BankError(f"template bank: {path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BankError(f"template bank: {path} is no manifest: {error}") from error
    if manifest.format != FORMAT:
        raise BankError(
            f"template bank: {path} has format {manifest.format}, this program reads {FORMAT}: build the "
            "bank again, or use the program that wrote it"
        )
    if version_of(manifest) != manifest.version:
        raise BankError(
            f"template bank: {path} was changed by hand: its contents are no longer those of version "
            f"{manifest.version[:8]}. Use an older version's folder, or build the bank again"
        )
    return manifest


def complexity_bin(slots: int) -> int:
    """Return the place of a complexity in the histograms."""
    return min(max(slots, 1), COMPLEXITIES) - 1
