"""Judged pairs from files, and the calibration of a bank by them (`calibration.py` has the arithmetic).

A line of JSONL: `text` of a document, `label` (1 or true: it can fill the template and answer it), and the
template by `template_id` of the bank or by its `compatible_document_description`; `language` if it is not
English. A document may stand on many lines; it is embedded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError, PrecisionOutOfReach
from streams.settings import MatchSettings
from workers.encoder import Encoder
from workers.match.bank import DEFAULT_LANGUAGE, Bank
from workers.match.build import revise
from workers.match.calibration import LEAST_PAIRS, Point, best, curve, lowest
from workers.match.index import unit
from workers.match.manifest import Calibration
from workers.match.sample_texts import embeddings, json_lines

LEAST_OF_A_LANGUAGE: Final = 500
ROWS_SHOWN: Final = 12


class JudgedPair(msgspec.Struct):
    """A line of the file."""

    text: str
    label: bool | int
    template_id: str = ""
    compatible_document_description: str = ""
    language: str = DEFAULT_LANGUAGE


def read_pairs(paths: Sequence[Path], bank: Bank) -> list[JudgedPair]:
    """Read judged pairs, each with its description; raise `BankError` that names the line."""
    decoder = msgspec.json.Decoder(JudgedPair)
    out: list[JudgedPair] = []
    for path in paths:
        for place, line in json_lines(path):
            try:
                pair = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BankError(f"{place} is no judged pair: {error}") from None
            if pair.label not in {0, 1}:
                raise BankError(f"{place}: label is {pair.label}, not 0 or 1")
            if not pair.text.strip():
                raise BankError(f"{place}: the document's text is empty")
            if not pair.compatible_document_description:
                if pair.template_id not in bank.rows:
                    raise BankError(
                        f"{place}: there is no compatible_document_description, and {pair.template_id!r} is "
                        f"no template of bank {bank.name}"
                    )
                description = bank.descriptions[bank.rows[pair.template_id]]
                pair = msgspec.structs.replace(pair, compatible_document_description=description)
            out.append(pair)
    return out


def similarities(
    pairs: Sequence[JudgedPair], encoder: Encoder, settings: MatchSettings
) -> NDArray[np.float64]:
    """Return each pair's similarity as matching sees it: the largest over the document's embeddings."""
    texts = {text: i for i, text in enumerate(dict.fromkeys(pair.text for pair in pairs))}
    descriptions = list(dict.fromkeys(pair.compatible_document_description for pair in pairs))
    rows = {description: i for i, description in enumerate(descriptions)}
    views = [unit(view) for view in embeddings(encoder, list(texts), settings)]
    vectors = encoder.encode(descriptions)
    return np.array(
        [
            float((views[texts[pair.text]] @ vectors[rows[pair.compatible_document_description]]).max())
            for pair in pairs
        ]
    )


def calibrate_bank(
    bank: Bank,
    folder: Path,
    files: Sequence[Path],
    encoder: Encoder,
    settings: MatchSettings,
    *,
    precision: float,
    few: bool,
    write: bool,
) -> dict[str, Any]:
    """Find the threshold for a precision and keep it with the bank.

    Raises `PrecisionOutOfReach` where no threshold gives it, `BankError` where the pairs are faulty or few.
    """
    pairs = read_pairs(files, bank)
    if len(pairs) < LEAST_PAIRS and not few:
        raise BankError(
            f"{len(pairs)} pairs are given, at least {LEAST_PAIRS} are wanted: with fewer the interval "
            "is too wide to mean much. Judge more, or --few to try"
        )
    if not pairs:
        raise BankError("there is no judged pair in the files")
    if bank.encoder and bank.encoder != encoder.name:
        raise BankError(f"bank {bank.name} holds vectors of {bank.encoder!r}, not {encoder.name!r}")
    cosines = similarities(pairs, encoder, settings)
    labels = np.array([bool(pair.label) for pair in pairs])
    points = curve(cosines, labels)
    found = lowest(points, precision)
    if found is None:
        top = best(points)
        raise PrecisionOutOfReach(
            f"a precision of {precision:.2f} is out of reach: the best to rely on is {top.low:.3f} "
            f"(95 % interval {top.low:.3f} to {top.high:.3f}, {top.right} of {top.above} pairs) at threshold "
            f"{top.threshold:.3f}. Ask for less with --precision, or judge more pairs. {_plot(points)}"
        )
    calibration = Calibration(
        encoder=encoder.name,
        gaussians=settings.gaussians,
        threshold=_down(found.threshold),
        wanted=precision,
        precision=round(found.precision, 4),
        low=round(found.low, 4),
        high=round(found.high, 4),
        pairs=len(pairs),
        above=found.above,
        languages=_by_language(pairs, cosines, labels, precision),
    )
    version = bank.version
    if write:
        version = revise(folder, lambda old: msgspec.structs.replace(old, calibration=calibration)).version
    return {
        "bank": str(folder),
        "version": version,
        "written": write,
        "calibration": msgspec.to_builtins(calibration),
        "right_pairs": int(labels.sum()),
        "recall": round(found.recall, 4),
        "curve": [point._asdict() for point in _thinned(points)],
    }


def _by_language(
    pairs: Sequence[JudgedPair], cosines: NDArray[np.float64], labels: NDArray[np.bool_], precision: float
) -> dict[str, float]:
    out: dict[str, float] = {}
    codes = np.array([pair.language for pair in pairs])
    languages = sorted(set(codes.tolist()))
    for language in languages if len(languages) > 1 else ():
        mine = codes == language
        if mine.sum() >= LEAST_OF_A_LANGUAGE and (
            point := lowest(curve(cosines[mine], labels[mine]), precision)
        ):
            out[language] = _down(point.threshold)
    return out


def _down(threshold: float) -> float:
    """Return a threshold with four digits that the pair it was found at still reaches."""
    return float(np.floor(threshold * 1e4) / 1e4)


def _thinned(points: Sequence[Point]) -> list[Point]:
    step = max(1, len(points) // ROWS_SHOWN)
    return list(points[::step])


def _plot(points: Sequence[Point]) -> str:
    """Return the curve in words, for an error: threshold, pairs above, precision and its interval."""
    rows = (
        f"{p.threshold:.2f}: {p.precision:.2f} [{p.low:.2f}, {p.high:.2f}] of {p.above}"
        for p in _thinned(points)
    )
    return "Precision by threshold: " + "; ".join(rows)
