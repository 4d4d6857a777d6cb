import numpy as np
import pytest

from workers import vector_cache
from workers.match.bank import Bank
from workers.match.index import TemplateIndex, description_embeddings
from workers.vector_cache import cached


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def vectors(n=7, d=5, seed=3):
    return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)


class Maker:
    """Makes an array and counts how often it was asked."""

    def __init__(self, array):
        self.array = array
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.array


def test_what_was_made_once_is_read_back_bit_for_bit():
    make = Maker(vectors())
    first = cached("a key", (7, 5), make)
    again = cached("a key", (7, 5), make)
    assert make.calls == 1
    np.testing.assert_array_equal(first, again)
    cached("another key", (7, 5), make)
    assert make.calls == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04N."),  # a pickle: never opened as one
        lambda path: np.save(path, vectors(6)),
        lambda path: np.save(path, vectors().astype(np.float64)),
        lambda path: np.save(path, np.full((7, 5), np.nan, dtype=np.float32)),
        lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True),
    ],
)
def test_a_damaged_file_is_made_anew(own_cache, damage):
    make = Maker(vectors())
    cached("a key", (7, 5), make)
    (path,) = (own_cache / "finestream" / "embeddings").iterdir()
    damage(path)
    np.testing.assert_array_equal(cached("a key", (7, 5), make), make.array)
    assert make.calls == 2
    cached("a key", (7, 5), make)
    assert make.calls == 2
    assert [p.suffix for p in path.parent.iterdir()] == [".npy"]  # nothing half written is left


def test_a_cache_that_cannot_be_written_costs_time_only(own_cache):
    own_cache.write_text("a file where the folder should be")
    make = Maker(vectors())
    for calls in (1, 2):
        np.testing.assert_array_equal(cached("a key", (7, 5), make), make.array)
        assert make.calls == calls


def test_a_wrong_shape_is_not_kept():
    with pytest.raises(ValueError, match="shape"):
        cached("a key", (7, 6), Maker(vectors()))


def test_the_cache_lies_in_the_users_folder(monkeypatch, tmp_path):
    assert vector_cache.cache_folder() == tmp_path / "cache" / "finestream" / "embeddings"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vector_cache.cache_folder() == tmp_path / ".cache" / "finestream" / "embeddings"


def test_bank_version_and_encoder_each_have_embeddings_of_their_own():
    class CountingEncoder:
        dimension = 5
        calls = 0

        def __init__(self, name):
            self.name = name

        def encode(self, texts):
            CountingEncoder.calls += 1
            return vectors(len(texts))

    def bank(version):
        two = ("one", "two")
        return Bank("b", two, two, two, two, version, {"one": 0, "two": 1})

    for version, name in (("v1", "a"), ("v2", "a"), ("v1", "b"), ("v1", "a"), ("v2", "a")):
        assert description_embeddings(bank(version), CountingEncoder(name)).shape == (2, 5)
    assert CountingEncoder.calls == 3


def test_search_is_cosine_and_exact():
    descriptions = vectors(40)
    descriptions /= np.linalg.norm(descriptions, axis=1, keepdims=True)
    queries = 9 * vectors(6, seed=4)
    hits = TemplateIndex(descriptions).search(queries, 4)
    cosine = queries @ descriptions.T / np.linalg.norm(queries, axis=1, keepdims=True)
    order = np.argsort(-cosine, axis=1)[:, :4]
    np.testing.assert_array_equal(hits.rows, order)
    np.testing.assert_allclose(hits.similarities, np.take_along_axis(cosine, order, axis=1), rtol=1e-5)


def test_a_bank_smaller_than_the_question_gives_all_it_has():
    descriptions = np.eye(3, 5, dtype=np.float32)
    hits = TemplateIndex(descriptions).search(np.ones((2, 5), dtype=np.float32), 6)
    assert hits.rows.shape == (2, 3)
    assert TemplateIndex(descriptions).search(
        np.zeros((1, 5), dtype=np.float32), 2
    ).similarities.tolist() == [[0.0, 0.0]]
