"""The parts of `finestream engine` that ask nobody: when a server hangs, what is started, what a log says."""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.command import (
    command_line,
    full_environment,
    gpus,
    servers,
    variables,
    with_our_urls,
)
from streams.engine.environment import Environment, without_addresses
from streams.engine.keeper import pause_seconds
from streams.engine.process import quoted
from streams.engine.questions import read_load
from streams.engine.watch import Load, Watch
from streams.errors import SettingsError
from streams.settings import ServeSettings, load, stage_hash

HANG, EVERY, TIMEOUT = 60.0, 10.0, 30.0


def watch() -> Watch:
    return Watch(HANG, EVERY, TIMEOUT, 0.0)


def test_a_server_that_stands_still_with_work_hangs():
    it = watch()
    for now in range(50):
        it.saw(Load(4, 100, now), now)
        assert it.hung(now) == ""
    for now in range(50, 49 + 60):
        it.saw(Load(4, 100, 49), now)
        assert it.hung(now) == "", now
    it.saw(Load(4, 100, 49), 109)
    assert it.hung(109) == "no_tokens"


def test_work_that_came_late_has_its_own_time():
    it = watch()
    it.saw(Load(0, 0, 7), 0)
    it.saw(Load(1, 0, 7), 1000)
    assert it.hung(1000 + HANG - 1) == ""
    assert it.hung(1000 + HANG) == "no_tokens"
    it.saw(Load(0, 0, 7), 1000 + HANG)  # its client gave up: nothing waits any more
    assert it.hung(1000 + HANG) == ""


def test_a_probe_without_an_answer_hangs_also_where_the_metrics_say_nothing_runs():
    it = watch()
    it.saw(Load(0, 0, 7), 0)
    assert not it.due(EVERY - 1)
    assert it.due(EVERY)
    it.asked(EVERY)
    assert not it.due(EVERY + 1)  # one at a time
    it.saw(Load(0, 0, 7), EVERY + 20)  # as a vLLM does whose engine core stands still
    assert it.hung(EVERY + TIMEOUT - 1) == ""
    assert it.hung(EVERY + TIMEOUT) == "no_answer"


def test_a_probe_behind_a_long_queue_is_no_sign_while_tokens_are_made():
    it = watch()
    it.saw(Load(8, 1000, 0), 0)
    it.asked(EVERY)
    for now in range(10, 500, 5):
        it.saw(Load(8, 1000, now), now)
        assert it.hung(now) == ""
    it.answered(500, well=True)
    assert it.hung(500) == ""
    assert not it.due(500)


def test_tokens_spare_the_probes():
    it = watch()
    for now in range(1, 200):
        it.saw(Load(8, 0, now), now)
        assert not it.due(now)


def test_errors_in_a_row_are_a_sickness():
    it = watch()
    for turn in range(3):
        assert it.hung(turn) == ""
        it.asked(turn)
        it.answered(turn, well=False)
    assert it.hung(3) == "sick"
    it.answered(4, well=True)
    assert it.hung(4) == ""


def test_a_server_without_metrics_is_judged_by_its_answers():
    it = watch()
    for now in (10, 25, 40):
        it.saw(None, now)
        assert it.due(now)
        it.asked(now)
        it.answered(now + 1, well=True)
    assert it.hung(1000) == ""
    it.asked(1000)
    assert it.hung(1000 + TIMEOUT) == "no_answer"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.1, 9.0)), max_size=60))
def test_who_makes_a_token_in_time_never_hangs(steps):
    it, now, tokens = watch(), 0.0, 0
    for running, waiting, pause in steps:
        now, tokens = now + pause, tokens + 1
        it.saw(Load(running, waiting, tokens), now)
        if it.due(now):
            it.asked(now)
        assert it.hung(now) == ""


def test_metrics_are_read_as_vllm_writes_them():
    text = (
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="a"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="a"} 2.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="a"} 7.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 70.0\n'
        'vllm:prompt_tokens_total{engine="0"} 1.5e+06\n'
        'vllm:prompt_tokens_created{engine="0"} 1.79e+09\n'
        'vllm:generation_tokens_total{engine="0"} 5.0\n'
    )
    assert read_load(text) == Load(5.0, 7.0, 1_500_005.0)
    assert read_load("") is None
    assert read_load("vllm:num_requests_running 1.0\n") is None  # no token counter: nothing to go by
    assert read_load("vllm:num_requests_running 1.0\nvllm:generation_tokens_total e\n") is None


def test_pauses_grow_and_are_bounded():
    assert [pause_seconds(n, 20) for n in range(8)] == [0, 0, 1, 2, 4, 8, 16, 20]
    assert pause_seconds(10**6, 60) == 60


def test_a_log_says_why():
    text = (
        "(APIServer pid=1) INFO 11-25 22:26:44 [api_utils.py:347] welcome\n"
        "(APIServer pid=1) WARNING 11-25 22:26:44 [u.py:2] This can cause errors like `OSError: [Errno 24]`\n"
        "(EngineCore pid=2) ERROR 11-25 22:26:44 [core.py:1] ValueError: no room for the cache\n"
        "(EngineCore pid=2) ERROR 11-25 22:26:44 [core.py:1] ValueError: no room for the cache\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. \x1b[31m\n"
    )
    assert quoted(text) == (
        "ValueError: no room for the cache / RuntimeError: Engine core initialization failed.  [31m"
    )
    assert quoted("usage: x\nx: error: unrecognized arguments: --foo\n") == (
        "x: error: unrecognized arguments: --foo"
    )
    assert quoted("a\nb\n") == "a / b"
    assert quoted("") == ""


def test_an_installer_s_words_hold_no_address():
    said = without_addresses("error: Failed to fetch: `https://me:secret@host/simple/x/`\n  timed out")
    assert said == "error: Failed to fetch: (an address) timed out"


def test_the_command_on_a_cpu():
    serve = ServeSettings(model="a/m", device="cpu", port=9000, speculative="ngram", args=("--foo", "1"))
    command = command_line(serve, 1)
    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    said = dict(pairwise(command))
    assert (said["--port"], said["--host"], said["--dtype"]) == ("9001", "127.0.0.1", "float32")
    assert said["--served-model-name"] == "default"
    assert json.loads(said["--speculative-config"])["method"] == "ngram"
    assert {"--enforce-eager", "--no-enable-chunked-prefill", "--enable-prefix-caching"} <= set(command)
    assert command[-2:] == ["--foo", "1"]
    added = variables(serve, 1)
    assert added["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert added["PATH"].startswith(str(Path(command[0]).parent) + os.pathsep)
    with pytest.raises(SettingsError, match="names no model"):
        command_line(ServeSettings(device="cpu"), 0)
    with pytest.raises(SettingsError, match="no folder"):
        command_line(ServeSettings(model="./none", device="cpu"), 0)


def test_the_command_on_gpus(monkeypatch):
    monkeypatch.setattr("streams.engine.command.gpus", lambda: ["0", "1", "2", "5"])
    serve = ServeSettings(model="m", servers=0, tensor_parallel=2, quantization="fp8", max_model_len=4096)
    assert servers(serve) == 2
    assert variables(serve, 1)["CUDA_VISIBLE_DEVICES"] == "2,5"
    said = dict(pairwise(command_line(serve, 0)))
    assert said["--tensor-parallel-size"] == "2"
    assert (said["--dtype"], said["--quantization"], said["--max-model-len"]) == ("auto", "fp8", "4096")
    assert "--enforce-eager" not in said
    with pytest.raises(SettingsError, match="there are 4 GPUs"):
        servers(serve.model_copy(update={"servers": 3}))


def test_stages_ask_our_servers_unless_they_name_others():
    judge = {"model": {"urls": ["http://elsewhere:1/v1"]}}
    asked = load(serve={"model": "m", "device": "cpu", "port": 9000, "servers": 2}, judge=judge)
    it = with_our_urls(asked)
    assert it.instantiate.model.urls == ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9001/v1")
    assert it.judge == asked.judge
    assert stage_hash(it, "instantiate") == stage_hash(asked, "instantiate")
    assert with_our_urls(load()) == load()


def test_gpus_are_what_we_may_see(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus(tmp_path) == ["2", "10"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "10")
    assert gpus(tmp_path) == ["10"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus(tmp_path) == []
    assert gpus(tmp_path / "none") == []


def test_a_key_is_in_the_environment_and_nowhere_else(monkeypatch):
    serve = ServeSettings(model="m", device="cpu", api_key_env="MY_KEY")
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(SettingsError, match="MY_KEY"):
        full_environment(serve, 0)
    monkeypatch.setenv("MY_KEY", "sesame")
    monkeypatch.setenv("FINESTREAM_DATA_DIR", "/x")
    whole = full_environment(serve, 0)
    assert whole["VLLM_API_KEY"] == "sesame"
    assert "FINESTREAM_DATA_DIR" not in whole
    assert "sesame" not in repr(command_line(serve, 0)) + repr(variables(serve, 0))


def test_an_environment_is_whole_or_not_there(tmp_path):
    it = Environment("cpu", (), tmp_path)
    assert not it.whole()
    (it.path / "bin").mkdir(parents=True)
    it.python.symlink_to(sys.executable)
    assert not it.whole()  # no marker
    (it.path / "finestream.json").write_text('{"digest": "another"}')
    assert not it.whole()
    (it.path / "finestream.json").write_text(json.dumps({"digest": it.digest}))
    assert it.whole()
    assert it.ensure(pytest.fail) == it.python  # nothing is said, nothing is done
    it.python.unlink()
    it.python.symlink_to(tmp_path / "gone")
    assert not it.whole()  # the Python that it was made with is gone
    others = {Environment("gpu", (), tmp_path).path, Environment("cpu", ("x==1",), tmp_path).path}
    assert len({it.path, *others}) == 3
