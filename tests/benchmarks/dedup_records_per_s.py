"""`dedup_records_per_s`: documents a CPU-second through sketch, verdict and memory, beside bare rensa.

Ours: the text's sketch, the verdict of a window over all documents, remembering it. Bare rensa: word 5-grams
joined to strings, its MinHash of 128 values, its own deduplicator with LSH at the same threshold. The same
documents, in this process, in turns; the best round of each counts. Documents are cuts of 150 to 900 words
from the shipped samples, one in ten a near copy of an earlier one; both say how many they found.

Beside it what a document costs in memory, and how long a window of a million takes to build from what lies in
the log (`dedup_window_1m_s`; reading it from a broker comes on top).
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import rensa
from contamination_ms import segments

from workers.chunk.near_duplicates import sketch
from workers.duplicates import SKETCH_BYTES, AdmitWindow, Identity

DOCUMENTS = 3000
ROUNDS = 3
SIMILARITY = 0.8
MILLION = 1_000_000
READ_AT_ONCE = 256
GOAL = 1.0


def documents() -> list[str]:
    """Return texts, some of them near copies of earlier ones."""
    rng, words = random.Random(1), " ".join(segments()).split()
    out: list[list[str]] = []
    for _ in range(DOCUMENTS):
        if out and rng.random() < 0.1:
            copy = list(rng.choice(out))
            copy[rng.randrange(len(copy))] = "changed"
            out.append(copy)
        else:
            n = rng.randrange(150, 900)
            begin = rng.randrange(len(words) - n)
            out.append(words[begin : begin + n])
    return [" ".join(text) for text in out]


def ours(texts: Sequence[str]) -> int:
    """Return how many near duplicates our window finds."""
    window, found = AdmitWindow(len(texts), SIMILARITY), 0
    for offset, text in enumerate(texts):
        identity = Identity(offset + 1, sketch(text))
        if window.judge(offset, identity) is None:
            window.add(offset, identity)
        else:
            found += 1
    return found


def bare(texts: Sequence[str]) -> int:
    """Return how many near duplicates rensa finds."""
    it = rensa.RMinHashDeduplicator(threshold=SIMILARITY, num_perm=128, use_lsh=True)
    found = 0
    for offset, text in enumerate(texts):
        words = text.lower().split()
        grams = [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]
        minhash = rensa.RMinHash(num_perm=128, seed=42)
        minhash.update(grams)
        found += not it.add(str(offset), minhash)
    return found


def timed(run: Callable[[Sequence[str]], int], texts: Sequence[str]) -> tuple[float, int]:
    """Return CPU seconds and what was found."""
    began = time.process_time()
    found = run(texts)
    return time.process_time() - began, found


def million() -> tuple[float, AdmitWindow]:
    """Return the CPU seconds that a window of a million takes to build, and the window."""
    rng, window, seconds = np.random.default_rng(1), AdmitWindow(MILLION, SIMILARITY), 0.0
    for begin in range(0, MILLION, READ_AT_ONCE):
        n = min(READ_AT_ONCE, MILLION - begin)
        sketches = rng.integers(0, 256, (n, SKETCH_BYTES), dtype=np.uint8)
        contents = rng.integers(1, 2**63, n).astype(np.uint64)
        began = time.process_time()
        window.extend(np.arange(begin, begin + n), contents, sketches)
        seconds += time.process_time() - began
    return seconds, window


def verdict_us(window: AdmitWindow) -> float:
    """Return CPU microseconds of a verdict and of remembering, in a window that is full."""
    rng = np.random.default_rng(2)
    asked = [Identity(n + 1, rng.bytes(SKETCH_BYTES)) for n in range(5000)]
    began = time.process_time()
    for n, identity in enumerate(asked):
        window.judge(MILLION + n, identity)
        window.add(MILLION + n, identity)
    return (time.process_time() - began) / len(asked) * 1e6


def line(name: str, value: float, unit: str, baseline: str | None, **more: object) -> None:
    """Print one figure."""
    print(json.dumps({"name": name, "value": value, "unit": unit, "baseline": baseline, **more}))


def main() -> int:
    """Measure and print."""
    texts = documents()
    rounds = [(timed(ours, texts), timed(bare, texts)) for _ in range(ROUNDS)]
    (mine, found), (theirs, also) = (min(column) for column in zip(*rounds, strict=True))
    rate, baseline = len(texts) / mine, len(texts) / theirs
    told = f"bare rensa: {baseline:.0f} documents a CPU-second, {also} near duplicates found"
    line("dedup_records_per_s", round(rate), "documents a CPU-second", told, goal=None, better="higher",
         met=None, near_duplicates=found, documents=len(texts))  # fmt: skip
    ratio = round(rate / baseline, 2)
    line("dedup_vs_rensa", ratio, "ratio of documents a CPU-second", told, goal=GOAL, better="higher",
         met=ratio >= GOAL)  # fmt: skip
    seconds, window = million()
    line("dedup_bytes", round(window.nbytes / window.documents), "bytes a remembered document", None,
         goal=None, better="lower", met=None)  # fmt: skip
    line("dedup_window_1m_s", round(seconds, 1), "CPU seconds to build a window of a million", None,
         goal=None, better="lower", met=None, verdict_us=round(verdict_us(window), 1))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
