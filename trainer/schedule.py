"""The learning rate as a pure function of the step: nothing to save, nothing that can drift.

Warm-up, then constant without end: a stream has no last step that a cosine could end at, and a decay branch
off any checkpoint matches a tuned cosine (2602.03702). The paper's fixed-length runs used a cosine.
"""

from __future__ import annotations


def learning_rate(step: int, peak: float, warmup_steps: int) -> float:
    """Return the rate of step `step` (from 1): linear up to `peak` over the warm-up, `peak` from there on."""
    return peak * min(1.0, step / max(1, warmup_steps))
