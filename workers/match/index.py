"""The search side of matching: description embeddings, kept in the user's cache, in a FAISS index.

Embedding a bank takes some 12 s on two cores, and every worker start would pay it, also after a kill; so the
vectors are cached by what they follow from (bank version, encoder), as plain `.npy`: 20 ms to read. A cache
that is missing, cut off or of another shape is made anew; one that cannot be written costs time, not results.
The index is exact (`IndexFlatIP`): at some thousand templates a search takes a hundredth of the encoder's
time. The paper's 18 million need an inverted index, which is the bank's own issue.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from streams.errors import FinestreamError
from workers.encoder import FloatArray
from workers.match.bank import Bank

FORMAT: Final = 1
"""Of the cached vectors; raised when the same bank and encoder would give others."""

log = structlog.get_logger(__name__)


class FaissMissing(FinestreamError):
    """No build of FAISS is installed."""


class TextEncoder(Protocol):
    """What this module needs of `workers.encoder.Encoder`."""

    name: str
    dimension: int

    def encode(self, texts: tuple[str, ...]) -> FloatArray:
        """Return one normalised vector a text."""


class Hits(NamedTuple):
    """Nearest templates of some queries, best first."""

    similarities: FloatArray  # cosine, shape (queries, n)
    rows: NDArray[np.int64]  # row in the bank, same shape; -1 where the bank has fewer than n


class TemplateIndex:
    """Nearest descriptions by cosine."""

    def __init__(self, descriptions: FloatArray) -> None:
        """Take normalised description embeddings, shape (templates, d), row i for row i of the bank."""
        try:
            import faiss  # noqa: PLC0415  (only the process that searches needs it)
        except ImportError as error:
            raise FaissMissing("faiss is missing: install finestream[cpu] or finestream[gpu]") from error
        # One thread: a search takes under a millisecond, and a second pool of spinning threads would take
        # the cores from the encoder's.
        faiss.omp_set_num_threads(1)
        self._index: Any = faiss.IndexFlatIP(descriptions.shape[1])
        self._index.add(np.ascontiguousarray(descriptions))

    def search(self, queries: FloatArray, n: int) -> Hits:
        """Return the `n` best templates of each query; `queries`, shape (q, d), are normalised here.

        Ask for the K + 1 embeddings of one segment at a time: FAISS adds up in another order from 20 queries
        on, and a segment's similarities must not depend on its neighbours in the batch.
        """
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        unit = np.ascontiguousarray(queries / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)
        similarities, rows = self._index.search(unit, min(n, self._index.ntotal))
        return Hits(similarities, rows)


def cache_folder() -> Path:
    """Return where cached embeddings lie: `$XDG_CACHE_HOME/finestream/embeddings`, else under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "finestream" / "embeddings"


def description_embeddings(bank: Bank, encoder: TextEncoder) -> FloatArray:
    """Return a bank's normalised description embeddings, shape (templates, d), from the cache or new."""
    return cached(
        f"{bank.version} {encoder.name}",
        (len(bank), encoder.dimension),
        lambda: encoder.encode(bank.descriptions),
    )


def cached(key: str, shape: tuple[int, int], make: Callable[[], FloatArray]) -> FloatArray:
    """Return the array kept under a key, or make it and keep it.

    `key` must name everything that the array follows from. A file that is no float32 array of this shape, or
    holds a number that is none, is made anew. Written whole or not at all: two processes that make the same
    array at once both succeed.
    """
    digest = hashlib.blake2b(f"{FORMAT} {key}".encode(), digest_size=16).hexdigest()
    path = cache_folder() / f"{digest}.npy"
    kept = _read(path, shape)
    if kept is not None:
        return kept
    made = np.ascontiguousarray(make(), dtype=np.float32)
    if made.shape != shape:
        raise ValueError(f"embeddings have shape {made.shape}, not {shape}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.save(file, made, allow_pickle=False)
        Path(file.name).replace(path)
    except OSError as error:
        log.warning("embeddings are not cached: each start makes them anew", reason=str(error))
    return made


def _read(path: Path, shape: tuple[int, int]) -> FloatArray | None:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("cached embeddings are unreadable and made anew", path=str(path), reason=str(error))
        return None
    if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
        return None
    out: FloatArray = array
    return out
