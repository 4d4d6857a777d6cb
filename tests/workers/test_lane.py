"""The rules of a lane, without Kafka: what it accepts, filters, stops at, and takes up after a crash."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import LaneGap, LaneRecreated
from streams.positions import (
    HEADER,
    NO_ORIGIN,
    START,
    Kind,
    LaneHeader,
    Origin,
    Position,
    RawHeader,
)
from workers.lane import DeadTail, Input, Lane, Tail
from workers.stage import Drop
from workers.work import Failure, Outputs

EPOCH = 7


def lane(root=False, **more):
    return Lane(partition=3, epoch=EPOCH, root=root, **{
        "expected": START, "next_offset": 0, "tail": None, "dead": None, **more
    })  # fmt: skip


def raw(offset, origin, previous, epoch=EPOCH, kind=Kind.DOCUMENT, value=b"v"):
    header = RawHeader(kind, epoch, Origin(*previous), 11)
    return Input(offset, Origin(*origin).pack(), value, [("other", b""), (HEADER, header.pack())])


def record(offset, position, segments=1, kind=Kind.SEGMENT, epoch=EPOCH, origin=(1, 1)):
    header = LaneHeader(kind, epoch, segments, Origin(*origin), Origin(*origin), 0, 11, 0, 0)
    return Input(offset, Position(*position).pack(), b"v", [(HEADER, header.pack())])


def accept(it, *records):
    return [slot for r in records if (slot := it.accept(r, 0.0)) is not None]


documents = st.lists(st.integers(1, 4), min_size=1, max_size=12)
"""Segments of each document."""


def positions(counts):
    return [(Position(n, i), count) for n, count in enumerate(counts) for i in range(count)]


@given(documents, st.data())
def test_any_mixture_of_late_writes_passes_each_position_once(counts, data):
    """What writers and zombies leave: when a position is in the log, everything before it is."""
    whole = positions(counts)
    log, written = [], 0
    for _ in range(data.draw(st.integers(1, 5))):
        begin = data.draw(st.integers(0, written))
        end = data.draw(st.integers(begin, len(whole)))
        log += whole[begin:end]
        written = max(written, end)
    it = lane()
    slots = accept(it, *(record(n, p, count) for n, (p, count) in enumerate(log)))
    assert [slot.position for slot in slots] == [p for p, _ in whole[:written]]
    assert it.duplicates == len(log) - written
    assert it.next_offset == len(log)
    assert it.expected == (whole[written][0] if written < len(whole) else Position(len(counts), 0))
    # Once a slot is sent, everything up to it may be committed, the duplicates behind it too.
    assert [slot.up_to for slot in slots] == sorted(slot.up_to for slot in slots)
    if slots:
        assert slots[0].offset == 0


@given(documents, st.data())
def test_a_missing_position_stops_the_lane(counts, data):
    whole = positions([*counts, 1])
    missing = data.draw(st.integers(0, len(whole) - 2))
    log = [record(n, p, count) for n, (p, count) in enumerate(whole) if n != missing]
    it = lane()
    accept(it, *log[:missing])
    with pytest.raises(LaneGap, match=r"lane 3.*accept_loss=\[3\]"):
        it.accept(log[missing], 0.0)
    it = lane(accept_loss=True)
    assert len(accept(it, *log)) == len(log)
    assert len(it.crossed) == 1


def test_committed_goes_over_duplicates_only():
    it = lane(expected=Position(5, 0))
    assert it.accept(record(0, (3, 0)), 0.0) is None
    assert it.committed == 1  # nothing is in flight before it
    slot = it.accept(record(1, (5, 0)), 0.0)
    it.slots.append(slot)
    assert it.accept(record(2, (4, 0)), 0.0) is None
    assert (it.committed, slot.up_to) == (1, 2)


@pytest.mark.parametrize("root", [False, True])
def test_another_epoch_stops_the_lane(root):
    it = lane(root)
    with pytest.raises(LaneRecreated, match="epoch 8"):
        it.accept(raw(0, (1, 0), NO_ORIGIN, epoch=8) if root else record(0, (0, 0), epoch=8), 0.0)


def test_markers_pass_and_others_wait():
    it = lane()
    slots = accept(
        it,
        record(0, (0, 0), 2),
        record(1, (0, 1), 2),
        record(2, (1, 0), kind=Kind.DROPPED),
        record(3, (2, 0), kind=Kind.DEAD),
        record(4, (3, 0)),
    )
    assert [slot.done for slot in slots] == [False, False, True, True, False]
    assert [slot.passed for slot in slots] == [False, False, True, True, False]
    assert [slot.segments for slot in slots] == [2, 2, 1, 1, 1]
    assert slots[4].ingested_at_ms == 11


@pytest.mark.parametrize("bad", [
    Input(1, None, b"v", []),
    Input(1, b"short", b"v", [(HEADER, b"")]),
    Input(1, Position(1, 0).pack(), b"v", [(HEADER, b"short")]),
    Input(1, Position(1, 0).pack(), b"v", [("x", b"")]),
])  # fmt: skip
def test_a_record_of_somebody_else_has_no_place_in_a_lane(bad):
    it = lane()
    slots = accept(it, record(0, (0, 0)), bad, record(2, (1, 0)))
    assert [slot.position for slot in slots] == [(0, 0), None, (1, 0)]
    assert isinstance(slots[1].result, Failure)
    assert slots[1].result.error == "RecordError"
    # After a restart its dead letter is the last one: it is not buried again.
    it = lane(dead=DeadTail(None, 1, "RecordError", ""), next_offset=1, expected=Position(1, 0))
    assert [slot.position for slot in accept(it, bad, record(2, (1, 0)))] == [(1, 0)]


origin_steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=12)


@given(origin_steps, st.data())
def test_any_mixture_of_ingesters_accepts_each_origin_once(steps, data):
    """A restarted ingester begins behind the tail that it read; a zombie repeats what it had begun."""
    origins, source, number = [], 1, 0
    for new_source, step in steps:
        source, number = (source + new_source, step) if new_source else (source, number + step)
        origins.append(Origin(source, number))
    chain = list(zip(origins, [NO_ORIGIN, *origins], strict=False))
    log, written = [], 0
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, written))
        end = data.draw(st.integers(begin, len(chain)))
        log += chain[begin:end]
        written = max(written, end)
    it = lane(root=True)
    slots = accept(it, *(raw(n, origin, previous) for n, (origin, previous) in enumerate(log)))
    assert [slot.position for slot in slots] == [(n, 0) for n in range(len(log))]  # each offset has its place
    accepted = [slot.origin for slot in slots if slot.result is None]
    assert accepted == origins[:written]
    assert all(slot.result in (None, Drop("repeated")) for slot in slots)
    assert [slot.origin_high for slot in slots] == list(itertools.accumulate((o for o, _ in log), max))


def test_a_hole_before_raw_stops_the_lane():
    it = lane(root=True)
    accept(it, raw(0, (1, 0), NO_ORIGIN))
    with pytest.raises(LaneGap, match="missing before raw"):
        it.accept(raw(1, (1, 9), (1, 5)), 0.0)
    it = lane(root=True, accept_loss=True)
    slots = accept(it, raw(0, (1, 0), NO_ORIGIN), raw(1, (1, 9), (1, 5)), raw(2, (1, 11), (1, 9)))
    assert [slot.done for slot in slots] == [False, False, False]
    assert len(it.crossed) == 1


def test_late_writes_of_a_source_that_was_given_up_are_no_hole():
    """The new ingester read the tail (1, 0), found source 1 gone, began source 2; then the zombie woke."""
    it = lane(root=True)
    log = [((1, 0), NO_ORIGIN), ((1, 5), (1, 0)), ((2, 0), (1, 0)), ((1, 7), (1, 5)), ((2, 3), (2, 0))]
    slots = accept(it, *(raw(n, origin, previous) for n, (origin, previous) in enumerate(log)))
    assert [slot.result for slot in slots] == [None, None, None, Drop("repeated"), None]


def test_what_is_nobodys_in_raw_takes_its_offset_and_no_origin():
    it = lane(root=True)
    slots = accept(it, raw(0, (1, 0), NO_ORIGIN), Input(1, b"x", b"alien", []), raw(2, (1, 1), (1, 0)))
    assert [slot.position for slot in slots] == [(0, 0), (1, 0), (2, 0)]
    assert slots[1].result == Failure("RecordError", "record key b'x' is not an origin (16 bytes)")
    assert slots[1].origin_high == (1, 0)
    assert slots[2].result is None


def tail(position, segments, origin, offset):
    header = LaneHeader(Kind.SEGMENT, EPOCH, segments, Origin(*origin), Origin(*origin), offset, 11, 5, 0)
    return Tail(Position(*position), header)


def test_a_document_that_a_crash_cut_is_taken_up_again():
    it = lane(
        root=True,
        tail=tail((4, 1), 3, (1, 4), 4),
        expected=Position(4, 2),
        next_offset=4,
        origin_high=Origin(1, 4),
    )
    (slot,) = accept(it, raw(4, (1, 4), (1, 3)))
    assert slot.result is None  # not `repeated`, though its origin was accepted before
    assert it.resumes(slot) == it.tail
    (after,) = accept(it, raw(5, (1, 5), (1, 4)))
    assert it.resumes(after) is None
    assert after.origin_high == (1, 5)


def test_a_document_that_was_whole_is_not_taken_up_again():
    it = lane(
        root=True,
        tail=tail((4, 2), 3, (1, 4), 4),
        expected=Position(5, 0),
        next_offset=5,
        origin_high=Origin(1, 4),
    )
    (slot,) = accept(it, raw(5, (1, 4), (1, 3)))  # a zombie's
    assert it.resumes(slot) is None
    assert slot.result == Drop("repeated")


@pytest.mark.parametrize("root", [False, True])
def test_a_durable_dead_letter_is_recalled(root):
    it = lane(root, dead=DeadTail(Position(1, 0), 1, "ValueError", "why"))
    if root:
        slots = accept(it, raw(0, (1, 0), NO_ORIGIN), raw(1, (1, 1), (1, 0)), raw(2, (1, 2), (1, 1)))
    else:
        slots = accept(it, record(0, (0, 0)), record(1, (1, 0)), record(2, (2, 0)))
    assert [slot.result for slot in slots] == [None, Failure("ValueError", "why", durable=True), None]
    # A marker of an earlier stage is no dead letter of ours.
    it = lane(dead=DeadTail(Position(0, 0), 0, "ValueError", "why"))
    (slot,) = accept(it, record(0, (0, 0), kind=Kind.DEAD))
    assert slot.result is None


def test_a_slot_is_done_by_any_result():
    it = lane()
    (slot,) = accept(it, record(0, (0, 0)))
    for result in (Outputs([b""]), Drop("why"), Failure("E", "")):
        slot.result = result
        assert slot.done
