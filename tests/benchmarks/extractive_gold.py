"""The extractive engine and its judge on the gold set and on pairs read by hand: how often, and how well.

Informational, without a goal but the reading's: the engine is a floor. It sees each gold template as the one
candidate of its document. The judge's AUC is against negatives made from gold pairs and against gold rows
scored 1 to 3, each pair scored by a fit on the other documents (7 folds); the frozen weights, fitted on all
of them, are shown beside. `extractive_reading` repeats the verdicts in tests/data/extractive_reading.jsonl:
a test holds that the engine still makes those pairs.
"""

from __future__ import annotations

import collections
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.records import Candidate, Pair, Segment, SlotValue
from workers.encoder import EMBEDDED, Encoder
from workers.engines.extractive.engine import ExtractiveEngine
from workers.engines.extractive.judge import ExtractiveJudge, Features, probability, score
from workers.engines.extractive.sentences import UnitKind, split
from workers.match import bank as banks

GOLD: Final = Path(__file__).parents[1] / "data" / "gold"
READING: Final = GOLD.parent / "extractive_reading.jsonl"
READING_GOAL: Final = 0.8
FOLDS: Final = 7
L2: Final = 1.0
SEED: Final = 20261125
_SLOT: Final = re.compile(r"<fi>(.*?)</fi>", re.DOTALL)


@dataclass(frozen=True)
class Gold:
    """Rows with their documents as segments."""

    rows: list[dict[str, Any]]
    segments: dict[str, Segment]


def load_gold(folder: Path = GOLD) -> Gold:
    """Read the gold set."""
    segments = {}
    for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        segments[row["document_id"]] = Segment(
            document_id=row["document_id"],
            index=0,
            count=1,
            start=0,
            url="",
            title=row["title"],
            text=row["text"],
            language="en",
            language_score=1.0,
            tokens=len(row["text"].split()),
            tokenizer="words",
            content_hash=b"",
        )
    lines = (folder / "instantiations.jsonl").read_text(encoding="utf-8").splitlines()
    return Gold([json.loads(line) for line in lines], segments)


def candidate(row: dict[str, Any]) -> Candidate:
    """Return a gold row's template as a candidate."""
    return Candidate(
        template_id=row["id"],
        template=row["template"],
        similarity=1.0,
        embedding=0,
        description=row["compatible_document_description"],
    )


def slot_values(template: str, instruction: str) -> dict[str, str]:
    """Return what stands for each slot description in a filled template; empty where it does not align."""
    parts = _SLOT.split(template)
    match = re.fullmatch("(.+?)".join(re.escape(text) for text in parts[::2]), instruction, re.DOTALL)
    return dict(zip(parts[1::2], match.groups(), strict=True)) if match else {}


def gold_pair(row: dict[str, Any], segment: Segment, instruction: str, answer: str) -> Pair:
    """Return a pair as the engine would record it, with its span where the text holds the answer."""
    start = segment.text.find(answer)
    return Pair(
        template_id=row["id"],
        instruction=instruction,
        answer=answer,
        slots=[SlotValue(d, v) for d, v in slot_values(row["template"], instruction).items()],
        excerpts=[(start, start + len(answer))] if start >= 0 else [],
        excerpt_share=1.0,
    )


@dataclass
class Cases:
    """Labelled pairs for the judge."""

    pairs: list[tuple[Segment, Pair, str]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)

    def add(self, segment: Segment, pair: Pair, template: str, kind: str) -> None:
        """Add a pair; kind "gold" is the positive one."""
        self.pairs.append((segment, pair, template))
        self.labels.append(int(kind == "gold"))
        self.kinds.append(kind)
        self.documents.append(segment.document_id)

    def features(self, judge: ExtractiveJudge) -> list[Features]:
        """Return the judge's features of each pair; those of a document are worked out together."""
        out: list[Features | None] = [None] * len(self.pairs)
        for document in dict.fromkeys(self.documents):
            rows = [i for i, other in enumerate(self.documents) if other == document]
            found = judge.features(self.pairs[rows[0]][0], [self.pairs[i][1:] for i in rows])
            for i, features in zip(rows, found, strict=True):
                out[i] = features
        return [features for features in out if features is not None]


def cases(gold: Gold) -> Cases:
    """Return gold pairs scored 4 or 5 and negatives made from them: five kinds, one of each a pair."""
    draw = random.Random(SEED)
    good = [row for row in gold.rows if row["compatible"] and row["score"] >= 4]
    of_document = collections.defaultdict(list)
    for row in good:
        of_document[row["document_id"]].append(row)
    out = Cases()
    for row in good:
        segment, template = gold.segments[row["document_id"]], row["template"]

        def add(kind: str, instruction: str, answer: str) -> None:
            out.add(segment, gold_pair(row, segment, instruction, answer), template, kind)  # noqa: B023

        add("gold", row["instruction"], row["answer"])
        siblings = [r for r in of_document[row["document_id"]] if r["answer"] != row["answer"]]
        if siblings:
            add("swapped within document", row["instruction"], draw.choice(siblings)["answer"])
        else:
            windows = [
                u.text
                for u in split(segment.text)
                if u.kind is UnitKind.SENTENCE and u.text not in row["answer"]
            ]
            add("swapped within document", row["instruction"], draw.choice(windows))
        strangers = [r for r in good if r["document_id"] != row["document_id"]]
        add("swapped across documents", row["instruction"], draw.choice(strangers)["answer"])
        words = row["answer"].split()
        add("truncated", row["instruction"], " ".join(words[: max(1, len(words) // 2)]))
        first = next((u.text for u in split(row["answer"]) if u.kind is not UnitKind.HEADING), row["answer"])
        add("repeated", row["instruction"], f"{row['answer']} {first}")
        values = slot_values(template, row["instruction"])
        if values:
            description = draw.choice(sorted(values))
            others = [v for r in strangers for v in slot_values(r["template"], r["instruction"]).values()]
            wrong = {**values, description: draw.choice(others)}
            add("wrong slot", _SLOT.sub(lambda m: wrong[m.group(1)], template), row["answer"])  # noqa: B023
    return out


FloatArray: TypeAlias = npt.NDArray[np.float64]


def fit(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    """Return logistic weights (bias last) by Newton's method with an L2 penalty on all but the bias."""
    x1 = np.hstack([x, np.ones((len(x), 1))])
    w: FloatArray = np.zeros(x1.shape[1])
    penalty = np.diag([L2] * x.shape[1] + [1e-6])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x1 @ w))
        gradient = x1.T @ (weight * (p - y)) + penalty @ w
        hessian = (x1 * (weight * p * (1 - p))[:, None]).T @ x1 + penalty
        step = np.linalg.solve(hessian, gradient)
        w = w - step
        if np.abs(step).max() < 1e-8:
            break
    return w


def cross_validated(
    x: FloatArray, y: FloatArray, documents: Sequence[str], others: FloatArray, of_others: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Return scores of rows, and of others never trained on, each by a fit without its own document."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z, z_others = (x - mean) / scale, (others - mean) / scale
    weight = np.where(y == 1, 0.5 / (y == 1).mean(), 0.5 / (y == 0).mean())
    names = sorted({*documents, *of_others})
    order = {document: i for i, document in enumerate(np.random.default_rng(0).permutation(names))}
    fold = np.array([order[document] % FOLDS for document in documents])
    fold_others = np.array([order[document] % FOLDS for document in of_others])
    out, out_others = np.zeros(len(x)), np.zeros(len(others))
    for k in range(FOLDS):
        w = fit(z[fold != k], y[fold != k], weight[fold != k])
        out[fold == k] = z[fold == k] @ w[:-1] + w[-1]
        out_others[fold_others == k] = z_others[fold_others == k] @ w[:-1] + w[-1]
    return out, out_others


def wilson(right: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    share = right / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return round(centre - half, 3), round(centre + half, 3)


def read_by_hand() -> dict[str, Any]:
    """Return the reading's figure."""
    head, *rows = map(json.loads, READING.read_text(encoding="utf-8").splitlines())
    questions = ("grammatical", "slots_right", "answered")
    right = sum(all(row[question] for question in questions) for row in rows)
    value = right / len(rows)
    return {
        "name": "extractive_reading",
        "value": value,
        "unit": "share of kept pairs that are grammatical, rightly filled and answered, read one by one",
        "goal": READING_GOAL,
        "better": "higher",
        "baseline": f"{len(rows)} of {head['drawn_from']} kept pairs, seed {head['seed']}; {head['reader']}",
        "met": value >= READING_GOAL,
        "wilson_95": wilson(right, len(rows)),
        **{question: sum(row[question] for row in rows) for question in questions},
        "documents_with_a_kept_pair": round(head["documents_with_a_kept_pair"] / head["documents"], 3),
    }


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the chance that a positive scores above a negative, ties counted half."""
    a, b = np.asarray(positive), np.asarray(negative)
    if not len(a) or not len(b):
        return float("nan")
    above = (a[:, None] > b[None, :]).mean() + 0.5 * (a[:, None] == b[None, :]).mean()
    return float(above)


def token_f1(said: str, wanted: str) -> float:
    """Return the F1 of two texts' words as bags."""
    a = collections.Counter(re.findall(r"\w+", said.lower()))
    b = collections.Counter(re.findall(r"\w+", wanted.lower()))
    common = sum((a & b).values())
    return 2 * common / max(1, a.total() + b.total())


def main() -> None:
    """Print the figures as one JSON line."""
    gold = load_gold()
    encoder, bank = Encoder.load(EMBEDDED, threads=1), banks.load("seed")
    engine, judge = ExtractiveEngine(encoder, bank), ExtractiveJudge(encoder, bank)
    answered: list[tuple[dict[str, Any], Pair]] = []
    wrongly = 0
    for row in gold.rows:
        pair = engine.instantiate(gold.segments[row["document_id"]], [candidate(row)])[0]
        if pair.rejected:
            continue
        if row["compatible"]:
            answered.append((row, pair))
        else:
            wrongly += 1
    compatible = [row for row in gold.rows if row["compatible"]]
    right = 0
    for row, pair in answered:
        wanted = slot_values(row["template"], row["instruction"])
        right += all(token_f1(slot.value, wanted.get(slot.description, "")) >= 0.5 for slot in pair.slots)
    made = cases(gold)
    features_made = made.features(judge)
    p = np.array([probability(features) for features in features_made])
    labels, kinds = np.array(made.labels), np.array(made.kinds)
    poor = Cases()
    for row in compatible:
        if row["score"] <= 3:
            segment = gold.segments[row["document_id"]]
            poor.add(
                segment, gold_pair(row, segment, row["instruction"], row["answer"]), row["template"], "poor"
            )
    features_poor = poor.features(judge)
    p_poor = [probability(features) for features in features_poor]
    held, held_poor = cross_validated(
        np.array([astuple(features) for features in features_made]),
        labels,
        made.documents,
        np.array([astuple(features) for features in features_poor]),
        poor.documents,
    )
    own = Cases()
    for row, pair in answered:
        own.add(gold.segments[row["document_id"]], pair, row["template"], "own")
    scores = collections.Counter(score(features) for features in own.features(judge))
    figure = {
        "name": "extractive_gold",
        "value": round(len(answered) / len(compatible), 3),
        "unit": "share of compatible gold rows answered",
        "goal": None,
        "better": "higher",
        "baseline": f"{len(compatible)} compatible rows, {len(gold.rows) - len(compatible)} incompatible",
        "met": None,
        "answered": len(answered),
        "incompatible_answered": wrongly,
        "answer_token_f1": round(float(np.mean([token_f1(p.answer, r["answer"]) for r, p in answered])), 3)
        if answered
        else None,
        "slots_filled_rightly": round(right / len(answered), 3) if answered else None,
        "judge_auc": round(auc(held[labels == 1], held[labels == 0]), 3),
        "judge_auc_by_negative": {
            str(kind): round(auc(held[labels == 1], held[kinds == kind]), 3)
            for kind in sorted(set(kinds[labels == 0]))
        },
        "judge_auc_gold_1_to_3": round(auc(held[labels == 1], held_poor), 3),
        "pairs": {str(kind): int((kinds == kind).sum()) for kind in sorted(set(kinds))}
        | {"gold 1 to 3": len(features_poor)},
        "frozen_weights_auc": round(auc(p[labels == 1], p[labels == 0]), 3),
        "frozen_weights_auc_gold_1_to_3": round(auc(p[labels == 1], p_poor), 3),
        "scores_of_answered": dict(sorted(scores.items())),
    }
    print(json.dumps(figure))
    print(json.dumps(read_by_hand()))


if __name__ == "__main__":
    main()
