"""Which index a bank gets, and that an inexact one loses recall only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.banks import WordEncoder, rows, write_jsonl

from streams.errors import BankError
from streams.settings.banks import version_folder
from workers.match import build as building
from workers.match import index_plan, store
from workers.match.build import Wanted, make
from workers.match.index import TemplateIndex, unit
from workers.match.index_build import build, choose_nprobe, exact_best, measure, shaken
from workers.match.index_plan import EXACT_MOST, IndexPlan, plan_index

PLENTY = 1 << 40


def clustered(count=6000, dimension=32, seed=2):
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((60, dimension), dtype=np.float32))
    noise = rng.standard_normal((count, dimension), dtype=np.float32) * np.float32(0.1)
    return unit(centres[rng.integers(60, size=count)] + noise)


@pytest.mark.parametrize(
    ("count", "dimension", "memory", "factory"),
    [
        (2_000, 384, PLENTY, "Flat"),
        (EXACT_MOST, 1024, PLENTY, "Flat"),
        (EXACT_MOST + 1, 384, PLENTY, "IVF1024,SQfp16"),
        (500_000, 384, PLENTY, "IVF2048,SQfp16"),
        (2_000_000, 384, PLENTY, "IVF4096_HNSW32,SQfp16"),
        (18_000_000, 1024, 48 << 30, "IVF16384_HNSW32,SQfp16"),
        (18_000_000, 1024, 16 << 30, "IVF16384_HNSW32,PQ256"),
    ],
)
def test_the_index_follows_size_and_memory(count, dimension, memory, factory):
    plan = plan_index(count, dimension, memory)
    assert plan.factory == factory
    assert plan.bytes <= memory
    assert plan.training <= count


@given(st.integers(1, 30_000_000), st.sampled_from([8, 384, 1024]), st.integers(20, 40))
def test_each_plan_can_be_built(count, dimension, bits):
    plan = plan_index(count, dimension, 1 << bits)
    assert plan.codes == ("PQ" in plan.factory)
    assert bool(plan.lists) == (count > EXACT_MOST)
    assert plan.training >= 39 * plan.lists or plan.training == count


def test_no_vectors_no_index():
    with pytest.raises(ValueError, match="has vectors"):
        plan_index(0, 384, PLENTY)


@pytest.mark.parametrize(
    ("factory", "target"), [("IVF32,SQfp16", 0.95), ("IVF32_HNSW8,SQfp16", 0.95), ("IVF32,PQ16x6", 0.7)]
)
def test_an_inexact_index_states_exact_similarities(factory, target):
    vectors = clustered().astype(np.float16)
    plan = IndexPlan(factory, 32, 2000, 0, codes="PQ" in factory)
    index = build(vectors, plan, lambda _: None)
    facts = choose_nprobe(vectors, index, plan, target, 50, lambda _: None)
    assert facts.recall >= target
    assert facts.nprobe < 32 or plan.codes
    queries = shaken(vectors, 30, seed=9)
    best, _ = exact_best(vectors, queries, 50)
    assert measure(vectors, index, queries, best, facts.nprobe).share >= target - 0.05
    hits = TemplateIndex(vectors, index, facts.nprobe).search(queries[:6], 50)
    wanted = queries[:6].astype(np.float64) @ vectors.astype(np.float64).T
    for found, rows_found, row_wanted in zip(hits.similarities, hits.rows, wanted, strict=True):
        np.testing.assert_allclose(found, row_wanted[rows_found], rtol=1e-6)
        assert (np.diff(found) <= 0).all()
        assert len(set(rows_found.tolist())) == 50


def test_exact_search_in_blocks_is_exact(monkeypatch):
    vectors, queries = clustered(), shaken(clustered(), 20)
    monkeypatch.setattr("workers.match.index_build.BLOCK_BYTES", 4 * 32 * 700)
    best, _ = exact_best(vectors, queries, 40)
    wanted = np.argsort(-(queries @ vectors.T), axis=1)[:, :40]
    for found, row in zip(best, wanted, strict=True):
        assert len(np.intersect1d(found, row)) >= 39  # ties and last bits at the border


def test_more_lists_find_more_and_all_of_them_everything():
    vectors = clustered()
    plan = IndexPlan("IVF32,SQfp16", 32, 2000, 0, codes=False)
    index = build(vectors, plan, lambda _: None)
    queries = shaken(vectors, 40)
    best, _ = exact_best(vectors, queries, 100)
    shares = [measure(vectors, index, queries, best, nprobe).share for nprobe in (1, 4, 32)]
    assert shares == sorted(shares)
    assert shares[0] < 0.9
    assert shares[-1] > 0.995


def test_a_recall_out_of_reach_is_refused():
    vectors = clustered()
    plan = IndexPlan("IVF32,PQ2x4", 32, 2000, 0, codes=True)
    index = build(vectors, plan, lambda _: None)
    with pytest.raises(BankError, match=r"--memory-gb"):
        choose_nprobe(vectors, index, plan, 0.999, 100, lambda _: None)


@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQfp16"])
def test_a_language_is_searched_alone(factory):
    vectors = clustered(2000)
    languages = ["de" if i % 10 == 0 else "en" for i in range(2000)]
    lists = 0 if factory == "Flat" else 16
    index = build(vectors, IndexPlan(factory, lists, 1000 if lists else 0, 0, codes=False), lambda _: None)
    searcher = TemplateIndex(vectors, index, lists)
    searcher.restrict(languages)
    queries = shaken(vectors, 6)
    german = np.arange(0, 2000, 10)
    wanted = german[np.argsort(-(queries @ vectors[german].T), axis=1)[:, :20]]
    hits = searcher.search(queries, 20, "de")
    for found, row in zip(hits.rows, wanted, strict=True):
        assert set(found.tolist()) <= set(german.tolist())
        assert len(np.intersect1d(found, row)) >= 19
    assert (searcher.search(queries[:1], 300, "de").rows[0] >= 0).sum() == 200


def test_a_bank_above_the_exact_size_is_built_grows_and_searches(tmp_path, monkeypatch):
    monkeypatch.setattr(index_plan, "EXACT_MOST", 300)
    monkeypatch.setattr(building, "EXACT_MOST", 300)
    source = write_jsonl(tmp_path / "in.jsonl", rows(900))
    wanted = Wanted([source], recall=0.9)
    made = make(tmp_path / "bank", wanted, WordEncoder(), lambda _: None, add=False, dry_run=False)
    assert made.dtype == "float16"
    assert made.index.factory.startswith("IVF128")
    assert made.index.recall >= 0.9
    more = Wanted([write_jsonl(tmp_path / "more.jsonl", rows(50, 900))], recall=0.9)
    make(tmp_path / "bank", more, WordEncoder(), lambda _: None, add=True, dry_run=False)
    bank = store.open_version(version_folder(tmp_path / "bank"))
    assert len(bank) == 950
    encoder = WordEncoder()
    hits = TemplateIndex.open(bank, encoder).search(encoder.encode(bank.descriptions[940:946]), 3)
    assert hits.rows[:, 0].tolist() == list(range(940, 946))
    assert hits.similarities[:, 0] == pytest.approx(1, abs=2e-3)
