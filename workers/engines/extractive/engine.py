"""The extractive engine: templates filled and answered by copying, or refused for a named reason.

A floor that lets the whole pipeline run on a laptop without a language model; it abstains unless sure
(design rules a to g, one file each). Cheap checks come first: a segment whose candidates all fall to their
words, or that names no subject, is never embedded. A segment's outcome depends on it and its candidates
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from streams.records import Candidate, Pair, Segment, SlotValue
from workers.encoder import Encoder, FloatArray
from workers.engines.extractive import answer, grammar, typegate
from workers.engines.extractive.eligibility import Plan, plan
from workers.engines.extractive.extra import extra_value
from workers.engines.extractive.in_step import Task, in_step
from workers.engines.extractive.roundtrip import RoundTrip
from workers.engines.extractive.sentences import Unit, split
from workers.engines.extractive.subject import Subject, find_subject
from workers.match.bank import Bank

NAME: Final = "extractive"
DESCRIPTION_WEIGHT: Final = 0.5
LEAST_SIMILARITY: Final = 0.40  # of an answer's best sentence to the query: below it is theme, not answer


class Reject(StrEnum):
    """Why a candidate gave no pair: a closed set."""

    NO_TEXT = "no_text"
    TEMPLATE = "template_not_eligible"
    NO_SUBJECT = "no_subject"
    SUBJECT_TYPE = "subject_type"
    GRAMMAR = "grammar"
    NO_ANSWER = "no_answer"
    WEAK_ANSWER = "weak_answer"
    ROUND_TRIP_ANSWER = "round_trip_answer"
    ROUND_TRIP_INSTRUCTION = "round_trip_instruction"
    SECOND_SLOT = "second_slot"
    OVERLAP = "overlap"


@dataclass(frozen=True, slots=True)
class _Filled:
    """A candidate on its way to a pair."""

    row: int  # among the candidates
    plan: Plan
    filled: grammar.Filled
    reach: frozenset[int]  # units that its answer may hold


class ExtractiveEngine:
    """Fills and answers a segment's candidate templates."""

    def __init__(self, encoder: Encoder, bank: Bank) -> None:
        """Embed what the rules compare with, or read it from the package and the user's cache."""
        self._encoder = encoder
        self._gate = typegate.TypeGate(bank, encoder)
        self._round_trip = RoundTrip(bank, encoder)
        self._bank = bank
        self._descriptions: dict[int, FloatArray] = {}  # by row of the bank, as they are asked for
        self._domains = dict(zip(bank.ids, bank.domains, strict=True))

    def instantiate(self, segment: Segment, candidates: Sequence[Candidate]) -> list[Pair]:
        """Return one pair a candidate, in order: made, or rejected with a reason of `Reject`."""
        return self.instantiate_all([(segment, candidates)])[0]

    def instantiate_all(self, items: Sequence[tuple[Segment, Sequence[Candidate]]]) -> list[list[Pair]]:
        """Return what `instantiate` gives for each segment, with fewer passes of the encoder."""
        return in_step(self._encoder, [self._instantiate(*item) for item in items])

    def _instantiate(self, segment: Segment, candidates: Sequence[Candidate]) -> Task[list[Pair]]:
        rejected: dict[int, tuple[Reject, str]] = {}
        made: dict[int, Pair] = {}
        plans = [plan(candidate.template) for candidate in candidates]
        for row, candidate_plan in enumerate(plans):
            if candidate_plan.refusal:
                rejected[row] = (Reject.TEMPLATE, candidate_plan.refusal)
        left = [row for row in range(len(candidates)) if row not in rejected]
        if left:
            units = split(segment.text)
            subject = find_subject(segment.title, units, segment.text)
            if subject is None:
                rejected |= dict.fromkeys(left, (Reject.NO_SUBJECT if units else Reject.NO_TEXT, ""))
            else:
                filled = yield from self._fill(segment, plans, left, units, subject, rejected)
                if filled:
                    made = yield from self._answer(segment, candidates, filled, units, subject, rejected)
        return [
            made.get(row) or self._rejected(candidate, *rejected[row])
            for row, candidate in enumerate(candidates)
        ]

    def _fill(
        self,
        segment: Segment,
        plans: Sequence[Plan],
        rows: Sequence[int],
        units: Sequence[Unit],
        subject: Subject,
        rejected: dict[int, tuple[Reject, str]],
    ) -> Task[list[_Filled]]:
        """Nouns, grammar and evidence (words only), then the type gate (one short text to embed)."""
        fits: list[_Filled] = []
        first = units[subject.unit]
        ends = [end for start, end in subject.mentions if first.start <= start < first.end]
        behind = segment.text[ends[0] : first.end] if ends else ""
        agreed = {row: typegate.agreement(plans[row].subject, subject.name, behind) for row in rows}
        for row in rows:
            filled = grammar.fill(plans[row], subject, segment.text)
            if agreed[row] is False:
                rejected[row] = (Reject.SUBJECT_TYPE, f"{subject.name}: {plans[row].subject}")
            elif filled is None:
                rejected[row] = (Reject.GRAMMAR, subject.name)
            elif not (reach := answer.reachable(units, plans[row].question, subject.mentions)):
                rejected[row] = (Reject.NO_ANSWER, filled.instruction)
            else:
                fits.append(_Filled(row, plans[row], filled, frozenset(reach)))
        usable = sorted(frozenset().union(*(fit.reach for fit in fits)))
        if not any(answer.possible(units, usable, fit.plan.question, subject.mentions) for fit in fits):
            rejected |= {fit.row: (Reject.NO_ANSWER, fit.filled.instruction) for fit in fits}
            return []
        probe = yield [typegate.probe(subject.name, first.text)]
        places = self._gate.places(probe[0], [fit.plan.subject for fit in fits])
        out: list[_Filled] = []
        for fit, place in zip(fits, places, strict=True):
            if typegate.passes(place, agreed[fit.row]):
                out.append(fit)
            else:
                rejected[fit.row] = (
                    Reject.SUBJECT_TYPE,
                    f"{subject.name}: {fit.plan.subject} at {place:.3f}",
                )
        return out

    def _answer(
        self,
        segment: Segment,
        candidates: Sequence[Candidate],
        filled: Sequence[_Filled],
        units: Sequence[Unit],
        subject: Subject,
        rejected: dict[int, tuple[Reject, str]],
    ) -> Task[dict[int, Pair]]:
        """Windows, evidence, round trip and overlap, best first."""
        copied = sorted(frozenset().union(*(f.reach for f in filled)))
        hopeless = [
            f for f in filled if not answer.possible(units, copied, f.plan.question, subject.mentions)
        ]
        rejected |= {f.row: (Reject.NO_ANSWER, f.filled.instruction) for f in hopeless}
        filled = [f for f in filled if f not in hopeless]
        if not filled:
            return {}
        n = len(filled)
        unknown = [f.row for f in filled if self._description(candidates[f.row]) is None]
        vectors = yield (
            [f.filled.instruction for f in filled]
            + [answer.embedded_text(units[i], subject.name) for i in copied]
            + [candidates[row].description for row in unknown]
        )
        instructions, asked = vectors[:n], vectors[n + len(copied) :]
        vectors = vectors[: n + len(copied)]
        new = {row: self._keep(candidates[row], vector) for row, vector in zip(unknown, asked, strict=True)}
        known = [new.get(f.row, self._description(candidates[f.row])) for f in filled]
        descriptions = np.stack([vector for vector in known if vector is not None])
        queries = _normalised(instructions + DESCRIPTION_WEIGHT * descriptions)
        sentences = np.zeros((len(units), vectors.shape[1]), dtype=np.float32)
        sentences[copied] = vectors[n:]
        ranked: list[tuple[float, _Filled, int]] = []
        similarities = queries @ sentences.T
        for k, item in enumerate(filled):
            window = answer.best_window(units, similarities[k], copied, item.plan.question, subject.mentions)
            if window is None:
                rejected[item.row] = (Reject.NO_ANSWER, item.filled.instruction)
            else:
                ranked.append((window.score, item, k))
        made: dict[int, Pair] = {}
        taken: list[tuple[int, int]] = []
        for _, item, k in sorted(ranked, key=lambda r: (-r[0], r[1].row)):
            window = answer.best_window(
                units, similarities[k], copied, item.plan.question, subject.mentions, taken
            )
            if window is None:
                rejected[item.row] = (Reject.OVERLAP, item.filled.instruction)
                continue
            peak = float(similarities[k, window.first : window.last + 1].max())
            text = segment.text[window.start : window.end]
            said = f"{item.filled.instruction}\n\n{text}"
            if peak < LEAST_SIMILARITY:
                rejected[item.row] = (Reject.WEAK_ANSWER, said)
                continue
            inside = list(range(window.first, window.last + 1))
            vector = _normalised(
                sum((sentences[i] * np.float32(units[i].words) for i in inside), np.zeros_like(sentences[0]))[
                    None
                ]
            )[0]
            others = [
                i
                for i in copied
                if not window.first <= i <= window.last
                and answer.shows_any(units[i], item.plan.question, subject.mentions)
            ]
            failed = self._round_trip.fails(
                instructions[k], vector, sentences[others], candidates[item.row].template_id, segment.text
            )
            if failed:
                rejected[item.row] = (
                    Reject.ROUND_TRIP_ANSWER if failed == "answer" else Reject.ROUND_TRIP_INSTRUCTION,
                    said,
                )
                continue
            pair = self._pair(segment, candidates[item.row], item, subject, (window.start, window.end))
            if pair is None:
                rejected[item.row] = (Reject.SECOND_SLOT, said)
                continue
            taken.append((window.start, window.end))
            made[item.row] = pair
        return made

    def _bank_row(self, candidate: Candidate) -> int | None:
        row = self._bank.rows.get(candidate.template_id)
        return row if row is not None and self._bank.descriptions[row] == candidate.description else None

    def _description(self, candidate: Candidate) -> FloatArray | None:
        """Return a candidate's description vector where it is known; those of the bank are kept.

        A text's vector does not depend on its batch (`workers.encoder`), nor then on who asked first.
        """
        row = self._bank_row(candidate)
        return None if row is None else self._descriptions.get(row)

    def _keep(self, candidate: Candidate, vector: FloatArray) -> FloatArray:
        row = self._bank_row(candidate)
        if row is not None:
            self._descriptions[row] = vector
        return vector

    def _pair(
        self, segment: Segment, candidate: Candidate, item: _Filled, subject: Subject, span: tuple[int, int]
    ) -> Pair | None:
        values = {item.plan.subject: SlotValue(item.plan.subject, item.filled.subject, item.filled.span)}
        filled = item.filled
        if item.plan.extra_kind is not None:
            found = extra_value(item.plan.extra_kind, segment.text, span)
            again = found and grammar.fill(item.plan, subject, segment.text, found[0])
            if not found or not again:
                return None
            filled = again
            values[item.plan.extra] = SlotValue(item.plan.extra, *found)
        return Pair(
            template_id=candidate.template_id,
            instruction=filled.instruction,
            answer=segment.text[span[0] : span[1]],
            slots=[values[description] for description in dict.fromkeys(item.plan.slots)],
            excerpts=[span],
            excerpt_share=1.0,
            family=self._domains.get(candidate.template_id, ""),
        )

    def _rejected(self, candidate: Candidate, reason: Reject, said: str) -> Pair:
        return Pair(
            template_id=candidate.template_id,
            rejected=reason.value,
            raw_output=said[:2000],
            family=self._domains.get(candidate.template_id, ""),
        )


def _normalised(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: FloatArray = (vectors / np.maximum(norms, np.float32(1e-12))).astype(np.float32)
    return out
