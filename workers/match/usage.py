"""What is fixed with a bank before it is used: candidate(n), and who would be used too much.

Both are measured on a sample of segments, at least 2,000 (our choice: then a share of 1 % is known to a
fifth). Each segment is drawn for `REPEATS` times, as if its text had other hashes: then the noise is nearly
that of the segments alone. (Products of single embeddings' chances would be quicker and wrong by half: the
embeddings of a segment share a template's random number, and its thinning.) The cap max(0.09 %, 20 /
templates) is the paper's largest share (its section on diversity), lifted for banks so small that an even
spread would hardly stay below it. Thinning one template gives its draws to others, so it is repeated until
all are below, at most `ROUNDS` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.encoder import FloatArray
from workers.match.index import TemplateIndex
from workers.match.manifest import COMPLEXITIES
from workers.match.sampling import CANDIDATES, weights

LEAST_SEGMENTS: Final = 2_000
PAPERS_CAP: Final = 0.0009
EVEN_SHARES: Final = 20
ROUNDS: Final = 30
SLACK: Final = 1.02
REPEATS: Final = 16

Views = list[NDArray[np.int64]]
"""Candidate rows of each embedding of one segment."""


@dataclass(frozen=True)
class Usage:
    """What a sample says about a bank."""

    segments: int
    with_match: int  # segments with a candidate
    candidate: tuple[float, ...]  # shares of complexity, each embedding counting once
    shares: NDArray[np.float64]  # of all draws, by row of the bank, with `keep`
    keep: NDArray[np.float32]
    cap: float


def candidates_of(
    views: Iterable[FloatArray], index: TemplateIndex, threshold: float, languages: Sequence[str] = ()
) -> list[Views]:
    """Return each segment's candidates: rows of the best 200 at or above the threshold, an array a view.

    `views` yields each segment's embeddings, shape (K + 1, d); `languages` each one's language.
    """
    out: list[Views] = []
    for i, embeddings in enumerate(views):
        hits = index.search(embeddings, CANDIDATES, languages[i] if languages else "")
        out.append(
            [
                rows[(similarities.astype(np.float64) >= threshold) & (rows >= 0)]
                for similarities, rows in zip(hits.similarities, hits.rows, strict=True)
            ]
        )
    return out


def cap_of(templates: int) -> float:
    """Return the most that one template should be of all draws."""
    return max(PAPERS_CAP, EVEN_SHARES / templates)


def measure(
    segments: Sequence[Views],
    complexities: NDArray[np.int16],
    target: Sequence[float],
    enabled: NDArray[np.bool_] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Usage:
    """Return candidate(n) and the thinning that keeps each template below the cap."""
    bins = np.clip(complexities, 1, COMPLEXITIES) - 1
    keep = np.ones(len(complexities)) if enabled is None else enabled.astype(np.float64)
    segments = [[rows[keep[rows] > 0] for rows in views] for views in segments]
    total = np.zeros(COMPLEXITIES)
    drawing = 0
    for views in segments:
        for rows in views:
            if len(rows):
                total += np.bincount(bins[rows], minlength=COMPLEXITIES) / len(rows)
                drawing += 1
    candidate = total / max(1, drawing)
    weight = weights(target, candidate.tolist())[bins]
    cap = cap_of(len(complexities))
    shares = expected_shares(segments, weight, keep)
    for turn in range(ROUNDS):
        if shares.max(initial=0.0) <= SLACK * cap:
            break
        say(f"round {turn + 1}: {int((shares > SLACK * cap).sum())} templates above {cap:.2%}")
        keep *= np.minimum(1.0, cap / np.maximum(shares, 1e-30))
        shares = expected_shares(segments, weight, keep)
    return Usage(
        segments=len(segments),
        with_match=sum(any(len(rows) for rows in views) for views in segments),
        candidate=tuple(round(float(x), 6) for x in candidate),
        shares=shares,
        keep=keep.astype(np.float32),
        cap=cap,
    )


def expected_shares(
    segments: Sequence[Views], weight: NDArray[np.float64], keep: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each template's expected share of all draws, shape (templates,), by drawing many times.

    The draw is `sampling.draw`'s; always with the same random numbers, so that rounds can be compared.
    """
    rng = np.random.default_rng(0)
    used = np.zeros(len(weight))
    turns = np.arange(REPEATS)
    for views in segments:
        rows = np.unique(np.concatenate(views)) if views else np.zeros(0, np.int64)
        if not len(rows):
            continue
        keys = rng.exponential(size=(REPEATS, len(rows))) / weight[rows]
        keys[rng.random((REPEATS, len(rows))) >= keep[rows]] = np.inf
        drawn = np.zeros(len(rows))
        for candidates in sorted(views, key=len):
            if not len(candidates):
                continue
            places = np.searchsorted(rows, candidates)
            winners = places[np.argmin(keys[:, places], axis=1)]
            won = np.isfinite(keys[turns, winners])
            np.add.at(drawn, winners[won], 1.0)
            keys[turns, winners] = np.inf
        used[rows] += drawn
    shares: NDArray[np.float64] = used / max(used.sum(), 1e-30)
    return shares


def evenness(shares: NDArray[np.float64], templates: int) -> float:
    """Return Pielou's evenness of use: entropy over that of an even spread over all templates; 0..1."""
    positive = shares[shares > 0]
    if templates < 2 or not len(positive):
        return 0.0
    p = positive / positive.sum()
    return float(-(p * np.log(p)).sum() / np.log(templates))
