"""Cutting: everything is kept, in order, within the limit, at the best places there are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tokens import load_tokenizer
from workers.chunk.segment import cut

TOKENS = load_tokenizer()

sentences = st.lists(
    st.sampled_from(["word", "Another", "of", "it.", "So?", "(yes!)", "3.14", "naïve", "日本。語"]),
    min_size=1,
)
paragraphs = st.lists(sentences.map(" ".join), max_size=12)
documents = st.one_of(
    st.builds(str.join, st.sampled_from(["\n\n", "\n", "\n\n\n", " \n"]), paragraphs),
    st.text(max_size=300),
    st.text(st.sampled_from("ab \n\t.\u00a0\u3000\0"), max_size=400),
    st.text(st.sampled_from("x\u0301\U0001f600日"), min_size=50, max_size=200),
)


def check(text: str, limit: int) -> list:
    pieces = cut(text, TOKENS, limit)
    position = 0
    for piece in pieces:
        assert text[piece.start : piece.start + len(piece.text)] == piece.text
        assert not text[position : piece.start].strip(), "only white space is left out"
        assert piece.start >= position
        assert piece.tokens == len(TOKENS.encode(piece.text)) <= limit
        position = piece.start + len(piece.text)
    assert not text[position:].strip()
    assert pieces == cut(text, TOKENS, limit)
    return pieces


@given(documents, st.integers(16, 60))
@settings(max_examples=400, deadline=None)
def test_cuts_cover_the_text_in_order_within_the_limit(text, limit):
    pieces = check(text, limit)
    if len(pieces) > 1:
        assert all(piece.text.strip() == piece.text and piece.text for piece in pieces)
    if TOKENS.count(text) <= limit:
        assert len(pieces) == 1


def test_short_text_is_one_segment_as_it_is():
    text = "  One line.\n"
    assert cut(text, TOKENS, 100) == [(0, text, TOKENS.count(text))]


def test_paragraphs_go_before_sentences_and_nothing_is_a_scrap():
    paragraph = "Measles is a disease. It spreads by air. Many children have it. " * 6
    text = "\n\n".join([paragraph.strip()] * 7)
    limit = TOKENS.count(text) - 5
    pieces = check(text, limit)
    assert len(pieces) == 2
    assert all(piece.text.startswith("Measles") and piece.text.endswith("it.") for piece in pieces)
    assert min(piece.tokens for piece in pieces) > limit // 3


def test_sentences_go_before_words():
    text = " ".join(f"This is sentence number {i} of one long paragraph." for i in range(60))
    pieces = check(text, 100)
    assert all(piece.text.startswith("This") and piece.text.endswith(".") for piece in pieces)


def test_words_go_before_their_middles():
    pieces = check("wordy " * 500, 64)
    assert all(set(piece.text.split()) == {"wordy"} for piece in pieces)


def test_lists_are_cut_between_items():
    text = "Symptoms include\n\n" + "\n".join(f"  \u2022 the symptom with the number {i}" for i in range(100))
    assert all("symptom" in piece.text and piece.text[-1].isdigit() for piece in check(text, 128))


@pytest.mark.parametrize("unit", ["x", "\U0001f600", "日", "x\u0301", "-", "9"])
def test_text_without_any_boundary_is_cut_hard(unit):
    pieces = check(unit * 3000, 64)
    assert len(pieces) > 1
    assert "".join(piece.text for piece in pieces) == unit * 3000


def test_two_million_characters_are_cut_in_seconds():
    text = ("Measles is a disease. " * 20 + "\n\n") * 4500
    assert len(check(text[:2_000_000], 3000)) > 100
