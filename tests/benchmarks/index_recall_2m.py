"""`index_recall_2m`: recall@200 of the index that two million templates get, and its time.

Two million synthetic vectors of 384 dimensions, clustered in two levels as descriptions are (200 domains, 100
topics each, sizes by a power law), 16 bits each in a file that is mapped. Queries are such vectors with noise
of their own length. The index is planned, built and given its `nprobe` by the bank's own code; recall is then
measured on other queries than the ones that chose it. FINESTREAM_BENCH_VECTORS takes another number.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workers.match.index import faiss_library, unit
from workers.match.index_build import build, choose_nprobe, exact_best, measure, shaken
from workers.match.index_plan import plan_index

COUNT = int(os.environ.pop("FINESTREAM_BENCH_VECTORS", "2000000"))
DIMENSION = 384
CANDIDATES = 200
TARGET = 0.95
MEMORY_BYTES = 4 << 30


def synthetic(path: Path) -> np.memmap:
    """Write clustered unit vectors."""
    rng = np.random.default_rng(6)
    domains = unit(rng.standard_normal((200, DIMENSION), dtype=np.float32))
    topics = unit(rng.standard_normal((20_000, DIMENSION), dtype=np.float32))
    centres = 0.55 * domains[np.arange(20_000) % 200] + 0.6 * topics
    share = 1.0 / np.arange(20, 20_020) ** 0.7
    out = np.lib.format.open_memmap(path, "w+", np.float16, (COUNT, DIMENSION))
    for start in range(0, COUNT, 100_000):
        n = min(100_000, COUNT - start)
        rows = rng.choice(20_000, n, p=share / share.sum())
        noise = rng.standard_normal((n, DIMENSION), dtype=np.float32) * np.float32(0.6 / DIMENSION**0.5)
        out[start : start + n] = unit(centres[rows] + noise).astype(np.float16)
    return out


def main() -> int:
    """Measure and print."""

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="finestream-bench-") as folder:
        vectors = synthetic(Path(folder) / "vectors.npy")
        plan = plan_index(COUNT, DIMENSION, MEMORY_BYTES)
        say(f"{COUNT} vectors are written; the index is {plan.factory}, about {plan.bytes / 1e9:.2f} GB")
        started = time.monotonic()
        index = build(vectors, plan, say)
        built = time.monotonic() - started
        facts = choose_nprobe(vectors, index, plan, TARGET, CANDIDATES, say)
        queries = shaken(vectors, 120, seed=77)
        faiss_library().omp_set_num_threads(1)
        best, _ = exact_best(vectors, queries, CANDIDATES)
        recall = measure(vectors, index, queries, best, facts.nprobe)
        few = queries[:12]
        # The same six at a time as matching asks.
        exact = sum(exact_best(vectors, few[i : i + 6], CANDIDATES)[1] for i in range(0, 12, 6)) / 12
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        json.dumps(
            {
                "name": "index_recall_2m",
                "value": round(recall.share, 4),
                "unit": f"recall@{CANDIDATES} of exact search",
                "goal": TARGET,
                "better": "higher",
                "baseline": f"exact search: {exact * 1e3:.1f} ms of CPU a query, the index "
                f"{recall.seconds * 1e3:.2f} ms (one thread, six queries a call)",
                "met": round(recall.share, 4) >= TARGET,
                "vectors": COUNT,
                "factory": plan.factory,
                "nprobe": facts.nprobe,
                "times_faster": round(exact / recall.seconds, 1),
                "build_seconds": round(built),
                "resident_gb": round(memory, 2),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
