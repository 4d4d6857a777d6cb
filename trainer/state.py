"""Where the data pipeline stands: small frozen values, from which every part of it can be rebuilt.

A step's state is taken right behind the step's last drawn text, so it belongs to exactly one step, however
far the pipeline has read ahead since. A lane's state is kept in the checkpoint as opaque bytes under the
lane's number: whoever saves or reshards a checkpoint need not know what is inside.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from streams.errors import RecordError
from streams.positions import START, Position

VERSION: Final = 1


class Cursor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Between two records of a lane of `judged`: what reading on from here needs."""

    next_offset: int = 0
    position: Position | None = None  # of the last record; None: before the first
    segments: int = 0  # that the last record's document has
    carry: int = 0  # budget left over, in tokens
    first: Position = START  # where this generation's lane begins

    @property
    def expected(self) -> Position:
        """Return the one position that may come next."""
        return self.first if self.position is None else self.position.successor(self.segments)


class LaneState(msgspec.Struct, frozen=True, array_like=True):
    """A lane behind a step.

    `cursor` stands before the first record of the oldest block not fully drawn (or further, where only
    records without texts lie between): records are read again from there. `first` is the position that the
    block began with; `last` its end where it is closed and partly drawn, `drawn` how many texts that were.
    """

    cursor: Cursor
    block: int = 0
    drawn: int = 0
    first: Position = START
    last: Position | None = None


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A text, or what is left of one, in the packer: `cut` of its tokens lie before `tokens`."""

    lane: int
    position: Position
    template_id: str
    cut: int
    tokens: bytes  # int32, little-endian


class Remainder(msgspec.Struct, frozen=True, array_like=True):
    """What the packer holds between two batches: the last token before, and texts not yet trained."""

    context: int = -1  # the token that the next target follows; -1: the run's first token is still to come
    pieces: list[Piece] = []


class HeldOut(msgspec.Struct, frozen=True, array_like=True):
    """A pair kept for evaluation. The smallest draws are kept, so the choice depends on no timing."""

    draw: bytes
    lane: int
    position: Position
    template_id: str
    tokens: bytes


class PipelineState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole data pipeline behind a step."""

    version: int = VERSION
    step: int = 0
    ledger_offset: int = 0  # the first ledger offset that may hold a step beyond
    tokens: int = 0  # targets so far
    pairs: int = 0  # pairs drawn so far
    lanes: dict[int, bytes] = {}  # each an encoded LaneState
    remainder: Remainder = Remainder()
    heldout: list[HeldOut] = []

    def cursors(self) -> dict[int, Cursor]:
        """Return, per lane, where reading begins."""
        return {lane: decode(data, LaneState).cursor for lane, data in self.lanes.items()}


S = TypeVar("S", bound=msgspec.Struct)


def encode(state: msgspec.Struct) -> bytes:
    """Return a state's bytes."""
    return msgspec.msgpack.encode(state)


def decode(data: bytes, kind: type[S]) -> S:
    """Read a state; raise `RecordError` where the bytes are none, or of a newer version."""
    try:
        state = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a {kind.__name__}: {error}") from error
    if isinstance(state, PipelineState) and state.version > VERSION:
        raise RecordError(f"state version {state.version} is newer than {VERSION}: update finestream")
    return state
