"""The splitter: units are exact spans, lists stay whole, headings and questions are told apart."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from workers.engines.extractive.sentences import MAX_UNITS, UnitKind, split


def kinds(text: str) -> list[tuple[str, str]]:
    return [(unit.kind.value, unit.text) for unit in split(text)]


def test_sentences_headings_and_questions() -> None:
    text = (
        "Gout\n\nGout is a kind of arthritis. It hurts, e.g. in the big toe, says Dr. Smith.\n\n"
        "What causes gout?\nUric acid does."
    )
    assert kinds(text) == [
        ("heading", "Gout"),
        ("sentence", "Gout is a kind of arthritis."),
        ("sentence", "It hurts, e.g. in the big toe, says Dr. Smith."),
        ("question", "What causes gout?"),
        ("sentence", "Uric acid does."),
    ]
    assert [unit.section for unit in split(text)] == [1, 1, 1, 2, 2]
    assert split(text)[-1].heading == "What causes gout?"


def test_a_list_stays_whole_with_the_line_that_opens_it() -> None:
    text = "Common symptoms are\n\n  • Pain\n  • Fever\n\nSee a doctor."
    assert kinds(text) == [
        ("list", "Common symptoms are\n\n  • Pain\n  • Fever"),
        ("sentence", "See a doctor."),
    ]
    assert kinds("Do this:\n1. Stop.\n2. Go.")[0] == ("list", "Do this:\n1. Stop.\n2. Go.")


def test_a_list_whose_line_breaks_were_lost_is_cut_out() -> None:
    text = (
        "Signs and Symptoms Approximate number of patients (when available) Short nose 90% Cleft palate 50% "
        "Myopia 7.5% Ataxia - Tremor - The Ontology has collected information."
    )
    assert kinds(text) == [
        ("heading", "Signs and Symptoms Approximate number of patients (when available)"),
        ("list", "Short nose 90% Cleft palate 50% Myopia 7.5% Ataxia - Tremor"),
        ("sentence", "The Ontology has collected information."),
    ]


def test_lines_that_go_on_are_one_sentence() -> None:
    assert kinds("The river rises in the\nmountains and falls.") == [
        ("sentence", "The river rises in the\nmountains and falls.")
    ]


def test_words_run_together_are_parted() -> None:
    assert [text for _, text in kinds("It eases the pressure.Medicines may help too.")] == [
        "It eases the pressure.",
        "Medicines may help too.",
    ]


@given(st.text(max_size=400))
def test_units_are_ordered_spans_of_any_text(text: str) -> None:
    end = 0
    for unit in split(text):
        assert text[unit.start : unit.end] == unit.text
        assert unit.text.strip()
        assert unit.start >= end
        end = unit.end


def test_hostile_texts_take_bounded_time() -> None:
    for text in (
        "a" * 1_000_000,
        "A. " * 300_000,
        "x 1% " * 200_000,
        "A -" * 300_000,
        "\n• " * 300_000,
        "(" * 500_000,
        "Ab c 9% " * 100_000,
    ):
        began = time.process_time()
        assert len(split(text)) <= MAX_UNITS
        assert time.process_time() - began < 2.0


def test_nothing_comes_of_nothing() -> None:
    assert split("") == []
    assert split(" \n\t\n") == []
    assert [unit.kind for unit in split("• one\n• two")] == [UnitKind.LIST]
