"""Worker processes that come, go, freeze and lose their broker: nothing is lost, repeated or left hanging."""

from __future__ import annotations

import random
import signal
import time

from kit.flow import RawWriter, check_gapless, filtered, limit_messages, raw_ends, read_lanes, wait_drained
from kit.processes import wait_for

from streams import clients, generations
from streams.positions import Position
from streams.records import Segment, decode
from workers.runner import EXIT_CRASH
from workers.sender import EXIT_SEND


def texts(records):
    return [decode(record.value, Segment).text for record in records]


def test_a_failed_send_ends_the_process_and_leaves_no_hole(pipeline, workers):
    settings, generation = pipeline(2)
    worker = workers.start(settings, "expand", "slot")
    wait_for(lambda: worker.metrics()["finestream_lanes_open"] == 2, worker)
    limit_messages(settings, "chunked", 20_000)  # the broker refuses what the worker believes to be fine
    raw = RawWriter(settings, generation)
    raw.write(0, b"first")
    raw.write(0, random.randbytes(20_000).hex().encode())
    for i in range(50):
        raw.write(0, f"behind {i}".encode())
    raw.flush()
    assert worker.exit_code() == EXIT_SEND
    found = read_lanes(settings, "chunked")
    check_gapless(found[0])
    assert len(found[0]) <= 1
    limit_messages(settings, "chunked", clients.MAX_REQUEST_BYTES)
    worker = workers.start(settings, "expand", "slot")
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    found = read_lanes(settings, "chunked")[0]
    check_gapless(found)
    assert [texts(found)[i] for i in (0, 2, 51)] == ["first#0", "behind 0#0", "behind 49#0"]


def test_a_worker_that_is_told_to_go_finishes_what_it_began_and_no_more(pipeline, workers):
    settings, generation = pipeline(2, chunk={"batch_records": 8}, runner={"drain_seconds": 20})
    raw = RawWriter(settings, generation)
    for i in range(600):  # half a minute's work, all in the window
        raw.write(i % 2, f"slow:{i}".encode())
    raw.flush()
    worker = workers.start(settings, "expand", "slot")
    wait_for(lambda: worker.metrics()["finestream_records_out_total"] >= 8, worker)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
    found = read_lanes(settings, "chunked")
    for records in found.values():
        check_gapless(records)
    assert 8 <= sum(map(len, found.values())) < 300


def test_workers_share_lanes_and_a_zombie_does_no_harm(pipeline, workers, until):
    settings, generation = pipeline(6, chunk={"batch_records": 4})
    raw, written = RawWriter(settings, generation), dict.fromkeys(range(6), 0)

    def write(n):
        for _ in range(n):
            for lane in range(5):  # lane 5 stays empty
                raw.write(lane, f"seg:2:{written[lane]}".encode())
                written[lane] += 1
        raw.flush()

    def held(worker):
        return worker.metrics()["finestream_lanes_open"]

    write(100)
    first = workers.start(settings, "expand")
    wait_for(lambda: held(first) == 6, first)
    second = workers.start(settings, "expand")
    wait_for(lambda: held(second) == 3 and held(first) == 3, second, what="they share the lanes")
    write(100)
    first.send(signal.SIGSTOP)
    write(100)
    wait_for(lambda: held(second) == 6, second, what="the second takes over")
    write(20)
    ends = raw_ends(settings)
    wait_drained(settings, "chunked", ends, alive=lambda: second.alive)
    first.send(signal.SIGCONT)
    wait_for(lambda: held(first) == 3 and held(second) == 3, first, what="the zombie joins again")
    write(20)
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: first.alive and second.alive)
    began = time.monotonic()
    assert second.stop() == 0
    wait_for(lambda: held(first) == 6, first, 20, what="what it held goes to the first")
    assert time.monotonic() - began < 15
    assert first.stop() == 0
    found = read_lanes(settings, "chunked")
    for lane, n in written.items():
        seen = filtered(found[lane])
        check_gapless(seen)
        assert texts(seen) == [f"{i}#{j}" for i in range(n) for j in range(2)]


def test_a_worker_that_has_lost_its_group_does_not_live_on(pipeline, workers, tmp_path):
    settings, _ = pipeline(2)
    lost = tmp_path / "lost"
    first = workers.start(settings, "expand", LOSE_GROUP=str(lost))
    wait_for(lambda: first.metrics()["finestream_lanes_open"] == 2, first)
    lost.touch()
    second = workers.start(settings, "expand")  # the rebalance makes the first one look for its coordinator
    assert first.exit_code(30) == EXIT_CRASH
    assert "Did we not perform bootstrap" in first.said()
    wait_for(lambda: second.metrics()["finestream_lanes_open"] == 2, second)


def test_a_fetch_that_is_lost_is_read_again(pipeline, workers):
    """aiokafka takes records off its list and then fails: they are not behind us, though it believes so."""
    settings, generation = pipeline(3)
    raw = RawWriter(settings, generation)
    for i in range(60):
        raw.write(i % 3, f"text {i}".encode())
    raw.flush()  # nothing follows: no later record shows the hole
    worker = workers.start(settings, "expand", LOSE_FETCHES="3")
    wait_drained(settings, "chunked", raw_ends(settings), 60, alive=lambda: worker.alive)
    assert worker.said().count("a fetch is lost and read again") == 3
    for lane, records in read_lanes(settings, "chunked").items():
        check_gapless(filtered(records))
        assert texts(filtered(records)) == [f"text {i}#0" for i in range(lane, 60, 3)]


def test_a_broker_that_dies_and_comes_back(fresh_broker, settings, workers, until):
    it = settings(
        fresh_broker, pipeline={"lanes": 3}, chunk={"batch_records": 4}, runner={"drain_seconds": 3}
    )
    generation = generations.create(it)
    raw = RawWriter(it, generation)
    for i in range(240):
        raw.write(i % 3, (f"slow:{i}" if i % 10 == 0 else f"seg:3:{i}").encode())
    raw.flush()
    worker = workers.start(it, "expand", "slot")
    wait_for(lambda: worker.metrics()["finestream_records_out_total"] >= 50, worker)
    fresh_broker.kill()
    fresh_broker.wait(30)
    fresh_broker.start()
    wait_drained(it, "chunked", raw_ends(it), 90, alive=lambda: worker.alive)
    for records in read_lanes(it, "chunked").values():
        check_gapless(filtered(records))
    # Told to go while nobody answers: bounded, whatever is on its way.
    for i in range(50):
        raw.write(i % 3, f"slow:{i}".encode())
    raw.flush()
    wait_for(lambda: worker.metrics()["finestream_records_inflight"] > 0, worker)
    fresh_broker.kill()
    fresh_broker.wait(30)
    worker.stop(it.runner.drain_seconds + 12)
    fresh_broker.start()
    worker = workers.start(it, "expand", "slot")
    wait_drained(it, "chunked", raw_ends(it), 90, alive=lambda: worker.alive)
    for lane, records in read_lanes(it, "chunked").items():
        check_gapless(filtered(records))
        assert filtered(records)[-1].position == Position(raw_ends(it)[lane] - 1, 0)
