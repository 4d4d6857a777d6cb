"""The harness: what it takes for a figure, and what makes it fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
GOOD = {
    "name": "ratio",
    "value": 0.9,
    "unit": "x",
    "goal": 0.8,
    "better": "higher",
    "baseline": "bare",
    "met": True,
}


def bench(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(RUN), "--folder", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def module(folder, name, *figures, more=""):
    lines = [f"print({(json.dumps(figure) if isinstance(figure, dict) else figure)!r})" for figure in figures]
    (folder / f"{name}.py").write_text("import sys, time, os\n" + "\n".join(lines) + "\n" + more)


def test_figures_pass_through_and_a_missed_goal_is_no_failure(tmp_path):
    missed = {**GOOD, "name": "slow", "value": 9, "goal": 5, "better": "lower", "met": False}
    shown = {**GOOD, "name": "beside", "goal": None, "met": None}
    module(tmp_path, "one", GOOD, missed, more="print('words', file=sys.stderr)")
    module(tmp_path, "two", shown)
    module(tmp_path, "test_none", "not run")
    done = bench(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [GOOD, missed, shown]
    assert "words" in done.stderr
    assert "3 figures, 1 goals missed, 0 benchmarks broken" in done.stderr
    assert "MISSED" in done.stderr
    assert "≥ 0.8" in done.stderr
    assert "≤ 5" in done.stderr


@pytest.mark.parametrize(
    ("figures", "more", "why"),
    [
        ([GOOD], "sys.exit(3)", "exit code 3"),
        ([GOOD], "os.kill(os.getpid(), 9)", "exit code -9"),
        ([], "", "no figure"),
        (["hello"], "", "stdout is for JSON lines"),
        ([{**GOOD, "met": False}], "", "value against goal says True"),
        ([{**GOOD, "goal": None}], "", "value against goal says None"),
        ([{**GOOD, "value": None, "met": True}], "", "value is a number"),
        ([{**GOOD, "value": float("nan"), "met": False}], "", "value is a number"),
        ([{**GOOD, "better": "more"}], "", "lower or higher"),
        ([{k: v for k, v in GOOD.items() if k != "unit"}], "", "has the keys"),
        ([], "time.sleep(60)", "not done within 4 s"),
    ],
)
def test_what_is_broken_fails_and_the_others_still_run(tmp_path, figures, more, why):
    module(tmp_path, "bad", *figures, more=more)
    module(tmp_path, "good", GOOD)
    done = bench(tmp_path, "--seconds", "4" if "sleep" in more else "40")
    assert done.returncode == 1
    assert "broken: bad: " in done.stderr
    assert why in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == GOOD


def test_names_choose_and_unknown_ones_list_what_there_is(tmp_path):
    module(tmp_path, "one", GOOD)
    module(tmp_path, "two", more="sys.exit(1)")
    assert bench(tmp_path, "one").returncode == 0
    done = bench(tmp_path, "three")
    assert done.returncode == 2
    assert "no benchmark three; there are: one, two" in done.stderr
