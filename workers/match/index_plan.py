"""Which FAISS index a bank gets: exact while that is cheap, inverted lists above, codes where memory asks.

What was measured stands in `dev/LOG.md` and in each built bank's manifest (`recall`); what is stated here are
the constants that choose. A search must stay a small part of the encoder's time (some 100 ms a segment on a
CPU, 1 ms on a GPU): exact search costs 2·n·d operations an embedding, 40 ms at 2 million of 384.

- up to 100,000 templates: `Flat`, recall 1.
- above: `IVF{lists},SQfp16`, lists = the power of two next to 4·sqrt(n) (FAISS's own advice), half the
  memory of float32 at no loss of recall that could be measured. From 1 million on the lists are found by a
  graph over their centres (`IVF{lists}_HNSW32`): at 65,536 lists comparing with all centres would cost as
  much as the lists themselves.
- where vectors in 16 bits do not fit into memory: `IVF…,PQ{d/4}`, 8 bits for each 4 dimensions: an eighth.

Whatever the index says, the similarity of what it finds is worked out anew from the stored vectors
(`index.py`), so that coarse codes cost recall and never shift a similarity across the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

EXACT_MOST: Final = 100_000
GRAPH_FROM: Final = 1_000_000
TRAINING_POINTS_A_LIST: Final = 40
"""FAISS warns below 39; more changes the centres little."""
CODE_DIMENSIONS: Final = 4


@dataclass(frozen=True)
class IndexPlan:
    """An index to be built."""

    factory: str
    lists: int  # 0: exact
    training: int  # vectors that the centres are fitted to
    bytes: int  # of the index in memory, about
    codes: bool  # product quantisation


def plan_index(count: int, dimension: int, memory_bytes: int) -> IndexPlan:
    """Choose for `count` vectors; `memory_bytes` is what the index may take. Raises `ValueError`."""
    if count < 1 or dimension < 1:
        raise ValueError("an index has vectors")
    if count <= EXACT_MOST:
        return IndexPlan("Flat", 0, 0, count * dimension * 4, codes=False)
    lists = 2 ** round(math.log2(4 * math.sqrt(count)))
    training = min(count, TRAINING_POINTS_A_LIST * lists)
    coarse = f"IVF{lists}_HNSW32" if count >= GRAPH_FROM else f"IVF{lists}"
    overhead = count * 8 + lists * (dimension * 4 + 32 * 2 * 4 * 2)  # ids; centres and their graph
    halves = count * dimension * 2 + overhead
    if halves <= memory_bytes or dimension % CODE_DIMENSIONS:
        return IndexPlan(f"{coarse},SQfp16", lists, training, halves, codes=False)
    codes = dimension // CODE_DIMENSIONS
    return IndexPlan(f"{coarse},PQ{codes}", lists, training, count * codes + overhead, codes=True)
