"""Stages that ask a model: real workers on real lanes, and servers that fail, die, hang and come back."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

import pytest
from kit.flow import check_gapless, filtered, read_lanes, read_raw_log
from kit.model_flow import TEMPLATES, Server, matched, model, outputs, text, write
from kit.processes import wait_for

from streams.positions import Kind
from streams.records import (
    InstantiatedSegment,
    JudgedSegment,
    decode,
)

LANES = 4


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    yield it
    it.kill()


def worker_of(settings, workers, stage: str):
    return workers.run(settings, [sys.executable, "-m", "workers", stage])


def test_each_call_fails_for_itself(pipeline, workers, server):
    server.start()
    settings, generation = pipeline(
        LANES, instantiate={**model(server), "profile": "released"}, judge=model(server), runner={"tries": 2}
    )
    odd = ["", "(null)", "(garble)", "[[400]]", "[[500*2]]", "[[broken]]", "(unclear)", ""]
    write(settings, generation, "matched", 0, [matched(0, n, more) for n, more in enumerate(odd)])
    write(settings, generation, "matched", 1, [matched(1, n) for n in range(8)])
    makes, judges = (worker_of(settings, workers, stage) for stage in ("instantiate", "judge"))
    wait_for(lambda: outputs(settings, "judged") == 16, judges, what="16 records are judged")

    lanes = {lane: filtered(records) for lane, records in read_lanes(settings, "instantiated").items()}
    for records in lanes.values():
        check_gapless(records)
    kinds = [record.header.kind for record in lanes[0]]
    assert kinds == [Kind.DEAD if more in {"[[400]]", "[[broken]]"} else Kind.SEGMENT for more in odd]
    made = {
        record.position.offset: decode(record.value, InstantiatedSegment)
        for record in lanes[0]
        if record.header.kind is Kind.SEGMENT
    }
    assert {pair.rejected for pair in made[1].pairs} == {"incompatible"}
    assert len({pair.rejected for pair in made[2].pairs}) == 1
    for number in (0, 4, 7):
        for pair, template in zip(made[number].pairs, TEMPLATES, strict=True):
            assert pair.rejected == ""
            assert (
                pair.instruction
                == template.replace("<fi>", "{").split("{")[0]
                + f"Thing0x{number}"
                + (template.partition("</fi>")[2])
            )
            assert pair.answer == text(0, number, odd[number]).strip()
            assert pair.excerpts == [(0, len(pair.answer))]
            assert pair.excerpt_share == 1.0
    dead = [record for records in read_raw_log(settings, "dead.instantiate").values() for record in records]
    assert len(dead) == 2
    assert server.asked()  # and the calls were real ones

    judged = {
        record.position.offset: decode(record.value, JudgedSegment)
        for record in filtered(read_lanes(settings, "judged")[1])
    }
    assert [len(judged[n].verdicts) for n in range(8)] == [3] * 8
    assert {verdict.score for it in judged.values() for verdict in it.verdicts} == {4}
    assert {it.judge for it in judged.values()} == {"openai:flow:default"}
    unclear = filtered(read_lanes(settings, "judged")[0])[6]
    assert unclear.header.kind is Kind.DEAD  # no pair of it got a score in three answers
    assert makes.alive
    assert makes.metrics()["finestream_llm_requests_total default ok"] > 0


def test_a_server_that_dies_stops_the_stage_and_nothing_else(pipeline, workers, server):
    """Killed under its calls and away for a while: no record is buried, the stage goes on by itself."""
    server.start(median_seconds=0.05, p99_seconds=0.2)
    settings, generation = pipeline(LANES, instantiate={**model(server), "profile": "released"})
    for lane in range(LANES):
        write(settings, generation, "matched", lane, [matched(lane, n) for n in range(60)])
    worker = worker_of(settings, workers, "instantiate")
    for share in (20, 120):
        wait_for(lambda share=share: outputs(settings, "instantiated") >= share, worker)
        server.kill()
        time.sleep(1.0)
        before = outputs(settings, "instantiated")
        time.sleep(1.0)
        assert outputs(settings, "instantiated") == before
        server.start(median_seconds=0.05, p99_seconds=0.2)
    wait_for(lambda: outputs(settings, "instantiated") == LANES * 60, worker, what="all are through")
    for lane, records in read_lanes(settings, "instantiated").items():
        assert [record.position.offset for record in filtered(records)] == list(range(60))
        for record in filtered(records):
            pairs = decode(record.value, InstantiatedSegment).pairs
            assert [pair.rejected for pair in pairs] == ["", "", ""], (lane, record.position)
    assert not any(read_raw_log(settings, "dead.instantiate").values())


def test_a_killed_worker_repeats_no_more_calls_than_were_in_flight(pipeline, workers, server):
    server.start(median_seconds=0.02, p99_seconds=0.1)
    at_once = 8
    settings, generation = pipeline(
        LANES, instantiate={**model(server), "profile": "released", "segments_at_once": at_once}
    )
    for lane in range(LANES):
        write(settings, generation, "matched", lane, [matched(lane, n) for n in range(40)])
    kills = 4
    for turn in range(1, kills + 1):
        worker = worker_of(settings, workers, "instantiate")
        wait_for(lambda turn=turn: outputs(settings, "instantiated") >= turn * 25, worker)
        worker.send(signal.SIGKILL)
        worker.exit_code()
    worker = worker_of(settings, workers, "instantiate")
    wait_for(lambda: outputs(settings, "instantiated") == LANES * 40, worker, what="all are through")
    asked = server.asked()
    assert len(asked) == LANES * 40 * len(TEMPLATES)
    repeated = sum(times - 1 for times in asked.values())
    # In flight, and answered but behind a slower record of its lane.
    bound = kills * (settings.runner.window_records)
    assert 0 < repeated <= bound
    print(f"{repeated} of {len(asked)} calls were made again by {kills} kills")


def test_wrong_settings_bury_nothing(pipeline, workers, server):
    server.start(model="another")
    settings, generation = pipeline(LANES, instantiate={**model(server), "profile": "released"})
    write(settings, generation, "matched", 0, [matched(0, n) for n in range(5)])
    worker = worker_of(settings, workers, "instantiate")
    assert worker.exit_code() == 2
    assert "does not exist" in worker.said()
    assert outputs(settings, "instantiated") == 0
    assert not any(read_raw_log(settings, "dead.instantiate").values())


def test_isolated_lanes_bury_nothing_for_a_server_or_a_setting(pipeline, workers, server):
    """A lane whose workers kept dying runs in a child: there, too, an outage or wrong key is no record's."""
    server.start(model="another")
    settings, generation = pipeline(
        LANES, instantiate={**model(server), "profile": "released"}, runner={"deaths_before_isolation": 1}
    )
    write(settings, generation, "matched", 0, [matched(0, n) for n in range(5)])
    for _ in range(3):  # wrong settings are no deaths
        assert worker_of(settings, workers, "instantiate").exit_code() == 2
    server.kill()
    for _ in range(3):
        worker = worker_of(settings, workers, "instantiate")
        wait_for(lambda worker=worker: 'event="lanes open"' in worker.said(), worker)
        worker.kill()
    worker = worker_of(settings, workers, "instantiate")
    wait_for(lambda: "lane is isolated" in worker.said(), worker)
    time.sleep(2.0)
    assert outputs(settings, "instantiated") == 0
    server.start()
    wait_for(lambda: outputs(settings, "instantiated") == 5, worker, what="all are through")
    assert not any(read_raw_log(settings, "dead.instantiate").values())
