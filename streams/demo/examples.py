"""Pairs to look at: some that were trained on, beside their source, and one that was rejected."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from streams import ledger, pipeline
from streams.errors import RecordError
from streams.generations import Generation
from streams.lane_log import LaneStream, LogReader
from streams.positions import Position
from streams.records import JudgedSegment, Pair, Segment, decode
from streams.settings import Settings

CONTEXT_CHARACTERS = 160
"""Of the source, on each side of an excerpt."""


class Example(NamedTuple):
    """One pair, with where it comes from. Texts are as the crawl had them: escape before printing."""

    pair: Pair
    template: str
    score: int  # 0: it was not judged
    feedback: str
    engine: str
    segment: Segment

    def source(self) -> tuple[str, str, str]:
        """Return the source around the first excerpt: before it, itself, behind it."""
        text = self.segment.text
        begin, end = self.pair.excerpts[0] if self.pair.excerpts else (0, 0)
        if not 0 <= begin <= end <= len(text):  # spans are data too
            begin = end = 0
        return (
            text[max(0, begin - CONTEXT_CHARACTERS) : begin],
            text[begin:end],
            text[end : end + CONTEXT_CHARACTERS],
        )


def trained_on(
    settings: Settings, generation: Generation, run: str, most: int, rnd: random.Random
) -> list[Example]:
    """Return up to `most` pairs of a run's ledger, drawn at random."""
    with LogReader(settings) as reader:
        if not ledger.exists(reader, run):
            return []
        chosen: list[ledger.Span] = []
        seen = 0
        for step in ledger.steps(reader, run):
            for span in step.begun():
                seen += 1
                if len(chosen) < most:
                    chosen.append(span)
                elif (place := rnd.randrange(seen)) < most:
                    chosen[place] = span
        wanted = {(span.lane, span.position): span.template_id for span in chosen}
        return [
            example
            for lane in sorted({lane for lane, _ in wanted})
            for position, record in _judged(reader, generation, lane)
            if (template := wanted.get((lane, position))) is not None
            for example in _examples(record)
            if example.pair.template_id == template
        ]


def rejected(settings: Settings, generation: Generation, rnd: random.Random) -> Example | None:
    """Return one rejected pair, drawn at random among those that came furthest; None where there is none."""
    found: Example | None = None
    best, seen = 0, 0
    with LogReader(settings) as reader:
        for lane in range(generation.lanes):
            for _, record in _judged(reader, generation, lane):
                for example in _examples(record):
                    if not example.pair.rejected:
                        continue
                    # What the engine had said already tells more than that it said nothing.
                    rank = 1 + ("\n\n" in example.pair.raw_output)
                    if rank > best:
                        best, seen = rank, 0
                    if rank == best:
                        seen += 1
                        if rnd.randrange(seen) == 0:
                            found = example
    return found


def _judged(reader: LogReader, generation: Generation, lane: int) -> Iterator[tuple[Position, JudgedSegment]]:
    topic = pipeline.topic("judged", generation.id)
    stream = LaneStream(reader.read(topic, lane, *reader.bounds(topic, lane)))
    while (entry := stream.advance()) is not None:
        if not entry.header.kind.marker:
            try:
                yield entry.position, decode(entry.value, JudgedSegment)
            except RecordError:
                continue  # counted by the accounts


def _examples(record: JudgedSegment) -> Iterator[Example]:
    verdicts = {verdict.template_id: verdict for verdict in record.verdicts}
    templates = {c.template_id: c.template for c in record.instantiated.matched.candidates}
    for pair in record.instantiated.pairs:
        verdict = verdicts.get(pair.template_id)
        yield Example(
            pair,
            templates.get(pair.template_id, ""),
            verdict.score if verdict else 0,
            verdict.feedback if verdict else "",
            record.instantiated.engine,
            record.instantiated.matched.segment,
        )
