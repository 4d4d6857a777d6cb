"""Templates against instructions: filled at random and recovered, and what is not the template is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.language import alignment
from workers.engines.language.alignment import Alignment, align
from workers.engines.language.template_text import TemplateText, read_template

GOLD = Path(__file__).parents[1] / "data" / "gold" / "instantiations.jsonl"

WORDS = st.text(alphabet="ab ,.?!'\"()-<\u00e9", max_size=12)
VALUE = st.text(alphabet="abAB ,.?!'\"()-\u00e9\u4e2d\n", max_size=10).map(str.strip).filter(bool)
SLOTS = st.lists(st.sampled_from(["a kind", "a place", "number 1", "number 2"]), min_size=1, max_size=6)


@st.composite
def templates(draw: st.DrawFn) -> TemplateText:
    slots = draw(SLOTS)
    words = draw(st.lists(WORDS, min_size=len(slots) + 1, max_size=len(slots) + 1))
    return TemplateText(tuple(words), tuple(slots))


def written(template: TemplateText) -> str:
    return template.filled({slot: f"<fi>{slot}</fi>" for slot in template.slots})


def values(found: Alignment, text: str) -> list[str]:
    return [text[filling.start : filling.end] for filling in found.fillings]


def plain(text: str) -> str:
    return " ".join(text.split())


@given(templates())
def test_a_template_is_read_as_it_was_written(template: TemplateText) -> None:
    assert read_template(written(template)) == template


@pytest.mark.parametrize(
    "template",
    [
        "", "no slot", "<fi>open", "closed</fi>", "<fi>a<fi>b</fi></fi>", "<fi></fi>", "<fi> </fi>",
        "</fi>x<fi>", "<fi>a</fi> <fi>b",
    ],
)  # fmt: skip
def test_broken_tags_are_no_template(template: str) -> None:
    assert read_template(template) is None


@given(templates(), st.data())
def test_random_fillings_are_recovered(template: TemplateText, data: st.DataObject) -> None:
    chosen = {slot: data.draw(VALUE) for slot in set(template.slots)}
    text = template.filled(chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "MAX_STEPS", 1_000_000)  # slots side by side, filled alike, take more
        found = align(template, text, loose=False)
    assert found is not None
    got = dict(zip(template.slots, values(found, text), strict=True))
    for slot, value in zip(template.slots, values(found, text), strict=True):
        assert plain(got[slot]) == plain(value)  # the same description by the same words
    if found.certain:
        assert {slot: plain(value) for slot, value in got.items()} == {
            slot: plain(value) for slot, value in chosen.items()
        }
    # Whatever was chosen where several fit: it fills the template to the same text.
    assert "".join(template.filled(got).split()) == "".join(text.split())


@given(
    st.lists(st.sampled_from(["a kind", "a place", "number 1"]), min_size=1, max_size=5, unique=True),
    st.data(),
)
def test_words_that_stand_nowhere_else_leave_no_doubt(slots: list[str], data: st.DataObject) -> None:
    words = [f" [{i}] " for i in range(len(slots) + 1)]
    template = TemplateText(tuple(words), tuple(slots))
    chosen = {slot: data.draw(VALUE) for slot in slots}
    text = template.filled(chosen)
    found = align(template, text)
    assert found is not None
    assert found.certain
    assert [plain(value) for value in values(found, text)] == [plain(chosen[slot]) for slot in slots]


@given(templates(), st.text(alphabet="ab ,.?!", max_size=30))
def test_other_texts_align_only_where_they_are_the_template_filled(template: TemplateText, text: str) -> None:
    found = align(template, text, loose=False)
    if found is not None:
        got = dict(zip(template.slots, values(found, text), strict=True))
        assert "".join(template.filled(got).split()) == "".join(text.split())
        assert all(value.strip() for value in got.values())


def slowly(words: tuple[str, ...], slots: tuple[str, ...], text: str) -> set[tuple[str, ...]]:
    """All fillings of a text without spaces, by trying every cut."""
    out: set[tuple[str, ...]] = set()

    def go(slot: int, at: int, chosen: tuple[str, ...]) -> None:
        if slot == len(slots):
            if at == len(text):
                out.add(chosen)
            return
        for end in range(at + 1, len(text) + 1):
            value = text[at:end]
            if text.startswith(words[slot + 1], end) and all(
                value == other for name, other in zip(slots, chosen, strict=False) if name == slots[slot]
            ):
                go(slot + 1, end + len(words[slot + 1]), (*chosen, value))

    if text.startswith(words[0]):
        go(0, len(words[0]), chosen=())
    return out


@given(
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=4),
    st.data(),
    st.text(alphabet="ab", max_size=10),
)
def test_existence_and_certainty_are_those_of_all_cuts(
    slots: list[str], data: st.DataObject, text: str
) -> None:
    count = len(slots) + 1
    words = tuple(data.draw(st.lists(st.text(alphabet="ab", max_size=2), min_size=count, max_size=count)))
    template = TemplateText(words, tuple(slots))
    if data.draw(st.booleans()):
        text = template.filled(
            {slot: data.draw(st.text(alphabet="ab", min_size=1, max_size=3)) for slot in slots}
        )
    every = slowly(words, tuple(slots), text)
    found = align(template, text, loose=False)
    assert (found is None) == (not every)
    if found is not None:
        assert tuple(values(found, text)) in every
        assert found.certain == (len(every) == 1)


@pytest.mark.parametrize(
    ("template", "instruction", "got"),
    [
        ("What is in a <fi>kit</fi>?", "What is in an EpiPen kit?", ["EpiPen kit"]),
        ("what is <fi>a term</fi>?", "What is  radon?", ["radon"]),
        ("<fi>x</fi>-day plan", "Three-day plan", ["Three"]),
        ("Is <fi>x</fi> bad? Why is <fi>x</fi> bad?", "Is Rust bad? Why is rust bad?", ["Rust", "rust"]),
        ("Compare <fi>A</fi> and <fi>B</fi>.", "Compare an apple and an egg.", ["an apple", "an egg"]),
        ("<fi>A</fi> <fi>B</fi>!", "open the door!", ["open", "the door"]),
        ("Say <fi>x</fi>", "Say \u201cGr\u00fc\u00df\u201d ", ["\u201cGr\u00fc\u00df\u201d"]),
        ("Say <fi>x</fi>", "Tell radon", None),
        ("Say <fi>x</fi>", "Say ", None),
        ("Say <fi>x</fi> twice", "Say radon", None),
        ("<fi>x</fi> or <fi>x</fi>?", "tea or milk?", None),
        ("What about <fi>x</fi>?", "What about radon", None),
    ],
)
def test_capitals_spaces_and_articles_do_not_count(
    template: str, instruction: str, got: list[str] | None
) -> None:
    read = read_template(template)
    assert read
    found = align(read, instruction)
    assert (None if found is None else values(found, instruction)) == got


def test_copied_passages_say_where_a_value_ends() -> None:
    template = read_template("Compare <fi>A</fi> and <fi>B</fi>.")
    assert template
    text = "Compare salt and pepper and oil."
    short = align(template, text)
    hinted = align(template, text, hints=[(8, 23)])
    assert short
    assert hinted
    assert values(short, text) == ["salt", "pepper and oil"]
    assert values(hinted, text) == ["salt and pepper", "oil"]
    assert not short.certain


def test_gold_is_recovered() -> None:
    certain = rows = 0
    for row in map(json.loads, GOLD.read_text(encoding="utf-8").splitlines()):
        if not row["compatible"]:
            continue
        template = read_template(row["template"])
        assert template
        found = align(template, row["instruction"])
        assert found, row["id"]
        got = dict(zip(template.slots, values(found, row["instruction"]), strict=True))
        assert template.filled(got) == row["instruction"]
        rows += 1
        certain += found.certain
    assert (rows, certain) == (144, 142)


def test_the_worst_instruction_costs_a_bounded_search() -> None:
    template = TemplateText(("a",) * 31, tuple(f"s{i % 7}" for i in range(30)))
    began = time.process_time()
    assert align(template, "a" * 3_999 + "b") is None
    align(template, "ab" * 2_000)
    assert time.process_time() - began < 2.0  # 0.1 s here; without a bound it would not end
