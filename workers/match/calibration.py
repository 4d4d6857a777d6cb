"""The threshold of a match: from which cosine on enough of the matches are right.

From pairs of a document and a template's description that somebody judged, labelled 1 where the document can
fill the template and answer it. A pair's similarity is that of matching: the largest over the document's
K + 1 embeddings. The threshold is the lowest at which the precision of all pairs at or above it is the wanted
one *at the lower end of its 95 % Wilson interval*, so that a lucky handful of pairs does not set it.
Precision depends on how many of the judged pairs are right at all: judge what matching retrieves, not pairs
by chance.

A threshold belongs to its encoder (the paper's 0.865 means nothing for another), so it is kept with the
encoder's name, and a bank is refused that is used with another's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError
from streams.settings import MatchSettings
from workers.encoder import EMBEDDED
from workers.match.bank import Bank

KNOWN: Final[dict[str, float]] = {EMBEDDED: 0.45}
"""Thresholds of encoders, for banks that were not calibrated; see `MatchSettings.threshold`."""
LEAST_PAIRS: Final = 500
Z95: Final = 1.959963984540054


class Point(NamedTuple):
    """What holds of the pairs at or above a threshold."""

    threshold: float
    above: int
    right: int
    precision: float
    low: float  # Wilson, 95 %
    high: float
    recall: float  # of all right pairs


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (Wilson 1927); (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, Z95 * Z95
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def curve(similarities: NDArray[np.float64], labels: NDArray[np.bool_]) -> list[Point]:
    """Return a point for each similarity that occurs, rising. Both arrays have shape (pairs,)."""
    order = np.argsort(-similarities, kind="stable")
    falling, right = similarities[order], np.cumsum(labels[order])
    total = max(1, int(labels.sum()))
    points: list[Point] = []
    for i in range(len(falling)):
        if i + 1 < len(falling) and falling[i + 1] == falling[i]:
            continue  # all pairs of one similarity are above it, or none
        found = int(right[i])
        low, high = wilson(found, i + 1)
        points.append(Point(float(falling[i]), i + 1, found, found / (i + 1), low, high, found / total))
    return points[::-1]


def lowest(points: Sequence[Point], precision: float) -> Point | None:
    """Return the lowest threshold whose interval lies wholly at or above a precision, or None."""
    return next((point for point in points if point.low >= precision), None)


def best(points: Sequence[Point]) -> Point:
    """Return the point with the highest lower bound of precision; of equal ones the lowest threshold."""
    return max(points, key=lambda point: (point.low, -point.threshold))


def threshold_of(bank: Bank, settings: MatchSettings) -> Callable[[str], float]:
    """Return the threshold by language; raise `BankError` where it would be another encoder's, or unknown."""
    if isinstance(settings.threshold, float):
        fixed = settings.threshold
        return lambda _: fixed
    calibration = bank.calibration
    if calibration is None:
        if settings.encoder not in KNOWN:
            raise BankError(
                f"template bank {bank.name} has no calibrated threshold, and none is known of the encoder "
                f"{settings.encoder!r}: run `finestream template calibrate`, or set match.threshold"
            )
        known = KNOWN[settings.encoder]
        return lambda _: known
    if calibration.encoder != settings.encoder:
        raise BankError(
            f"template bank {bank.name}: its threshold {calibration.threshold:.3f} was calibrated with "
            f"{calibration.encoder!r}, match.encoder is {settings.encoder!r}: calibrate it with this, "
            "or set match.threshold"
        )
    general, own = calibration.threshold, dict(calibration.languages)
    return lambda language: own.get(language, general)
