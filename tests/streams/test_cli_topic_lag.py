from __future__ import annotations

import json
import sys
import time

import pytest
from kit.processes import Workers
from kit.whole_lanes import Lanes, Written, segment

from streams import clients, generations, topics
from streams.cli import main
from streams.cli.topic import tree
from streams.peek import bounded, moment
from streams.positions import Origin, Position
from streams.records import encode
from trainer import entries

LANES = 2
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202e <fi>it</fi> \ud7ff\nInstruction: obey\x00"


@pytest.fixture
def finestream(monkeypatch, capsys, clean_broker, tmp_path):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        servers = f"kafka.bootstrap_servers={clean_broker.bootstrap_servers}"
        where = ["--set", servers, "--set", f"pipeline.lanes={LANES}", "--data-dir", str(tmp_path / "data")]
        monkeypatch.setattr(sys, "argv", ["finestream", *map(str, arguments), *where])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            return end.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    def read(*arguments):
        code, out, err = run(*arguments, "--format", "json")
        assert (code, err) == (0, "")
        return json.loads(out)

    run.json = read
    return run


@pytest.fixture
def lanes(clean_broker, settings):
    asked = settings(pipeline={"lanes": LANES})
    return Lanes(asked, generations.create(asked))


def test_what_lies_in_the_topics(finestream, lanes):
    lanes.document(0, 2, 0)
    lanes.document(0, dead=("chunk", "RecordError"))
    lanes.document(1, 1, dropped=("match", "reason"))
    lanes.write()
    rows = {row["topic"]: row for row in finestream.json("topic", "ls")}
    assert {"raw", "chunked", "judged", "dead.judge", "sources", "generations", "controls"} <= set(rows)
    assert not any(name.startswith("__") for name in rows)
    assert rows["judged"] == {
        "topic": "judged", "records": 4,
        "lanes": [{"lane": 0, "begin": 0, "end": 3}, {"lane": 1, "begin": 0, "end": 1}],
    }  # fmt: skip
    code, out, _ = finestream("topic", "ls")
    assert code == 0
    assert out.splitlines()[0].split() == ["topic", "lanes", "begin", "end", "records"]
    assert ["judged", "2", "0", "4", "4"] in [line.split() for line in out.splitlines()]

    lanes.write([lanes.find("judged", 0, Position(0, 0)), Written("judged", 1, b"?", b"?", b"?")])
    counted = finestream.json("topic", "count", "judged")
    assert counted["total"] == {
        "records": 6, "value_bytes": counted["total"]["value_bytes"], "segment": 2, "dropped": 1, "dead": 1,
        "repeated": 1, "foreign": 1,
    }  # fmt: skip
    raw = finestream.json("topic", "count", "raw", "--lane", 0)
    assert [(row["lane"], row["document"], row["stub"]) for row in raw["lanes"]] == [(0, 2, 0)]
    assert finestream.json("topic", "count", "dead.chunk")["total"]["dead"] == 1
    assert finestream.json("topic", "count", "generations")["total"]["records"] == 1
    code, out, _ = finestream("topic", "count", "judged")
    assert out.splitlines()[-1].split()[:2] == ["all", "6"]


def test_a_record_is_shown_as_words_and_cannot_steer_a_terminal(finestream, lanes, monkeypatch):
    lanes.document(0, 1, 0)
    record = lanes.find("chunked", 0, Position(0, 1))
    record.value = encode(segment(Position(0, 1), 2, HOSTILE + "long " * 1000))
    lanes.document(1, dropped=("chunk", HOSTILE))
    lanes.write()

    (shown,) = finestream.json("topic", "peek", "chunked", "--lane", 0)
    assert (shown["topic"], shown["lane"], shown["offset"]) == ("chunked", 0, 1)
    assert shown["key"] == {"offset": 0, "segment": 1}
    assert (shown["header"]["kind"], shown["header"]["segments"]) == ("segment", 2)
    assert shown["header"]["origin"] == [1, 1]
    assert shown["header"]["epoch"] == f"{lanes.generation.epoch:016x}"
    assert shown["appended_at"].startswith("20")
    assert shown["record"]["document_id"] == "d0"
    assert shown["record"]["text"].startswith(HOSTILE)
    assert shown["record"]["text"].endswith(f"… ({len(HOSTILE) + 5000:,} characters)")
    assert len(shown["record"]["text"]) < 350
    (whole,) = finestream.json("topic", "peek", "chunked", "--lane", 0, "--chars", 0)
    assert whole["record"]["text"] == HOSTILE + "long " * 1000

    code, out, _ = finestream("topic", "peek", "chunked", "--tail", 3)
    assert code == 0
    assert out.count("chunked, lane") == 3
    assert "text: \\x1b[2J\\x1b]0;owned\\x07 \\x9b31m \\x202e <fi>it</fi>" in out
    assert all(c.isprintable() or c == "\n" for c in out)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _, out, _ = finestream("topic", "peek", "chunked", "--tail", 3, "--format", "json")
    assert all(c.isprintable() or c == "\n" for c in out)
    assert {record["record"].get("reason") for record in json.loads(out)} == {None, HOSTILE}


def test_which_records_are_shown(finestream, lanes):
    for _ in range(4):
        lanes.document(0, 1)
    lanes.document(1, 1)
    lanes.write()

    def places(*arguments):
        return [
            (r["lane"], r["key"]["offset"]) for r in finestream.json("topic", "peek", "judged", *arguments)
        ]

    assert places("--lane", 0) == [(0, 3)]
    assert places("--lane", 0, "--tail", 9) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert sorted(places("--tail", 9)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert places("--lane", 0, "--offset", 1, "--records", 2) == [(0, 1), (0, 2)]
    assert places("--lane", 0, "--offset", 3, "--records", 9) == [(0, 3)]
    (raw,) = finestream.json("topic", "peek", "raw", "--lane", 1)
    assert raw["key"] == {"source": 1, "record": 5}
    assert raw["record"]["payload"] == "x"
    code, out, err = finestream("topic", "peek", "dead.judge")
    assert (code, out, err) == (0, "", "dead.judge holds nothing there\n")
    for arguments, said in [
        (["judged", "--offset", 1], "name it with --lane"),
        (["judged", "--lane", 0, "--offset", 4], "holds offsets 0 to 3"),
        (["judged", "--lane", 2], "has the lanes 0 to 1"),
        (["judged", "--lane", 0, "--offset", 1, "--tail", 1], "either --offset or --tail"),
    ]:
        code, _, err = finestream("topic", "peek", *arguments)
        assert (code, said in err) == (2, True), (arguments, err)
    code, _, err = finestream("topic", "peek", "nonesuch")
    assert code == 1
    assert "finestream topic ls" in err


def test_markers_dead_letters_books_ledgers_and_bytes_of_strangers(finestream, lanes):
    lanes.document(0, dead=("chunk", "RecordError"), stub=True)
    lanes.document(0, 1, dead=("judge", "killed_worker"))
    lanes.document(1, dropped=("chunk", "too_short"))
    lanes.written.append(Written("judged", 1, b"who?", b"\xff\xfe what?" * 9, b"short"))
    lanes.write()
    (marker,) = finestream.json("topic", "peek", "chunked", "--lane", 1)
    assert marker["record"] == {"stage": "chunk", "reason": "too_short"}
    assert marker["header"]["kind"] == "dropped"
    (stranger,) = finestream.json("topic", "peek", "judged", "--lane", 1)
    assert stranger["key"] == b"who?".hex()
    assert stranger["unreadable"].startswith("header 'fs' has 5 bytes")
    assert stranger["record"].startswith("\\xff\\xfe what?")
    (letter,) = finestream.json("topic", "peek", "dead.chunk", "--lane", 0)
    assert letter["headers"] == {"error": "RecordError", "detail": "planted"}
    assert letter["key"] == {"offset": 0, "segment": 0}
    assert letter["record"]["id"] == "d"
    (letter,) = finestream.json("topic", "peek", "dead.judge", "--lane", 0)
    assert letter["record"]["engine"] == "test"
    (book,) = finestream.json("topic", "peek", "generations")
    assert (book["key"], book["record"]["lanes"], book["header"]) == ("1", LANES, None)

    topics.create_ledger(lanes.settings, "main")
    write_ledger(lanes, closed=[], step=7)
    (entry,) = finestream.json("topic", "peek", "ledger.main")
    assert (entry["key"], entry["record"]["step"]) == ({"step": 7}, 7)


def write_ledger(lanes, closed, step):
    entry = entries.Step(
        run="main", attempt=1, step=step, settings_hash="", generation="1", epoch=1, closed=closed, draws=[],
        pairs=[], targets=1, batch_hash=b"", tokens=1, pairs_total=1,
    )  # fmt: skip
    producer = clients.sync_producer(lanes.settings)
    producer.send("ledger.main", key=entries.key(entry), value=entries.encode(entry)).get(30)
    producer.close()


def test_lag_with_workers_and_without(finestream, lanes, tmp_path, until):
    lanes.document(0, 1)
    lanes.document(0, 1)
    lanes.document(1, 1)
    raw = [w for w in lanes.written if w.topic == "raw"]
    lanes.write(raw)
    written = time.time()

    before = finestream.json("lag")
    assert [stage["stage"] for stage in before["stages"]] == ["chunk", "match", "instantiate", "judge"]
    chunk = before["stages"][0]
    assert (chunk["topic"], chunk["state"], chunk["members"], chunk["records"]) == ("raw", "Dead", [], 3)
    assert [(x["lane"], x["committed"], x["end"], x["records"]) for x in chunk["lanes"]] == [
        (0, None, 2, 2), (1, None, 1, 1),
    ]  # fmt: skip
    assert 0 < chunk["seconds"] < time.time() - written + 5
    assert (before["stages"][1]["records"], before["stages"][1]["seconds"]) == (0, 0)
    assert before["trainer"] is None

    workers = Workers(tmp_path)
    try:
        worker = workers.start(lanes.settings, "expand", "finestream-1-chunk-0")
        until(lambda: finestream.json("lag")["stages"][0]["records"] == 0, 60, "all is committed", 0.2)
        stages = finestream.json("lag")["stages"]
        (member,) = stages[0]["members"]
        assert (member["lanes"], stages[0]["state"], stages[0]["seconds"]) == ([0, 1], "Stable", 0)
        assert member["id"].startswith("finestream-1-chunk-0")
        assert {lane["member"] for lane in stages[0]["lanes"]} == {member["id"]}
        assert (stages[1]["topic"], stages[1]["records"]) == ("chunked", 3)
        worker.kill()
    finally:
        workers.end()

    lanes.document(1, 1)
    lanes.write([lanes.find("raw", 1, Origin(1, 4))])
    topics.create_ledger(lanes.settings, "main")
    write_ledger(lanes, [entries.Closed(0, 0, Position(0, 0), Position(0, 0))], step=1)
    write_ledger(lanes, [entries.Closed(0, 1, Position(1, 0), Position(1, 0))], step=2)
    after = finestream.json("lag")
    assert [(x["lane"], x["committed"], x["records"]) for x in after["stages"][0]["lanes"]] == [
        (0, 2, 0), (1, 1, 1),
    ]  # fmt: skip
    assert after["trainer"] == {
        "run": "main", "step": 2, "documents": 2, "lanes": [
            {"lane": 0, "position": [1, 0], "raw_end": 2, "documents": 0},
            {"lane": 1, "position": None, "raw_end": 2, "documents": 2},
        ],
    }  # fmt: skip
    assert finestream.json("lag", "--run", "other")["trainer"] is None
    code, out, _ = finestream("lag", "--lanes", "--run", "main")
    assert code == 0
    assert "trainer, run main: step 2, 2 documents of raw are not yet in its ledger" in out
    assert "finestream.1.judge reads instantiated" in out


def test_lag_where_there_is_no_pipeline(finestream):
    code, _, err = finestream("lag")
    assert code == 1
    assert "finestream up" in err


def test_values_are_cut_and_shown_as_a_tree():
    assert bounded("x" * 5, 3) == "xxx… (5 characters)"
    assert bounded(b"\x00\x01", 3) == "0001"
    assert bounded("é".encode() * 100, 3) == "ééé… (200 bytes)"
    assert bounded({b"k": [1] * 60}, 3)["k"][-1] == "… (10 more)"
    assert bounded({"payload": b"x\xff"}, 0) == {"payload": "x\\xff"}
    assert bounded([1] * 60, 0) == [1] * 60
    assert moment(0) == ""
    assert moment(1) == "1970-01-01T00:00:00.001Z"
    assert moment(10**18) == str(10**18)
    assert list(tree("a", {"b": 1, "c": "x\n", "d": [1, 2]})) == ["a: b 1, c x\\x0a, d [1, 2]"]
    assert list(tree("a", {"b": {"c": 0.123456, "d": ""}, "e": [], "f": ["x", {"g": 1}]})) == [
        "a:", "  b: c 0.1235, d ''", "  e: none", "  f:", "    -: x", "    -: g 1",
    ]  # fmt: skip
