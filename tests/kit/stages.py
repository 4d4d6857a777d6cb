"""Stages whose behaviour a test chooses by the payload, as real workers: `python stages.py KIND [SLOT]`."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

from streams.records import (
    InstantiatedSegment,
    JudgedSegment,
    MatchedSegment,
    Pair,
    RawDocument,
    RawStub,
    Segment,
    Verdict,
)
from streams.settings import (
    ChunkSettings,
    DuplicateSettings,
    InstantiateSettings,
    JudgeSettings,
    MatchSettings,
    duplicates,
    load,
)
from streams.settings.engines import EngineSettings
from workers.chunk.near_duplicates import fingerprint_of, with_flag
from workers.duplicates import Identity
from workers.engines.language.message import Message, Prompt
from workers.engines.model import Model
from workers.stage import AsyncStage, Drop, Outcome, Stage


class Expand(Stage[Any, Segment]):
    """A chunk stage over tiny scripts: `seg:3:text` gives three segments; `drop`, `raise`, `hang`, …"""

    name: ClassVar = "chunk"
    reads: ClassVar = (RawDocument, RawStub)
    Config: ClassVar = ChunkSettings

    def process(self, records: Sequence[Any]) -> Sequence[Outcome]:
        return [self.one(record) for record in records]

    def one(self, record: Any) -> Outcome:
        if isinstance(record, RawStub):
            return Drop("stub", record.reason)
        text = record.payload.decode()
        word, _, rest = text.partition(":")
        if word == "drop":
            return Drop("scripted")
        if word == "fail":
            return ValueError("scripted failure")
        if word == "surrogate":
            return ValueError("half a pair: \ud800")
        if word == "empty":
            return []
        act(word)
        if word == "big":
            text = "x" * (9 * 1024 * 1024)
        n, _, body = rest.partition(":") if word == "seg" else ("1", "", text)
        return [
            Segment(
                document_id=record.id, index=i, count=int(n), start=i, url=record.url, title="",
                text=f"{body}#{i}", language="en", language_score=1.0, tokens=1, tokenizer="none",
                content_hash=blake2b(body.encode(), digest_size=16).digest(),
                fingerprint=b"" if i else sketched(body),
            )
            for i in range(int(n))
        ]  # fmt: skip

    def identity(self, outputs: Sequence[Any]) -> Identity:
        return Identity(int.from_bytes(outputs[0].content_hash[:8], "big"), outputs[0].fingerprint)

    @property
    def duplicates(self) -> DuplicateSettings | None:
        return self.config.duplicates if "DEDUP" in os.environ else None  # type: ignore[attr-defined]

    def sketch_of(self, value: bytes) -> bytes:
        return fingerprint_of(value)

    def flagged(self, value: bytes, flag: str) -> bytes:
        return with_flag(value, flag)


def sketched(text: str) -> bytes:
    """What near-duplicate tests compare: `near=GROUP,n` differs from its group in n of 128 bytes."""
    if not text.startswith("near="):
        return b""
    group, _, n = text.removeprefix("near=").partition(",")
    sketch = bytearray(blake2b(group.encode(), digest_size=64).digest() * 2)
    for i in range(int(n)):
        sketch[(i * 8) % 128 + i // 16] ^= 255  # spread over the bands
    return bytes(sketch)


def act(word: str) -> None:
    """Do what a poisonous record does."""
    if word == "raise":
        raise RuntimeError("scripted exception")
    if word == "hang":
        print("hanging in", os.getpid(), flush=True)
        time.sleep(3600)
    if word == "exit":
        os._exit(9)
    if word == "segfault":
        ctypes.string_at(0)
    if word == "hog":
        bytearray(20 * 1024**3)
    if word == "slow":
        time.sleep(0.05)
    if word == "leave":
        raise SystemExit(5)
    while word == "held" and Path(os.environ["HOLD"]).exists():
        time.sleep(0.02)


class Pass(Stage[Any, Any]):
    """Copies records: the frame's own cost."""

    name: ClassVar = "match"
    reads: ClassVar = Segment
    Config: ClassVar = MatchSettings

    def process(self, records: Sequence[Any]) -> Sequence[Outcome]:
        return [[record] for record in records]


class Match(Pass):
    """Wraps a segment, one to one."""

    def process(self, records: Sequence[Segment]) -> Sequence[Outcome]:
        for record in records:
            act(record.text.partition(":")[0])
        return [[MatchedSegment(segment=record, bank="test", encoder="none")] for record in records]


class Instantiate(Stage[MatchedSegment, InstantiatedSegment]):
    """Wraps a matched segment, one to one."""

    name: ClassVar = "instantiate"
    reads: ClassVar = MatchedSegment
    Config: ClassVar = InstantiateSettings

    def process(self, records: Sequence[MatchedSegment]) -> Sequence[Outcome]:
        return [[InstantiatedSegment(matched=record, engine="test", model="none")] for record in records]


class Judge(Stage[InstantiatedSegment, JudgedSegment]):
    """Wraps an instantiated segment, one to one."""

    name: ClassVar = "judge"
    reads: ClassVar = InstantiatedSegment
    Config: ClassVar = JudgeSettings

    def process(self, records: Sequence[InstantiatedSegment]) -> Sequence[Outcome]:
        return [[JudgedSegment(instantiated=record, judge="test")] for record in records]


class Pairs(Instantiate):
    """Copies the beginning of each segment as an answer: one pair, or two where its length is even."""

    def process(self, records: Sequence[MatchedSegment]) -> Sequence[Outcome]:
        return [[self.copied(record)] for record in records]

    def copied(self, record: MatchedSegment) -> InstantiatedSegment:
        text = record.segment.text
        pairs = [
            Pair(
                template_id=name,
                instruction=f"Copy {name}.",
                answer=text[:20],
                excerpts=[(0, 20)],
                excerpt_share=1.0,
            )
            for name in (("first", "second") if len(text) % 2 == 0 else ("first",))
        ]
        return InstantiatedSegment(matched=record, engine="test", model="none", pairs=pairs)


class Best(Judge):
    """Gives every pair the best score."""

    def process(self, records: Sequence[InstantiatedSegment]) -> Sequence[Outcome]:
        return [
            [
                JudgedSegment(
                    instantiated=record,
                    judge="test",
                    verdicts=[Verdict(template_id=pair.template_id, score=5) for pair in record.pairs],
                )
            ]
            for record in records
        ]


class Ask(AsyncStage[Segment, MatchedSegment]):
    """Asks the server at `ASK_URL` one call about each segment's text, and passes the segment on."""

    name: ClassVar = "match"
    reads: ClassVar = Segment
    Config: ClassVar = MatchSettings

    @property
    def records_at_once(self) -> int:
        return int(os.environ["ASK_AT_ONCE"])

    def open(self) -> None:
        settings = EngineSettings(urls=(os.environ["ASK_URL"],), concurrency=self.records_at_once)
        self._model = Model(settings, self.name)

    async def start(self) -> None:
        await self._model.open()

    async def stop(self) -> None:
        await self._model.close()

    async def answer(self, record: Segment) -> Outcome:
        said = await self._model.ask(Prompt((Message("user", record.text),)), record.index, 0)
        return [MatchedSegment(segment=record, bank=said.model, encoder="none")]


KINDS = {
    "ask": Ask,
    "expand": Expand,
    "pass": Pass,
    "match": Match,
    "instantiate": Instantiate,
    "judge": Judge,
    "pairs": Pairs,
    "best": Best,
}


def lose_the_group(path: Path) -> None:
    """Let aiokafka's coordination die, as it does of a broker's empty answers, once a file is there."""
    from aiokafka.consumer.group_coordinator import GroupCoordinator

    known = GroupCoordinator.ensure_coordinator_known

    async def fails(self: Any) -> Any:
        assert not path.exists(), "Did we not perform bootstrap?"  # noqa: ASYNC240
        return await known(self)

    GroupCoordinator.ensure_coordinator_known = fails


def lose_fetches(n: int) -> None:
    """Let aiokafka's fetcher fail with a KeyError in place of its first `n` results, as it does at times."""
    from aiokafka.consumer.fetcher import Fetcher

    fetched, lost = Fetcher.fetched_records, 0

    async def fails(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal lost
        records = await fetched(self, *arguments, **more)
        if records and lost < n:
            lost += 1
            raise KeyError(next(iter(records)))
        return records

    Fetcher.fetched_records = fails


if __name__ == "__main__":
    from workers.__main__ import work

    if "LOSE_GROUP" in os.environ:
        lose_the_group(Path(os.environ["LOSE_GROUP"]))
    if "LOSE_FETCHES" in os.environ:
        lose_fetches(int(os.environ["LOSE_FETCHES"]))
    if "READ_BACK_OFFSETS" in os.environ:
        duplicates.READ_BACK_OFFSETS = int(os.environ["READ_BACK_OFFSETS"])
    work(KINDS[sys.argv[1]], load(), sys.argv[2] if len(sys.argv) > 2 else None)
