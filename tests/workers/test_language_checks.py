"""What is wrong with any answer: loops, told answers, blanks, and markup that nobody may train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.language.answer_checks import (
    MAX_TOLD_SHARE,
    is_null,
    is_placeholder,
    repeats_endlessly,
    told_share,
    words,
)
from workers.engines.language.markup import has_markup, is_broken

GOLD = Path(__file__).parents[1] / "data" / "gold"
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=25).map(" ".join)


def test_gold_is_neither_endless_nor_told() -> None:
    told = []
    for row in map(json.loads, (GOLD / "instantiations.jsonl").read_text(encoding="utf-8").splitlines()):
        if row["compatible"]:
            told.append(told_share(row["instruction"], row["answer"]))
            assert not repeats_endlessly(row["answer"])
            assert not repeats_endlessly(row["instruction"])
            assert not has_markup(row["answer"] + row["instruction"])
            assert not is_broken(row["answer"] + row["instruction"])
    assert max(told) < MAX_TOLD_SHARE


def test_whole_pages_are_not_endless() -> None:
    for row in map(json.loads, (GOLD / "documents.jsonl").read_text(encoding="utf-8").splitlines()):
        assert not repeats_endlessly(row["text"])
        assert repeats_endlessly(row["text"] * 3)


@pytest.mark.parametrize("unit", ["ha", "and so on, ", "The gas is radon. ", "\u54c8", "1, ", "\n- item"])
def test_loops_are_endless(unit: str) -> None:
    text = "Radon comes from rock. " + unit * 400
    assert repeats_endlessly(text)
    assert not repeats_endlessly(text[:150])


@given(WORDS, WORDS)
def test_told_share_is_that_of_a_plain_count(asked: str, said: str) -> None:
    a, b = asked.split(), said.split()
    grams = [b[i : i + 5] for i in range(len(b) - 4)]
    if grams:
        inside = [any(a[i : i + 5] == gram for i in range(len(a))) for gram in grams]
        assert told_share(asked, said) == sum(inside) / len(grams)
    else:
        assert told_share(asked, said) == (1.0 if b and a == b else 0.0)


def test_half_told_is_not_over_half() -> None:
    said = "one two three four five six"  # two 5-grams
    assert told_share("what is one two three four five", said) == 0.5
    assert told_share("ONE, two; three four five six?", said) == 1.0


@pytest.mark.parametrize(
    ("text", "null", "blank"),
    [
        ("null", True, False), ("None.", True, False), ("'n/a'", True, False), ("Nil", True, False),
        ("[your city]", False, True), ("{x}", False, True), ("<name>", False, True), ("____", False, True),
        ("\u2026", False, True), ("- - -", False, True), ("none of them", False, False),
        ("[1] and [2] agree", False, False), ("-5", False, False), ("Na", False, False),
    ],
)  # fmt: skip
def test_nothing_and_blanks(text: str, null: bool, blank: bool) -> None:
    assert is_null(text) is null
    assert is_placeholder(text) is blank


LEFT = [
    "<fi>", "</fi >", "< excerpt>", "</EXCERPT>", "<excerpt", "/excerpt>", "&lt;excerpt&gt;", "<...>",
    "<\u2026>", "<|im_start|>", "<|eot_id|>", "<\uff5cUser\uff5c>", "<s>", "</s>", "[INST]", "[/INST]",
    "<<SYS>>", "<end_of_turn>", "<think>", "<tool_call>", "\nAnswer: 4", "\n  Instruction: go",
]  # fmt: skip
FINE = [
    "p < 0.05", "a <= b", "x |> f()", "f <| x", "<b>bold</b>", "The answer: 4", "answer: 4",
    "Instructions: stir", "[1]", "an excerpt of it", "wait ... what", "<<EOF", "<article>", "if (a<fib) {}",
]  # fmt: skip


@pytest.mark.parametrize("text", LEFT)
def test_markup_is_seen_wherever_it_stands(text: str) -> None:
    assert has_markup(text)
    assert has_markup(f"Before it.{text} And behind.")


@pytest.mark.parametrize("text", FINE)
def test_signs_of_other_meaning_are_let_be(text: str) -> None:
    assert not has_markup(text)
    assert not has_markup(f"Before it, {text} and behind.")


@given(st.text())
def test_broken_is_what_utf_8_or_a_terminal_cannot_take(text: str) -> None:
    control = any((ord(c) < 32 and c not in "\t\n\r") or c in "\x7f\ufffe\uffff" for c in text)
    assert is_broken(text) == control
    assert is_broken(text + "\udc80")


def test_words_have_no_case() -> None:
    assert words("It's GR\u00dcN, 5!") == ["it", "s", "gr\u00fcn", "5"]
