"""The token budget that makes comparisons token for token: pairs never outgrow the text they come from.

The paper (section 5): "keep pairs at random while their total tokens do not exceed the source document's;
unused budget rolls over to later documents". What it leaves open, and our reading:

- The roll-over goes along a lane, in lane order: a lane is the one order that does not depend on timing.
- Every segment credits its text's tokens, also one without any pair. Markers carry no text and credit
  nothing, and neither do held-out documents, which are no part of the training corpus.
- "At random" is the order of a hash of (seed, content hash, template): the same pairs whatever was read
  before, no state, no generator to save.
- A pair that does not fit is skipped, not waited for: the next may be smaller. So the spent total never
  exceeds the credited total at any record, and what is left over is carried without bound.
- A pair costs what is trained: the rendered text with BOS and EOS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def draw_order(seed: int, content_hash: bytes, template_ids: Sequence[str]) -> list[int]:
    """Return the indices of a segment's pairs in their seeded random order."""
    key = str(seed).encode()

    def draw(i: int) -> bytes:
        return hashlib.blake2b(content_hash + template_ids[i].encode(), digest_size=8, key=key).digest()

    return sorted(range(len(template_ids)), key=draw)


def spend(carry: int, credit: int, costs: Sequence[int]) -> tuple[list[int], int]:
    """Keep, in the given order, each pair that still fits.

    `carry` is what the lane had left and `credit` the segment's tokens; `costs` are the pairs' tokens.
    Returns the kept indices and the new carry, which is never negative.
    """
    left = carry + credit
    kept: list[int] = []
    for i, cost in enumerate(costs):
        if cost <= left:
            kept.append(i)
            left -= cost
    return kept, left
