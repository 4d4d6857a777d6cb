"""Whatever a page holds: never an exception, always the same verdict, time that grows with its length."""

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.settings.filters import FilterSettings
from workers.chunk.filters.chain import Filters
from workers.chunk.filters.gopher_repetition import gopher_repetition
from workers.chunk.filters.page import Page
from workers.chunk.filters.splitter import cut_piece, sentences, words

FAMILIES = ("fineweb", "gopher_quality", "c4", "gopher_repetition")
FLAGGING = Filters(FilterSettings(**{family: {"mode": "flag"} for family in FAMILIES}))
CHARACTERS = st.characters(exclude_categories=["Cs"])
SOUP = st.text(CHARACTERS, max_size=400) | st.text("ab.,'-\u2019…\n \t/:@#{[•0", max_size=400)


def flags(text: str, language: str = "en") -> set[str]:
    found: set[str] = set()
    assert FLAGGING.page(text, language, {}, found) is None
    return found


@settings(deadline=None, max_examples=300)
@given(SOUP, st.sampled_from(["en", "de", "zh", "und"]))
def test_no_text_is_too_strange(text, language):
    assert flags(text, language) == flags(text, language)
    assert len({flag.partition(".")[0] for flag in flags(text, language)}) == len(flags(text, language))


@settings(deadline=None, max_examples=300)
@given(SOUP)
def test_words_are_the_text_less_its_white_space(text):
    assert "".join(words(text)) == "".join(text.split())
    assert all(words(text))
    assert 1 <= sentences(words(text), 5) <= 5


@settings(deadline=None, max_examples=200)
@given(st.text("abc.'", min_size=1, max_size=30))
def test_a_piece_is_cut_the_same_way_from_memory(piece):
    assert list(cut_piece(piece)) == words(piece) == words(piece)


def plainly(text: str) -> str:
    """The n-gram rules counted as they are written down: slowly, over all n-grams."""
    found, limits = words(text), FilterSettings().gopher_repetition
    for n, most in ((2, limits.max_top_2_gram), (3, limits.max_top_3_gram), (4, limits.max_top_4_gram)):
        grams = [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]
        if grams:
            [(gram, count)] = Counter(grams).most_common(1)
            if count * len(gram) / len(text) > most:
                return f"top_{n}_gram"
    for n in range(5, 11):
        seen, characters, place = set(), 0, 0
        while place < len(found) - n + 1:
            gram = tuple(found[place : place + n])
            characters += len("".join(gram)) if gram in seen else 0
            place += n if gram in seen else 1
            seen.add(gram)
        if characters / len(text) > getattr(limits, f"max_duplicate_{n}_grams"):
            return f"duplicate_{n}_grams"
    return ""


WORDS = st.sampled_from(["a", "of", "trees", "garden", "x1", "extraordinary", ".", "y", "zz", "in", "the"])
RUNS = st.lists(WORDS, min_size=1, max_size=12)


@settings(deadline=None, max_examples=400)
@given(st.lists(RUNS, min_size=1, max_size=5), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_bounds_never_change_the_verdict_on_repetition(runs, order):
    filler = (f"w{i}" for i in range(10_000))
    parts = [" ".join(runs[i]) if i < len(runs) else " ".join(next(filler) for _ in range(i)) for i in order]
    text = " ".join(parts)
    finding = gopher_repetition(Page(text), FilterSettings().gopher_repetition)
    assert (finding.reason.partition(".")[2] if finding else "") == plainly(text)


SIZE = 2_000_000
MONSTERS = {
    "one word": "x" * SIZE,
    "one number": "7" * SIZE,
    "lines": "a\n" * (SIZE // 2),
    "distinct lines": "\n".join(map(str, range(SIZE // 7))),
    "punctuation": ".,;:!?'\"()" * (SIZE // 10),
    "periods": "." * SIZE,
    "at signs": "a@" * (SIZE // 2),
    "dots between": "a." * (SIZE // 2),
    "pieces of dots": ("a." * 190 + " ") * (SIZE // 381),
    "apostrophes": ("n't'" * 95 + " ") * (SIZE // 381),
    "quotes around": ("'" * 199 + "a" + "'" * 199 + " ") * (SIZE // 400),
    "hyphens": ("a-" * 190 + " ") * (SIZE // 381),
    "brackets": "[edit] { lorem ipsum javascript\n" * (SIZE // 32),
    "one word again": "same " * (SIZE // 5),
    "two words": "this that " * (SIZE // 10),
    "astral": "\U0001f600\U00011043 " * (SIZE // 3),
    "combining": "e" + "\u0301" * SIZE,
    "spaces": " " * SIZE,
    "han": "语言" * (SIZE // 2),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_two_million_characters_cost_seconds(name):
    text = MONSTERS[name]
    costs = []
    for size in (SIZE // 8, SIZE):
        began = time.process_time()
        flags(text[:size])
        costs.append(time.process_time() - began)
    assert costs[1] < 12
    assert costs[1] < 40 * max(costs[0], 0.02), "eight times the text, not its square"
