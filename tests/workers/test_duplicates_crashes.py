"""Duplicates on a real broker: workers killed at every boundary judge as one that never was."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from kit.chunk_lives import Lives
from kit.flow import (
    RawWriter,
    check_gapless,
    delete_before,
    filtered,
    raw_ends,
    read_lanes,
    read_raw_log,
    wait_drained,
    write_lane,
)
from kit.processes import wait_for
from kit.stages import Expand

from streams.positions import (
    NO_ORIGIN,
    Kind,
    LaneHeader,
    Position,
    unpack_lane_header,
    unpack_position,
)
from streams.records import Dropped, RawDocument, Segment, decode, encode
from workers import seen
from workers.claims import ClaimTable, Owner
from workers.duplicates import AdmitWindow
from workers.sender import _Batch

TEXTS = (
    "near=a,0", "near=b,0", "near=a,3", "drop", "seg:3:near=a,5", "A", "near=c,0", "seg:2:A", "near=c,15",
    "near=c,16", "near=d,1", "seg:2:near=d,1", "seg:3:near=d,2", "near=d,2", "near=b,1", "near=a,1",
    "seg:4:near=e,0",
)  # fmt: skip
"""`near=GROUP,n`: n bytes of the sketch differ from its group's; with 16, every band does."""


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    monkeypatch.setenv("DEDUP", "1")
    # The ways of a large window, at a test's size.
    monkeypatch.setattr("streams.settings.duplicates.READ_BACK_OFFSETS", 6)
    append = _Batch.append
    # Two records a batch: so a death can cut a document as well.
    monkeypatch.setattr(_Batch, "append", lambda self, record: self.count < 2 and append(self, record))


def story(records):
    """What a filtering reader sees of a lane, without what differs between lanes and times."""
    records = filtered(records)
    check_gapless(records)
    out = []
    for record in records:
        kind, position = record.header.kind, record.position
        what = decode(record.value, Dropped).reason if kind is Kind.DROPPED else kind.name
        flags = decode(record.value, Segment).flags if kind is Kind.SEGMENT else []
        out.append((position, what, flags, record.value, record.header.content, record.header.prefix))
    return out


def verdicts(records):
    """One letter a document: kept, flagged, equal, similar, elsewhere, dropped otherwise."""
    letters = {"duplicate": "=", "near_duplicate": "~", "duplicate_elsewhere": "!", "SEGMENT": "+"}
    told = [entry for entry in story(records) if entry[0].segment == 0]
    return "".join("f" if flags else letters.get(what, "x") for _, what, flags, *_ in told)


def write(settings, generation, lanes, texts):
    raw = RawWriter(settings, generation)
    for lane in lanes:
        for number, text in enumerate(texts):
            document = RawDocument(
                id=f"d{number}", url="", source="t", content_type="text/plain", payload=text.encode()
            )
            raw.write_bytes(lane, encode(document))
    raw.flush()
    raw.close()


@pytest.mark.parametrize(
    ("near", "window", "told"),
    [
        ("drop", 5, "++~x~++=~++=~~+++"),
        ("flag", 5, "++fxf++=ff+=f=+++"),
        ("flag", 8, "++fxf++=ff+=f=+++"),  # beyond READ_BACK_OFFSETS: with `seen`
    ],
)
def test_a_death_at_every_boundary_changes_no_verdict(pipeline, monkeypatch, near, window, told):
    monkeypatch.setattr(seen, "LAG_OFFSETS", 3)
    lanes = 46
    settings, generation = pipeline(lanes, chunk={"duplicates": {"window": window, "near": near}})
    write(settings, generation, range(lanes), TEXTS)
    lives = Lives(settings, generation)
    assert lives.live([0], 3)
    boundaries = lives.boundaries
    reference = read_lanes(settings, "chunked")[0]
    assert verdicts(reference) == told
    assert boundaries < lanes - 2, "a lane for each death"
    for at in range(boundaries):  # in each lane one death, and then another worker
        assert not lives.live([at + 1], 3, at)
        assert lives.live([at + 1], 4)
    lane = lanes - 1
    deaths = 0
    while not lives.live([lane], 2, 3):  # in the last lane a death at every second boundary
        deaths += 1
        assert deaths < 60
    found = read_lanes(settings, "chunked")
    for lane in [*range(1, boundaries + 1), lanes - 1]:
        assert story(found[lane]) == story(reference), lane
    if settings.chunk.duplicates.has_seen_topic:
        assert any(read_raw_log(settings, "seen").values())


def test_a_hole_in_seen_is_filled_from_the_outputs(pipeline, monkeypatch):
    monkeypatch.setattr(seen, "LAG_OFFSETS", 3)
    settings, generation = pipeline(5, chunk={"duplicates": {"window": 12, "near": "drop"}})
    write(settings, generation, range(5), TEXTS * 2)
    lives = Lives(settings, generation)
    assert lives.live([0], 3)
    reference = story(read_lanes(settings, "chunked")[0])
    for lane, boundary in ((1, 20), (2, 30), (3, 40), (4, 52)):
        assert not lives.live([lane], 3, boundary)
    records = read_raw_log(settings, "seen")
    assert all(len(records[lane]) >= 2 for lane in range(1, 5))
    delete_before(settings, "seen", 1, -1)  # all of it
    delete_before(settings, "seen", 2, 1)  # its beginning, beyond the window or within
    header = LaneHeader(Kind.SEGMENT, generation.epoch, 1, NO_ORIGIN, NO_ORIGIN, 3, 0, 0, 0)
    other = header._replace(epoch=7)
    write_lane(settings, "seen", 3, [
        (None, None, b"somebody else's"),
        (Position(1, 0), header, b"no multiple"),
        (Position(10**6, 0), other, b""),  # of another pipeline
        (Position(10**6, 0), header, b""),  # beyond the outputs: of a worker whose late writes end them
    ])  # fmt: skip
    zombie = [(unpack_position(r.key), unpack_lane_header(r.headers), r.value) for r in records[4][:2]]
    write_lane(settings, "seen", 4, zombie)
    for lane in range(1, 5):
        assert lives.live([lane], 3)
        assert story(read_lanes(settings, "chunked")[lane]) == reference, lane


CONTENTS = ("A", "seg:3:B", "C", "A", "seg:2:D")


def claimed(settings):
    """Return who claimed each content first, as the log has it."""
    table = ClaimTable(1000)
    for record in read_raw_log(settings, "claims")[0]:
        table.apply(record.value)
    return table


def kept_by(lanes, table):
    """Return which lanes kept each text; check that it was the first claim's, and what the markers say."""
    kept, named = defaultdict(list), []
    for lane, records in lanes.items():
        check_gapless(filtered(records))
        for record in filtered(records):
            place = Owner(lane, record.position.offset)
            if record.header.kind is Kind.DROPPED:
                dropped = decode(record.value, Dropped)
                named += [dropped.detail] if dropped.reason == "duplicate_elsewhere" else []
            elif record.position.segment == 0:
                kept[decode(record.value, Segment).text.partition("#")[0]].append(place)
                assert table.owner(record.header.content) == place
    places = [place for owners in kept.values() for place in owners]
    assert set(named) <= {f"of raw offset {place.offset} in lane {place.lane}" for place in places}
    return dict(kept)


def test_equal_documents_of_two_lanes_are_kept_once_whichever_boundary_a_worker_dies_at(pipeline):
    """Lanes 2n and 2n + 1 hold the same texts; the worker that has both dies at boundary n."""
    pairs = 30
    settings, generation = pipeline(2 * pairs, chunk={"duplicates": {"window": 3, "global_exact": "drop"}})
    for pair in range(pairs):
        write(settings, generation, [2 * pair, 2 * pair + 1], [f"{text}{pair}" for text in CONTENTS])
    lives = Lives(settings, generation)
    assert lives.live([0, 1], 2)
    boundaries = lives.boundaries
    assert 15 < boundaries < pairs - 1
    for pair in range(1, pairs):
        lanes = [2 * pair, 2 * pair + 1]
        assert lives.live(lanes, 2, pair - 1) == (pair > boundaries)
        lives.live(lanes[::-1], 3)  # the next worker comes to the other lane first
    table = claimed(settings)
    kept = kept_by(read_lanes(settings, "chunked"), table)
    assert {text: len(owners) for text, owners in kept.items()} == {
        f"{text[-1]}{pair}": 1 for text in CONTENTS for pair in range(pairs)
    }
    assert table.losing == {}


def test_workers_that_claim_at_once_agree(pipeline):
    settings, generation = pipeline(4, chunk={"duplicates": {"window": 500, "global_exact": "drop"}})
    texts = [f"text {n}" for n in range(30)]
    rng = random.Random(3)
    for lane in range(4):
        write(settings, generation, [lane], rng.sample(texts, 30))
    Lives(settings, generation).together([[0, 1], [2], [3]], 7)
    kept = Counter(
        decode(record.value, Segment).text
        for records in read_lanes(settings, "chunked").values()
        for record in filtered(records)
        if record.header.kind is Kind.SEGMENT
    )
    assert kept == {f"{text}#0": 1 for text in texts}
    assert claimed(settings).losing == {}


def test_worker_processes_killed_at_any_moment_judge_by_the_window_alone(pipeline, workers):
    """A window with `seen`; SIGKILL while records flow. The rule itself says what is expected."""
    settings, generation = pipeline(3, chunk={"duplicates": {"window": 40, "near": "flag"}})
    rng, raw = random.Random(8), RawWriter(settings, generation)
    texts = {lane: [] for lane in range(3)}
    for _ in range(2):
        for lane, written in texts.items():
            for _ in range(300):
                text = f"near={rng.randrange(60)},{rng.randrange(16)}"
                raw.write(lane, text.encode())
                written.append(text)
        raw.flush()
        worker = workers.start(settings, "expand", "slot", DEDUP="1", READ_BACK_OFFSETS="20")
        wait_for(lambda w=worker: w.metrics()["finestream_records_out_total"] >= 3, worker)
        worker.kill()
    worker = workers.start(settings, "expand", "slot", DEDUP="1", READ_BACK_OFFSETS="20")
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    assert worker.stop() == 0
    assert all(read_raw_log(settings, "seen").values())
    stage, lanes = Expand(settings), read_lanes(settings, "chunked")
    for lane, written in texts.items():
        window, told = AdmitWindow.of(settings.chunk.duplicates), ""
        for offset, text in enumerate(written):
            document = RawDocument(id="", url="", source="", content_type="", payload=text.encode())
            identity = stage.identity(stage.one(document))
            verdict = window.judge(offset, identity)
            told += "+" if verdict is None else "=" if verdict.exact else "f"
            if verdict is None or not verdict.exact:
                window.add(offset, identity)
        assert verdicts(lanes[lane]) == told
        assert min(told.count(letter) for letter in "+=f") > 20
