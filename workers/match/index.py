"""The search side of matching: the bank's description embeddings in a FAISS index.

The index is exact (`IndexFlatIP`): at some thousand templates a search takes a hundredth of the encoder's
time. The paper's 18 million need an inverted index, whose misses would be a trade-off of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.errors import FinestreamError
from workers.encoder import FloatArray
from workers.match.bank import Bank
from workers.vector_cache import cached


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


def description_embeddings(bank: Bank, encoder: TextEncoder) -> FloatArray:
    """Return a bank's normalised description embeddings, shape (templates, d), from the cache or new."""
    return cached(
        f"{bank.version} {encoder.name}",
        (len(bank), encoder.dimension),
        lambda: encoder.encode(bank.descriptions),
    )
