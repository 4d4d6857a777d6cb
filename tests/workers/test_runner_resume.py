"""Crashes as the log shows them: what was durable when a worker died is written by hand, then one starts.

So a crash after every single record costs one lane instead of one process.
"""

from __future__ import annotations

import time

from kit.flow import (
    RawWriter,
    check_gapless,
    filtered,
    raw_ends,
    read_lanes,
    read_raw_log,
    wait_drained,
    write_lane,
)
from kit.stages import Expand

from streams import clients
from streams.positions import HEADER, NO_ORIGIN, Kind, LaneHeader, Position
from streams.records import Dropped, RawDocument, Segment, decode, encode
from workers.sender import RESUMED_DIFFERENTLY, chain


def document(number, text):
    return RawDocument(id=f"d{number}", url="", source="t", content_type="text/plain", payload=text.encode())


def outputs(settings, number, text):
    """What the stage makes of a document, encoded."""
    return [encode(segment) for segment in Expand(settings).one(document(number, text))]


def prefix_of(values):
    prefix = 0
    for value in values:
        prefix = chain(prefix, value)
    return prefix


class Image:
    """The lanes of `raw` with two documents each, and whatever a dead worker had made of them."""

    def __init__(self, settings, generation):
        self.settings, self.generation = settings, generation
        self.raw = RawWriter(settings, generation)

    def write(self, lane, *texts):
        return [self.raw.write_bytes(lane, encode(document(i, text))) for i, text in enumerate(texts)]

    def header(self, kind, segments, origin, offset, prefix=0):
        now = int(time.time() * 1000)
        return LaneHeader(kind, self.generation.epoch, segments, origin, origin, offset, now, prefix, 0)

    def wrote(self, lane, origin, values, n, segments=None, spoil=0):
        """The first `n` outputs of the lane's first document are durable."""
        records, prefix = [], 0
        for i, value in enumerate(values[:n]):
            prefix = chain(prefix, value)
            header = self.header(Kind.SEGMENT, segments or len(values), origin, 0, prefix ^ spoil)
            records.append((Position(0, i), header, value))
        write_lane(self.settings, "chunked", lane, records)


def test_a_crash_after_each_segment_and_between_dead_letter_and_marker(pipeline, workers):
    settings, generation = pipeline(15, runner={"tries": 1})
    image = Image(settings, generation)
    cut_documents(image)
    cut_burials(image)
    image.raw.flush()
    worker = workers.start(settings, "expand")
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    lanes, dead = read_lanes(settings, "chunked"), read_raw_log(settings, "dead.chunk")
    check_documents(settings, lanes)
    check_burials(lanes)
    assert [len(dead[lane]) for lane in range(15)] == [0] * 12 + [1] * 3
    assert worker.metrics()[f"finestream_records_dropped_total {RESUMED_DIFFERENTLY}"] == 3 + 3 + 1 + 2


def cut_documents(image):
    """Lanes 0 to 11: what a crash within a document of five segments leaves."""
    settings = image.settings
    five = outputs(settings, 0, "seg:5:doc")
    for lane in range(6):  # as many segments as its number were durable
        (origin, _) = image.write(lane, "seg:5:doc", "after")
        image.wrote(lane, origin, five, lane)
    (origin, _) = image.write(6, "seg:5:doc", "after")
    image.wrote(6, origin, five, 2, spoil=1)  # the rerun gives other segments
    (origin, _) = image.write(7, "seg:3:doc", "after")
    image.wrote(7, origin, five, 2)  # another number of them
    (origin, _) = image.write(8, "raise", "after")
    image.wrote(8, origin, five, 4)  # none at all
    (origin, _) = image.write(9, "seg:5:doc", "after")
    image.wrote(9, origin, five, 2, spoil=1)
    marker = encode(Dropped(stage="chunk", reason=RESUMED_DIFFERENTLY))
    write_lane(settings, "chunked", 9, [(Position(0, 2), image.header(Kind.DROPPED, 5, origin, 0), marker)])
    (origin, _) = image.write(10, "seg:5:doc", "after")
    image.wrote(10, origin, five, 3)
    write_lane(settings, "chunked", 10, [(None, None, b"somebody else's"), (Position(9, 9), None, b"too")])
    (origin, second) = image.write(11, "seg:5:doc", "seg:5:doc")
    image.wrote(11, origin, five, 5)
    again = [(Position(1, 0), image.header(Kind.SEGMENT, 5, second, 1, chain(0, five[0])), five[0])]
    write_lane(settings, "chunked", 11, again)
    image.wrote(11, origin, five, 2)  # a zombie's late writes are the last in the log


def check_documents(settings, lanes):
    five = outputs(settings, 0, "seg:5:doc")
    for lane in range(6):
        check_gapless(lanes[lane])  # exactly the rest was written
        assert [record.value for record in lanes[lane]][:5] == five
        assert [record.header.segments for record in lanes[lane]] == [5] * 5 + [1]
        for i, record in enumerate(lanes[lane][:5]):
            assert record.header.prefix == prefix_of(five[: i + 1])
            assert record.header.input_offset == 0
    for lane, kept in ((6, 2), (7, 2), (8, 4), (9, 2)):
        check_gapless(lanes[lane])
        assert len(lanes[lane]) == 6
        assert [record.value for record in lanes[lane][:kept]] == five[:kept]
        for record in lanes[lane][kept:5]:
            assert (record.header.kind, record.header.segments) == (Kind.DROPPED, 5)
            assert decode(record.value, Dropped).reason == RESUMED_DIFFERENTLY
        assert decode(lanes[lane][5].value, Segment).text == "after#0"
    check_gapless(lanes[10])
    assert [record.value for record in lanes[10]][:5] == five
    check_gapless(filtered(lanes[11]))
    assert [record.value for record in filtered(lanes[11])][:5] == five
    assert len(filtered(lanes[11])) == 10


def cut_burials(image):
    """Lanes 12 to 14: a dead letter is durable; its marker is not, or is."""
    settings = image.settings
    # The document would pass now; what counts is that its dead letter is durable.
    (_, second, _) = image.write(12, "before", "killer", "after")
    bury(settings, 12, Position(1, 0), image.header(Kind.DEAD, 1, second, 1), "killed_worker")
    # Bytes of somebody else in raw have a place, too.
    image.write(13, "before")
    image.raw.producer.send("raw", b"alien", key=b"short", partition=13).get(10)
    image.write(13, "after")
    bury(settings, 13, Position(1, 0), image.header(Kind.DEAD, 1, NO_ORIGIN, 1), "RecordError")
    # One below the tail was done with its marker: it says nothing about what comes now.
    (first, _) = image.write(14, "before", "after")
    bury(settings, 14, Position(0, 0), image.header(Kind.DEAD, 1, first, 0), "ValueError")
    marker = encode(Dropped(stage="chunk", reason="ValueError"))
    write_lane(settings, "chunked", 14, [(Position(0, 0), image.header(Kind.DEAD, 1, first, 0), marker)])


def check_burials(lanes):
    for lane, reason in ((12, "killed_worker"), (13, "RecordError")):
        check_gapless(lanes[lane])
        assert [record.header.kind for record in lanes[lane]] == [Kind.SEGMENT, Kind.DEAD, Kind.SEGMENT]
        assert decode(lanes[lane][1].value, Dropped).reason == reason
    assert [record.header.kind for record in lanes[14]] == [Kind.DEAD, Kind.SEGMENT]


def bury(settings, lane, position, header, error):
    producer = clients.sync_producer(settings)
    headers = [(HEADER, header.pack()), ("error", error.encode()), ("detail", b"as it was")]
    producer.send("dead.chunk", b"bytes", key=position.pack(), partition=lane, headers=headers)
    producer.flush()
    producer.close()


TEXTS = ("A", "B", "A", "drop", "seg:2:C", "C", "raise", "B", "A", "seg:3:D", "D")


def test_duplicates_are_the_same_after_a_crash_at_any_record(pipeline, workers):
    """A window of four raw offsets: what is a duplicate must not depend on when a worker died."""
    settings, generation = pipeline(16, runner={"tries": 1}, chunk={"duplicates": {"window": 4}})
    image = Image(settings, generation)
    image.write(0, *TEXTS)
    image.raw.flush()
    worker = workers.start(settings, "expand", "slot", DEDUP="1")
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    reference = read_lanes(settings, "chunked")[0]
    verdicts = [
        "D" if r.header.kind is Kind.DROPPED else "X" if r.header.kind is Kind.DEAD else "-"
        for r in reference
    ]
    # A at 2 repeats 0, C at 5 repeats 4, D at 10 repeats 9; B at 7 and A at 8 are 6 behind what they repeat.
    assert "".join(verdicts) == "--DD--DX-----D"
    assert worker.stop() == 0

    cuts = range(len(reference) + 1)
    for cut in cuts:
        lane = cut + 1
        origins = image.write(lane, *TEXTS)
        durable = [
            (r.position, r.header._replace(origin=(o := origins[r.position.offset]), origin_high=o), r.value)
            for r in reference[:cut]
        ]
        write_lane(settings, "chunked", lane, durable)
    image.raw.flush()
    worker = workers.start(settings, "expand", "slot", DEDUP="1")
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    lanes = read_lanes(settings, "chunked")
    for cut in cuts:
        assert [
            (r.position, r.header.kind, r.header.content, r.header.prefix, r.value) for r in lanes[cut + 1]
        ] == [(r.position, r.header.kind, r.header.content, r.header.prefix, r.value) for r in reference], cut
