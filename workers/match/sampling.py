"""Which templates a segment gets of those that match: one weighted draw an embedding (paper section 2).

Paper: among an embedding's candidates a weighted random sample, weights such that complexity (number of
slots) follows the distribution of templates made from real queries: w(n) = target(n) / candidate(n). Our
choice where it is silent: the candidates are the 200 nearest at or above the threshold; w is clipped to
[0.1, 10]; a template is drawn once a segment; the embedding with the fewest candidates draws first, so that
fewer go without. A usage cap acts as a probability, fixed with the bank, of being a candidate at all, and not
as a running count: then a segment's outcome is a function of the segment alone, on every worker and replay.

How: each template has a random number u of its own in each segment, a hash of (seed, content hash, segment,
template); the least -ln(u) / w wins. That is a draw by weight, and of draws from the same candidates without
return one by weight too (Efraimidis and Spirakis 2006). The alternative, a generator seeded by the segment,
would give other draws where a candidate more or less is found.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.match.index import Hits
from workers.match.manifest import COMPLEXITIES, complexity_bin

CANDIDATES: Final = 200
"""Nearest templates of an embedding that are looked at (our choice)."""
LEAST_WEIGHT: Final = 0.1
MOST_WEIGHT: Final = 10.0
TARGET: Final = (0.30, 0.28, 0.13, 0.09, 0.06, 0.04, 0.03, 0.02, 0.01, 0.04)
"""Shares of templates with 1 … 9 and 10 or more slots that are wanted. **Our choice**: the paper takes them
from templates of WildChat, LMSys, OAsst1 and ShareLM, which are not shipped and whose histogram it does not
print; these fall as such queries do and sum up, by ranges, to the seed bank's own spread."""
TARGET_SOURCE: Final = "our choice"

Chance = Callable[[str, int], float]
"""A number in (0, 1) that follows from a purpose and a bank row, for one segment."""


def chance(seed: int, content_hash: bytes, index: int, purpose: str, template_id: str) -> float:
    """Return a number in (0, 1) that follows from these alone."""
    text = f"{seed}\0{index}\0{purpose}\0{template_id}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8, key=content_hash[:64]).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2.0**64


def weights(target: Sequence[float], candidate: Sequence[float]) -> NDArray[np.float64]:
    """Return the weight of each complexity, shape (10,): target over candidate, clipped.

    A complexity that was never among the candidates weighs most where it is wanted, and 1 where it is not.
    """
    out = np.ones(COMPLEXITIES)
    for i, (wanted, found) in enumerate(zip(target, candidate, strict=True)):
        if found > 0:
            out[i] = wanted / found
        elif wanted > 0:
            out[i] = MOST_WEIGHT
    return np.clip(out, LEAST_WEIGHT, MOST_WEIGHT)


def draw(
    hits: Hits,
    threshold: float,
    weight: Callable[[int], float],
    keep: Callable[[int], float],
    chance_of: Chance,
) -> list[tuple[float, int, int]]:
    """Draw at most one template an embedding and each at most once.

    `weight` and `keep` are a bank row's. Returns (similarity, embedding, bank row) by falling similarity.
    """
    keys: dict[int, float] = {}  # by row; infinite: thinned
    views: list[list[tuple[int, float]]] = []
    for similarities, rows in zip(hits.similarities, hits.rows, strict=True):
        found: list[tuple[int, float]] = []
        for similarity, row in zip(similarities.tolist(), rows.tolist(), strict=True):
            if row < 0 or similarity < threshold:
                break  # best first
            if row not in keys:
                kept = keep(row)
                out = kept <= 0 or (kept < 1 and chance_of("thin", row) >= kept)
                keys[row] = math.inf if out else -math.log(chance_of("draw", row)) / weight(row)
            if keys[row] < math.inf:
                found.append((row, similarity))
        views.append(found)
    taken: set[int] = set()
    drawn: list[tuple[float, int, int]] = []
    for view in sorted(range(len(views)), key=lambda v: (len(views[v]), v)):
        left = [(keys[row], row, similarity) for row, similarity in views[view] if row not in taken]
        if left:
            _, row, similarity = min(left)
            taken.add(row)
            drawn.append((similarity, view, row))
    return sorted(drawn, key=lambda one: (-one[0], one[1], one[2]))


def histogram(complexities: NDArray[np.int16]) -> tuple[int, ...]:
    """Return how many templates have 1 … 9 and 10 or more slots."""
    bins = np.clip(complexities, 1, COMPLEXITIES) - 1
    return tuple(int(n) for n in np.bincount(bins, minlength=COMPLEXITIES))


def weight_of(
    complexities: NDArray[np.int16] | None, weight: NDArray[np.float64] | None
) -> Callable[[int], float]:
    """Return the weight of a bank row; 1 where the bank has no sampling."""
    if complexities is None or weight is None:
        return lambda _: 1.0
    by_bin = weight.tolist()
    counts = complexities
    return lambda row: by_bin[complexity_bin(int(counts[row]))]


def keep_of(keep: NDArray[np.float32] | None) -> Callable[[int], float]:
    """Return the probability of a bank row to be a candidate."""
    if keep is None:
        return lambda _: 1.0
    kept = keep
    return lambda row: float(kept[row])
