"""One call of a stage on bytes: decode, process, encode; in a worker's thread or in its child process."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from streams.errors import RecordError
from streams.positions import Kind
from streams.records import MAX_RECORD_BYTES, RawDocument, RawStub, Record, decode, encode
from workers.duplicates import NOBODY, Identity
from workers.stage import AsyncStage, Drop, Mark, Outcome, Stage

MAX_DETAIL_CHARACTERS = 2000


class Outputs(NamedTuple):
    """What an input became: the encoded records, and what the document is compared by for deduplication."""

    values: list[bytes]
    identity: Identity = NOBODY
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input could not be processed; it becomes a dead letter. `durable`: that is written already."""

    error: str
    detail: str
    durable: bool = False


Result: TypeAlias = Outputs | Drop | Failure


def failure(error: BaseException) -> Failure:
    """Name an exception in a bounded, printable way."""
    text = str(error) or "".join(traceback.format_exception_only(error)).strip()
    return Failure(type(error).__name__, _printable(text))


def _printable(text: str) -> str:
    """Bound a text and make it encodable: it may quote a crawl, and half a surrogate pair can't be sent."""
    return text[:MAX_DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def run(stage: Stage[Any, Any], inputs: Sequence[tuple[Kind, bytes]]) -> list[Result]:
    """Return one result for each input. Raises what `process` raises: that fails the batch as a whole."""
    results: list[Result | None] = [None] * len(inputs)
    records: list[Record] = []
    places: list[int] = []
    for i, (kind, value) in enumerate(inputs):
        try:
            records.append(decode(value, _record_type(stage, kind)))
            places.append(i)
        except RecordError as error:
            results[i] = failure(error)
    outcomes = stage.process(records) if records else []
    if len(outcomes) != len(records):
        raise AssertionError(f"{stage.name} returned {len(outcomes)} outcomes for {len(records)} records")
    for i, outcome in zip(places, outcomes, strict=True):
        results[i] = _result(stage, outcome)
    return [result for result in results if result is not None]


async def answer(stage: AsyncStage[Any, Any], kind: Kind, value: bytes) -> Result:
    """Return one input's result. Raises what the stage's `answer` raises."""
    try:
        record = decode(value, _record_type(stage, kind))
    except RecordError as error:
        return failure(error)
    return _result(stage, await stage.answer(record))


def _record_type(stage: Stage[Any, Any], kind: Kind) -> type[Record]:
    if not isinstance(stage.reads, tuple):
        return stage.reads
    return RawStub if kind is Kind.STUB else RawDocument


def _result(stage: Stage[Any, Any], outcome: Outcome) -> Result:
    if isinstance(outcome, Drop):
        return Drop(outcome.reason, _printable(outcome.detail))
    if isinstance(outcome, Exception):
        return failure(outcome)
    if not outcome:
        return Failure("EmptyOutcome", f"{stage.name} returned no output; a lane must have no holes")
    values = [encode(record) for record in outcome]
    largest = max(map(len, values))
    if largest > MAX_RECORD_BYTES:
        return Failure("RecordTooLarge", f"an output has {largest} bytes; a message holds {MAX_RECORD_BYTES}")
    identity = stage.identity(outcome) if stage.duplicates is not None else NOBODY
    return Outputs(values, identity, tuple(stage.marks(outcome)))
