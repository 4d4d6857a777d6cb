"""Filling `judged` directly, as the judge would: for the trainer's tests and benchmarks.

Texts come from a seeded generator, so that a test names its data by a number.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from streams import clients
from streams.generations import Generation
from streams.pipeline import topic
from streams.positions import HEADER, NO_ORIGIN, START, Kind, LaneHeader, Origin, Position, RawHeader
from streams.records import (
    Dropped,
    InstantiatedSegment,
    JudgedSegment,
    MatchedSegment,
    Pair,
    RawDocument,
    Segment,
    Verdict,
    encode,
)
from streams.settings import Settings
from streams.tokens import TokenCounter, load_tokenizer

SUBJECTS = [
    "river",
    "engine",
    "garden",
    "treaty",
    "planet",
    "market",
    "bridge",
    "forest",
    "theorem",
    "orchestra",
    "harbour",
    "vaccine",
]
VERBS = [
    "carries",
    "shapes",
    "explains",
    "limits",
    "supports",
    "divides",
    "follows",
    "replaces",
    "measures",
    "protects",
]
OBJECTS = [
    "the valley",
    "a city",
    "old trade",
    "its people",
    "the climate",
    "many species",
    "public law",
    "young players",
]


def sentence(rnd: random.Random) -> str:
    """A sentence of a small language, so that a model can learn something."""
    return f"The {rnd.choice(SUBJECTS)} {rnd.choice(VERBS)} {rnd.choice(OBJECTS)}."


def judged(
    number: int,
    pairs: int = 3,
    sentences: int = 12,
    scores: Sequence[int] = (),
    shares: Sequence[float] = (),
    tokenizer: TokenCounter | None = None,
    index: int = 0,
    count: int = 1,
) -> JudgedSegment:
    """The judged record of document `number`: `pairs` pairs with the given scores (5) and shares (1.0)."""
    rnd = random.Random(number * 1000 + index)
    text = " ".join(sentence(rnd) for _ in range(sentences))
    segment = segment_of(number, text, tokenizer or load_tokenizer(), index, count)
    made = [
        Pair(
            template_id=f"t{i:02d}",
            instruction=f"What about the {rnd.choice(SUBJECTS)}?",
            answer=" ".join(sentence(rnd) for _ in range(1 + rnd.randrange(3))),
            excerpt_share=shares[i] if shares else 1.0,
        )
        for i in range(pairs)
    ]
    verdicts = [
        Verdict(template_id=p.template_id, score=scores[i] if scores else 5) for i, p in enumerate(made)
    ]
    matched = MatchedSegment(segment=segment, bank="test", encoder="test")
    return JudgedSegment(
        instantiated=InstantiatedSegment(matched=matched, engine="test", model="", pairs=made),
        judge="test",
        verdicts=verdicts,
    )


def judged_of(
    number: int, text: str, pairs: Sequence[tuple[str, str]], tokenizer: TokenCounter
) -> JudgedSegment:
    """The judged record of a text with these (instruction, answer) pairs, all scored 5."""
    made = [
        Pair(template_id=f"t{i:02d}", instruction=instruction, answer=answer, excerpt_share=1.0)
        for i, (instruction, answer) in enumerate(pairs)
    ]
    matched = MatchedSegment(segment=segment_of(number, text, tokenizer), bank="test", encoder="test")
    return JudgedSegment(
        instantiated=InstantiatedSegment(matched=matched, engine="test", model="", pairs=made),
        judge="test",
        verdicts=[Verdict(template_id=p.template_id, score=5) for p in made],
    )


def segment_of(number: int, text: str, tokenizer: TokenCounter, index: int = 0, count: int = 1) -> Segment:
    """A segment of document `number` with this text."""
    return Segment(
        document_id=f"d{number}",
        index=index,
        count=count,
        start=0,
        url=f"http://example.org/{number}",
        title="",
        text=text,
        language="en",
        language_score=1.0,
        tokens=tokenizer.count(text),
        tokenizer=tokenizer.name,
        content_hash=hashlib.blake2b(str(number).encode(), digest_size=16).digest(),
    )


class JudgedWriter:
    """Writes `raw` and `judged` of a generation lane by lane, with unbroken positions."""

    def __init__(self, settings: Settings, generation: Generation) -> None:
        self.producer = clients.sync_producer(settings)
        self.generation = generation
        self.topic = topic("judged", generation.id)
        self.next = dict.fromkeys(range(generation.lanes), START)

    def document(self, lane: int, records: Sequence[JudgedSegment | Dropped]) -> int:
        """Write one raw document and its judged records or markers; return its raw offset."""
        at = self.next[lane].offset
        self.raw(lane)
        for i, record in enumerate(records):
            self.put(lane, Position(at, i), record, len(records))
        self.next[lane] = Position(at + 1, 0)
        return at

    def raw(self, lane: int) -> None:
        """Write a document to `raw` alone."""
        header = RawHeader(Kind.DOCUMENT, self.generation.epoch, NO_ORIGIN, 0)
        document = RawDocument(id="", url="", source="", content_type="", payload=b"")
        self.producer.send(
            "raw",
            key=Origin(1, 0).pack(),
            value=encode(document),
            partition=lane,
            headers=[(HEADER, header.pack())],
        )

    def put(
        self,
        lane: int,
        position: Position,
        record: JudgedSegment | Dropped | bytes,
        segments: int = 1,
        epoch: int | None = None,
    ) -> None:
        """Write one record at a position, right or wrong."""
        kind = Kind.DROPPED if isinstance(record, Dropped) else Kind.SEGMENT
        origin = Origin(1, position.offset)
        epoch = self.generation.epoch if epoch is None else epoch
        header = LaneHeader(kind, epoch, segments, origin, origin, 0, 0, 0, 0)
        value = record if isinstance(record, bytes) else encode(record)
        self.producer.send(
            self.topic, key=position.pack(), value=value, partition=lane, headers=[(HEADER, header.pack())]
        )

    def flush(self) -> None:
        """Wait until everything is in the log."""
        self.producer.flush()

    def close(self) -> None:
        """Flush and let go."""
        self.producer.flush()
        self.producer.close()


def fill(writer: JudgedWriter, documents: int, lanes: Sequence[int], first: int = 0, seed: int = 0) -> None:
    """Write a mixed stream: documents of one to three segments, a third of the segments dropped."""
    rnd = random.Random(seed)
    tokenizer = load_tokenizer()
    for number in range(first, first + documents):
        count = rnd.choice((1, 1, 1, 2, 3))
        records: list[JudgedSegment | Dropped] = []
        for index in range(count):
            if rnd.random() < 0.33:
                records.append(Dropped(stage="match", reason="no_match"))
            else:
                pairs = rnd.randrange(7)
                scores = [rnd.choice((2, 4, 5, 5)) for _ in range(pairs)]
                records.append(
                    judged(number, pairs, scores=scores, tokenizer=tokenizer, index=index, count=count)
                )
        writer.document(rnd.choice(lanes), records)
    writer.flush()
