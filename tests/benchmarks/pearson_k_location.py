"""`pearson_k_location`: whether the embedding that finds a template says where in the document its answer is.

For each gold row whose answer is taken from its document: the local embedding k nearest to the row's own
description, and the place of the answer (0 to 1). The paper says 0.99, which is that of the *means* of
k = 1…5; five means rise almost by themselves, so the figure is the correlation of single rows, with a 95 %
interval by bootstrap over documents, and beside it a control: k drawn anew among the rows, whose means
correlate too. FINESTREAM_BENCH_GOLD names a folder of the same form as `tests/data/gold`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from workers.encoder import EMBEDDED, Encoder
from workers.match.index import unit
from workers.match.pooling import gaussian_pool

GOLD = Path(os.environ.pop("FINESTREAM_BENCH_GOLD", Path(__file__).parents[1] / "data" / "gold"))
K = 5
DRAWS = 2_000


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def pearson(k: np.ndarray, location: np.ndarray) -> float:
    """Correlation of single rows; 0 where one does not vary."""
    if k.std() == 0 or location.std() == 0:
        return 0.0
    return float(np.corrcoef(k, location)[0, 1])


def pearson_of_means(k: np.ndarray, location: np.ndarray) -> float:
    """Correlation of k with the mean location of its rows, as the paper's figure."""
    there = np.unique(k)
    return pearson(there.astype(float), np.array([location[k == one].mean() for one in there]))


def main() -> int:
    """Measure and print."""
    encoder = Encoder.load(EMBEDDED)
    texts = {row["document_id"]: row["text"] for row in lines(GOLD / "documents.jsonl")}
    rows = [
        row
        for row in lines(GOLD / "instantiations.jsonl")
        if row.get("compatible") and row.get("location") is not None and row["document_id"] in texts
    ]
    names = sorted({row["document_id"] for row in rows})
    views = {}
    for name, tokens in zip(names, encoder.token_embeddings([texts[name] for name in names]), strict=True):
        views[name] = unit(gaussian_pool(tokens, K, 0.05, 1.0))[1:]
    descriptions = encoder.encode([row["compatible_document_description"] for row in rows])
    k = np.array(
        [int((views[row["document_id"]] @ d).argmax()) + 1 for row, d in zip(rows, descriptions, strict=True)]
    )
    location = np.array([float(row["location"]) for row in rows])
    found, means = pearson(k, location), pearson_of_means(k, location)
    rng = np.random.default_rng(6)
    of = [np.flatnonzero([row["document_id"] == name for row in rows]) for name in names]
    drawn = []
    for _ in range(DRAWS):
        chosen = np.concatenate([of[i] for i in rng.integers(len(names), size=len(names))])
        drawn.append(pearson(k[chosen], location[chosen]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    control = [
        (pearson(p, location), pearson_of_means(p, location))
        for p in (rng.permutation(k) for _ in range(DRAWS))
    ]
    rows_control, means_control = np.array(control).T
    print(
        json.dumps(
            {
                "name": "pearson_k_location",
                "value": round(found, 3),
                "unit": "correlation of single rows",
                "goal": None,
                "better": "higher",
                "baseline": f"k permuted: rows below {np.percentile(np.abs(rows_control), 95):.2f} in 95 %, "
                f"means above {np.percentile(means_control, 95):.2f} in 5 %",
                "met": None,
                "low": round(float(low), 3),
                "high": round(float(high), 3),
                "rows": len(rows),
                "documents": len(names),
                "of_means": round(means, 3),
                "permuted_reaches_it": round(float((rows_control >= found).mean()), 4),
                "permuted_means_reach_it": round(float((means_control >= means).mean()), 4),
                "mean_location_by_k": {
                    int(one): round(float(location[k == one].mean()), 3) for one in np.unique(k)
                },
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
