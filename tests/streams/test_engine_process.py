"""`finestream engine` as a process over servers that die, hang, start slowly or not at all.

The servers are the fault server's, with vLLM's counters and with children of their own; the real vLLM is in
tests/workers/test_engine_vllm.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.processes import KIT, Worker, Workers, wait_for

from streams import children
from streams.broker.probe import free_port
from streams.engine import EngineState, Environment, read_state, running_state
from streams.errors import ServeError
from streams.settings import Settings, load
from streams.supervisor import Plan, Supervisor, engine_slots

FAST = {
    "hang_seconds": 1.0,
    "probe_seconds": 0.5,
    "probe_timeout_seconds": 1.5,
    "look_seconds": 0.1,
    "start_seconds": 60.0,
}
Engine = Callable[..., tuple[Worker, Settings]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Start `finestream engine`: `engine(*arguments of the server, **settings of serve)`."""
    all_of_them = Workers(tmp_path)

    def make(*arguments: str, **serve: object) -> tuple[Worker, Settings]:
        server = [sys.executable, str(KIT / "token_server.py"), "--port", "{port}"]
        settings = load(
            data_dir=tmp_path / "data",
            serve={
                "model": "none",
                "port": free_port(),
                "command": [*server, "--about", str(tmp_path), *arguments],
                "environment": {"PYTHONPATH": str(KIT.parent)},
                **FAST,
                **serve,
            },
        )
        return all_of_them.run(settings, [sys.executable, "-m", "streams.engine"]), settings

    yield make
    all_of_them.end()
    print(all_of_them.said())


def stands(settings: Settings) -> EngineState | None:
    return read_state(settings.data_dir)


def ready(worker: Worker, settings: Settings, restarts: int) -> EngineState:
    """Wait until the server generates after so many restarts."""

    def is_so() -> EngineState | None:
        state = stands(settings)
        well = state and state.servers[0].state == "ready" and state.servers[0].restarts == restarts
        return state if well else None

    return wait_for(is_so, worker, what=f"ready after {restarts} restarts")


def pids(folder: Path) -> list[list[int]]:
    return [[int(pid) for pid in line.split()] for line in (folder / "pids").read_text().splitlines()]


def gone(these: list[int]) -> bool:
    return not any(children.started(pid) for pid in these)


def post(settings: Settings, path: str, body: object, seconds: float = 10) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.serve.port}{path}", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        answer.read()


def ask_in_vain(settings: Settings) -> None:
    with pytest.raises((OSError, urllib.error.URLError)):
        post(settings, "/v1/completions", {"model": "default", "prompt": "x"}, 60)


def test_whatever_ails_a_server_it_generates_again(engine, tmp_path, until):
    worker, settings = engine(restart_most_seconds=0.5)
    state = ready(worker, settings, 0)
    assert state.servers[0].ready_seconds > 0
    assert running_state(settings.data_dir) == state
    assert worker.metrics()[f"finestream_engine_server_up {settings.serve.port} engine-0"] == 1

    def dies() -> None:
        os.kill(pids(tmp_path)[-1][0], signal.SIGKILL)

    def hangs_with_work() -> None:  # only a request of somebody else's shows it before the probe
        post(settings, "/faults", {"hanging": True})
        threading.Thread(target=ask_in_vain, args=(settings,), daemon=True).start()

    def hangs_idle() -> None:  # nobody waits, /health is well, and nothing would be answered
        post(settings, "/faults", {"hanging": True})

    def stands_still() -> None:
        os.kill(pids(tmp_path)[-1][0], signal.SIGSTOP)

    def is_sick() -> None:
        post(settings, "/faults", {"sick": 500})

    def loses_its_guard() -> None:
        os.kill(stands(settings).servers[0].pid, signal.SIGKILL)

    ails = [
        (dies, {"died"}),
        (hangs_with_work, {"no_tokens"}),
        (hangs_idle, {"no_answer", "no_tokens"}),  # its probe is work, too
        (stands_still, {"no_answer"}),
        (is_sick, {"sick"}),
        (loses_its_guard, {"died"}),
    ]
    for turn, (ail, reasons) in enumerate(ails, 1):
        before = worker.metrics()
        ail()
        ready(worker, settings, turn)
        after = worker.metrics()
        counted = [
            name.split()[1]
            for name, value in after.items()
            if name.startswith("finestream_engine_server_restarts_total") and value > before[name]
        ]
        assert len(counted) == 1
        assert counted[0] in reasons, (ail, counted)
        assert len(pids(tmp_path)) == turn + 1
        dead = pids(tmp_path)[turn - 1]
        if ail is loses_its_guard:  # which ends the group; what has left it is the guard's to find
            os.kill(dead.pop(), signal.SIGKILL)
        until(lambda dead=dead: gone(dead), what=f"all that {ail.__name__} left is gone")

    assert worker.stop(30) == 0
    assert gone(pids(tmp_path)[-1])
    assert stands(settings).servers[0].state == "stopped"
    assert running_state(settings.data_dir) is None


def test_nothing_outlives_a_killed_engine(engine, tmp_path, until):
    worker, settings = engine()
    ready(worker, settings, 0)
    (alive,) = pids(tmp_path)
    guard = stands(settings).servers[0].pid
    assert len([pid for pid in alive if children.started(pid)]) == 3
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: gone([guard, *alive]), 10, "nothing is left")


def test_a_slow_start_is_waited_for_and_has_an_end(engine, tmp_path):
    worker, settings = engine("--start-seconds", "1.5")
    state = ready(worker, settings, 0)
    assert state.servers[0].ready_seconds > 1.5
    assert worker.stop(30) == 0
    worker, settings = engine("--start-seconds", "600", start_seconds=1.0, failed_starts=2)
    assert worker.exit_code(60) == 4
    assert "no token within 1 s" in worker.said()
    assert all(map(gone, pids(tmp_path)))


def test_a_server_that_cannot_start_says_why(engine, tmp_path):
    worker, settings = engine("--exit", "no room for the cache", failed_starts=3)
    assert worker.exit_code(60) == 4
    said = worker.said().strip().splitlines()[-1]
    assert "did not start 3 times in a row" in said
    assert "exit 1" in said
    assert "ValueError: no room for the cache" in said
    assert "nothing special" not in said
    assert len(pids(tmp_path)) == 3
    state = stands(settings)
    assert state.servers[0].state == "failed"
    assert "no room for the cache" in state.servers[0].reason


def test_it_goes_on_where_it_is_told_to_and_pauses(engine, tmp_path):
    worker, settings = engine("--exit", "no", failed_starts=0)
    wait_for(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) >= 3, worker)
    began = time.monotonic()
    wait_for(lambda: len(pids(tmp_path)) >= 4, worker)
    assert time.monotonic() - began > 1.0  # the third pause is 2 s
    assert stands(settings).servers[0].state in {"restarting", "starting"}
    assert worker.stop(30) == 0


def test_a_server_that_refuses_us_is_named(engine):
    worker, _ = engine("--faults", '{"key": "sesame"}', failed_starts=1)
    assert worker.exit_code(60) == 4
    assert "refuses a request for one token: 401" in worker.said()


def test_two_servers_are_two_processes(engine, tmp_path, until):
    with socket.socket() as there, socket.socket() as next_to_it:
        for _ in range(100):  # two ports in a row
            port = free_port()
            try:
                there.bind(("127.0.0.1", port))
                next_to_it.bind(("127.0.0.1", port + 1))
                break
            except OSError:
                continue
    worker, settings = engine(servers=2, port=port)
    state = wait_for(
        lambda: (s := stands(settings)) and {x.state for x in s.servers} == {"ready"} and s, worker
    )
    assert [server.url for server in state.servers] == [
        f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port + 1}/v1",
    ]  # fmt: skip
    second = engine()[0]
    assert second.exit_code(60) == 3
    assert "another engine" in second.said()
    os.kill(state.servers[1].pid, signal.SIGKILL)
    until(lambda: (s := stands(settings)).servers[1].restarts == 1 and s.servers[1].state == "ready")
    assert stands(settings).servers[0].restarts == 0


def test_a_taken_port_is_said(engine):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        worker, _ = engine(port=taken.getsockname()[1], failed_starts=1)
        assert worker.exit_code(60) == 4
    assert "is taken by another program" in worker.said()


def test_status_and_dry_run_show_it(engine, tmp_path):
    worker, settings = engine()
    ready(worker, settings, 0)
    asked = [sys.executable, "-c", "from streams.cli import main; main()"]
    data = ["--data-dir", str(settings.data_dir)]
    workers = Workers(tmp_path / "data")
    status = workers.run(settings, [*asked, "status", *data])
    assert status.exit_code() == 3  # no supervisor runs
    assert "engine-0  ready" in status.said()
    show = workers.run(settings, [*asked, "engine", "--dry-run", *data])
    assert show.exit_code() == 0
    assert f"--port {settings.serve.port}" in show.said()


def test_up_keeps_the_engine_and_ends_it(settings, tmp_path, until, request):
    assert engine_slots(settings()) == []
    asked = settings(serve={
        "model": "none", "port": free_port(), **FAST,
        "command": [sys.executable, str(KIT / "token_server.py"),
                    "--port", "{port}", "--about", str(tmp_path)],
        "environment": {"PYTHONPATH": str(KIT.parent)},
    })  # fmt: skip
    it = Supervisor(asked, Plan(slots=engine_slots(asked), create=False), attached=True)
    request.addfinalizer(it.stop)
    assert it.start()
    it.wait_healthy(60)

    def generates() -> bool:
        state = running_state(it.data_dir)
        return bool(state) and state.servers[0].state == "ready"

    until(generates, 30, "the server generates")
    (first,) = pids(tmp_path)
    it.kill("engine")
    until(lambda: gone(first), 10, "the server went with its keeper")
    until(lambda: len(pids(tmp_path)) == 2 and generates(), 30, "both are back")
    assert it.stop()
    assert gone(pids(tmp_path)[1])


def test_an_installation_that_fails_leaves_nothing(tmp_path):
    """An installer that ends with words, and one that is killed on its way: no folder passes for whole."""
    it = Environment("cpu", ("no requirement at all",), tmp_path / "serve")
    said: list[str] = []
    with pytest.raises(ServeError, match="can't be installed") as failure:
        it.ensure(said.append)
    assert "no requirement at all" in str(failure.value)
    assert not it.whole()
    assert [path.name for path in it.path.parent.iterdir()] == [f".{it.path.name}.lock"]
    left = it.path.parent / f".making-{it.path.name}-left"
    (left / "environment").mkdir(parents=True)
    with pytest.raises(ServeError, match="cancelled"):
        it.ensure(said.append, cancelled=lambda: True)
    assert not left.exists()
    assert not it.path.exists()
