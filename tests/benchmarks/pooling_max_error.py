"""`pooling_max_error`: Gaussian pooling against its formulas in float64, over padding, one token, long texts.

The reference is written from the paper's section 2 as it stands, in double precision, one view at a time, and
shares no code with `workers.match.pooling`. Token embeddings have the spread of an encoder's: about 1 a
dimension. The figure is the largest absolute difference of any number of any view.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from workers.match.pooling import gaussian_pool

GOAL = 1e-5
LENGTHS = (1, 2, 3, 17, 256, 3_000, 16_384)
PADDING = (0, 1, 300)


def reference(tokens: np.ndarray, mask: np.ndarray, gaussians: int, sigma: float, alpha: float) -> np.ndarray:
    """The K + 1 embeddings in float64, shape (K + 1, d)."""
    h = tokens[mask].astype(np.float64)
    t = np.flatnonzero(mask) + 1.0
    count = float(mask.sum())
    mean = h.sum(axis=0) / count
    views = [mean]
    for k in range(1, gaussians + 1):
        exponent = -0.5 * ((t - count * k / (gaussians + 1)) / (sigma * count)) ** 2
        weight = np.exp(exponent - exponent.max())
        local = (weight[:, None] * h).sum(axis=0) / weight.sum()
        views.append((1 - alpha) * mean + alpha * local)
    return np.stack(views)


def main() -> int:
    """Measure and print."""
    rng = np.random.default_rng(6)
    worst, where = 0.0, ""
    for length in LENGTHS:
        for padding in PADDING:
            tokens = rng.standard_normal((length + padding, 384), dtype=np.float32)
            mask = np.arange(length + padding) < length
            tokens[~mask] = np.nan  # padding may hold anything
            for gaussians, sigma, alpha in ((5, 0.05, 1.0), (10, 0.05, 1.0), (5, 0.01, 0.5)):
                got = gaussian_pool(tokens, gaussians, sigma, alpha, mask).astype(np.float64)
                error = np.abs(got - reference(tokens, mask, gaussians, sigma, alpha)).max()
                if not error <= worst:  # NaN too
                    worst, where = float(error), f"T={length}, {padding} padded, K={gaussians}, sigma={sigma}"
    print(
        json.dumps(
            {
                "name": "pooling_max_error",
                "value": worst,
                "unit": "largest absolute difference",
                "goal": GOAL,
                "better": "lower",
                "baseline": f"float64 NumPy; the largest at {where}",
                "met": worst <= GOAL,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
