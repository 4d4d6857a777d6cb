"""A run's ledger as tools outside the trainer read it: which pairs, from where, in which step.

The trainer owns the schema (`trainer/entries.py`, final and only ever added to); this reader knows the few
fields that it needs and passes over the rest, so that neither the command line nor the page imports the
trainer and its torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from streams import pipeline
from streams.errors import RecordError
from streams.lane_log import LogReader
from streams.positions import Position

_SCAN_ENTRIES: Final = 512
"""Offsets read at a time when looking backwards from the end."""
_MOST_SCANNED: Final = 64 * _SCAN_ENTRIES


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """A block of a lane that was closed: all records from `first` to `last`. Blocks tile a lane from 0 on."""

    lane: int
    block: int
    first: Position
    last: Position


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Where a pair lies in a batch; `cut` tokens of it lay in batches before."""

    lane: int
    position: Position
    template_id: str
    cut: int
    begin: int


class Step(msgspec.Struct, frozen=True):
    """As much of a step's entry as is needed; entries of other kinds decode to it as well."""

    entry: str = ""
    step: int = 0
    closed: tuple[Closed, ...] = ()
    pairs: tuple[Span, ...] = ()
    tokens: int = 0

    def begun(self) -> Iterator[Span]:
        """Yield the pairs that begin here; the others go on from the batch before.

        The run's very first token is no target, so the very first pair begins with `cut` 1.
        """
        return (span for span in self.pairs if span.cut == 0 or (self.step == 1 and span.begin == 0))


class Reached(NamedTuple):
    """How far a run is: its newest step, and per lane the last position in a closed block."""

    step: int
    positions: dict[int, Position]


_DECODER: Final = msgspec.msgpack.Decoder(Step)


def exists(reader: LogReader, run: str) -> bool:
    """Whether a run has written a ledger."""
    return pipeline.ledger_topic(run) in reader.topics()


def steps(reader: LogReader, run: str) -> Iterator[Step]:
    """Yield the committed steps of a run, in order; raise `RecordError` where an entry cannot be read."""
    topic = pipeline.ledger_topic(run)
    for record in reader.read(topic, 0, *reader.bounds(topic, 0)):
        step = _decode(record)
        if step.entry == "step":
            yield step


def reached(reader: LogReader, run: str, lanes: int) -> Reached:
    """Return how far a run is, reading its ledger from the end only as far back as it takes.

    A lane that gave nothing for very long is left out.
    """
    topic = pipeline.ledger_topic(run)
    begin, end = reader.bounds(topic, 0)
    oldest = max(begin, end - _MOST_SCANNED)
    newest, positions = 0, dict[int, Position]()
    while end > oldest and len(positions) < lanes:
        start = max(oldest, end - _SCAN_ENTRIES)
        for record in reversed(list(reader.read(topic, 0, start, end))):
            step = _decode(record)
            newest = max(newest, step.step)
            for closed in reversed(step.closed):
                positions.setdefault(closed.lane, closed.last)
        end = start
    return Reached(newest, positions)


def _decode(record: Any) -> Step:
    try:
        return _DECODER.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{record.topic}, offset {record.offset}, is no entry of a ledger: {error}"
        ) from error
