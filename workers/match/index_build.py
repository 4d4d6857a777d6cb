"""Building an index over stored vectors, and measuring what it finds.

Recall is measured on vectors of the bank itself that are shaken a little: a segment's embedding lies near
some descriptions and on none. Measured against exact search over the same vectors, in blocks, so that 18
million need no second copy in memory. `nprobe` is the smallest power of two whose recall reaches the target;
each doubling costs about twice the time of a search.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError
from workers.encoder import FloatArray
from workers.match.index import TemplateIndex, faiss_library, unit
from workers.match.index_plan import IndexPlan
from workers.match.manifest import IndexFacts

BLOCK_BYTES: Final = 256 * 1024 * 1024
QUERIES: Final = 200
SHAKEN: Final = 1.0
"""Length of the noise on a query beside the vector's own 1: a cosine of about 0.7 to where it came from."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recall:
    """What a search finds of the exact best, and the CPU time of a query on one thread."""

    nprobe: int
    share: float
    seconds: float


def build(vectors: Any, plan: IndexPlan, say: Say, seed: int = 0) -> Any:
    """Return a trained index that holds all vectors, shape (n, d), read block by block."""
    faiss = faiss_library()
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    count, dimension = vectors.shape
    index = faiss.index_factory(dimension, plan.factory, faiss.METRIC_INNER_PRODUCT)
    if plan.training:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(count, plan.training, replace=False))
        lists = faiss.extract_index_ivf(index)
        lists.cp.seed = seed + 1
        lists.cp.spherical = True  # centres of unit vectors are unit vectors
        say(f"fitting {plan.lists} lists to {plan.training} vectors")
        index.train(np.ascontiguousarray(vectors[rows], dtype=np.float32))
    fill(index, vectors, say)
    return index


def fill(index: Any, vectors: Any, say: Say) -> None:
    """Add vectors, shape (n, d), to a trained index."""
    for start, block in blocks(vectors):
        index.add(block)
        if len(block) < len(vectors):
            say(f"{start + len(block)} of {len(vectors)} vectors are in the index")


def blocks(vectors: Any) -> Iterator[tuple[int, FloatArray]]:
    """Yield vectors as float32, a bounded number at a time, each block with its first row."""
    count, dimension = vectors.shape
    size = max(1, BLOCK_BYTES // (4 * dimension))
    for start in range(0, count, size):
        yield start, np.ascontiguousarray(vectors[start : start + size], dtype=np.float32)


def shaken(vectors: Any, queries: int, seed: int = 1) -> FloatArray:
    """Return queries: vectors of the bank with noise of about their own length."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(vectors), min(queries, len(vectors)), replace=False))
    base = np.asarray(vectors[rows], dtype=np.float32)
    noise = rng.standard_normal(base.shape, dtype=np.float32) * (SHAKEN / np.sqrt(base.shape[1]))
    return unit(base + noise.astype(np.float32))


def exact_best(vectors: Any, queries: FloatArray, n: int) -> tuple[NDArray[np.int64], float]:
    """Return the rows of the `n` nearest of each query by exact search, and its seconds of CPU."""
    faiss = faiss_library()
    seconds = 0.0
    merged = faiss.ResultHeap(len(queries), n, keep_max=True)
    for start, block in blocks(vectors):
        flat = faiss.IndexFlatIP(block.shape[1])
        flat.add(block)
        began = time.process_time()
        similarities, rows = flat.search(queries, min(n, len(block)))
        if rows.shape[1] < n:
            pad = n - rows.shape[1]
            similarities = np.pad(similarities, ((0, 0), (0, pad)), constant_values=-np.inf)
            rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=-1)
        merged.add_result(similarities, np.where(rows >= 0, rows + start, -1))
        seconds += time.process_time() - began
    merged.finalize()
    found: NDArray[np.int64] = merged.I
    return found, seconds


def measure(
    vectors: Any, index: Any, queries: FloatArray, best: NDArray[np.int64], nprobe: int, views: int = 6
) -> Recall:
    """Return what a search of `nprobe` lists finds, `views` queries at a time as in matching."""
    searcher = TemplateIndex(vectors, index, nprobe)
    n = best.shape[1]
    began = time.process_time()
    found = [searcher.search(queries[i : i + views], n).rows for i in range(0, len(queries), views)]
    seconds = (time.process_time() - began) / len(queries)
    hit = sum(
        len(np.intersect1d(a, b)) for rows, wanted in _pairs(found, best, views)
        for a, b in zip(rows, wanted, strict=True)
    )  # fmt: skip
    return Recall(nprobe, hit / max(1, int((best >= 0).sum())), seconds)


def choose_nprobe(
    vectors: Any, index: Any, plan: IndexPlan, target: float, candidates: int, say: Say
) -> IndexFacts:
    """Return the facts of an index with the smallest `nprobe` that reaches the recall wanted.

    Raises `BankError` where no number of lists does, which only codes can cause.
    """
    if not plan.lists:
        return IndexFacts(plan.factory, 0, 1.0, candidates, 0)
    queries = shaken(vectors, QUERIES)
    n = min(candidates, len(vectors))
    best, _ = exact_best(vectors, queries, n)
    nprobe = 1
    while True:
        recall = measure(vectors, index, queries, best, nprobe)
        say(f"{nprobe} of {plan.lists} lists: recall@{n} {recall.share:.3f}, {recall.seconds * 1e3:.2f} ms")
        if recall.share >= target:
            return IndexFacts(plan.factory, nprobe, round(recall.share, 4), n, len(queries))
        if nprobe == plan.lists:
            raise BankError(
                f"the index {plan.factory} finds {recall.share:.3f} of the exact best {n} with all its "
                f"lists, {target} is wanted: give it more memory (--memory-gb) or lower --recall"
            )
        nprobe = min(2 * nprobe, plan.lists)


def _pairs(
    found: list[NDArray[np.int64]], best: NDArray[np.int64], views: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for i, rows in enumerate(found):
        yield rows, best[i * views : i * views + len(rows)]
