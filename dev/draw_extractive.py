"""Runs the shipped documents through chunk, match and the extractive engines and draws kept pairs to be read.

    PYTHONPATH=. python dev/draw_extractive.py SEED [COUNT] > pairs.jsonl

Prints the yield to stderr. The first line of the output says what was drawn from what; then a line a pair,
with the candidates of its document, so that it can be made again without the matching. Verdicts are added by
hand (tests/data/extractive_reading.jsonl).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator

from measure_seed import segments

from streams.records import InstantiatedSegment, JudgedSegment, MatchedSegment, Pair
from streams.settings import load
from workers.instantiate.stage import InstantiateStage
from workers.judge.stage import JudgeStage
from workers.match.stage import MatchStage

KEPT = 4
BATCH = 16


def judged() -> Iterator[JudgedSegment]:
    """Yield what the stages make of the shipped documents, in order."""
    settings = load()
    match, instantiate, judge = MatchStage(settings), InstantiateStage(settings), JudgeStage(settings)
    for stage in (match, instantiate, judge):
        stage.open()
    documents = list(segments(settings))
    for start in range(0, len(documents), BATCH):
        matched = [outcome[0] for outcome in match.process(documents[start : start + BATCH])]  # type: ignore[index]
        assert all(isinstance(one, MatchedSegment) for one in matched)
        made = [outcome[0] for outcome in instantiate.process(matched)]  # type: ignore[index, arg-type]
        assert all(isinstance(one, InstantiatedSegment) for one in made)
        for outcome in judge.process(made):  # type: ignore[arg-type]
            one = outcome[0]  # type: ignore[index]
            assert isinstance(one, JudgedSegment)
            yield one


def main() -> None:
    """Draw and print."""
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    kept: list[tuple[JudgedSegment, Pair, int]] = []
    documents: set[str] = set()
    with_pair: set[str] = set()
    for one in judged():
        segment = one.instantiated.matched.segment
        documents.add(segment.document_id)
        scores = {verdict.template_id: verdict.score for verdict in one.verdicts}
        for pair in one.instantiated.pairs:
            if not pair.rejected and scores[pair.template_id] >= KEPT:
                kept.append((one, pair, scores[pair.template_id]))
                with_pair.add(segment.document_id)
    kept.sort(key=lambda item: (item[0].instantiated.matched.segment.url, item[1].template_id))
    head = {
        "seed": seed,
        "drawn_from": len(kept),
        "documents": len(documents),
        "documents_with_a_kept_pair": len(with_pair),
        "bank": kept[0][0].instantiated.matched.bank,
    }
    print(json.dumps(head), file=sys.stderr)
    print(json.dumps(head))
    for number, (one, pair, score) in enumerate(random.Random(seed).sample(kept, count)):  # noqa: S311
        matched = one.instantiated.matched
        row = {
            "number": number,
            "url": matched.segment.url,
            "document_id": matched.segment.document_id,
            "segment": matched.segment.index,
            "candidates": [candidate.template_id for candidate in matched.candidates],
            "template_id": pair.template_id,
            "instruction": pair.instruction,
            "slots": {slot.description: slot.value for slot in pair.slots},
            "answer": pair.answer,
            "score": score,
        }
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
