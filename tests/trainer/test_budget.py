"""Selection and the token budget: never more trained than read, whatever comes."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.judged import judged
from msgspec.structs import replace

from streams.positions import Position
from streams.records import JudgedSegment, Pair, encode
from streams.settings import TrainerSettings
from streams.tokens import load_tokenizer
from trainer.budget import draw_order, spend
from trainer.readings import Readings
from trainer.select import held_out, select
from trainer.source import Arrived
from trainer.state import Cursor

costs = st.lists(st.integers(2, 400), max_size=6)


@given(st.lists(st.tuples(st.integers(0, 1000), costs), max_size=40))
def test_spent_never_exceeds_credited_and_nothing_is_forgotten(segments):
    carry = credited = spent = 0
    for credit, prices in segments:
        kept, carry = spend(carry, credit, prices)
        credited += credit
        spent += sum(prices[i] for i in kept)
        assert kept == sorted(kept)
        assert carry == credited - spent >= 0
        cheapest_left = [p for i, p in enumerate(prices) if i not in kept]
        assert all(price > carry for price in cheapest_left), "a pair that still fits was left out"


@given(st.lists(st.tuples(st.integers(0, 1000), costs), max_size=20), st.integers(0, 20))
def test_the_carry_is_all_that_a_restart_needs(segments, at):
    def run(carry, some):
        out = []
        for credit, prices in some:
            kept, carry = spend(carry, credit, prices)
            out.append((kept, carry))
        return out

    whole = run(0, segments)
    carry = whole[at - 1][1] if 0 < at <= len(whole) else 0
    if at <= len(whole):
        assert run(carry, segments[at:]) == whole[at:]


@given(
    st.integers(), st.binary(min_size=16, max_size=16), st.lists(st.text(max_size=8), unique=True, max_size=6)
)
def test_the_order_is_a_permutation_that_does_not_depend_on_the_listing(seed, content, ids):
    order = draw_order(seed, content, ids)
    assert sorted(order) == list(range(len(ids)))
    backwards = draw_order(seed, content, ids[::-1])
    assert [ids[i] for i in order] == [ids[::-1][i] for i in backwards]


def test_another_seed_or_document_gives_another_order():
    ids = [f"t{i}" for i in range(6)]
    orders = {tuple(draw_order(seed, bytes(16), ids)) for seed in range(20)}
    assert len(orders) > 10
    assert len({tuple(draw_order(0, bytes([i]) * 16, ids)) for i in range(20)}) > 10


def test_thresholds_and_reasons():
    record = judged(1, pairs=5, scores=(3, 4, 5, 5, 5), shares=(1.0, 0.8, 0.79, 1.0, 0.9))
    kept, skipped = select(record, 4, 0.8)
    assert [p.template_id for p in kept] == ["t01", "t03", "t04"]
    assert skipped == {"score": 1, "excerpt_share": 1}


def with_segment(record: JudgedSegment, **fields: Any) -> JudgedSegment:
    matched = record.instantiated.matched
    segment = replace(matched.segment, **fields)
    return replace(
        record, instantiated=replace(record.instantiated, matched=replace(matched, segment=segment))
    )


def contaminated(record: JudgedSegment) -> JudgedSegment:
    return with_segment(record, contamination={"mt-bench": 0.8})


def test_contaminated_segments_are_trained_on_only_where_that_is_said():
    record = contaminated(judged(1, pairs=5, scores=(3, 4, 5, 5, 5), shares=(1.0, 0.8, 0.79, 1.0, 0.9)))
    kept, skipped = select(record, 4, 0.8)
    assert (kept, skipped) == ([], {"score": 1, "excerpt_share": 1, "contaminated": 3})
    kept, skipped = select(record, 4, 0.8, allow_contaminated=True)
    assert [p.template_id for p in kept] == ["t01", "t03", "t04"]
    assert skipped == {"score": 1, "excerpt_share": 1}


@pytest.mark.parametrize(("allow", "trained"), [(False, 1), (True, 2)])
def test_the_setting_reaches_the_reading(allow, trained):
    tokenizer = load_tokenizer()
    counts: Counter[str] = Counter()
    config = TrainerSettings(allow_contaminated=allow, heldout_share=0.0)
    readings = Readings(config, tokenizer, lambda reason, n: counts.update({reason: n}))
    records = [judged(1, pairs=1), contaminated(judged(2, pairs=1))]
    arrived = [Arrived(i, Position(i, 0), 1, 0, encode(record)) for i, record in enumerate(records)]
    read, heldout = readings.read([(0, arrived)], {0: Cursor()})
    assert [len(reading.texts) for reading in read[0]] == [1, trained - 1]
    assert (counts["contaminated"], heldout) == (2 - trained, [])


@pytest.mark.parametrize(
    ("excluded", "trained"),
    [((), 2), (("c4",), 2), (("fineweb",), 1), (("fineweb.list",), 1), (("fineweb.lis", "list"), 2)],
)
def test_flagged_segments_stay_out_where_their_rule_or_its_family_is_excluded(excluded, trained):
    counts: Counter[str] = Counter()
    config = TrainerSettings(exclude_flags=excluded, heldout_share=0.0)
    readings = Readings(config, load_tokenizer(), lambda reason, n: counts.update({reason: n}))
    flagged = with_segment(judged(2, pairs=1), flags=["fineweb.list", "gopher_quality.hashes"])
    records = [judged(1, pairs=1), flagged]
    arrived = [Arrived(i, Position(i, 0), 1, 0, encode(record)) for i, record in enumerate(records)]
    read, heldout = readings.read([(0, arrived)], {0: Cursor()})
    assert [len(reading.texts) for reading in read[0]] == [1, trained - 1]
    assert (counts["flagged"], heldout) == (2 - trained, [])


def test_rejected_and_unjudged_pairs_are_never_trained_on():
    whole = judged(1, pairs=2)
    rejected = Pair(template_id="t09", rejected="ambiguous_excerpt", excerpt_share=1.0)
    pairs = [*whole.instantiated.pairs, rejected]
    record = type(whole)(
        instantiated=type(whole.instantiated)(
            matched=whole.instantiated.matched, engine="test", model="", pairs=pairs
        ),
        judge="test",
        verdicts=whole.verdicts[:1],
    )
    kept, skipped = select(record, 1, 0.0)
    assert [p.template_id for p in kept] == ["t00"]
    assert skipped == {"unjudged": 1, "rejected": 1}


def test_held_out_share_is_met_and_a_document_has_one_side():
    hashes = [i.to_bytes(16, "big") for i in range(4000)]
    share = sum(held_out(h, 0.05) for h in hashes) / len(hashes)
    assert 0.04 < share < 0.06
    assert not any(held_out(h, 0.0) for h in hashes)
    assert all(held_out(h, 0.10) for h in hashes if held_out(h, 0.05)), "a larger share contains the smaller"
