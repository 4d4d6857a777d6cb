"""The real vLLM on this machine's CPU: installed and kept by `finestream engine`, asked by real stages.

It installs some 6 GB once (the user's cache keeps it). Where that cannot be, the test fails; who wants to go
without it says so: WITHOUT_VLLM=1.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest
from kit import tiny_model
from kit.flow import check_gapless, filtered, read_lanes, read_raw_log
from kit.model_flow import TEMPLATES, matched, outputs, text, write
from kit.processes import wait_for
from test_model_stages import worker_of

from streams import children
from streams.broker.probe import free_port
from streams.engine import read_state
from streams.positions import Kind
from streams.records import InstantiatedSegment, JudgedSegment, MatchedSegment, Pair, decode, encode

RECORDS = 150
HINT = "vLLM could not be installed or started; WITHOUT_VLLM=1 leaves this test out. The engine said:\n"


def instantiated(lane: int, number: int) -> bytes:
    answer = text(lane, number)
    pair = Pair(
        template_id="t0", instruction=f"What is Thing{lane}x{number}?", answer=answer,
        excerpts=[(0, len(answer))], excerpt_share=1.0,
    )  # fmt: skip
    segment = decode(matched(lane, number), MatchedSegment)
    return encode(InstantiatedSegment(matched=segment, engine="test", model="none", pairs=[pair]))


def engine_cores(guard: int) -> list[psutil.Process]:
    below = psutil.Process(guard).children(recursive=True)
    return [process for process in below if "EngineCore" in " ".join(process.cmdline())]


@pytest.mark.skipif(os.environ.get("WITHOUT_VLLM") == "1", reason="WITHOUT_VLLM=1: no real vLLM is asked")
@pytest.mark.timeout(900)  # where nothing is cached, 6 GB come over the network
def test_a_real_vllm_is_kept_and_carries_the_stages(pipeline, workers, tmp_path):
    model = tiny_model.make(tmp_path / "model")
    port = free_port()
    asked = {
        "engine": "openai",
        "model": {"urls": [f"http://127.0.0.1:{port}/v1"], "max_tokens": 24, "probe_most_seconds": 1.0},
    }
    settings, generation = pipeline(
        2,
        serve={"model": str(model), "device": "cpu", "port": port, "cpu_cache_gigabytes": 1},
        instantiate={**asked, "profile": "released"},
        judge={**asked, "profile": "json"},
    )
    for lane in range(2):
        write(settings, generation, "matched", lane, [matched(lane, n) for n in range(RECORDS // 2)])
    began = time.monotonic()
    engine = workers.run(settings, [sys.executable, "-m", "streams.engine"])
    makes = worker_of(settings, workers, "instantiate")  # it waits for its server by itself

    def server(restarts: int):
        state = read_state(settings.data_dir)
        it = state.servers[0] if state else None
        assert engine.alive, HINT + engine.said()[-4000:]
        return it if it and it.state == "ready" and it.restarts == restarts else None

    first = wait_for(lambda: server(0), engine, 660, "vLLM is installed and generates")
    print(f"ready after {time.monotonic() - began:.0f} s, of which {first.ready_seconds} s are vLLM's")
    wait_for(lambda: outputs(settings, "instantiated") >= 10, makes, what="the first are through")
    (core,) = engine_cores(first.pid)
    core.send_signal(signal.SIGKILL)
    done = outputs(settings, "instantiated")
    assert done < RECORDS, "the kill came too late to mean anything"
    second = wait_for(lambda: server(1), engine, 120, "vLLM generates again")
    assert children.started(core.pid) is None
    assert second.pid != first.pid
    print(f"{done} of {RECORDS} were through; again ready in {second.ready_seconds} s")
    wait_for(lambda: outputs(settings, "instantiated") == RECORDS, makes, 90, "all are through")

    lanes = {lane: filtered(records) for lane, records in read_lanes(settings, "instantiated").items()}
    for lane, records in lanes.items():
        check_gapless(records)
        assert [record.position.offset for record in records] == list(range(RECORDS // 2)), lane
        for record in records:
            assert record.header.kind is Kind.SEGMENT, record.position
            pairs = decode(record.value, InstantiatedSegment).pairs
            assert [pair.template_id for pair in pairs] == ["t0", "t1", "t2"]
            # A model of random numbers makes nothing that holds; each pair says why, and none for our sake.
            assert all(pair.rejected or pair.answer for pair in pairs)
            assert not {pair.rejected for pair in pairs} & {"refused", "broken"}
    assert not any(read_raw_log(settings, "dead.instantiate").values())
    assert makes.metrics()["finestream_llm_requests_total default truncated"] > 0
    assert makes.stop() == 0

    # No pair of this model's ever comes as far as the judge: some are put there by hand.
    for lane in range(2):
        more = [instantiated(lane, n) for n in range(RECORDS // 2, RECORDS // 2 + 4)]
        write(settings, generation, "instantiated", lane, more, start=RECORDS // 2)
    judges = worker_of(settings, workers, "judge")
    wait_for(lambda: outputs(settings, "judged") == RECORDS + 8, judges, 60, "all are judged")
    for records in read_lanes(settings, "judged").values():
        check_gapless(filtered(records))
        for record in filtered(records)[-4:]:
            if record.header.kind is Kind.SEGMENT:
                (verdict,) = decode(record.value, JudgedSegment).verdicts
                assert verdict.score in range(1, 6)
            else:  # no score in three answers
                assert record.header.kind is Kind.DEAD
    assert sum(v for k, v in judges.metrics().items() if k.startswith("finestream_llm_requests_total")) >= 8
    assert judges.stop() == 0

    left = [second.pid, *(process.pid for process in psutil.Process(second.pid).children(recursive=True))]
    assert engine.stop(30) == 0
    assert [pid for pid in left if children.started(pid)] == []
    assert len(TEMPLATES) == 3
