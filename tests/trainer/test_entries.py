"""The ledger's schema: what is written is read back, and later fields do not break older readers."""

import msgspec
import pytest

from streams.errors import RecordError
from streams.positions import Position
from trainer.entries import Checkpoint, Closed, Draw, Span, Start, Step, decode, encode, key

STEP = Step(
    run="main",
    attempt=2,
    step=7,
    settings_hash="ab",
    generation="1",
    epoch=2**62,
    closed=[Closed(3, 1, Position(4, 0), Position(6, 2))],
    draws=[Draw(3, 1, 0, 5)],
    pairs=[Span(3, Position(4, 1), "t1", 0, 0, 100)],
    targets=100,
    batch_hash=b"\x01" * 16,
    tokens=700,
    pairs_total=12,
    books={"generations": 3},
    final=True,
)
START = Start(
    run="main",
    attempt=1,
    step=0,
    generation="1",
    epoch=5,
    lanes=8,
    settings_hash="ab",
    data_hash="cd",
    settings={"seed": 0},
    threads=2,
    versions={"torch": "2"},
    parent="other@100",
)
CHECKPOINT = Checkpoint(
    run="main", attempt=2, step=7, directory="step-000000007-0002", next_offset=9, bytes=10
)


@pytest.mark.parametrize("entry", [START, STEP, CHECKPOINT])
def test_roundtrip(entry):
    again = decode(encode(entry))
    assert again == entry
    assert key(entry) == entry.step.to_bytes(8, "big")


def test_positions_come_back_as_positions():
    again = decode(encode(STEP))
    assert again.pairs[0].position.successor(2) == Position(5, 0)


def test_fields_of_a_later_version_are_passed_over():
    fields = msgspec.msgpack.decode(encode(STEP))
    fields["weights"] = {"judged": 1.0}
    fields["draws"] = [[3, 1, 0, 5, 0, "later"]]
    assert decode(msgspec.msgpack.encode(fields)) == STEP


@pytest.mark.parametrize("value", [None, b"", b"\xc1", b"\x80", encode(STEP)[:-3]])
def test_bytes_that_are_no_entry(value):
    with pytest.raises(RecordError, match="not an entry"):
        decode(value)
