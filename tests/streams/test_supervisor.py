from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from streams import children
from streams.broker import find
from streams.errors import FinestreamError, SettingsError
from streams.settings import STAGES, load, to_environment
from streams.supervisor import Plan, Slot, Supervisor, health, read_state, stage_slots, trainer_slot
from streams.supervisor.child import pause_seconds, rotate
from streams.supervisor.plan import read_plan, write_plan

SLEEP = "import time\nwhile True: time.sleep(1)"


def slot(name, program=SLEEP, role="test", **more):
    return Slot(role=role, name=name, command=[sys.executable, "-c", program], **{"metrics": False, **more})


@pytest.fixture
def supervise(request):
    """Start supervisors that end with the test."""

    def make(settings, *slots, create=False, healthy=True):
        it = Supervisor(settings, Plan(slots=list(slots), create=create), attached=True)
        request.addfinalizer(it.stop)
        assert it.start() is True
        if healthy:
            it.wait_healthy(60)
        return it

    return make


def log_of(supervisor, name):
    return (supervisor.data_dir / "logs" / f"{name}.log").read_text()


def test_whatever_dies_comes_back(prepared_jars, supervise, tmp_path, until):
    settings = load(data_dir=tmp_path / "data", broker={"port": 0, "start_seconds": 120})
    it = supervise(settings, slot("a"), slot("b"))
    before = {p.slot: p.pid for p in it.processes()}
    assert set(before) == {"broker", "a", "b"}
    port = it.settings.broker.port

    it.kill("a")
    process = until(lambda: (p := it.state().process("a")).restarts and p.pid and p, what="a is back")
    assert process.pid != before["a"]
    assert process.last_exit == -signal.SIGKILL
    assert it.state().process("b").pid == before["b"]

    it.kill("broker")
    until(
        lambda: (p := it.state().process("broker")).restarts and p.state == "running",
        60,
        "the broker is back",
    )
    it.wait_healthy(60)
    assert it.settings.broker.port == port
    assert it.state().process("b").pid == before["b"]

    assert Supervisor(settings).start() is False  # the second `up` finds it
    pids = [p.pid for p in it.processes()]
    assert it.stop() is True
    assert [pid for pid in pids if children.started(pid)] == []
    assert find(tmp_path / "data") is None
    assert {p.state for p in read_state(tmp_path / "data").processes} == {"stopped"}
    assert it.stop() is False


def test_nothing_outlives_a_killed_supervisor(supervise, settings, until):
    grandparent = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)']).pid, flush=True)\n"
        "time.sleep(1000)"
    )
    it = supervise(settings(), slot("a"), slot("b", grandparent))
    pids = [p.pid for p in it.processes()]
    grandchild = int(until(lambda: log_of(it, "b")))
    os.kill(it.state().pid, signal.SIGKILL)
    until(lambda: not any(children.started(pid) for pid in pids), what="the children are gone")
    until(lambda: it.state() is None, what="its lock is free")  # the kernel frees it a moment after they die
    psutil.Process(grandchild).kill()  # only its own parent's death in a slot that lives ends a grandchild …

    assert it.start() is True
    it.wait_healthy(60)
    grandchild = int(until(lambda: log_of(it, "b").split()[1:])[0])
    it.kill("b")
    until(lambda: children.started(grandchild) is None, what="… like here")


def test_one_data_directory_has_one_supervisor(supervise, settings, tmp_path):
    asked = settings()
    it = supervise(asked, slot("a"))
    second = subprocess.run(
        [sys.executable, "-m", "streams.supervisor", "--plan", write_plan(tmp_path, Plan())],
        env=os.environ | to_environment(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 3
    assert f"process {it.state().pid}" in second.stderr
    assert "finestream down" in second.stderr
    it.wait_healthy(10)


def test_it_waits_for_answers_and_for_every_lane(supervise, settings, clean_broker, until):
    worker = (
        "import time\nfrom pathlib import Path\nfrom prometheus_client import CollectorRegistry\n"
        "from monitoring.metrics import StageMetrics, serve\nfrom streams.settings import load\n"
        "settings, registry = load(), CollectorRegistry()\n"
        "metrics = StageMetrics(registry, 'chunk')\n"
        "serve('127.0.0.1', settings.metrics.port, registry)\n"
        "metrics.lanes.set(3)\n"
        "while not (settings.data_dir / 'go').exists(): time.sleep(0.05)\n"
        "metrics.lanes.set(4)\ntime.sleep(1000)"
    )
    asked = settings(pipeline={"lanes": 4})
    it = supervise(asked, slot("chunk-0", worker, role="chunk", metrics=True), create=True, healthy=False)
    seen = set()

    def missing():
        state = it.state()
        found = health.problems(state, health.scrape_all(state)) if state else []
        seen.update(found)
        return found

    until(lambda: missing() == ["chunk holds 3 of 4 lanes so far"])
    assert "chunk-0 does not answer yet" in seen
    with pytest.raises(FinestreamError, match="not healthy within 0 s: chunk holds 3 of 4 lanes"):
        it.wait_healthy(0)
    (it.data_dir / "go").touch()
    state = it.wait_healthy(30)
    assert (state.lanes, state.generation, state.bootstrap_servers) == (4, "1", asked.bootstrap_servers)
    assert state.process("chunk-0").metrics_port > 0


def test_the_end_is_orderly_and_bounded(supervise, settings, until):
    polite = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('bye'), sys.exit(0)))\n"
        "print('ready', flush=True)\n" + SLEEP
    )
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + SLEEP
    it = supervise(settings(runner={"drain_seconds": 0}), slot("polite", polite), slot("deaf", deaf))
    until(lambda: "deaf" in log_of(it, "deaf") and "ready" in log_of(it, "polite"))
    began = time.monotonic()
    it.stop()
    assert time.monotonic() - began < 12
    exits = {p.slot: p.last_exit for p in read_state(it.data_dir).processes}
    assert exits == {"polite": 0, "deaf": -signal.SIGKILL}
    assert log_of(it, "polite") == "ready\nbye\n"


def test_work_that_is_done_is_not_begun_again_and_what_fails_is_named(supervise, settings, until):
    done = slot("done", "print('finished')", restart="failure")
    broken = slot("broken", "raise SystemExit('no such \x1b[31mbank')")
    it = supervise(settings(), done, broken, healthy=False)
    with pytest.raises(FinestreamError, match=r"broken dies again and again: no such  \[31mbank \(log: "):
        it.wait_healthy(30)
    state = it.state()
    assert state.process("done").state == "done"
    assert (state.process("done").last_exit, state.process("done").restarts) == (0, 0)
    assert state.process("broken").restarts >= 3


def test_a_state_that_cannot_be_written_stops_nothing(supervise, settings, until):
    it = supervise(settings(), slot("a"))
    supervisor, first = psutil.Process(it.state().pid), it.state().process("a").pid
    file = it.data_dir / "processes.json"
    file.unlink()
    file.mkdir()  # as good as a full disk
    os.kill(first, signal.SIGKILL)
    until(lambda: [child.pid for child in supervisor.children()] not in ([], [first]), what="a is back")
    file.rmdir()
    until(lambda: it.processes() and it.state().process("a").restarts == 1, what="the state is written again")
    it.wait_healthy(10)


def test_a_failed_start_says_why(prepared_jars, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = load(data_dir=tmp_path / "data", broker={"port": port})
        it = Supervisor(settings, attached=True)
        it.start()
        with pytest.raises(FinestreamError, match=f"port {port} is taken") as caught:
            it.wait_healthy(60)
    assert caught.value.exit_code == 4


def test_children_get_settings_a_port_and_byte_code(supervise, settings, monkeypatch, until):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program = (
        "import os, time\nfrom streams.settings import load\n"
        "print(load().metrics.port, load().chunk.min_characters, load().data_dir, "
        "'PYTHONDONTWRITEBYTECODE' in os.environ, flush=True)\ntime.sleep(1000)"
    )
    asked = settings(chunk={"min_characters": 7})
    it = supervise(asked, slot("a", program))
    port, characters, data_dir, dropped = until(lambda: log_of(it, "a").split())
    assert int(port) == 0 or int(port) > 1023
    assert (characters, data_dir, dropped) == ("7", str(it.data_dir), "False")


def test_pauses_grow_only_for_those_that_die_young():
    assert [pause_seconds(n) for n in range(9)] == [0, 0, 0.5, 1, 2, 4, 8, 10, 10]
    assert pause_seconds(10**6) == 10


def test_logs_are_cut_while_they_are_written(tmp_path):
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        for i in range(5):
            writer.write(b"%d" % i * 100)
            rotate(path, limit_bytes=50, kept=2)
        writer.write(b"end")
    assert path.read_bytes() == b"end"
    assert (tmp_path / "a.log.1").read_bytes() == b"4" * 100
    assert (tmp_path / "a.log.2").read_bytes() == b"3" * 100
    assert not (tmp_path / "a.log.3").exists()


def test_slots_are_named_once_and_for_all(tmp_path):
    embedded = load(data_dir=tmp_path)
    slots = stage_slots(embedded, {"match": 2, "judge": 0})
    assert [s.name for s in slots] == ["chunk-0", "match-0", "match-1", "instantiate-0"]
    assert slots[1].command[1:] == ["-m", "workers", "match", "--slot", "finestream-1-match-0"]
    assert len(stage_slots(embedded, 3)) == 3 * len(STAGES)
    assert trainer_slot(["--run", "main", "--until-drained"]).restart == "failure"
    assert trainer_slot(["--run", "main"]).restart == "always"

    # Two machines that share a cluster must not share a membership.
    outside = [
        load(data_dir=tmp_path / name, kafka={"bootstrap_servers": "kafka:9092"}) for name in ("a", "b")
    ]
    names = {stage_slots(settings)[0].command[-1] for settings in outside}
    assert len(names) == 2
    assert all(name.startswith("finestream-1-chunk-0-") for name in names)

    with pytest.raises(SettingsError, match="cook is no stage"):
        stage_slots(embedded, {"cook": 1})
    plan = Plan(slots=slots)
    assert read_plan(write_plan(tmp_path, plan)) == plan
    (tmp_path / "plan.json").write_text('{"slots": [{}]}')
    with pytest.raises(SettingsError, match="no plan"):
        read_plan(tmp_path / "plan.json")
