"""Filling all topics of a pipeline by hand, as workers would have: so that a test can then spoil them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams import clients, pipeline
from streams.generations import Generation
from streams.positions import HEADER, NO_ORIGIN, Kind, LaneHeader, Origin, Position, RawHeader
from streams.records import (
    Candidate,
    Dropped,
    InstantiatedSegment,
    JudgedSegment,
    MatchedSegment,
    Pair,
    RawDocument,
    RawStub,
    Record,
    Segment,
    Verdict,
    encode,
)
from streams.settings import STAGES, Settings


@dataclass
class Written:
    """One record that is going to be written; a test may change, remove or repeat it."""

    topic: str
    lane: int
    key: bytes | None
    value: bytes
    header: bytes
    more: list[tuple[str, bytes]] = field(default_factory=list)


def segment(position: Position, count: int, text: str = "") -> Segment:
    """A segment whose text names its place."""
    return Segment(
        document_id=f"d{position.offset}", index=position.segment, count=count, start=0, url="http://x/",
        title="A title", text=text or f"text of {tuple(position)}", language="en", language_score=1.0,
        tokens=5, tokenizer="none", content_hash=bytes(16),
    )  # fmt: skip


class Lanes:
    """Collects records of a whole, drained pipeline; `write` sends them."""

    def __init__(self, settings: Settings, generation: Generation) -> None:
        self.settings = settings
        self.generation = generation
        self.written: list[Written] = []
        self.ends: dict[int, int] = defaultdict(int)
        self.inputs: dict[tuple[str, int], int] = defaultdict(int)
        self.high: dict[int, Origin] = defaultdict(lambda: NO_ORIGIN)
        self.records = 0

    def document(
        self, lane: int, *segments: int, dropped: tuple[str, str] = ("", ""),
        dead: tuple[str, str] = ("", ""), stub: bool = False, origin: Origin | None = None,
    ) -> int:  # fmt: skip
        """Add a document with so many pairs in each of its segments; return its raw offset.

        A segment with -1 pairs found no template, with 0 had its one candidate rejected. `dropped` and `dead`
        are (stage, reason): there the document (all its segments) ends as markers.
        """
        offset = self.ends[lane]
        self.ends[lane] += 1
        self.records += 1
        origin = origin or Origin(1, self.records)
        self._raw(lane, offset, origin, stub=stub)
        stage, kind = (dropped[0], Kind.DROPPED) if dropped[0] else (dead[0], Kind.DEAD)
        marker = Dropped(stage=stage, reason=dropped[1] or dead[1])
        at_chunk = stage == STAGES[0]
        for index, pairs in enumerate((0,) if at_chunk else segments):
            position = Position(offset, index)
            count = 1 if at_chunk else len(segments)
            ended = False
            value = encode(RawDocument(id="d", url="", source="", content_type="", payload=b"x"))
            for step, name in enumerate(STAGES):
                first = name == stage
                ended |= first
                source = self.inputs[name, lane]
                self.inputs[name, lane] += 1
                topics = pipeline.stage_topics(name, self.generation.id)
                header = LaneHeader(
                    kind if ended else Kind.SEGMENT, self.generation.epoch, count, origin, self.high[lane],
                    offset if step == 0 else source, 1, 0, 0,
                )  # fmt: skip
                if first and kind is Kind.DEAD:
                    more = [("error", marker.reason.encode()), ("detail", b"planted")]
                    self.written.append(
                        Written(topics.dead, lane, position.pack(), value, header.pack(), more)
                    )
                value = encode(marker) if ended else encode(record_of(name, position, count, pairs))
                self.written.append(Written(topics.target, lane, position.pack(), value, header.pack()))
        return offset

    def _raw(self, lane: int, offset: int, origin: Origin, *, stub: bool) -> None:
        record: Record = RawDocument(
            id=f"d{offset}", url="http://x/", source="test", content_type="text/plain", payload=b"x"
        )
        if stub:
            record = RawStub(reason="too_long", source="test", start=0, length=9, sha256="", head=b"x")
        header = RawHeader(
            Kind.STUB if stub else Kind.DOCUMENT,
            self.generation.epoch,
            self.high[lane],
            int(time.time() * 1000),
        )
        self.high[lane] = max(self.high[lane], origin)
        self.written.append(Written(pipeline.RAW, lane, origin.pack(), encode(record), header.pack()))

    def find(self, topic: str, lane: int, position: Position | Origin) -> Written:
        """The one record of a topic at a position (or, in raw, with an origin)."""
        (found,) = [w for w in self.written if (w.topic, w.lane, w.key) == (topic, lane, position.pack())]
        return found

    def write(self, records: Sequence[Written] | None = None) -> None:
        """Send everything, or these records."""
        producer = clients.sync_producer(self.settings)
        futures = [
            producer.send(
                w.topic, key=w.key, value=w.value, partition=w.lane, headers=[(HEADER, w.header), *w.more]
            )
            for w in (self.written if records is None else records)
        ]
        producer.flush()
        for future in futures:
            future.get(timeout=30)
        producer.close()


def record_of(stage: str, position: Position, count: int, pairs: int) -> Record:
    """What a stage writes for a segment with so many pairs (see `Lanes.document`)."""
    base = segment(position, count)
    if stage == "chunk":
        return base
    templates = [f"t{i}" for i in range(max(pairs, 0) or (1 if pairs == 0 else 0))]
    matched = MatchedSegment(
        segment=base, bank="b", encoder="e", no_match="" if templates else "below_threshold",
        candidates=[
            Candidate(template_id=t, template=f"what is <fi>{t}</fi>?", similarity=0.5, embedding=0)
            for t in templates
        ],
    )  # fmt: skip
    if stage == "match":
        return matched
    made: list[Any] = [
        Pair(template_id=t, instruction=f"what is {t}?", answer=base.text, excerpt_share=1.0)
        if pairs > 0
        else Pair(template_id=t, rejected="no_subject", raw_output="nothing found")
        for t in templates
    ]
    instantiated = InstantiatedSegment(matched=matched, engine="test", model="none", pairs=made)
    if stage == "instantiate":
        return instantiated
    verdicts = [
        Verdict(template_id=p.template_id, score=5 - i % 3) for i, p in enumerate(made) if not p.rejected
    ]
    return JudgedSegment(instantiated=instantiated, judge="test", verdicts=verdicts)
