"""The judge stage: a verdict for each pair that was made, none for others; bad pairs score lower."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from extractive_gold import auc, cases, load_gold

from streams.records import (
    Candidate,
    InstantiatedSegment,
    JudgedSegment,
    MatchedSegment,
    Pair,
    Segment,
    SlotValue,
    decode,
    encode,
)
from streams.settings import load
from workers.engines.extractive.judge import LEVELS, ExtractiveJudge, probability
from workers.judge.stage import JudgeStage

TEXT = (
    "Gout\n\nGout is a common, painful form of arthritis. It makes joints red, hot and stiff. "
    "Gout is caused by too much uric acid in the body. Many people with gout take medicines that lower it. "
    "The first attack of gout often comes at night."
)
TEMPLATE = "what causes <fi>a disease or medical condition</fi>"
GOOD = "Gout is caused by too much uric acid in the body."


@cache
def stage() -> JudgeStage:
    it = JudgeStage(load())
    it.open()
    return it


def pair(
    answer: str, template_id: str = "a0001", instruction: str = "what causes gout", **more: object
) -> Pair:
    start = TEXT.find(answer)
    return Pair(
        template_id=template_id,
        instruction=instruction,
        answer=answer,
        slots=[SlotValue("a disease or medical condition", "gout", None)],
        excerpts=[(start, start + len(answer))] if start >= 0 else [],
        excerpt_share=1.0,
        **more,  # type: ignore[arg-type]
    )


def judged(*pairs: Pair, text: str = TEXT) -> JudgedSegment:
    segment = Segment(
        document_id="d", index=0, count=1, start=0, url="", title="Gout", text=text, language="en",
        language_score=1.0, tokens=1, tokenizer="t", content_hash=b"",
    )  # fmt: skip
    candidates = [
        Candidate(template_id=p.template_id, template=TEMPLATE, similarity=0.5, embedding=0) for p in pairs
    ]
    record = InstantiatedSegment(
        matched=MatchedSegment(segment=segment, bank="b", encoder="e", candidates=candidates),
        engine="extractive",
        model="m",
        pairs=list(pairs),
    )
    (outcome,) = stage().process([record])
    assert isinstance(outcome, list)
    (one,) = outcome
    assert isinstance(one, JudgedSegment)
    assert one.instantiated is record
    assert decode(encode(one), JudgedSegment) == one
    assert all(1 <= verdict.score <= 5 and verdict.feedback for verdict in one.verdicts)
    return one


def score(answer: str, **more: object) -> int:
    return judged(pair(answer, **more)).verdicts[0].score


def test_a_good_pair_is_kept_and_bad_ones_are_not() -> None:
    assert score(GOOD) >= 4
    assert score("Gout is caused by too much uric") <= 3  # breaks off
    assert score(f"{GOOD} {GOOD}") <= 3  # repeats
    assert score("Digital signatures are stored on a server.") <= 2  # another document's
    assert score(GOOD, instruction="what causes paper prototyping") <= 3


def test_rejected_pairs_get_no_verdict() -> None:
    one = judged(pair(GOOD), Pair(template_id="a0071", rejected="no_answer"))
    assert [verdict.template_id for verdict in one.verdicts] == ["a0001"]
    assert one.judge == "extractive"
    assert judged().verdicts == []
    assert judged(Pair(template_id="a0071", rejected="no_answer")).verdicts == []


def test_a_verdict_says_what_speaks_against_the_pair() -> None:
    said = judged(pair("It makes joints red, hot and stiff.")).verdicts[0].feedback
    assert "question" in said or "leans" in said
    assert judged(pair(GOOD)).verdicts[0].feedback.startswith("The excerpt speaks of what the question names")


def test_neighbours_do_not_change_a_verdict() -> None:
    alone = judged(pair(GOOD)).verdicts[0]
    beside = judged(pair(GOOD), pair("The first attack of gout often comes at night.", template_id="a0051"))
    assert beside.verdicts[0] == alone


@pytest.mark.parametrize("answer", ["", "\x00", "x" * 200_000, "<fi>", "{}", "\ud800", "(" * 10_000])
def test_hostile_answers_are_judged_low_and_in_bounds(answer: str) -> None:
    segment_pair = Pair(template_id="a0001", instruction="what causes gout", answer=answer)
    segment = Segment(
        document_id="d", index=0, count=1, start=0, url="", title="Gout", text=TEXT, language="en",
        language_score=1.0, tokens=1, tokenizer="t", content_hash=b"",
    )  # fmt: skip
    record = InstantiatedSegment(
        matched=MatchedSegment(segment=segment, bank="b", encoder="e"),
        engine="x",
        model="m",
        pairs=[segment_pair],
    )
    (outcome,) = stage().process([record])
    assert isinstance(outcome, list)
    (one,) = outcome
    assert isinstance(one, JudgedSegment)
    assert one.verdicts[0].score <= 3


def test_the_frozen_weights_tell_gold_from_negatives() -> None:
    """On a tenth of the gold documents; the cross-validated figure over all is in dev/LOG.md."""
    made = cases(load_gold())
    documents = sorted(set(made.documents))[::10]
    kept = type(made)()
    for (segment, one, template), kind in zip(made.pairs, made.kinds, strict=True):
        if segment.document_id in documents:
            kept.add(segment, one, template, kind)
    judge: ExtractiveJudge = stage()._judge
    p = [probability(features) for features in kept.features(judge)]
    good = [value for value, label in zip(p, kept.labels, strict=True) if label]
    bad = [value for value, label in zip(p, kept.labels, strict=True) if not label]
    assert len(good) >= 10
    assert auc(good, bad) > 0.75
    assert list(LEVELS) == sorted(LEVELS)
