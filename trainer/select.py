"""Which pairs of a judged record may be trained on, and which documents are kept for evaluation.

Selection is the reader's business: `judged` holds every pair with its score, so two runs with different
thresholds read the same topic. Each pair left out is counted under one reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.records import JudgedSegment, Pair

REASONS: Final = (
    "rejected",
    "unjudged",
    "score",
    "excerpt_share",
    "contaminated",
    "flagged",
    "heldout",
    "budget",
    "unreadable",
)
"""Why a pair (for `unreadable`: a record) is not trained on; the metric's closed label set."""

_HELDOUT_SALT: Final = b"finestream held"


class Selection(NamedTuple):
    """The pairs that pass, in the record's order, and how many fell for which reason."""

    pairs: list[Pair]
    skipped: Counter[str]


def select(
    record: JudgedSegment,
    min_score: int,
    min_excerpt_share: float,
    allow_contaminated: bool = False,
    exclude_flags: Sequence[str] = (),
) -> Selection:
    """Keep pairs with `score >= min_score` and `excerpt_share >= min_excerpt_share` of clean segments.

    The paper keeps scores 4 and 5 (section 4) and excerpt shares of 0.80 and more (section 3). That a pair
    stays out because its segment holds a benchmark's test item, or a filter's flag that is excluded, is our
    choice; asked last, so that its count is what this alone costs.
    """
    segment = record.instantiated.matched.segment
    contaminated = not allow_contaminated and bool(segment.contamination)
    flagged = any(flag in exclude_flags or flag.partition(".")[0] in exclude_flags for flag in segment.flags)
    scores = {verdict.template_id: verdict.score for verdict in record.verdicts}
    pairs: list[Pair] = []
    skipped: Counter[str] = Counter()
    for pair in record.instantiated.pairs:
        if pair.rejected:
            skipped["rejected"] += 1
        elif (score := scores.get(pair.template_id)) is None:
            skipped["unjudged"] += 1
        elif score < min_score:
            skipped["score"] += 1
        elif pair.excerpt_share < min_excerpt_share:
            skipped["excerpt_share"] += 1
        elif contaminated:
            skipped["contaminated"] += 1
        elif flagged:
            skipped["flagged"] += 1
        else:
            pairs.append(pair)
    return Selection(pairs, skipped)


def held_out(content_hash: bytes, share: float) -> bool:
    """Return whether a document belongs to the held-out share, and so is never trained on.

    Our choice: by a salted hash of the document's content, not by the run's seed. So all segments of a
    document and all its copies fall on the same side, and all runs hold out the same documents, which is
    what makes their held-out losses comparable.
    """
    digest = hashlib.blake2b(content_hash, digest_size=8, person=_HELDOUT_SALT).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64
