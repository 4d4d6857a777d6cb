"""`finestream ingest` as a user meets it: what it prints, where, and how it ends."""

import json
from pathlib import Path

import pytest
from kit.crawl_files import response, write_jsonl, write_warc
from kit.raw_log import Raw
from typer.testing import CliRunner

from streams import generations
from streams.broker import Broker
from streams.cli import build
from streams.errors import BrokerUnreachable, SettingsError, SourceError
from streams.ingest.progress import Bar
from streams.ingest.source import inspect


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; our own errors are raised as they are."""
    done = CliRunner().invoke(build(), ["ingest", *arguments], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_dry_run_counts_in_a_table_and_sends_nothing(tmp_path: Path) -> None:
    path = write_warc(
        tmp_path / "a.warc", [response(b"<p>x"), response(b"", status="404 X"), response(b"\0")]
    )
    code, out, err = run("--dry-run", str(path), "--set", "kafka.bootstrap_servers=127.0.0.1:1")
    assert (code, err) == (0, "")
    head, row = out.splitlines()
    assert head.split() == ["source", "outcome", "records", "documents", "sent", "stubs", "skipped"]
    assert row.split() == [str(path), "done", "3", "2", "0", "http_error=1"]


def test_damage_is_said_on_stderr_and_is_no_failure(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", [response(b"<p>x")] * 2)
    path.write_bytes(path.read_bytes()[:-20])
    code, out, err = run("--dry-run", "--format", "json", str(path))
    assert code == 0
    assert f"{path} is damaged; what could be read was sent" in err
    answer = json.loads(out)
    assert answer["documents"] == 1
    assert answer["dry_run"] is True
    assert answer["sources"][0]["outcome"] == "damaged"
    assert answer["sources"][0]["stubs"] == {"truncated": 1}


def test_one_bad_file_of_a_folder_is_named_and_stops_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    bad = folder / "a.csv"
    bad.write_text("x")
    write_jsonl(folder / "b.jsonl", [{"text": "x"}])
    (folder / "c.html").write_text("<p>x")
    code, out, err = run("--dry-run", "--format", "json", str(folder))
    assert code == 1
    assert f"{bad} is of no known format" in err
    sources = json.loads(out)["sources"]
    assert [(Path(one["source"]).name, one["outcome"]) for one in sources] == [
        ("in", "done"),
        ("a.csv", "refused"),
        ("b.jsonl", "done"),
    ]
    assert "of no known format" in sources[1]["reason"]
    code, out, _ = run("--dry-run", "--format", "json", "--shard", "1/2", str(folder))
    assert len(json.loads(out)["sources"]) < 3


def test_following_wants_something_to_follow_and_never_dries(tmp_path: Path) -> None:
    for arguments, words in (
        (["--follow"], "name what to follow"),
        (["--follow", "--dry-run", "x"], "a dry run ends"),
    ):
        code, _, err = run(*arguments, "--set", "kafka.bootstrap_servers=127.0.0.1:1")
        assert code == 2
        assert words in err
    with pytest.raises(SettingsError, match="--shard wants i/n"):
        run("--shard", "2/2", str(tmp_path))


def test_names_that_could_steer_a_terminal_are_escaped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a\x1b[31m\nb.jsonl", [{"text": "x"}])
    code, out, _ = run("--dry-run", str(path))
    assert code == 0
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
    code, out, _ = run("--dry-run", "--format", "json", str(path))
    assert json.loads(out)["sources"][0]["source"] == str(path)


def test_errors_name_the_fix(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file matches"):
        run(str(tmp_path / "*.warc.gz"))
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    with pytest.raises(BrokerUnreachable, match=r"no Kafka broker answers at 127\.0\.0\.1:1 "):
        run(str(path), "--set", "kafka.bootstrap_servers=127.0.0.1:1")


def test_it_ingests_and_says_so(clean_broker: Broker, tmp_path: Path, settings: object) -> None:
    it = settings(clean_broker)  # type: ignore[operator]
    generations.create(it)
    options = ["--set", f"kafka.bootstrap_servers={clean_broker.bootstrap_servers}", "--format", "json"]
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": f"t{n}"} for n in range(30)])
    code, out, err = run(*options, str(tmp_path / "*.jsonl"))
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert (answer["documents"], answer["sent"], answer["stopped"]) == (30, 30, False)
    assert Raw(it).records == 30
    code, out, err = run(*options, str(path))
    assert [source["outcome"] for source in json.loads(out)["sources"]] == ["known"]
    code, out, err = run(*options)
    assert code == 0
    assert "nothing to do; name files to ingest" in err


def test_the_bar_takes_any_position(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = inspect(str(write_jsonl(tmp_path / "[red]\x1b[31m.jsonl", [{"text": "x"}])))
    with Bar(0) as bar:
        for position in (0, 10, 10**12):
            bar.begin(source)
            bar.at(position, 5)
            bar.end()
    assert "\x1b[31m" not in capsys.readouterr().err
