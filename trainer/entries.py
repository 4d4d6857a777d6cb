"""What a ledger holds: the final schema of its entries, as records on the wire.

A run's ledger is one partition: a START for each process that took the run over, a STEP before each
optimizer step, a CHECKPOINT once a directory is durable. From the STEP entries alone a run can be repeated
bit by bit, traced (which documents were in a step) and compared. Fields are only ever added at the end and
with a default, so an old ledger stays readable. The small structs that repeat are arrays on the wire: a
step of a million tokens holds some 3,500 pairs.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from streams.errors import RecordError
from streams.positions import Position

SOURCE_JUDGED: Final = 0
"""Draws from `judged`. Mixtures number their other sources from 1."""


class Closed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A shuffle block that was closed: all records of a lane from `first` to `last`, both inclusive.

    Blocks tile a lane, numbered from 0: each begins at the successor of the one before.
    """

    lane: int
    block: int
    first: Position
    last: Position
    source: int = SOURCE_JUDGED


class Draw(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Texts `begin` to `end` (exclusive) of a block in its shuffled order, drawn one after the other."""

    lane: int
    block: int
    begin: int
    end: int
    source: int = SOURCE_JUDGED


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a pair lies in a batch.

    `begin` to `end` (exclusive) count the batch's targets in row order; `cut` is the pair's own token that
    stands at `begin`: 0 where the pair begins there, more where the batch before ended inside it. The run's
    very first token has nothing before it and is no target, so its pair begins with `cut` 1.
    """

    lane: int
    position: Position
    template_id: str
    cut: int
    begin: int
    end: int
    source: int = SOURCE_JUDGED


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="entry"):
    run: str
    attempt: int  # which process of the run, counted from 1; each writes a START before anything else
    step: int


class Start(_Entry, frozen=True, tag="start"):
    """A process took the run over. `step` is the one it resumes behind (0: from the beginning)."""

    generation: str
    epoch: int
    lanes: int
    settings_hash: str  # everything that shapes the weights
    data_hash: str  # the part of it that shapes the batches: equal hashes can obey each other's ledgers
    settings: dict[str, Any]  # the trainer's section, whole
    threads: int  # of torch; bitwise equality needs the same number
    versions: dict[str, str]
    parent: str = ""  # RUN@step of the run that this one branched off
    obeys: str = ""  # the ledger this run follows
    exclusions: list[str] = []  # what a rewound run leaves out at draw
    mixture: list[str] = []  # named sources and weights; empty: `judged` alone


class Step(_Entry, frozen=True, tag="step"):
    """What step `step` trains on; committed before it is taken. Steps count from 1 without a gap."""

    settings_hash: str
    generation: str
    epoch: int
    closed: list[Closed]
    draws: list[Draw]
    pairs: list[Span]
    targets: int  # trained in this step; 0 only where a final entry has nothing left to train
    batch_hash: bytes  # over the tokens and which of them are targets
    tokens: int  # targets up to and with this step
    pairs_total: int  # pairs drawn up to and with this step
    books: dict[str, int] = {}  # next offset of each book obeyed
    final: bool = False  # the input had ended: padded and masked


class Checkpoint(_Entry, frozen=True, tag="checkpoint"):
    """A directory of the run is durable: the state behind `step`."""

    directory: str  # below the run's checkpoints
    next_offset: int  # the first ledger offset that may hold a step beyond
    bytes: int


Entry: TypeAlias = Start | Step | Checkpoint

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Return an entry's bytes on the wire."""
    return _ENCODER.encode(entry)


def decode(value: bytes | None) -> Entry:
    """Read an entry; raise `RecordError` where the bytes are none."""
    try:
        return _DECODER.decode(value or b"")  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not an entry of a ledger: {error}") from error


def key(entry: Entry) -> bytes:
    """Return the record key: the step, big-endian."""
    return entry.step.to_bytes(8, "big")
