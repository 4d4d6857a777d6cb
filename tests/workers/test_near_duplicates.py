"""The sketch: golden bytes, what it overlooks, and how well it estimates the similarity of real passages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import SettingsError
from workers.chunk import near_duplicates
from workers.chunk.near_duplicates import check_algorithm, sketch
from workers.duplicates import SKETCH_BYTES, similarity

WORDS = [f"word{n}" for n in range(3000)]
GOLDEN = (
    "c8b8ac045e635458cbd051a8ab0768991cabf785cb5e8b878700f65306b550bb"
    "58e3a57ca3d89ee5822f01d5ff8404b1126658f0e6ea277fe83a2317883bb2f0"
    "9debdaea2be11f12994847df98cbd260be5132dafa1b6de4afcc0621a569820b"
    "bb0a54908180a97e68b3512b5dffe4c410a3f99b3ca8dce0a07a01f0b2ae1eda"
)


def test_it_is_the_same_on_every_machine():
    """Sketches lie in the log, so another rensa, numpy or processor must not make others."""
    assert sketch("The quick brown fox jumps over the lazy dog, again and again.").hex() == GOLDEN
    check_algorithm()


def test_another_algorithm_is_refused(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_ALGORITHM", 3)
    with pytest.raises(SettingsError, match=r"near=off"):
        check_algorithm()


@given(st.text())
def test_any_text_has_one_or_none(text):
    found = sketch(text)
    assert len(found) in {0, SKETCH_BYTES}
    assert found == sketch(text)
    assert found == sketch(f"  {text}\n")


def test_case_punctuation_and_spaces_are_overlooked():
    one = sketch("Measles \u2014 a \u201chighly\u201d contagious disease \u2014 spreads through the air.")
    assert one == sketch("measles, a highly contagious disease,\n\n spreads through the air")
    assert one != sketch("mumps, a highly contagious disease, spreads through the air")


@given(st.text(st.characters(max_codepoint=127)), st.sampled_from(["\u00a0", "\u2026", "\u2019"]))
def test_a_character_beyond_ascii_changes_only_how_words_are_found(text, space):
    assert sketch(text) == sketch(text + space) == sketch(text + " ")


def test_short_texts_and_texts_without_spaces_have_sketches():
    assert sketch("one") == sketch("One!") != sketch("two")
    assert sketch("") == sketch(" .,; ") == b""
    chinese = "\u9ebb\u75b9\u662f\u4e00\u79cd\u4f20\u67d3\u6027\u5f88\u5f3a\u7684\u75be\u75c5" * 8
    other = chinese[:60] + "\u75ab\u82d7\u53ef\u4ee5\u9884\u9632" + chinese[60:]
    assert similarity(sketch(chinese), sketch(other)) > 0.4
    assert sketch(chinese) != sketch(other)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 0.95])
def test_the_estimate_is_as_good_as_it_says(share):
    """Standard error at most sqrt(J (1 - J) / 128) and a little, no bias: over 150 pairs of texts."""
    rng, errors = random.Random(share), []
    for _ in range(150):
        words = rng.choices(WORDS, k=400)
        other = list(words)
        changed = rng.randrange(400)
        count = round((1 - share) * 400 / (1 + share))
        for place in range(changed, changed + count):
            other[place % 400] = rng.choice(WORDS)
        a, b = ({tuple(w[i : i + 5]) for i in range(396)} for w in (words, other))
        errors.append(similarity(sketch(" ".join(words)), sketch(" ".join(other))) - len(a & b) / len(a | b))
    mean = sum(errors) / len(errors)
    assert abs(mean) < 0.02
    assert (sum((e - mean) ** 2 for e in errors) / len(errors)) ** 0.5 < 0.055
