"""The search side of matching: the nearest of the bank's description embeddings, by FAISS.

Exact at some thousand templates, where a search takes a hundredth of the encoder's time; inverted lists
above (`index_plan.py`), which may miss a template and never misstate one: the similarity of what they find is
worked out anew from the stored vectors. So a threshold means the same with each index, and a bank that grew
gives the same similarities as one that was rebuilt. The price is reading the found rows, 200 an embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError, FinestreamError
from workers.encoder import FloatArray
from workers.match.bank import Bank
from workers.vector_cache import cached

CODES_SPARE: Final = 4
"""How many times the wanted number is asked of an index of codes, before their real order is worked out."""


class FaissMissing(FinestreamError):
    """No build of FAISS is installed."""


class TextEncoder(Protocol):
    """What this module needs of `workers.encoder.Encoder`."""

    name: str
    dimension: int

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one normalised vector a text."""


class Hits(NamedTuple):
    """Nearest templates of some queries, best first."""

    similarities: FloatArray  # cosine, shape (queries, n)
    rows: NDArray[np.int64]  # row in the bank, same shape; -1 where the bank has fewer than n


@functools.cache
def faiss_library() -> Any:
    """Return the module; raise `FaissMissing`."""
    try:
        import faiss  # noqa: PLC0415  (only the process that searches needs it)
    except ImportError as error:
        raise FaissMissing("faiss is missing: install finestream[cpu] or finestream[gpu]") from error
    return faiss


def unit(vectors: FloatArray) -> FloatArray:
    """Return vectors at length 1; a null vector stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)


class TemplateIndex:
    """Nearest descriptions by cosine."""

    def __init__(self, vectors: Any, index: Any = None, nprobe: int = 0) -> None:
        """Take normalised description embeddings, shape (templates, d), row i for row i of the bank.

        `index` is one over the same vectors; None makes an exact one. `nprobe` 0: it is exact.
        """
        faiss = faiss_library()
        # One thread: a search takes under a millisecond, and a second pool of spinning threads would take
        # the cores from the encoder's.
        faiss.omp_set_num_threads(1)
        if index is None:
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._index: Any = index
        self._vectors = vectors
        self._lists: Any = faiss.try_extract_index_ivf(index) if nprobe else None
        self._nprobe = nprobe
        self._spare = CODES_SPARE if self._lists is not None and hasattr(self._lists, "pq") else 1
        self._selectors: dict[str, Any] = {}

    @classmethod
    def open(cls, bank: Bank, encoder: TextEncoder) -> TemplateIndex:
        """Return a bank's index: a built one's from its folder, else an exact one from the cached vectors.

        Raise `BankError` where the bank's vectors are another encoder's or the index is not theirs.
        """
        if bank.folder is None:
            out = cls(description_embeddings(bank, encoder))
        else:
            from workers.match.store import INDEX, open_vectors  # noqa: PLC0415 - a JSONL bank has no store

            if bank.encoder != encoder.name:
                raise BankError(
                    f"template bank {bank.name} holds vectors of {bank.encoder!r}, match.encoder is "
                    f"{encoder.name!r}: set that to the bank's, or build a bank with this encoder"
                )
            assert bank.index is not None
            index = read_index(bank.folder / INDEX)
            if (index.ntotal, index.d) != (len(bank), encoder.dimension):
                raise BankError(
                    f"template bank {bank.name}: its index holds {index.ntotal} vectors of {index.d} "
                    f"dimensions, the bank {len(bank)} templates and the encoder {encoder.dimension}: build "
                    "it again"
                )
            out = cls(open_vectors(bank.folder), index, bank.index.nprobe)
        out.restrict(bank.language_codes)
        return out

    def restrict(self, languages: Sequence[str]) -> None:
        """Tell the index each row's language, so that `search` can ask for one."""
        faiss = faiss_library()
        codes = np.array(list(languages))
        for language in sorted(set(codes.tolist())):
            bits = np.packbits(codes == language, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            self._selectors[language] = (selector, bits)  # the selector does not own its bits

    def search(self, queries: FloatArray, n: int, language: str = "") -> Hits:
        """Return the `n` best templates of each query; `queries`, shape (q, d), are normalised here.

        `language` asks for templates in it alone, where the bank has several. Ask for the K + 1 embeddings of
        one segment at a time: FAISS adds up in another order from 20 queries on, and a segment's similarities
        must not depend on its neighbours in the batch.
        """
        wanted = min(n * self._spare, self._index.ntotal)
        vectors = unit(queries)
        parameters = self._parameters(language)
        if parameters is None:
            similarities, rows = self._index.search(vectors, wanted)
        else:
            similarities, rows = self._index.search(vectors, wanted, params=parameters)
        if not self._nprobe:
            return Hits(similarities, rows)
        return self._exact(vectors, rows, min(n, self._index.ntotal))

    def _parameters(self, language: str) -> Any:
        faiss = faiss_library()
        selector = self._selectors[language][0] if self._selectors and language else None
        if self._nprobe:
            coarse = faiss.SearchParametersHNSW(efSearch=2 * self._nprobe) if self._graph else None
            if selector is not None:
                return faiss.SearchParametersIVF(nprobe=self._nprobe, sel=selector, quantizer_params=coarse)
            return faiss.SearchParametersIVF(nprobe=self._nprobe, quantizer_params=coarse)
        return None if selector is None else faiss.SearchParameters(sel=selector)

    @functools.cached_property
    def _graph(self) -> bool:
        faiss = faiss_library()
        return isinstance(faiss.downcast_index(self._lists.quantizer), faiss.IndexHNSW)

    def _exact(self, queries: FloatArray, rows: NDArray[np.int64], n: int) -> Hits:
        """Work out the cosines of found rows from the stored vectors, and their order by them."""
        similarities = np.full((len(queries), n), -np.inf, dtype=np.float32)
        ordered = np.full((len(queries), n), -1, dtype=np.int64)
        for i, (query, found) in enumerate(zip(queries, rows, strict=True)):
            places = np.sort(found[found >= 0])
            # float64: a sum's last bits must not depend on how many rows were found beside it.
            cosines = (self._vectors[places].astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
            best = np.argsort(-cosines, kind="stable")[:n]
            similarities[i, : len(best)] = cosines[best]
            ordered[i, : len(best)] = places[best]
        return Hits(similarities, ordered)


def read_index(path: Path) -> Any:
    """Return a FAISS index from its file, mapped where its kind allows; raise `BankError`."""
    faiss = faiss_library()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BankError(
            f"template bank: {path} is no FAISS index ({str(error)[:200]}): build the bank again"
        ) from error


def description_embeddings(bank: Bank, encoder: TextEncoder) -> FloatArray:
    """Return a bank's description embeddings, shape (templates, d): its own, the cache's or new ones."""
    if bank.folder is not None and bank.encoder == encoder.name:
        from workers.match.store import open_vectors  # noqa: PLC0415

        stored: FloatArray = np.asarray(open_vectors(bank.folder), dtype=np.float32)
        return stored
    return cached(
        f"{bank.version} {encoder.name}",
        (len(bank), encoder.dimension),
        lambda: encoder.encode(bank.descriptions),
    )
