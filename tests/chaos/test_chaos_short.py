"""The short chaos run, and the oracle on trial: three planted faults, each of which it must name."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from chaos import oracle
from chaos.corpus import Lanes, Writer
from chaos.harness import Chaos, chaos_settings
from chaos.storm import storm
from kit.flow import limit_messages, raw_ends

from streams import clients
from streams.settings import STAGES

FAULTS = str(Path(__file__).with_name("faults.py"))
KILLS = [
    ("ingest", "freeze"),
    ("chunk", "kill"),
    ("match", "freeze"),
    ("trainer", "kill"),
    ("judge", "terminate"),
    ("broker", "kill"),
    ("instantiate", "kill"),
    ("ingest", "kill"),
    ("chunk", "freeze"),
    ("trainer", "freeze"),
    ("match", "terminate"),
    ("judge", "kill"),
]


def test_nothing_is_lost_or_repeated_under_fire(prepared_jars, tmp_path):
    outcome = storm(tmp_path, documents=150, kills=KILLS, gap_seconds=3.0, say=print)
    assert outcome.report.killed == len(KILLS)
    assert outcome.verdict.expected > 100
    assert outcome.verdict.clean, outcome.verdict.words()
    assert outcome.verdict.filtered["judged"] > 0  # the late writes, which the trainer did not take
    assert outcome.weights_equal


def lane_of(item):
    return int(Path(item.file).stem[-1])


def acknowledged(settings, group, topic):
    """The group's offsets: what its workers have let go of."""
    admin = clients.admin(settings)
    try:
        offsets = admin.list_group_offsets(group)[group]
    finally:
        admin.close()
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == topic}


def test_each_planted_fault_is_named(prepared_jars, tmp_path, monkeypatch):
    """One fault a lane, and a lane without one: what the oracle says of each."""
    filtered, unacknowledged, untailed, sound = range(4)
    monkeypatch.setenv("FAULTS", '{"filter": 0, "acknowledge": 1, "tail": 2}')
    settings = chaos_settings(tmp_path / "data", lanes=4, kafka={"compression": "none"})
    kinds = {"chunk": "chunk", "match": "match", "instantiate": "pairs", "judge": "best"}
    entries = {stage: [sys.executable, FAULTS, "worker", kinds[stage]] for stage in STAGES}
    chaos = Chaos(tmp_path, settings, 1, print, {**entries, "trainer": [sys.executable, FAULTS, "trainer"]})
    writer = Writer(tmp_path, Lanes(4, [1] * 4), 1)
    # Files are taken in the order of their names, which end in the lane.
    first = [writer.write_lane(f"a-{n}.jsonl", n, ["keep"] * 6) for n in range(4)]
    second = [
        writer.write_lane(f"b1-{sound}.jsonl", sound, ["keep:1"] * 8),
        writer.write_lane(f"b2-{unacknowledged}.jsonl", unacknowledged, ["keep:30"]),
    ]
    third = [writer.write_lane(f"c-{n}.jsonl", n, ["dup", "keep", "dup", "keep"]) for n in range(4)]
    third.append(writer.write_lane(f"d-{sound}.jsonl", sound, ["keep:4"] * 20))
    with chaos.running():
        chaos.begin_training()
        chaos.flow(first, 0.0)
        chaos.wait(lambda: chaos.ingest.done and chaos.judged_reaches(), 90, "the first files are through")
        ends = raw_ends(chaos.settings)
        chaos.wait(
            lambda: acknowledged(chaos.settings, "finestream.1.chunk", "raw") == ends,
            30,
            "chunk has committed",
        )
        chaos.late_writes("judged", filtered)
        for slot in ("chunk-0", "chunk-1"):
            chaos.supervisor.kill(slot, signal.SIGKILL)
        chaos.supervisor.wait_healthy(90)

        # The broker refuses a document's outputs for a while, but says so to deaf ears.
        chaos.flow(second, 0.5, burst=1)
        chaos.wait(lambda: raw_ends(chaos.settings)[sound] > ends[sound], 60, "the second files begin")
        limit_messages(chaos.settings, "chunked", 4_000)
        chaos.wait(lambda: chaos.ingest.done, 60, "the second files are sent")
        ends = raw_ends(chaos.settings)
        chaos.wait(
            lambda: acknowledged(chaos.settings, "finestream.1.chunk", "raw") == ends,
            60,
            "chunk let go of them",
        )
        limit_messages(chaos.settings, "chunked", clients.MAX_REQUEST_BYTES)

        chaos.flow(third, 0.0)
        chaos.wait(lambda: chaos.ingest.done, 60, "the third files are sent")
        chaos.wait(
            lambda: chaos.judged_reaches([filtered, untailed, sound]), 90, "the third files are through"
        )
        topics = oracle.Topics(chaos.settings.bootstrap_servers)
        filler = raw_ends(chaos.settings)[sound] - 15

        def trained():
            pairs, _ = oracle.ledger(topics, "main")
            return any(pair.lane == sound and pair.position[0] > filler for pair in pairs)

        chaos.wait(trained, 120, "the trainer has come to what is there to push the rest out")
        topics.close()
        verdict = oracle.judge(chaos.settings.bootstrap_servers, [*first, *second, *third], "main")
    print(verdict.words())
    assert not verdict.clean
    assert {lane_of(item) for item in verdict.repeated} == {filtered}
    assert verdict.unexpected
    assert all(f"c-{untailed}.jsonl" in text for text in verdict.unexpected)
    assert any(Path(item.file).name == f"b2-{unacknowledged}.jsonl" for item in verdict.missing)
    assert any(gap.startswith("chunked/1") for gap in verdict.gaps)
    assert [text.split()[0] for text in verdict.unfinished] == ["judged/1"]
    # The lane without a fault is whole, but for what was there to push the rest out.
    left = {Path(item.file).name for item in verdict.missing if lane_of(item) != unacknowledged}
    assert left <= {f"d-{sound}.jsonl"}
