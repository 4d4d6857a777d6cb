"""Lanes that are not whole: each stops with its named error, the others go on; or it was told to go on."""

from __future__ import annotations

import hashlib
import random
import time

import msgspec
from kit.flow import check_gapless, delete_before, read_lanes, read_raw_log, write_lane
from kit.processes import wait_for

from streams import books, clients
from streams.positions import Kind, LaneHeader, Origin, Position
from streams.records import (
    MAX_RECORD_BYTES,
    STUB_HEAD_BYTES,
    Dropped,
    MatchedSegment,
    Segment,
    decode,
    encode,
)


def segment(text):
    return encode(
        Segment(document_id="d", index=0, count=1, start=0, url="", title="", text=text, language="en",
                language_score=1.0, tokens=1, tokenizer="none", content_hash=b"")
    )  # fmt: skip


class Lanes:
    """Writes lanes by hand: one segment a document, `(raw offset, text)`; None is somebody else's record."""

    def __init__(self, settings, generation):
        self.settings, self.generation = settings, generation

    def record(self, position, value, input_offset, epoch=None):
        origin = Origin(1, position[0])
        epoch = self.generation.epoch if epoch is None else epoch
        now = int(time.time() * 1000)
        header = LaneHeader(Kind.SEGMENT, epoch, 1, origin, origin, input_offset, now, 0, 0)
        return Position(*position), header, value

    def chunked(self, lane, *offsets, epoch=None):
        records = [self.record((n, 0), segment(f"s{n}"), n, epoch) for n in offsets]
        write_lane(self.settings, "chunked", lane, records)

    def matched(self, lane, *offsets, epoch=None):
        value = encode(MatchedSegment(segment=decode(segment("x"), Segment), bank="test", encoder="none"))
        write_lane(self.settings, "matched", lane, [self.record((n, 0), value, n, epoch) for n in offsets])

    def wait_for(self, worker, lane, n):
        """Wait until `n` records lie in a lane of `matched`."""

        def there():
            return len(read_lanes(self.settings, "matched")[lane]) >= n

        wait_for(there, worker, what=f"lane {lane} has {n} records")


def offsets_of(records):
    return [record.position.offset for record in records]


def test_each_lane_stops_for_itself(pipeline, workers):
    settings, generation = pipeline(14, runner={"tries": 1, "accept_loss": [9, 10, 11, 12]})
    lanes = Lanes(settings, generation)
    lanes.chunked(0, 0, 1, 3, 4)  # a gap
    lanes.chunked(1, 0, epoch=generation.epoch)
    lanes.chunked(1, 1, epoch=1)  # from another pipeline
    lanes.chunked(2, 0)
    lanes.matched(2, 0, 1, 2, 3, 4)  # made from more input than there is
    lanes.chunked(3, 0, 1)
    lanes.matched(3, 0)
    delete_before(settings, "matched", 3, -1)  # nothing says how far it was
    lanes.chunked(4, 0, 1, 2, 3)
    lanes.matched(4, 0)
    delete_before(settings, "chunked", 4, 2)  # 1 is gone
    lanes.chunked(5, 0, 1)
    lanes.matched(5, 0, epoch=1)
    lanes.chunked(6, 0, 1, 2, 1, 2, 3, 0, 4)  # a zombie wrote, too
    lanes.chunked(7, 0)
    write_lane(settings, "chunked", 7, [
        (None, None, b"no key, no header"),
        (Position(1, 0), None, b"no header"),
        (None, lanes.record((1, 0), b"", 1)[1], b"no key"),
        lanes.record((1, 0), b"\xc1 no segment", 1),
    ])  # fmt: skip
    lanes.chunked(7, 2)
    write_lane(settings, "chunked", 7, [(None, None, b"the last one")])
    huge = b"\0" * (2 * MAX_RECORD_BYTES)  # fits in, compressed; no dead letter could hold it
    producer = clients.sync_producer(settings, max_request_size=3 * MAX_RECORD_BYTES)
    producer.send("chunked", huge, partition=8).get(30)
    producer.close()
    lanes.chunked(8, 0)
    # The same as 0, 3, 4 and 2, but the operator says to go on.
    lanes.chunked(9, 0, 1, 3, 4)
    lanes.chunked(10, 0, 1)
    lanes.matched(10, 0)
    delete_before(settings, "matched", 10, -1)
    lanes.chunked(11, 0, 1, 2, 3)
    lanes.matched(11, 0)
    delete_before(settings, "chunked", 11, 2)
    lanes.chunked(12, 0)
    lanes.matched(12, 0, 1, 2, 3, 4)
    lanes.chunked(13, 0)

    worker = workers.start(settings, "match", "slot")
    for lane, n in ((0, 2), (1, 1), (6, 5), (7, 3), (8, 1), (9, 4), (10, 2), (11, 3), (13, 1)):
        lanes.wait_for(worker, lane, n)
    wait_for(lambda: worker.metrics()["finestream_lanes_stopped"] == 7, worker, what="seven lanes stop")
    lanes.chunked(13, 1)
    lanes.wait_for(worker, 13, 2)  # the others go on
    lag = "finestream_consumer_lag_records finestream.1.match {} chunked"
    wait_for(lambda: worker.metrics().get(lag.format(13)) == 0, worker, what="nothing is left in lane 13")
    assert worker.metrics()[lag.format(0)] == 2  # stopped before two records

    found = read_lanes(settings, "matched")
    assert {lane: offsets_of(records) for lane, records in found.items()} == {
        0: [0, 1], 1: [0], 2: [0, 1, 2, 3, 4], 3: [], 4: [0], 5: [0], 6: [0, 1, 2, 3, 4], 7: [0, 1, 2],
        8: [0], 9: [0, 1, 3, 4], 10: [0, 1], 11: [0, 2, 3], 12: [0, 1, 2, 3, 4], 13: [0, 1],
    }  # fmt: skip
    said = worker.said()
    for lane, error in ((0, "LaneGap"), (1, "LaneRecreated"), (2, "LaneRecreated"), (3, "LaneTrimmed"),
                        (4, "LaneTrimmed"), (5, "LaneRecreated"), (12, "LaneRecreated")):  # fmt: skip
        (line,) = [x for x in said.splitlines() if "lane stopped" in x and f"lane={lane} " in x]
        assert error in line
    dead = read_raw_log(settings, "dead.match")
    aliens = [b"no key, no header", b"no header", b"no key", b"\xc1 no segment", b"the last one"]
    assert [record.value for record in dead[7]] == aliens
    (bounded,) = dead[8]
    assert bounded.value == huge[:STUB_HEAD_BYTES]
    words = dict(bounded.headers)
    assert words["length"] == str(len(huge)).encode()
    assert words["sha256"] == hashlib.sha256(huge).hexdigest().encode()
    assert not any(records for lane, records in dead.items() if lane not in {7, 8})
    assert decode(found[7][1].value, Dropped).reason == "RecordError"
    metrics = worker.metrics()
    assert metrics["finestream_records_duplicate_total"] == 3
    assert metrics["finestream_losses_accepted_total"] == 2
    losses = {
        key: entry for key, entry in books.read_book(settings, "controls").items() if key.startswith(b"loss/")
    }
    assert sorted(losses) == [b"loss/1/match/11/2", b"loss/1/match/9/2"]
    assert (
        "(3, 0) came where (2, 0) must" in msgspec.msgpack.decode(losses[b"loss/1/match/9/2"].value)["what"]
    )

    worker.kill()
    worker = workers.start(settings, "match", "slot")
    lanes.chunked(13, 2)
    lanes.wait_for(worker, 13, 3)
    wait_for(lambda: worker.metrics()["finestream_lanes_stopped"] == 7, worker)
    assert read_lanes(settings, "matched") | {13: []} == found | {13: []}
    assert len(read_raw_log(settings, "dead.match")[8]) == 1
    assert len(read_raw_log(settings, "dead.match")[7]) == len(aliens)  # nobody's bytes are buried once


def test_a_log_that_is_cut_under_a_worker(pipeline, workers, tmp_path):
    """Input deleted before it was read: the lane stops, or goes on where that was allowed."""
    settings, generation = pipeline(
        3, runner={"accept_loss": [1], "window_bytes": 300_000}, match={"batch_records": 1}
    )
    lanes = Lanes(settings, generation)
    for lane in (0, 1):
        records = [
            lanes.record((n, 0), segment("held:" + random.randbytes(50_000).hex()), n) for n in range(60)
        ]
        write_lane(settings, "chunked", lane, records)
    hold = tmp_path / "hold"
    hold.touch()
    worker = workers.start(settings, "match", HOLD=str(hold))
    wait_for(lambda: worker.metrics()["finestream_records_inflight"] == 3, worker, what="the window is full")
    for lane in (0, 1):
        delete_before(settings, "chunked", lane, 55)
    hold.unlink()
    wait_for(lambda: worker.metrics()["finestream_lanes_stopped"] == 1, worker, what="lane 0 stops")
    wait_for(
        lambda: (seen := read_lanes(settings, "matched")[1]) and offsets_of(seen)[-1] == 59,
        worker,
        what="lane 1 goes on",
    )
    lanes.chunked(2, 0)
    lanes.wait_for(worker, 2, 1)
    found = read_lanes(settings, "matched")
    check_gapless(found[0])
    assert len(found[0]) < 55
    assert "is gone, 55 comes after it" in worker.said()
    assert worker.metrics()["finestream_losses_accepted_total"] == 1
    offsets = offsets_of(found[1])
    assert offsets == sorted(set(offsets))
    assert {*range(55, 60)} < set(offsets) < set(range(60))
