"""`seed_bank_yield`: the share of the shipped documents' segments that find a template of the seed bank.

As the demo matches them (`match.choice` best), and beside it: the share with as many as there are embeddings,
templates used, evenness of use (entropy over that of an even spread over the bank) and the most used one's
share. FINESTREAM_BENCH_SEGMENTS takes a sample of fewer, drawn always the same.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "dev"))
from measure_seed import segments

from streams.settings import load
from workers.match.stage import MatchStage
from workers.match.usage import evenness

GOAL = 0.7
MOST = int(os.environ.pop("FINESTREAM_BENCH_SEGMENTS", "100000"))
BATCH = 16


def main() -> int:
    """Measure and print."""
    settings = load(match={"bank": "seed", "choice": "best"})
    texts = list(segments(settings))
    random.Random(6).shuffle(texts)
    texts = texts[:MOST]
    stage = MatchStage(settings)
    stage.open()
    matched = [out[0] for i in range(0, len(texts), BATCH) for out in stage.process(texts[i : i + BATCH])]
    counts = [len(match.candidates) for match in matched]
    used = collections.Counter(c.template_id for match in matched for c in match.candidates)
    shares = np.array(list(used.values())) / max(1, used.total())
    value = sum(count > 0 for count in counts) / len(counts)
    print(
        json.dumps(
            {
                "name": "seed_bank_yield",
                "value": round(value, 4),
                "unit": "share of segments with a match",
                "goal": GOAL,
                "better": "higher",
                "baseline": f"threshold {stage._threshold('en')}, {len(texts)} segments of shipped documents",
                "met": round(value, 4) >= GOAL,
                "all_embeddings": round(
                    sum(c == settings.match.gaussians + 1 for c in counts) / len(counts), 4
                ),
                "candidates": used.total(),
                "templates_used": len(used),
                "evenness": round(evenness(shares, len(stage._bank)), 4),
                "top_share": round(float(shares.max(initial=0.0)), 4),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
