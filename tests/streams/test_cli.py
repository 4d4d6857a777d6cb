from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib

import pytest

from streams.broker import find, free_port
from streams.cli import COMMANDS, options
from streams.cli.config import toml
from streams.cli.up import workers_asked
from streams.settings import load
from streams.supervisor import running_state

ENTRY = [sys.executable, "-c", "from streams.cli import main; main()"]
HEAVY = {
    "aiokafka",
    "faiss",
    "faust",
    "kafka",
    "msgspec",
    "numpy",
    "prometheus_client",
    "psutil",
    "pydantic_settings",
    "requests",
    "rich",
    "sentence_transformers",
    "streams.settings",
    "structlog",
    "tokenizers",
    "torch",
    "transformers",
}


def finestream(*arguments, env=None, timeout=240):
    return subprocess.run(
        [*ENTRY, *map(str, arguments)],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def data_dir(tmp_path):
    """A data directory in which nothing runs any more when the test is over."""
    yield tmp_path / "data"
    assert finestream("down", "--data-dir", tmp_path / "data").returncode == 0


def test_help_imports_nothing_heavy_and_ends_with_examples():
    program = (
        "import json, sys\nfrom streams.cli import COMMANDS, main\n"
        "for words in ([], *([name] for name in COMMANDS), ['config', 'show']):\n"
        "    sys.argv = ['finestream', *words, '--help']\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "    print('====')\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    *helps, heavy = run.stdout.split("====\n")
    assert json.loads(heavy) == []
    assert len(helps) == len(COMMANDS) + 2
    for text in helps:
        before, _, examples = text.partition("Examples:\n")
        assert "Usage: finestream" in before
        assert examples.strip().splitlines()[0].startswith("finestream ")


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["nonsense"], {}, 2, "nonsense"),
        (["status", "--set", "broker.prot=1"], {}, 2, "broker.prot"),
        (["status", "--set", "broker"], {}, 2, "KEY=VALUE"),
        (["status", "--set", "broker.port=many"], {}, 2, "broker.port"),
        (["status"], {"FINESTREAM_BROKR__PORT": "1"}, 2, "FINESTREAM_BROKR__PORT"),
        (["status", "--config", "/no/such.toml"], {}, 2, "/no/such.toml"),
        (["worker", "cook"], {}, 2, "chunk, match, instantiate, judge"),
        (["up", "--workers", "some"], {}, 2, "--workers"),
        (["up", "--workers", "cook=1"], {}, 2, "cook"),
        (["status"], {}, 3, ""),
    ],
)
def test_errors_are_sentences_with_exit_codes(arguments, env, code, said, tmp_path):
    where = [] if arguments == ["nonsense"] else ["--data-dir", tmp_path]
    run = finestream(*arguments, *where, env=env)
    assert run.returncode == code
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_up_status_down_and_up_again(prepared_jars, data_dir):
    where = ["--data-dir", data_dir, "--format", "json"]
    first = finestream("up", "--broker-only", "--set", "broker.port=0", "--set", "pipeline.lanes=2", *where)
    assert first.returncode == 0, first.stderr
    up = json.loads(first.stdout)
    assert up["started"] is True
    assert up["bootstrap_servers"] == f"127.0.0.1:{find(data_dir).port}"

    second = finestream("up", "--broker-only", "--set", "pipeline.lanes=2", *where)
    assert second.returncode == 0
    assert "already running" in second.stderr
    assert json.loads(second.stdout) == up | {"started": False}

    status = finestream("status", *where)
    assert status.returncode == 0
    data = json.loads(status.stdout)
    assert (data["healthy"], data["lanes"], data["problems"]) == (True, 2, [])
    assert [process["slot"] for process in data["processes"]] == ["broker"]
    assert data["processes"][0]["memory_bytes"] > 50e6
    assert finestream("status", "--data-dir", data_dir).stdout.startswith("well\n")

    down = finestream("down", *where)
    assert (down.returncode, json.loads(down.stdout)["stopped"]) == (0, True)
    assert finestream("status", *where).returncode == 3
    assert find(data_dir) is None

    # The pipeline that it made is still there, and is not made anew with other lanes.
    again = finestream("up", "--broker-only", "--set", "broker.port=0", "--set", "pipeline.lanes=3", *where)
    assert again.returncode == 2
    assert "created with 2" in again.stderr
    assert find(data_dir) is None  # a start that failed leaves nothing behind


def test_an_outside_cluster_that_does_not_answer(data_dir):
    servers = f"kafka.bootstrap_servers=127.0.0.1:{free_port()}"
    run = finestream("up", "--data-dir", data_dir, "--set", servers)
    assert run.returncode == 4
    assert "check kafka.bootstrap_servers" in run.stderr


def test_interrupted_up_leaves_nothing_running(prepared_jars, data_dir, until):
    arguments = ["up", "--broker-only", "--set", "broker.port=0", "--data-dir", str(data_dir)]
    run = subprocess.Popen([*ENTRY, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until(lambda: running_state(data_dir), what="the supervisor runs")
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in stderr
    assert running_state(data_dir) is None
    assert find(data_dir) is None


def test_settings_are_shown_as_they_are_read_and_secrets_are_not(tmp_path):
    (tmp_path / "my.toml").write_text(
        '[chunk]\nmin_characters = 5\nlanguages = ["en", "de"]\n[match]\nsigma = 0.5\n'
    )
    arguments = [
        "--config",
        tmp_path / "my.toml",
        "--set",
        "chunk.min_characters=7",
        "--set",
        'chunk.languages=["fr"]',
    ]
    env = {"FINESTREAM_MATCH__SIGMA": "0.25", "FINESTREAM_KAFKA__SASL_PASSWORD": "hunter2"}
    human = finestream("config", "show", *arguments, env=env).stdout
    shown = tomllib.loads(human)
    assert shown["chunk"]["min_characters"] == 7  # flag over file
    assert shown["chunk"]["languages"] == ["fr"]
    assert shown["match"]["sigma"] == 0.25  # environment over file
    data = json.loads(finestream("config", "show", *arguments, "--format", "json", env=env).stdout)
    assert data["kafka"]["sasl_password"] == "********"
    assert "hunter2" not in human
    assert "hunter2" not in json.dumps(data)


def test_the_shown_toml_is_the_settings(monkeypatch, tmp_path):
    named = {
        "benchmarks": {"mt-bench": "a.jsonl", "exam.2": "b/*.txt"},
        "fields": {"mt-bench": ["turns", "q.a"]},
    }
    settings = load(
        data_dir=tmp_path, pipeline={"lanes": 3}, trainer={"run": "x-1"}, chunk={"contamination": named}
    )
    (tmp_path / "shown.toml").write_text("\n".join(toml(settings)))
    monkeypatch.setenv("FINESTREAM_CONFIG", str(tmp_path / "shown.toml"))
    assert load() == settings


def test_workers_are_asked_for_in_two_ways():
    assert workers_asked("2") == 2
    assert workers_asked("chunk=1, match=3") == {"chunk": 1, "match": 3}


def test_tables_are_aligned_and_cannot_steer_a_terminal():
    rows = [{"name": "a\x1b[2J", "n": 5}, {"name": "b", "n": 12}]
    assert options.table(rows, ("name", "n")) == ["name       n", "a\\x1b[2J   5", "b         12"]
