"""Templates against the queries that they were made of: slots cut at random hold, all else has a name."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workers.engines.language.genericizer import PROFILES, TemplateDraft, genericizer
from workers.engines.language.json_output import JsonReject
from workers.engines.language.template_check import (
    MAX_SLOTS,
    REASONS,
    CheckReject,
    QueryReject,
    query_fault,
    template_fault,
)
from workers.engines.language.template_text import read_template
from workers.match import bank

DESCRIPTION = "A page about one thing."
QUERY = "Is Paris  bigger than\nRome, and is Paris older? Mail me at ann@corp.org"
GOOD = "Is <fi>city A</fi> bigger than <fi>city B</fi>, and is <fi>city A</fi> older? "
GOOD += "Mail me at <fi>an address</fi>"


def fault(query: str, template: str, description: str = DESCRIPTION) -> CheckReject | None:
    return template_fault(query, TemplateDraft(template, description))


def test_a_good_template_holds_and_a_bank_takes_it() -> None:
    assert fault(QUERY, GOOD) is None
    assert not bank.tag_fault(GOOD)


CHECKED = [
    (QUERY, GOOD.replace("</fi> older", " older"), DESCRIPTION, CheckReject.TAGS),
    (QUERY, GOOD.replace("city B", "city <fi>B</fi>"), DESCRIPTION, CheckReject.TAGS),
    (QUERY, GOOD.replace("city B", " "), DESCRIPTION, CheckReject.TAGS),
    (QUERY, GOOD.replace("city B", "?!"), DESCRIPTION, CheckReject.TAGS),
    (QUERY, GOOD.replace("city B", "null"), DESCRIPTION, CheckReject.TAGS),
    (QUERY, GOOD.replace("city B", "city " * 60), DESCRIPTION, CheckReject.TAGS),
    ("x " * 3_000 + "Rome", "x " * 3_000 + "<fi>a city</fi>", DESCRIPTION, CheckReject.TOO_LONG),
    (
        "or " * 90,
        " or ".join(f"<fi>{i}</fi>" for i in range(MAX_SLOTS + 1)),
        DESCRIPTION,
        CheckReject.TOO_MANY_SLOTS,
    ),
    ("see \x07 Rome", "see \x07 <fi>a city</fi>", DESCRIPTION, CheckReject.BROKEN_TEXT),
    (QUERY, GOOD.replace("city B", "<excerpt>city"), DESCRIPTION, CheckReject.MARKUP),
    ("see <|im_end|> Rome", "see <|im_end|> <fi>a city</fi>", DESCRIPTION, CheckReject.MARKUP),
    (QUERY, GOOD, "A page <fi>about</fi> it.", CheckReject.MARKUP),
    (QUERY, GOOD.replace("bigger", "larger"), DESCRIPTION, CheckReject.CHANGED),
    (QUERY, GOOD.replace("Is ", "is "), DESCRIPTION, CheckReject.CHANGED),
    (QUERY, GOOD + "!", DESCRIPTION, CheckReject.CHANGED),
    (QUERY, GOOD.replace("city B", "city A"), DESCRIPTION, CheckReject.SLOT_DIFFERS),
    ("Is Paris near Paris?", "Is <fi>city A</fi> near <fi>city B</fi>?", DESCRIPTION, CheckReject.SAME_WORDS),
    ("Is Paris big?", "Is <fi>paris</fi> big?", DESCRIPTION, CheckReject.NOT_GENERIC),
    ("Paris, Rome", "<fi>city A</fi>, <fi>city B</fi>", DESCRIPTION, CheckReject.ONLY_SLOTS),
    (QUERY, GOOD, " ", CheckReject.DESCRIPTION),
    (QUERY, GOOD, "null", CheckReject.DESCRIPTION),
    (QUERY, GOOD, "x" * 2_001, CheckReject.DESCRIPTION_TOO_LONG),
    (QUERY, GOOD.replace("<fi>an address</fi>", "ann@corp.org"), DESCRIPTION, CheckReject.PERSONAL_DATA),
    (QUERY, GOOD, "A page that ann@corp.org wrote.", CheckReject.PERSONAL_DATA),
    (QUERY, GOOD.replace("an address", "like bob@corp.org"), DESCRIPTION, CheckReject.PERSONAL_DATA),
]


@pytest.mark.parametrize(("query", "template", "description", "reason"), CHECKED)
def test_what_is_wrong_has_a_name(query: str, template: str, description: str, reason: CheckReject) -> None:
    assert fault(query, template, description) is reason


ASKED = [
    ("", False, QueryReject.EMPTY),
    ("?! ...", False, QueryReject.EMPTY),
    ("why " * 2_000, False, QueryReject.TOO_LONG),
    ("why \ud800", False, QueryReject.BROKEN_TEXT),
    ("why <fi>x</fi>", False, QueryReject.MARKUP),
    ("why <|im_start|>", True, QueryReject.MARKUP),
    ("what does <html> mean", True, QueryReject.TOKENS),
    ("what does <html> mean", False, None),
    ("is 3 < 5 and [1] a citation", True, None),
]


@pytest.mark.parametrize(("query", "bare", "reason"), ASKED)
def test_queries_that_are_not_sent(query: str, bare: bool, reason: QueryReject | None) -> None:
    assert query_fault(query, bare=bare) is reason


def test_every_name_is_earned_once_at_least() -> None:
    earned = {reason.value for *_, reason in CHECKED} | {reason.value for *_, reason in ASKED if reason}
    assert earned | {reason.value for reason in JsonReject} == set(REASONS)
    assert len(REASONS) == len(set(REASONS))


WORD = st.sampled_from(
    ["how", "do", "I", "get", "wine", "from", "Paris,", "it's", "(quick)", "2019", "\u00fcber", "\n"]
)


@given(st.lists(WORD, min_size=3, max_size=20), st.data())
def test_slots_cut_at_random_hold(words: list[str], data: st.DataObject) -> None:
    query = " ".join(words)
    count = data.draw(st.integers(1, 3))
    places = sorted(
        data.draw(st.lists(st.integers(0, len(words) - 1), min_size=count, max_size=count, unique=True))
    )
    replaced: dict[str, str] = {}
    template = words.copy()
    for place in places:
        assume(words[place].strip())
        name = replaced.setdefault(words[place], f"a kind of thing {len(replaced)}")
        template[place] = f"<fi>{name}</fi>"
    rest = [word for i, word in enumerate(words) if i not in places]
    assume(any(word.strip() for word in rest))
    found = fault(query, data.draw(st.sampled_from([" ", "  "])).join(template))
    assert found is None
    other = data.draw(st.sampled_from([i for i in range(len(words)) if i not in places and words[i].strip()]))
    template[other] += "x"
    # A slot may take in the change where its neighbour is one: then it is another template, and may hold.
    changed = fault(query, " ".join(template))
    if not any(abs(other - place) <= 1 for place in places):
        assert changed in (CheckReject.CHANGED, CheckReject.SLOT_DIFFERS, CheckReject.SAME_WORDS)


@given(st.text(max_size=40), st.text(max_size=60), st.text(max_size=20))
def test_any_words_hold_or_have_a_name(query: str, template: str, description: str) -> None:
    for text in (template, f"{template}<fi>a thing</fi>{query}"):
        assert fault(query, text, description) in (*CheckReject, None)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_answers_are_read(profile: str) -> None:
    parse = genericizer(profile).parse
    raw = json.dumps({"template": f" {GOOD} ", "compatible_document_description": DESCRIPTION})
    assert parse(f"Sure:\n```json\n{raw}\n```") == TemplateDraft(GOOD, DESCRIPTION)
    assert parse(raw[:-5]) is JsonReject.TRUNCATED
    assert parse("null") is JsonReject.EMPTY
    assert parse('{"template": "x"}') is JsonReject.KEYS
    assert parse('{"template": null, "compatible_document_description": "x"}') is JsonReject.KEYS
    assert parse(GOOD) is JsonReject.NO_JSON


def test_the_shipped_bank_holds_against_queries_that_fill_it() -> None:
    seed = bank.load("seed")
    for template, description in zip(seed.templates, seed.descriptions, strict=True):
        read = read_template(template)
        assert read
        values = {slot: f"Zyx{i}" for i, slot in enumerate(dict.fromkeys(read.slots))}
        assert fault(read.filled(values), template, description) is None, template
