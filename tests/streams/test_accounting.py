from __future__ import annotations

import pytest
from kit.whole_lanes import Lanes, Written
from msgspec.structs import replace

from streams import accounting, clients, generations, topics
from streams.drained import DrainWatch
from streams.errors import AccountsDiffer, LaneGap, LaneTrimmed
from streams.lane_log import LogReader
from streams.pipeline import base_name
from streams.positions import NO_ORIGIN, Kind, Origin, Position, RawHeader, unpack_lane_header
from streams.records import Dropped, JudgedSegment, Segment, decode, encode
from trainer import entries

LANES = 3


@pytest.fixture
def lanes(clean_broker, settings):
    """A pipeline with an empty lane 2, filled but not yet written."""
    asked = settings(pipeline={"lanes": LANES})
    it = Lanes(asked, generations.create(asked))
    it.document(0, 2, 0, -1)  # three segments: two pairs, a rejected candidate, no template
    it.document(0, dropped=("chunk", "too_short"))
    it.document(0, dead=("chunk", "RecordError"), stub=True)
    it.document(0, 3)
    it.document(1, 1, 1, dead=("instantiate", "killed_worker"))
    it.document(1, 6)
    it.document(1, 1, dropped=("judge", "some_reason"))
    it.document(1, -1)
    return it


def take(lanes, **more):
    return accounting.take(lanes.settings, lanes.generation, **more)


def offences(lanes):
    accounts = take(lanes)
    assert accounts.offences_total == len(accounts.offences)
    return [(base_name(o.topic), o.lane, tuple(o.position), o.what) for o in accounts.offences]


def header(written, **changed):
    return unpack_lane_header([("fs", written.header)])._replace(**changed).pack()


def test_what_a_whole_pipeline_holds(lanes):
    lanes.write()
    accounts = take(lanes)
    accounts.require_whole()
    assert (accounts.raw, accounts.documents, accounts.stubs) == (8, 7, 1)
    assert (accounts.chunked, accounts.segments) == (6, 9)
    assert (accounts.matched, accounts.candidates) == (7, 2 + 1 + 3 + 1 + 1 + 6 + 1)
    assert (accounts.instantiated, accounts.pairs_made) == (4, 2 + 3 + 6 + 1)
    assert (accounts.judged, accounts.pairs) == (3, 2 + 3 + 6)
    assert accounts.scores == {3: 1 + 2, 4: 1 + 1 + 2, 5: 1 + 1 + 2}
    assert accounts.dropped == {
        "chunk": {"too_short": 1},
        "match": {"below_threshold": 2},
        "instantiate": {"no_subject": 1},
        "judge": {"some_reason": 1},
    }
    assert accounts.dead == {"chunk": {"RecordError": 1}, "instantiate": {"killed_worker": 2}}
    assert accounts.dead_total == 3
    assert not any(accounts.duplicates.values())
    # Every record is somewhere: what a stage takes in is what it gives out, drops and buries.
    assert accounts.raw == accounts.chunked + 1 + 1
    assert accounts.segments == accounts.matched + 2
    assert accounts.candidates == accounts.pairs_made + 1 + 2
    headers_alone = take(lanes, contents=False)
    headers_alone.require_whole()
    assert (headers_alone.segments, headers_alone.dead, headers_alone.pairs) == (9, accounts.dead, 0)


def test_an_empty_pipeline_is_whole(clean_broker, settings):
    asked = settings(pipeline={"lanes": 2})
    accounts = accounting.take(asked, generations.create(asked))
    accounts.require_whole()
    assert (accounts.raw, accounts.segments, accounts.dropped, accounts.dead) == (0, 0, {}, {})


def test_a_gap_is_named_in_the_topic_where_it_is(lanes):
    gone = [
        ("chunked", 0, Position(0, 0)), ("matched", 0, Position(0, 1)), ("judged", 0, Position(0, 1)),
        ("instantiated", 0, Position(1, 0)), ("judged", 1, Position(1, 0)),
    ]  # fmt: skip
    for place in gone:
        lanes.written.remove(lanes.find(*place))
    lanes.write()
    assert offences(lanes) == [(*place, "is missing, though later ones are there") for place in gone]
    with pytest.raises(AccountsDiffer, match=r"chunked, lane 0, position \(0, 0\): is missing") as caught:
        take(lanes).require_whole()
    assert caught.value.exit_code == 3
    assert "finestream topic peek" in str(caught.value)


def test_a_lane_that_is_not_drained_is_no_success(lanes):
    lanes.written = [
        w for w in lanes.written if (w.topic, w.lane) != ("judged", 1) or w.key < Position(2, 0).pack()
    ]
    lanes.write()
    assert offences(lanes) == [
        ("judged", 1, (2, 0), "is where the lane ends, though raw goes on to 4: it is not drained")
    ]


def test_what_was_written_twice_counts_once(lanes):
    late = [lanes.find("judged", 0, Position(0, 1)), lanes.find("matched", 1, Position(1, 0))]
    letter = next(w for w in lanes.written if w.topic == "dead.instantiate")
    lanes.write()
    before = take(lanes)
    lanes.write([*late, *late, letter])  # a zombie woke up
    accounts = take(lanes)
    accounts.require_whole()
    assert {k: n for k, n in accounts.duplicates.items() if n} == {
        "judged": 2, "matched": 2, "dead.instantiate": 1,
    }  # fmt: skip
    accounts.duplicates = before.duplicates
    assert accounts == before


def test_a_raw_record_that_was_sent_twice_must_be_dropped_as_repeated(lanes):
    twice = Origin(1, 4)  # that of document (0, 3)
    lanes.document(0, dropped=("chunk", "repeated"), origin=twice)
    lanes.document(0, 1)
    lanes.write()
    accounts = take(lanes)
    accounts.require_whole()
    assert (accounts.duplicates["raw"], accounts.dropped["chunk"]["repeated"]) == (1, 1)

    trained_again = lanes.ends[0]
    more = len(lanes.written)
    lanes.document(0, 1, origin=twice)
    lanes.write(lanes.written[more:])
    what = "its origin was accepted before, yet it is not dropped as repeated"
    assert offences(lanes) == [
        (topic, 0, (trained_again, 0), what) for topic in ("chunked", "matched", "instantiated", "judged")
    ]


def test_dead_letters_and_their_markers(lanes):
    (first, second) = [w for w in lanes.written if w.topic == "dead.instantiate"]
    lanes.written.remove(first)
    second.more = [("error", b"ValueError")]
    stray = lanes.find("judged", 0, Position(3, 0))
    beyond = Position(9, 0).pack()
    lanes.written += [
        Written("dead.judge", 0, stray.key, b"input", stray.header, [("error", b"ValueError")]),
        Written("dead.judge", 2, beyond, b"input", stray.header, [("error", b"ValueError")]),
        Written("dead.match", 2, None, b"bytes of somebody else", stray.header, [("error", b"RecordError")]),
    ]
    lanes.write()
    assert offences(lanes) == [
        ("dead.instantiate", 1, (0, 0), "is missing, though a marker names this dead letter"),
        ("dead.instantiate", 1, (0, 1), "a dead letter of 'ValueError' has a marker of 'killed_worker'"),
        ("dead.judge", 2, (9, 0), "no marker names this dead letter"),
    ]
    accounts = take(lanes)
    assert accounts.foreign["dead.match"] == 1
    assert accounts.superseded == {"dead.judge": 1}  # position (3, 0) has an output: a zombie's, and void


def test_what_contradicts_is_named(lanes):
    other_marker = encode(Dropped(stage="chunk", reason="language"))
    lanes.find("matched", 0, Position(1, 0)).value = other_marker
    lanes.find("instantiated", 0, Position(1, 0)).value = other_marker
    lanes.find("judged", 0, Position(1, 0)).value = other_marker
    stranger = lanes.find("chunked", 0, Position(0, 0))
    stranger.header = header(stranger, origin=Origin(7, 7))
    recreated = lanes.find("judged", 1, Position(3, 0))
    recreated.header = header(recreated, epoch=1)
    garbage = lanes.find("judged", 0, Position(3, 0))
    garbage.value = b"\xc1 no msgpack"
    too_many = lanes.find("judged", 1, Position(1, 0))
    lanes.written.insert(
        lanes.written.index(too_many) + 1,
        Written("judged", 1, Position(1, 5).pack(), too_many.value, too_many.header),
    )
    forged = Position(2**63, 0)
    lanes.written.append(Written("judged", 2, forged.pack(), too_many.value, too_many.header))
    lanes.write()
    found = [(t, lane, at, what.partition(":")[0]) for t, lane, at, what in offences(lanes)]
    assert found == [
        ("chunked", 0, (0, 0), "it carries origin (7, 7), but raw has (1, 1) there"),
        ("matched", 0, (1, 0), "a marker of an earlier stage was not copied on"),
        ("judged", 0, (3, 0), "not a _Verdicts"),
        ("judged", 1, (1, 5), "its document has no such segment"),
        ("judged", 1, (3, 0), "its epoch is not the generation's"),
        ("judged", 2, tuple(forged), "has no document"),
    ]


def test_segment_counts_and_stages_of_markers_must_agree(lanes):
    for at in (Position(0, 0), Position(0, 1), Position(0, 2)):
        shorter = lanes.find("judged", 0, at)
        shorter.header = header(shorter, segments=2)
    alien = lanes.find("chunked", 0, Position(1, 0))
    alien.value = encode(Dropped(stage="judge", reason="too_short"))
    for topic in ("matched", "instantiated", "judged"):
        lanes.find(topic, 0, Position(1, 0)).value = alien.value
    lanes.write()
    found = [(t, lane, at, what) for t, lane, at, what in offences(lanes)]
    assert found == [
        ("judged", 0, (0, 0), "its document has 2 segments here, 3 a topic before"),
        ("judged", 0, (0, 1), "its document has 2 segments here, 3 a topic before"),
        ("judged", 0, (0, 2), "its document has 2 segments here, 3 a topic before"),
        ("chunked", 0, (1, 0), "a marker of 'judge' stands here first"),
    ]


def test_a_hole_before_raw(lanes):
    second = lanes.find("raw", 0, Origin(1, 2))
    second.header = RawHeader(Kind.DOCUMENT, lanes.generation.epoch, Origin(1, 9), 0).pack()
    other = lanes.find("raw", 0, Origin(1, 3))
    other.header = RawHeader(Kind.STUB, lanes.generation.epoch + 1, Origin(1, 2), 0).pack()
    foreign = lanes.find("raw", 1, Origin(1, 8))
    foreign.key = b"who?"
    lanes.write()
    found = [(t, lane, at, what.partition(",")[0]) for t, lane, at, what in offences(lanes)]
    assert found == [
        ("raw", 0, (1, 0), "origin (1"),
        ("raw", 0, (2, 0), "its epoch is not the generation's"),
        # what has no origin must be buried without one
        *[(t, 1, (3, 0), "it carries origin (1") for t in ("chunked", "matched", "instantiated", "judged")],
    ]
    assert "records are missing before raw" in take(lanes).offences[0].what
    assert take(lanes).foreign["raw"] == 1
    assert NO_ORIGIN == (0, 0)


def test_only_the_first_offences_are_kept_and_all_are_counted(lanes):
    lanes.written = [w for w in lanes.written if w.topic == "raw"]
    for _ in range(30):
        lanes.document(2, 1)
        lanes.written = [w for w in lanes.written if w.topic in {"raw", "chunked"} or len(w.key) > 16]
        lanes.written.pop()
        lanes.document(2, 1)
    lanes.write()
    accounts = take(lanes)
    assert accounts.offences_total > 40
    assert len(accounts.offences) == 20
    with pytest.raises(AccountsDiffer, match=f"the first of {accounts.offences_total}"):
        accounts.require_whole()


def test_a_log_without_its_beginning_cannot_be_accounted_for(lanes):
    from kafka import TopicPartition

    lanes.write()
    admin = clients.admin(lanes.settings)
    admin.delete_records({TopicPartition("judged", 0): 2})
    admin.close()
    with pytest.raises(LaneTrimmed, match="lane 0 of judged begins at offset 2"):
        take(lanes)


def test_drained_is_known_without_reading_anything_twice(lanes, monkeypatch):
    last = [w for w in lanes.written if w.topic == "judged"][-1]
    lanes.written.remove(last)
    with DrainWatch(lanes.settings, lanes.generation) as watch:
        assert watch.drained()  # nothing is there yet
        assert watch.look() == (0, 0)
        lanes.write()
        assert not watch.drained()
        assert watch.look() == (7, 8)
        zombie = lanes.find("judged", 1, Position(0, 0))
        lanes.write([last, zombie])  # the last record of the lane is not its highest
        assert watch.drained()
        assert watch.look() == (8, 8)
        read = []
        monkeypatch.setattr(watch, "_accept", lambda lane, record: read.append(record))
        assert watch.drained()
        assert read == []


def test_a_gap_is_no_lane_that_drains(lanes):
    lanes.written.remove(lanes.find("judged", 0, Position(0, 1)))
    lanes.write()
    with (
        DrainWatch(lanes.settings, lanes.generation) as watch,
        pytest.raises(LaneGap, match=r"position \(0, 2\) came where \(0, 1\) must"),
    ):
        watch.drained()


def test_a_partition_is_read_in_bounded_pieces(lanes):
    lanes.write()
    with LogReader(lanes.settings) as reader:
        assert reader.lanes_of("judged") == LANES
        begin, end = reader.bounds("judged", 0)
        offsets = [record.offset for record in reader.read("judged", 0, begin, end)]
        assert offsets == list(range(6))
        assert [record.offset for record in reader.read("judged", 0, 2, 4)] == [2, 3]
        assert list(reader.read("judged", 2, 0, 0)) == []


def write_step(lanes, step, closed=(), pairs=()):
    entry = entries.Step(
        run="main", attempt=1, step=step, settings_hash="", generation="1", epoch=1, draws=[], targets=1,
        closed=[entries.Closed(*block) for block in closed], batch_hash=b"", tokens=9 * step, pairs_total=0,
        pairs=[entries.Span(*pair, begin=i, end=i + 1) for i, pair in enumerate(pairs)],
    )  # fmt: skip
    producer = clients.sync_producer(lanes.settings)
    producer.send("ledger.main", key=entries.key(entry), value=entries.encode(entry)).get(30)
    producer.close()


def ledger_of(lanes, blocks, pairs):
    """Write two steps: blocks are (lane, block, first, last), pairs (lane, position, template, cut)."""
    topics.create_ledger(lanes.settings, "main")
    write_step(lanes, 1)
    write_step(lanes, 2, blocks, pairs)


BLOCKS = [
    (0, 0, (0, 0), (0, 1)), (0, 1, (0, 2), (3, 0)), (1, 0, (0, 0), (3, 0)),
]  # fmt: skip
PAIRS = [(0, (0, 0), "t0", 0), (0, (3, 0), "t1", 0), (0, (3, 0), "t1", 3), (1, (1, 0), "t4", 0)]


def test_a_ledger_that_is_whole(lanes):
    lanes.write()
    without = accounting.trained(lanes.settings, lanes.generation, "main")
    assert (without.steps, without.pairs, without.unread) == (0, 0, 11)
    with pytest.raises(AccountsDiffer, match="11 records of judged are in no block"):
        without.require_whole()
    without.require_whole(drained=False)
    ledger_of(lanes, BLOCKS, PAIRS)
    trained = accounting.trained(lanes.settings, lanes.generation, "main")
    trained.require_whole()
    # Scores run 5, 4, 3, 5, 4, 3: the third of each is not eligible.
    assert (trained.steps, trained.tokens, trained.pairs, trained.eligible) == (2, 18, 3, 2 + 2 + 4)


def change(lanes, topic, position, **fields):
    """Give the segment inside a record of lane 0 other fields."""
    written = lanes.find(topic, 0, position)
    record = decode(written.value, {"chunked": Segment, "judged": JudgedSegment}[topic])
    if isinstance(record, Segment):
        written.value = encode(replace(record, **fields))
        return
    matched = record.instantiated.matched
    matched = replace(matched, segment=replace(matched.segment, **fields))
    written.value = encode(replace(record, instantiated=replace(record.instantiated, matched=matched)))


def test_what_contamination_and_flags_take_is_not_eligible(lanes):
    for topic in ("chunked", "judged"):
        change(lanes, topic, Position(0, 0), contamination={"mt-bench": 1.0, "exam": 0.6})
        change(lanes, topic, Position(3, 0), flags=["c4.curly_bracket"], contamination={"exam": 0.7})
    lanes.write()
    assert take(lanes).contaminated == {"exam": 2, "mt-bench": 1}
    assert take(lanes).flagged == {"c4.curly_bracket": 1}
    assert take(lanes, contents=False).contaminated == {}

    def trained(**terms):
        trainer = lanes.settings.trainer.model_copy(update=terms)
        settings = lanes.settings.model_copy(update={"trainer": trainer})
        return accounting.trained(settings, lanes.generation, "main")

    ledger_of(lanes, BLOCKS, PAIRS)
    assert [o.what for o in trained().offences] == [
        "template 't0' was trained on, but may not be",
        "template 't1' was trained on, but may not be",
    ]
    assert trained().eligible == 4
    trained(allow_contaminated=True).require_whole()
    for flag in ("c4", "c4.curly_bracket"):
        flagged = trained(allow_contaminated=True, exclude_flags=(flag,))
        assert (flagged.eligible, len(flagged.offences)) == (2 + 4, 1)


def test_a_ledger_that_is_not(lanes):
    lanes.write()
    blocks = [
        (0, 0, (0, 0), (0, 1)), (0, 2, (1, 0), (3, 0)),  # (0, 2) is in none, and 1 is skipped
        (1, 0, (0, 0), (2, 0)), (2, 0, (0, 0), (0, 0)),  # (3, 0) is unread; lane 2 is empty
    ]  # fmt: skip
    pairs = [
        *PAIRS, (0, (0, 0), "t0", 0),  # trained on twice
        (0, (3, 0), "t2", 0), (1, (1, 0), "made-up", 0),  # a score of 3; no such pair
        (1, (0, 0), "t0", 0), (1, (9, 0), "t0", 0),  # a dead letter's segment; no such position
    ]  # fmt: skip
    ledger_of(lanes, blocks, pairs)
    trained = accounting.trained(lanes.settings, lanes.generation, "main")
    found = {(o.topic, o.lane, tuple(o.position), o.what) for o in trained.offences}
    assert found == {
        ("ledger.main", 0, (1, 0), "block 2 was closed where 1 must follow"),
        ("ledger.main", 0, (0, 0), "one of its pairs was trained on twice"),
        ("judged", 0, (0, 2), "must begin a block, but block 2 begins at (1, 0)"),
        ("judged", 0, (3, 0), "template 't2' was trained on, but may not be"),
        ("judged", 1, (1, 0), "template 'made-up' was trained on, but may not be"),
        ("judged", 1, (0, 0), "was trained on, but is not in judged"),
        ("judged", 1, (9, 0), "was trained on, but is not in judged"),
        ("judged", 2, (0, 0), "ends a block of the ledger, but is not in judged"),
    }
    assert trained.unread == 1
    with pytest.raises(AccountsDiffer, match=r"8 faults.*begin another run"):
        trained.require_whole()


def test_a_ledger_with_a_hole(lanes):
    topics.create_ledger(lanes.settings, "main")
    write_step(lanes, 1)
    write_step(lanes, 3)
    (offence,) = accounting.trained(lanes.settings, lanes.generation, "main").offences
    assert "is step 3, where 2 must follow" in str(offence)
