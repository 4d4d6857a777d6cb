"""Reading `judged`: what is let through, what is dropped, and what stops the run."""

from collections import Counter

import pytest
from kit.judged import fill, judged

from streams import clients, generations
from streams.errors import LaneGap, LaneRecreated, LaneTrimmed
from streams.pipeline import topic
from streams.positions import Position
from streams.records import Dropped
from trainer.source import LANE_RECORDS, JudgedSource
from trainer.state import Cursor

MARKER = Dropped(stage="match", reason="no_match")


class Reader:
    """A source over all lanes, read until nothing more comes."""

    def __init__(self, settings, cursors=None):
        self.duplicates = Counter()
        generation = generations.load(settings)
        cursors = cursors or {lane: Cursor() for lane in range(generation.lanes)}
        self.source = JudgedSource(settings, generation, cursors, lambda: self.duplicates.update("d"))

    def all(self, until, n):
        """Poll until `n` records have passed; return them per lane."""
        got = {lane: [] for lane in self.source.waiting}

        def poll():
            self.source.poll(0.2)
            for lane, records in got.items():
                records.extend(self.source.take(lane))
            return sum(map(len, got.values())) >= n

        until(poll, what=f"{n} records passed")
        self.source.close()
        return got


def test_markers_pass_repeats_are_dropped_and_the_end_is_seen(stream, until):
    settings, writer = stream(lanes=3)
    writer.document(0, [judged(1, index=0, count=2), judged(1, index=1, count=2)])
    writer.document(0, [MARKER])
    writer.put(0, Position(0, 1), judged(9), 2)  # a zombie's late writes
    writer.put(0, Position(1, 0), judged(9), 1)
    writer.document(0, [judged(2)])
    writer.document(2, [MARKER])
    writer.flush()
    reader = Reader(settings)
    assert not reader.source.drained()
    got = reader.all(until, 5)
    assert [(r.position, r.value is None) for r in got[0]] == [
        (Position(0, 0), False),
        (Position(0, 1), False),
        (Position(1, 0), True),
        (Position(2, 0), False),
    ]
    assert got[1] == []
    assert [r.position for r in got[2]] == [Position(0, 0)]
    assert reader.duplicates == {"d": 2}


def test_drained_means_the_end_of_raw_in_every_lane(stream, until):
    settings, writer = stream(lanes=2)
    source = Reader(settings).source
    assert source.drained(), "empty lanes are drained"
    writer.raw(1)
    writer.flush()
    assert not source.drained(), "raw has a document that judged lacks"
    writer.put(1, Position(0, 0), judged(1, count=2), 2)
    writer.flush()
    until(lambda: source.poll(0.2))
    assert not source.drained(), "a record waits to be taken"
    source.take(1)
    assert not source.drained(), "the document has a second segment"
    writer.put(1, Position(0, 1), MARKER, 2)
    writer.flush()
    until(lambda: source.poll(0.2))
    source.take(1)
    assert source.drained()
    source.close()


def test_a_missing_position_stops_the_run(stream, until):
    settings, writer = stream(lanes=2)
    writer.document(1, [judged(1)])
    writer.put(1, Position(2, 0), judged(3))
    writer.flush()
    reader = Reader(settings)
    with pytest.raises(LaneGap, match=r"lane 1 .* position \(2, 0\) where \(1, 0\) must follow"):
        reader.all(until, 2)
    reader.source.close()


def test_a_lane_that_does_not_begin_at_its_first_position_stops_the_run(stream, until):
    settings, writer = stream(lanes=1)
    writer.put(0, Position(1, 0), judged(1))
    writer.flush()
    with pytest.raises(LaneGap, match=r"\(0, 0\) must follow"):
        Reader(settings).all(until, 1)


def test_another_epoch_stops_the_run(stream, until):
    settings, writer = stream(lanes=1)
    writer.put(0, Position(0, 0), judged(1), epoch=12345)
    writer.flush()
    with pytest.raises(LaneRecreated, match="epoch 12345"):
        Reader(settings).all(until, 1)


def test_a_record_of_somebody_else_is_passed_over(stream, until):
    settings, writer = stream(lanes=1)
    writer.producer.send(topic("judged"), key=b"foreign", value=b"?", partition=0)
    writer.document(0, [judged(1)])
    writer.flush()
    got = Reader(settings).all(until, 1)
    assert [r.position for r in got[0]] == [Position(0, 0)]


def test_reading_on_from_a_cursor(stream, until):
    settings, writer = stream(lanes=2)
    fill(writer, 40, [0])
    whole = Reader(settings).all(until, 40)[0]
    at = whole[len(whole) // 2]
    cursors = {0: Cursor(at.offset + 1, at.position, at.segments), 1: Cursor()}
    rest = Reader(settings, cursors).all(until, len(whole) - len(whole) // 2 - 1)[0]
    assert rest == whole[len(whole) // 2 + 1 :]


def test_records_that_were_deleted_or_lost(stream):
    from kafka import TopicPartition

    settings, writer = stream(lanes=1)
    fill(writer, 20, [0])
    with pytest.raises(LaneRecreated, match="ends at offset"):
        Reader(settings, {0: Cursor(10_000, Position(9_999, 0), 1)})
    admin = clients.admin(settings)
    admin.delete_records({TopicPartition(topic("judged"), 0): 5})
    admin.close()
    with pytest.raises(LaneTrimmed, match="begins at offset 5, but this run still needs 0"):
        Reader(settings)


def test_a_lane_far_ahead_is_paused_and_the_others_go_on(stream, until):
    settings, writer = stream(lanes=2)
    for _ in range(3 * LANE_RECORDS):
        writer.document(0, [MARKER])
    writer.flush()
    source = Reader(settings).source
    until(lambda: source.poll(0.2) == 0 and source.waiting[0], what="lane 0 is paused")
    held = len(source.waiting[0])
    assert held < 3 * LANE_RECORDS
    writer.document(1, [judged(1)])
    writer.flush()
    until(lambda: source.poll(0.2) and source.waiting[1], what="lane 1 is read beside it")
    assert len(source.waiting[0]) == held
    taken = len(source.take(0))

    def rest():
        nonlocal taken
        source.poll(0.2)
        taken += len(source.take(0))
        return taken == 3 * LANE_RECORDS

    until(rest, what="lane 0 is read to its end")
    source.close()
