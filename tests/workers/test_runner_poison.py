"""One bad record never stops or voids another: each way in which `process` can fail, in a real worker."""

from __future__ import annotations

import signal
import time

import psutil
from kit.flow import (
    RawWriter,
    check_gapless,
    drained,
    filtered,
    raw_ends,
    read_lanes,
    read_raw_log,
    wait_drained,
)
from kit.processes import wait_for

from streams.positions import Kind, Origin, unpack_lane_header, unpack_position
from streams.records import Dropped, RawDocument, Segment, decode
from workers.window import EXIT_DEADLINE

FAST = {"tries": 2, "backoff_seconds": 0.01}
FAILS = {
    "raise": ("RuntimeError", "scripted exception"),
    "fail": ("ValueError", "scripted failure"),
    "hog": ("MemoryError", ""),
    "big": ("RecordTooLarge", "bytes"),
    "empty": ("EmptyOutcome", "no output"),
    "surrogate": ("ValueError", "half a pair"),
    "leave": ("RuntimeError", "SystemExit"),
}


def payload(record):
    return decode(record.value, RawDocument).payload.decode()


def ends(records):
    """What stands at each position: a segment's text, or the marker's kind, reason and detail."""
    out = {}
    for record in filtered(records):
        if record.header.kind.marker:
            marker = decode(record.value, Dropped)
            out[record.position] = (record.header.kind, marker.reason, marker.detail)
        else:
            out[record.position] = decode(record.value, Segment).text
    return out


def test_a_record_that_fails_is_buried_alone(pipeline, workers):
    settings, generation = pipeline(11, runner=FAST)
    raw = RawWriter(settings, generation)
    for lane, word in enumerate(FAILS):
        for text in (f"a{lane}", word, "drop", "seg:2:b", word, f"c{lane}"):
            raw.write(lane, text.encode())
    # Lane 7: bytes that are no document, a record of somebody else, a repeated origin.
    raw.write(7, b"first")
    raw.write_bytes(7, b"\xc1 no msgpack")
    alien = raw.producer.send("raw", b"somebody else's", key=b"short", partition=7)
    last = raw.write(7, b"last")
    raw.write_bytes(7, b"a zombie's", origin=Origin(1, 0), previous=last)
    raw.previous[7] = last
    raw.write(7, b"after")
    raw.flush()
    alien.get(10)
    lanes_ends = raw_ends(settings) | {9: 1, 10: 1}
    # Two lanes that are not whole: each stops where that shows, and no other lane hears of it.
    raw.write(9, b"whole")
    raw.previous[9] = Origin(1, 10**6)
    raw.write(9, b"behind a hole")
    raw.write(9, b"never read")
    raw.write(10, b"whole")
    raw.write_bytes(10, b"of another pipeline", epoch=1)
    raw.flush()
    worker = workers.start(settings, "expand")
    wait_drained(settings, "chunked", lanes_ends, alive=lambda: worker.alive)

    lanes, dead = read_lanes(settings, "chunked"), read_raw_log(settings, "dead.chunk")
    for lane, (word, (error, detail)) in enumerate(FAILS.items()):
        check_gapless(lanes[lane])  # nothing was written twice, so no filter is needed
        found = ends(lanes[lane])
        assert [found[p] for p in ((0, 0), (3, 0), (3, 1), (5, 0))] == [
            f"a{lane}#0",
            "b#0",
            "b#1",
            f"c{lane}#0",
        ]
        assert found[2, 0] == (Kind.DROPPED, "scripted", "")
        for offset in (1, 4):
            kind, reason, why = found[offset, 0]
            assert (kind, reason) == (Kind.DEAD, error), word
            assert detail in why
        assert [unpack_position(record.key) for record in dead[lane]] == [(1, 0), (4, 0)]
        for record in dead[lane]:
            assert payload(record) == word
            headers = dict(record.headers)
            assert headers["error"].decode() == error
            assert detail in headers["detail"].decode()
            assert unpack_lane_header(record.headers).input_offset == unpack_position(record.key).offset
    check_gapless(lanes[7])
    found = ends(lanes[7])
    assert (found[0, 0], found[3, 0], found[5, 0]) == ("first#0", "last#0", "after#0")
    assert (found[1, 0][:2], found[2, 0][:2]) == ((Kind.DEAD, "RecordError"),) * 2
    assert found[4, 0][:2] == (Kind.DROPPED, "repeated")
    assert [record.value for record in dead[7]] == [b"\xc1 no msgpack", b"somebody else's"]
    assert lanes[8] == []
    wait_for(lambda: worker.metrics()["finestream_lanes_stopped"] == 2, worker)
    assert (ends(lanes.pop(9)), ends(lanes.pop(10))) == ({(0, 0): "whole#0"},) * 2
    assert "LaneGap" in worker.said()
    assert "LaneRecreated" in worker.said()

    metrics = worker.metrics()
    assert metrics["finestream_records_in_total"] == sum(lanes_ends.values())
    assert metrics["finestream_records_out_total"] == sum(map(len, lanes.values())) + 2
    assert metrics["finestream_records_dropped_total scripted"] == len(FAILS)
    assert metrics["finestream_records_dropped_total repeated"] == 1
    assert metrics["finestream_records_dead_lettered_total MemoryError"] == 2
    assert metrics["finestream_records_inflight"] == 0
    assert metrics["finestream_lanes_open"] == 11
    assert worker.stop() == 0

    # A restart finds everything done, buries nothing twice and writes nothing.
    worker = workers.start(settings, "expand")
    raw.write(8, b"new")
    raw.flush()
    wait_drained(settings, "chunked", lanes_ends | {8: 1})
    now = read_lanes(settings, "chunked")
    assert (len(now.pop(9)), len(now.pop(10))) == (1, 1)
    assert len(now.pop(8)) == 1
    assert now == {lane: records for lane, records in lanes.items() if lane != 8}
    assert {lane: len(records) for lane, records in read_raw_log(settings, "dead.chunk").items()} == {
        lane: len(records) for lane, records in dead.items()
    }


def test_what_kills_the_worker_is_found_and_buried(pipeline, workers, until):
    """Never returning, os._exit, a crash in native code: a few deaths, then the record alone is blamed."""
    runner = {**FAST, "deaths_before_isolation": 2}
    settings, generation = pipeline(4, runner=runner, chunk={"deadline_seconds": 1, "batch_records": 4})
    raw = RawWriter(settings, generation)
    for text in ("before", "hang", "seg:3:after"):
        raw.write(0, text.encode())
    raw.flush()
    worker = workers.start(settings, "expand", "slot")
    assert worker.exit_code() == EXIT_DEADLINE
    for lane, word in ((1, "exit"), (2, "segfault")):
        for text in ("before", word, "after"):
            raw.write(lane, text.encode())
    raw.flush()
    ends_of_raw, deaths = raw_ends(settings), 1
    worker = workers.start(settings, "expand", "slot")
    deadline = time.monotonic() + 90
    while not drained(settings, "chunked", ends_of_raw):
        if not worker.alive:
            deaths += 1
            worker = workers.start(settings, "expand", "slot")
        assert time.monotonic() < deadline, "the killers were not found"
        time.sleep(0.2)
    # Each of the three lanes can make no more deaths than its share; progress resets only its own count.
    assert settings.runner.deaths_before_isolation <= deaths <= 9
    lanes, dead = read_lanes(settings, "chunked"), read_raw_log(settings, "dead.chunk")
    found = [ends(lanes[lane]) for lane in range(4)]
    assert found[0][2, 2] == "after#2"
    for lane, offsets in ((0, (1,)), (1, (1,)), (2, (1,)), (3, ())):
        check_gapless(filtered(lanes[lane]))
        assert [unpack_position(record.key).offset for record in dead[lane]] == list(offsets)
        assert {dict(record.headers)["error"] for record in dead[lane]} <= {b"killed_worker"}
        for offset in offsets:
            assert found[lane][offset, 0][:2] == (Kind.DEAD, "killed_worker")
            assert found[lane][offset - 1, 0].startswith("be")
    assert "no answer within 1 s" in found[0][1, 0][2]
    assert "code 9" in found[1][1, 0][2]
    assert "code -11" in found[2][1, 0][2]
    metrics = worker.metrics()
    assert metrics["finestream_lanes_isolated"] == 0, "the gauge says so too"
    children = psutil.Process(worker.pid).children()
    assert worker.stop() == 0
    until(lambda: not [child for child in children if lives(child)], 10, "its children are gone")


def test_a_sandbox_ends_with_its_worker(pipeline, workers, until):
    """A child that hangs must not outlive the worker that is killed above it."""
    settings, generation = pipeline(1, chunk={"deadline_seconds": 600}, runner={"deaths_before_isolation": 0})
    raw = RawWriter(settings, generation)
    raw.write(0, b"hang")
    raw.flush()
    worker = workers.start(settings, "expand")
    words = wait_for(lambda: hangs(worker), worker, what="it hangs")
    child = psutil.Process(int(words[0]))
    assert child.ppid() == worker.pid
    assert worker.metrics()["finestream_lanes_isolated"] == 1
    worker.send(signal.SIGKILL)
    until(lambda: not lives(child), 20, "the child is gone")


def hangs(worker):
    return worker.said().partition("hanging in ")[2].split()


def lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
