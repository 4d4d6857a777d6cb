"""The extractive judge: features of a pair to a score from 1 to 5, with a sentence that says why.

A logistic model over nine features, fitted on the gold set against negatives by construction and frozen
(`dev/fit_judge.py`). As far as it can be, they are features that choosing the answer did not maximise: the
margin over background passages, the place of the answer's own template among the bank's, the type gate, form.
It judges what the engine makes and is no substitute for a language model's reading: on wrong answers from
the right document it is weak (figures in dev/LOG.md), so its scores never stand beside another judge's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Final

import numpy as np

from streams.records import Candidate, Pair, Segment, Verdict
from workers.encoder import Encoder, FloatArray
from workers.engines.extractive import answer, typegate
from workers.engines.extractive.evidence import SLOT, Question, read_question
from workers.engines.extractive.in_step import Task, in_step
from workers.engines.extractive.roundtrip import RoundTrip
from workers.engines.extractive.sentences import Unit, UnitKind, split
from workers.match.bank import Bank

NAME: Final = "extractive"
RIVALS: Final = 10  # of the 1,000 background passages: the margin is taken to the tenth nearest


@dataclass(frozen=True, slots=True)
class Features:
    """What the judge looks at; every value lies in 0..1 or near it."""

    margin: float
    """Cosine of instruction and answer, less that of the instruction and its tenth nearest passage."""
    template_place: float
    """Share of the bank's simple templates nearer to the answer than the instruction is."""
    evidence: float
    """Share of the question's parts whose evidence the answer holds."""
    kind: float
    """1 - place of the first slot's kind among the bank's for its value (type gate)."""
    begins: float
    """Whether the answer stands alone from its first word."""
    ends: float
    """Whether it ends whole."""
    repeats: float
    """Share of its sentences that it says twice."""
    named: float
    """Mean over the slots' words: 1 where the answer holds one, 0.5 where only the segment does, else 0."""
    length: float
    """Words, on a scale from 0 (none) to 1 (200 or more)."""


# Fitted by dev/fit_judge.py on 2026-11-25; frozen.
MEANS: Final = (0.1896, 0.0985, 0.1774, 0.8506, 0.8045, 0.815, 0.0488, 0.6382, 0.7012)
SCALES: Final = (0.2826, 0.2308, 0.3502, 0.2363, 0.3966, 0.3883, 0.1246, 0.2452, 0.1181)
WEIGHTS: Final = (1.2567, -1.3983, 0.1504, 0.1518, 0.1146, 1.2546, -2.8465, 0.6366, -0.1358)
BIAS: Final = -2.019
LEVELS: Final = (0.1, 0.3, 0.5, 0.8)
"""Probabilities at which a score rises to 2, 3, 4 and 5."""


class ExtractiveJudge:
    """Scores pairs."""

    def __init__(self, encoder: Encoder, bank: Bank) -> None:
        """Load what pairs are compared with; nothing is fitted here."""
        self._encoder = encoder
        self._gate = typegate.TypeGate(bank, encoder)
        self._round_trip = RoundTrip(bank, encoder)

    def judge(
        self, segment: Segment, candidates: Sequence[Candidate], pairs: Sequence[Pair]
    ) -> list[Verdict]:
        """Return a verdict for each pair that was made; rejected ones get none."""
        return self.judge_all([(segment, candidates, pairs)])[0]

    def judge_all(
        self, items: Sequence[tuple[Segment, Sequence[Candidate], Sequence[Pair]]]
    ) -> list[list[Verdict]]:
        """Return what `judge` gives for each segment, with fewer passes of the encoder."""
        return in_step(self._encoder, [self._judge(*item) for item in items])

    def _judge(
        self, segment: Segment, candidates: Sequence[Candidate], pairs: Sequence[Pair]
    ) -> Task[list[Verdict]]:
        made = [pair for pair in pairs if not pair.rejected]
        templates = {candidate.template_id: candidate.template for candidate in candidates}
        found = yield from self._all_features(
            segment, [(pair, templates.get(pair.template_id, "")) for pair in made]
        )
        return [
            Verdict(template_id=pair.template_id, score=score(f), feedback=feedback(f))
            for pair, f in zip(made, found, strict=True)
        ]

    def features(self, segment: Segment, pairs: Sequence[tuple[Pair, str]]) -> list[Features]:
        """Return the features of pairs, each given with its template."""
        return in_step(self._encoder, [self._all_features(segment, pairs)])[0]

    def _all_features(self, segment: Segment, pairs: Sequence[tuple[Pair, str]]) -> Task[list[Features]]:
        if not pairs:
            return []
        units = split(segment.text)
        said = [_answer_units(pair, units) for pair, _ in pairs]
        texts: list[str] = []
        for (pair, _), own in zip(pairs, said, strict=True):
            texts += [pair.instruction, _in_context(pair, own), _probe(pair, units)]
        vectors = yield texts
        return [
            self._features(segment, pair, template, own, vectors[3 * i : 3 * i + 3])
            for i, ((pair, template), own) in enumerate(zip(pairs, said, strict=True))
        ]

    def _features(
        self, segment: Segment, pair: Pair, template: str, said: Sequence[Unit], vectors: FloatArray
    ) -> Features:
        instruction, answered, value = vectors
        own = float(instruction @ answered)
        slots = [slot.description for slot in pair.slots]
        return Features(
            margin=own - self._round_trip.rival(instruction, segment.text, RIVALS),
            template_place=self._round_trip.template_place(answered, own),
            evidence=_evidence(pair, template, said),
            kind=1.0 - self._gate.places(value, slots[:1])[0] if slots else 1.0,
            begins=float(bool(said) and answer.may_begin(said[0])),
            ends=float(bool(said) and answer.may_end(said[-1])),
            repeats=_repeats(said),
            named=_named(pair, segment.text),
            length=min(1.0, math.log1p(len(pair.answer.split())) / math.log1p(200)),
        )


def probability(features: Features) -> float:
    """Return the modelled chance that a careful reader would keep the pair."""
    total = BIAS
    for value, mean, scale, weight in zip(astuple(features), MEANS, SCALES, WEIGHTS, strict=True):
        total += weight * (value - mean) / scale
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


def score(features: Features) -> int:
    """Return a score from 1 to 5.

    What is incomplete, repetitive or not understandable alone is a 3 at best, however near its words are
    (level 3 of the rubric that the gold set is scored by).
    """
    p = probability(features)
    found = 1 + sum(p >= level for level in LEVELS)
    flawed = not features.begins or not features.ends or features.repeats > 0.0
    return min(found, 3) if flawed else found


def feedback(features: Features) -> str:  # noqa: PLR0911 -- one sentence a fault
    """Say in a sentence what speaks most against the pair, or that nothing does."""
    if features.evidence < 1.0:
        return "Part of the question finds no answer in the words of the excerpt."
    if not features.begins:
        return "The answer leans on what stands before it in the document."
    if not features.ends:
        return "The answer breaks off."
    if features.repeats > 0.0:
        return "The answer repeats itself."
    if features.named < 0.5:
        return "The answer does not speak of what the question names."
    if features.kind < 1.0 - typegate.NEAREST_SHARE:
        return "What fills the slot may not be of the kind that it asks for."
    if features.margin < 0.0:
        return "The answer is hardly nearer to the question than passages of other documents."
    return "The excerpt speaks of what the question names and answers each of its parts."


def names() -> list[str]:
    """Return the features' names in the order of the weights."""
    return [field.name for field in fields(Features)]


def _answer_units(pair: Pair, units: Sequence[Unit]) -> list[Unit]:
    """Return the document's own sentences where the answer is made of whole ones, else the answer's."""
    starts, ends = {unit.start for unit in units}, {unit.end for unit in units}
    if pair.excerpts and all(start in starts and end in ends for start, end in pair.excerpts):
        return [unit for unit in units if any(a <= unit.start and unit.end <= b for a, b in pair.excerpts)]
    own = split(pair.answer)
    return [unit for unit in own if unit.kind is not UnitKind.HEADING] or own


def _in_context(pair: Pair, said: Sequence[Unit]) -> str:
    """Return the answer as it is embedded: a list with the subject and the heading that it stands under."""
    if len(said) == 1 and said[0].kind is UnitKind.LIST:
        return answer.embedded_text(said[0], pair.slots[0].value if pair.slots else "")
    return pair.answer


def _probe(pair: Pair, units: Sequence[Unit]) -> str:
    """Return what stands for the first slot's value at the type gate."""
    if not pair.slots:
        return pair.instruction
    value = pair.slots[0].value
    sentences = [unit for unit in units if unit.kind is UnitKind.SENTENCE]
    first = next(
        (u for u in sentences if value.lower() in u.text.lower()), sentences[0] if sentences else None
    )
    return typegate.probe(value, first.text if first else "")


def _evidence(pair: Pair, template: str, said: Sequence[Unit]) -> float:
    """Return the share of the question's parts that the answer shows evidence for; 1 where none is known."""
    outside = re.sub(r"<fi>.*?</fi>", SLOT, template, flags=re.DOTALL) if template else pair.instruction
    question = read_question(re.sub(r"\s+", " ", outside).strip().rstrip("?.! "))
    if not question.clauses or not said:
        return float(bool(said))
    name = re.sub(r"^(?:an?|the) ", "", pair.slots[0].value) if pair.slots else ""
    mentions = [
        (unit.start + match.start(), unit.start + match.end())
        for unit in said
        for match in (re.finditer(re.escape(name), unit.text, re.IGNORECASE) if name else ())
    ]
    shown = sum(answer.answers(said, Question((clause,)), mentions) for clause in question.clauses)
    return shown / len(question.clauses)


def _repeats(sentences: Sequence[Unit]) -> float:
    said = [re.sub(r"\W+", " ", unit.text).strip().lower() for unit in sentences]
    return 1.0 - len(set(said)) / len(said) if said else 0.0


def _named(pair: Pair, text: str) -> float:
    words = [w for slot in pair.slots for w in re.findall(r"[a-z0-9]{3,}", slot.value.lower())]
    if not words:
        return 1.0
    said, all_words = (
        set(re.findall(r"[a-z0-9]{3,}", pair.answer.lower())),
        set(re.findall(r"[a-z0-9]{3,}", text.lower())),
    )
    return float(np.mean([1.0 if w in said else 0.5 if w in all_words else 0.0 for w in words]))
