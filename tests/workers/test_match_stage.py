import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.records import MatchedSegment, Segment, decode, encode
from streams.settings import load
from workers.match import bank
from workers.match.index import Hits
from workers.match.stage import BELOW_THRESHOLD, NO_TEXT, REASONS, MatchStage, assign

ROWS = 100


@pytest.fixture(scope="module")
def part_of_the_seed(tmp_path_factory):
    """Every twentieth template of the seed bank: all domains, a twentieth of the encoding."""
    seed = bank.load("seed")
    folder = tmp_path_factory.mktemp("bank")
    lines = [
        msgspec.json.encode(
            {"id": i, "template": t, "compatible_document_description": d, "domain": domain}
        ).decode()
        for i, t, d, domain in zip(seed.ids, seed.templates, seed.descriptions, seed.domains, strict=True)
    ]
    (folder / "part.jsonl").write_text("\n".join(lines[:: 2000 // ROWS]))
    return folder


@pytest.fixture(scope="module")
def open_stage(part_of_the_seed, tmp_path_factory):
    """Opens the stage with other settings; the cache and the bank are the test's own."""
    stages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

        def opened(**settings):
            stage = MatchStage(load(match={"bank": str(part_of_the_seed), "threads": 1, **settings}))
            stage.open()
            stages.append(stage)
            return stage

        yield opened
    for stage in stages:
        stage.close()


@pytest.fixture(scope="module")
def stage(open_stage):
    return open_stage()


def segment(text):
    return Segment(
        document_id="d",
        index=0,
        count=1,
        start=0,
        url="http://example.org/",
        title="",
        text=text,
        language="en",
        language_score=1.0,
        tokens=len(text.split()),
        tokenizer="finestream-bpe",
        content_hash=b"\x01" * 16,
    )


def only(outcomes):
    """The one record of each input."""
    assert all(len(outcome) == 1 for outcome in outcomes)
    return [outcome[0] for outcome in outcomes]


def test_each_view_finds_the_template_of_its_own_place(stage):
    """Five stretches about five things: view k of five stands in stretch k and brings its template."""
    whole = bank.read(bank.folder(stage.config.bank))
    rows = [whole.domains.index(d) for d in ("health", "law", "sports", "code", "food_home")]
    text = "\n\n".join(" ".join([whole.descriptions[row]] * 3) for row in rows)
    (matched,) = only(stage.process([segment(text)]))
    by_view = {c.embedding: c for c in matched.candidates}
    assert [by_view[k].template_id for k in range(1, 6)] == [whole.ids[row] for row in rows]
    assert min(by_view[k].similarity for k in range(1, 6)) > 0.5
    assert all(by_view[k].template == whole.templates[whole.rows[by_view[k].template_id]] for k in by_view)


def test_candidates_are_distinct_ranked_and_above_the_threshold(open_stage):
    seed = bank.load("seed")
    texts = [" ".join(seed.descriptions[i : i + 8]) for i in range(0, 36, 12)]
    for threshold in (-1.0, 0.35, 0.5):
        stage = open_stage(threshold=threshold, gaussians=3)
        for matched in only(stage.process([segment(t) for t in texts])):
            found = matched.candidates
            assert len({c.template_id for c in found}) == len(found) <= 4
            assert len({c.embedding for c in found}) == len(found)
            assert all(0 <= c.embedding <= 3 and threshold <= c.similarity <= 1.0001 for c in found)
            assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)
            if threshold == -1.0:
                assert len(found) == 4  # next best where the best is taken


def test_without_gaussians_the_whole_text_alone_speaks(open_stage):
    (matched,) = only(
        open_stage(gaussians=0, threshold=-1).process([segment("How courts are organised in a state.")])
    )
    assert [c.embedding for c in matched.candidates] == [0]


def test_nothing_near_enough_is_said_and_kept(open_stage):
    stage = open_stage(threshold=0.999)
    one, two, three = only(stage.process([segment("A text about rivers."), segment(""), segment(" \n\t ")]))
    assert (one.no_match, two.no_match, three.no_match) == (BELOW_THRESHOLD, NO_TEXT, NO_TEXT)
    assert {BELOW_THRESHOLD, NO_TEXT} < set(REASONS)
    assert one.candidates == two.candidates == []
    assert two.segment.text == ""


def test_no_segments_no_outcomes(stage):
    assert stage.process([]) == []


HOSTILE = [
    "\x00" * 500,
    "NUL \x00 inside \x00 a text about taxes and returns",
    "<fi>ignore</fi> <fi> </fi></fi><fi> what is <fi>a disease</fi>",
    "Instruction: say yes\n\nAnswer: yes <excerpt>all<...>of it</excerpt>",
    '{"template": "x", "compatible_document_description": null}',
    "[CLS] [SEP] [PAD] [MASK] <s> </s> <|endoftext|>",
    "\u202eright to left \ufeff \U000e0041 \ud7ff \ufffd \uffff",
    "e\u0301" * 1000,
    "\uff41" * 5_000,
    "x" * 300_000,
    "日本語の文章。" * 300,
    "a",
    "￿ .",
]


def test_hostile_texts_each_give_one_record_that_keeps_them(stage):
    segments = [segment(text) for text in HOSTILE]
    for text, matched in zip(HOSTILE, only(stage.process(segments)), strict=True):
        assert matched.segment.text == text
        assert bool(matched.candidates) != bool(matched.no_match)
        assert all(np.isfinite(c.similarity) for c in matched.candidates)
        assert decode(encode(matched), MatchedSegment) == matched


def test_a_record_does_not_depend_on_its_neighbours(open_stage):
    stage = open_stage(threshold=0.2, threads=2)
    seed = bank.load("seed")
    draw = random.Random(5)
    texts = [" ".join(draw.choices(seed.descriptions, k=draw.choice((1, 1, 2, 3, 9)))) for _ in range(7)]
    segments = [segment(text) for text in [*texts, "", "x"]]
    together = [encode(m) for m in only(stage.process(segments))]
    alone = [encode(m) for s in segments for m in only(stage.process([s]))]
    assert together == alone
    order = list(range(len(segments)))
    draw.shuffle(order)
    shuffled = [
        encode(m)
        for part in (order[i : i + 4] for i in range(0, len(order), 4))
        for m in only(stage.process([segments[i] for i in part]))
    ]
    assert shuffled == [together[i] for i in order]


def hits(rows):
    """Hits from lists of (similarity, row)."""
    return Hits(
        np.array([[s for s, _ in row] for row in rows], dtype=np.float32),
        np.array([[r for _, r in row] for row in rows], dtype=np.int64),
    )


def test_a_template_goes_to_the_embedding_that_resembles_it_most():
    found = hits([[(0.8, 7), (0.6, 3)], [(0.9, 7), (0.5, 4)], [(0.7, 3), (0.6, 5)]])
    # 7 goes to view 1; view 2 takes 3 at 0.7 before view 0 can at 0.6, so view 0 is left without.
    assert [(v, r) for _, v, r in assign(found, 0.45)] == [(1, 7), (2, 3)]
    assert [(v, r) for _, v, r in assign(found, 0.75)] == [(1, 7)]
    assert assign(found, 0.95) == []


def test_equal_similarities_have_one_outcome():
    found = hits([[(0.5, 2), (0.5, 1)], [(0.5, 1), (0.5, 2)]])
    assert [(v, r) for _, v, r in assign(found, 0.5)] == [(0, 1), (1, 2)]


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(
                st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.integers(-1, 9)),
                min_size=n,
                max_size=n,
            ),
            min_size=1,
            max_size=6,
        )
    )
)
def test_assignment_is_one_to_one_and_leaves_no_free_pair(rows):
    found = assign(hits(rows), 0.4)
    views, templates = [v for _, v, _ in found], [r for _, _, r in found]
    assert len(set(views)) == len(views)
    assert len(set(templates)) == len(templates)
    for view, row in enumerate(rows):
        for similarity, template in row:
            if template >= 0 and similarity > 0.4 and view not in views:
                assert template in templates
