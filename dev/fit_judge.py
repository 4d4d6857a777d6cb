"""Fits the extractive judge: gold pairs against negatives made from them, cross-validated by document.

    PYTHONPATH=.:tests/benchmarks python dev/fit_judge.py [GOLD_FOLDER]

Prints the AUC of each fold's held-out documents by kind of negative, and the weights of the fit on all rows,
which are then copied into `workers/engines/extractive/judge.py` by hand and frozen.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
from extractive_gold import auc, cases, cross_validated, fit, load_gold

from workers.encoder import EMBEDDED, Encoder
from workers.engines.extractive.judge import ExtractiveJudge, names
from workers.match import bank as banks


def main() -> None:
    """Fit and print."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/gold")
    judge = ExtractiveJudge(Encoder.load(EMBEDDED), banks.load("seed"))
    made = cases(load_gold(folder))
    x = np.array([astuple(features) for features in made.features(judge)])
    y, kinds = np.array(made.labels), np.array(made.kinds)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = (x - mean) / scale
    weight = np.where(y == 1, 0.5 / (y == 1).mean(), 0.5 / (y == 0).mean())
    out, _ = cross_validated(x, y, made.documents, x[:0], [])
    print(
        json.dumps(
            {
                "auc": round(auc(out[y == 1], out[y == 0]), 3),
                "positives": int(y.sum()),
                "negatives": int((1 - y).sum()),
            }
        )
    )
    for kind in sorted(set(kinds[y == 0])):
        print(kind, int((kinds == kind).sum()), round(auc(out[y == 1], out[(y == 0) & (kinds == kind)]), 3))
    w = fit(z, y, weight)
    for name, m, s, v in zip(names(), mean, scale, w[:-1], strict=True):
        print(f"{name:15} mean {m:.4f} scale {s:.4f} weight {v:+.4f}")
    print("MEANS:", tuple(round(float(v), 4) for v in mean))
    print("SCALES:", tuple(round(float(v), 4) for v in scale))
    print("WEIGHTS:", tuple(round(float(v), 4) for v in w[:-1]))
    print("BIAS:", round(float(w[-1]), 4))
    p = 1 / (1 + np.exp(-(z @ w[:-1] + w[-1])))
    print("positives' quantiles", np.round(np.quantile(p[y == 1], [0.05, 0.1, 0.25, 0.5, 0.75]), 3))
    print("negatives' quantiles", np.round(np.quantile(p[y == 0], [0.25, 0.5, 0.75, 0.9, 0.95]), 3))


if __name__ == "__main__":
    main()
