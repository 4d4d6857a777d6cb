"""Rules (a) to (e) of the extractive engine, each on small cases made by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.extractive import answer, casing, grammar, typegate
from workers.engines.extractive.eligibility import Extra, plan
from workers.engines.extractive.evidence import SLOT, read_question
from workers.engines.extractive.extra import extra_value
from workers.engines.extractive.form import forms
from workers.engines.extractive.sentences import UnitKind, split
from workers.engines.extractive.subject import Subject, find_subject

# --- (a) which templates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "what causes <fi>a disease</fi>",
        "symptoms of <fi>a disease</fi>",
        "Is <fi>a condition</fi> hereditary?",
        "who discovered <fi>a chemical element</fi>, and when?",
        "<fi>a medication</fi> side effects",
        "What are the risks of having <fi>a surgical procedure</fi>?",
        "How much has <fi>an indicator</fi> changed since <fi>a year</fi>?",
    ],
)
def test_simple_questions_are_taken_on(template: str) -> None:
    assert plan(template).refusal == ""


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("Write a poem about <fi>a city</fi>.", "more than an excerpt"),
        ("Act as <fi>a profession</fi> and explain taxes.", "more than an excerpt"),
        ("What should I eat with <fi>a disease</fi>?", "more than an excerpt"),
        ("My <fi>a relative</fi> has gout, what now?", "more than an excerpt"),
        ("what is <fi>a term</fi> in simple terms", "more than an excerpt"),
        ("What is <fi>A</fi>, <fi>B</fi> or <fi>C</fi>?", "more than two slots"),
        ("What do <fi>a drug</fi> and <fi>a food</fi> do?", "two slots"),
        ("What is <fi>a term</fi>? Who made it?", "more than one sentence"),
        ("how to <fi>do a task</fi>", "more than a name"),
        ("Is it true that <fi>a belief</fi>?", "more than a name"),
        ("the <fi>a thing</fi>", "no question"),
        ("How does it relate to <fi>a thing</fi>, what about it?", ""),
        ("what is <fi>a term", "slots are not whole"),
        ("no slot at all?", "slots are not whole"),
    ],
)
def test_others_are_refused_with_a_reason(template: str, why: str) -> None:
    refusal = plan(template).refusal
    assert refusal
    assert why in refusal


def test_a_second_slot_holds_only_what_a_pattern_finds() -> None:
    found = plan("How much has <fi>an indicator</fi> changed since <fi>a year</fi>?")
    assert (found.subject, found.extra, found.extra_kind) == ("an indicator", "a year", Extra.DATE)
    text = "In 1998 the index fell."
    assert extra_value(Extra.DATE, text, (0, len(text))) == ("1998", (3, 7))
    assert extra_value(Extra.DATE, "From 1998 to 2001.", (0, 18)) is None
    assert extra_value(Extra.NUMBER, text, (8, len(text))) is None


# --- (b) the subject -------------------------------------------------------------------------------------


def subject_of(title: str, text: str) -> Subject | None:
    return find_subject(title, split(text), text)


def test_the_subject_is_written_as_sentences_write_it() -> None:
    text = "Back Pain\n\nBack pain is common. If you have back pain, rest. The back pain goes away."
    found = subject_of("Back Pain", text)
    assert found is not None
    assert (found.name, found.plural, found.article) == ("back pain", False, "")
    assert found.span is not None
    assert text[slice(*found.span)].lower() == "back pain"


@pytest.mark.parametrize(
    ("title", "text", "name", "article", "plural"),
    [
        ("Steam turbine", ("A steam turbine turns. Inside a steam turbine is a "
                          "rotor."), "steam turbine", "a", False),
        ("The Warsaw Pact", ("The Warsaw Pact was signed in 1955. Members of the Warsaw Pact "
                            "met."), "Warsaw Pact", "the", False),
        ("Floods", "Floods are common. People fear floods.", "floods", "", True),
        ("Diabetes", "Diabetes is a disease. People with diabetes take insulin.", "diabetes", "", False),
        ("Duane Syndrome", "Duane Syndrome limits the eyes.", "Duane syndrome", "", False),
        ("Radon: MedlinePlus", ("Radon is a gas. You can't see radon. There is radon in "
                               "soil."), "radon", "", False),
        ("Hematuria (Blood in the Urine)", ("Hematuria is blood in the urine. Some with hematuria "
                                           "feel well."), "hematuria", "", False),
        ("Nikola Tesla", ("Tesla was born in 1856. Tesla moved. In 1884 Tesla "
                         "sailed."), "Nikola Tesla", "", False),
    ],
)  # fmt: skip
def test_names_articles_and_numbers(title: str, text: str, name: str, article: str, plural: bool) -> None:
    found = subject_of(title, text)
    assert found is not None
    assert (found.name, found.article, found.plural) == (name, article, plural)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("How to make a paper boat", "How to make a paper boat is easy. How to make a paper boat."),
        ("Your home", "Your home is where you live. Your home matters."),
        ("Radon", "The gas comes from soil. It has no smell."),
        ("Contact us", "Contact us at any time. Contact us now."),
        ("", "A text without a title. It goes on."),
        ("Gout", ""),
        ("Gout", "Gout"),
        ("<script>x</script>", "<script>x</script> is here. <script>x</script> again."),
    ],
)
def test_no_subject_is_better_than_a_guess(title: str, text: str) -> None:
    assert subject_of(title, text) is None


def test_lower_case_comes_from_table_and_endings() -> None:
    assert casing.running("Saccharopinuria") == "saccharopinuria"
    assert casing.running("Charcot-Marie-Tooth Disease") == "Charcot-Marie-Tooth disease"
    assert casing.running("American Broadcasting Company") == "American Broadcasting Company"


# --- (c) kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "name", "rest", "agreed"),
    [
        ("a disease", "gout", " is a form of arthritis", None),
        ("a disease", "gout", " is a disease that hurts", True),
        ("a medical test", "paresthesia", " refers to a tingling sensation", False),
        ("a disease", "knee replacement", " is surgery", False),
        ("a genetic disorder", "saccharopinuria", "", True),
        ("a parasitic disease", "dietary supplements", " are vitamins", False),
    ],
)
def test_nouns_have_a_veto(description: str, name: str, rest: str, agreed: bool | None) -> None:
    assert typegate.agreement(description, name, rest) is agreed


def test_the_gate_is_a_rank() -> None:
    assert typegate.passes(0.03, None)
    assert not typegate.passes(0.031, None)
    assert typegate.passes(0.1, agreed=True)
    assert not typegate.passes(0.0, agreed=False)


# --- grammar ---------------------------------------------------------------------------------------------


def filled(template: str, name: str, text: str = "", **form: object) -> str | None:
    values: dict[str, object] = {
        "span": None, "article": "", "countable": False, "plural": False, "mentions": (), "unit": 0,
    } | form  # fmt: skip
    out = grammar.fill(plan(template), Subject(name=name, **values), text)  # type: ignore[arg-type]
    return out.instruction if out else None


def test_articles_fit_the_subject() -> None:
    assert filled("what is a <fi>term</fi>", "arachnoid cyst", countable=True) == "what is an arachnoid cyst"
    assert filled("what is an <fi>term</fi>", "EKG", countable=True) == "what is an EKG"
    assert filled("what is an <fi>term</fi>", "unicorn", countable=True) == "what is a unicorn"
    assert filled("what is a <fi>term</fi>", "radon") is None
    assert (
        filled("what causes <fi>a thing</fi>", "steam turbine", article="a", countable=True)
        == "what causes a steam turbine"
    )
    assert (
        filled("what causes <fi>a thing</fi>", "Black Death", article="the") == "what causes the Black Death"
    )


def test_number_has_to_agree() -> None:
    assert filled("Is <fi>a disease</fi> contagious?", "floods", plural=True) is None
    assert filled("Is <fi>a disease</fi> contagious?", "gout") == "Is gout contagious?"
    assert filled("What are <fi>a disease</fi>?", "gout") is None
    assert filled("what is <fi>a disease</fi> and how is it treated", "rashes", plural=True) is None
    assert filled("what causes <fi>a disease</fi>", "rashes", plural=None) == "what causes rashes"


def test_what_a_template_says_already_is_not_said_twice() -> None:
    assert filled("What are the symptoms of <fi>a mineral</fi> deficiency?", "G6PD deficiency") is None
    assert filled("Is <fi>a treatment</fi> covered by Medicare?", "Medicare") is None


@given(st.text(alphabet="abcXYZ <>/fi{}\\\n\x00", max_size=40))
def test_outside_the_slots_nothing_changes(name: str) -> None:
    out = filled("what causes <fi>a disease</fi> in people?", name.strip() or "x")
    if out is not None:
        assert out.startswith("what causes ")
        assert out.endswith(" in people?")


# --- (d) answers -----------------------------------------------------------------------------------------


def window(
    text: str, similarities: list[float], template: str, name: str, taken: tuple[tuple[int, int], ...] = ()
) -> str:
    units = split(text)
    mentions = [match.span() for match in re.finditer(re.escape(name), text, re.IGNORECASE)]
    question = plan(template).question
    usable = sorted(answer.reachable(units, question, mentions))
    vector = np.array(similarities, dtype=np.float32)
    assert len(vector) == len(units)
    found = answer.best_window(units, vector, usable, question, mentions, taken)
    return text[found.start : found.end] if found else ""


TEXT = (
    "Gout is a disease. Gout is caused by uric acid. It forms crystals in joints. However, diet "
    "matters. Read more here."
)


def test_the_best_run_that_shows_the_evidence() -> None:
    cause = "what causes <fi>a disease</fi>"
    assert window(TEXT, [0.1, 0.9, 0.8, 0.1, 0.9], cause, "gout") == "Gout is caused by uric acid."
    text = "Gout is caused by acid. It is old. Gout is due to diet too."
    assert window(f"{text} Rest helps.", [0.9, 0.7, 0.9, 0.0], cause, "gout") == text
    assert window(f"{text} Rest helps.", [0.9, 0.1, 0.3, 0.0], cause, "gout") == "Gout is caused by acid."


def test_no_evidence_no_answer() -> None:
    assert window(TEXT, [0.9] * 5, "treatment for <fi>a disease</fi>?", "gout") == ""
    assert window("Gout hurts. It hurts.", [0.9, 0.9], "what causes <fi>a disease</fi>", "gout") == ""


def test_a_lead_is_kept_only_where_the_next_sentence_leans_on_it() -> None:
    text = "Gout is an old disease. It is caused by uric acid."
    assert window(text, [0.2, 0.9], "what causes <fi>a disease</fi>", "gout") == text
    text = "Gout is an old disease. Gout is caused by uric acid."
    assert (
        window(text, [0.2, 0.9], "what causes <fi>a disease</fi>", "gout") == "Gout is caused by uric acid."
    )


def test_lists_are_answers_as_a_whole() -> None:
    text = "Gout\n\nGout hurts.\n\nSymptoms\n\n  • Pain\n  • Swelling\n\nTreatment\n\nRest helps."
    assert (
        window(text, [0, 0.2, 0, 0.9, 0, 0.1], "symptoms of <fi>a disease</fi>", "gout")
        == "• Pain\n  • Swelling"
    )
    # A list cannot show what a sentence has to say.
    text = "Gout\n\nGout hurts.\n\nFacts\n\n  • Autosomal dominant inheritance\n  • Pain"
    assert window(text, [0, 0.2, 0, 0.9], "is <fi>a disorder</fi> hereditary", "gout") == ""


def test_answers_of_a_segment_do_not_overlap() -> None:
    cause = "what causes <fi>a disease</fi>"
    start = TEXT.index("Gout is caused")
    assert window(TEXT, [0.1, 0.9, 0.1, 0.1, 0.9], cause, "gout", taken=((start, start + 27),)) == ""


@pytest.mark.parametrize(
    "sentence",
    [
        "It hurts.", "This is bad.", "However, it may.", ("They are "
                                                         "small."), ("These symptoms "
                                                                    "vary."), "Some are the result.",
        "For example, rest.", "Much of this research is new.", "Click here.", "lower case begins.",
    ],
)  # fmt: skip
def test_answers_stand_alone(sentence: str) -> None:
    assert not answer.may_begin(split(f"{sentence} More follows here.")[0])


@pytest.mark.parametrize(
    "sentence",
    [
        "The table below shows all symptoms of gout.", ("For more information, "
                                                       "call."), "See http://example.org now.",
        "Gout (a kind of arthritis.", "Use <fi>gout</fi> here.", "Answer: gout is caused by acid.",
        "It holds an <excerpt>gout</excerpt> tag.", "{{template}} of gout.", "A\x00 null.",
    ],
)  # fmt: skip
def test_what_points_away_or_holds_markup_is_not_copied(sentence: str) -> None:
    assert not any(answer.may_be_copied(unit) for unit in split(f"{sentence} "))


# --- (e) form and evidence -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("when was it founded", "It was founded in 1886.", "It was founded long ago."),
        ("how many people live there", "About 40 people do.", "Few people do."),
        ("who discovered it", "It was found by Carl Wilhelm Scheele.", "It was found by chance."),
        ("where is it", "It lies in Poland.", "It lies far away."),
        ("how to do it", "First stop, then go.", "Just do it."),
    ],
)
def test_forms(clause: str, right: str, wrong: str) -> None:
    patterns = [pattern for _, pattern in forms(clause)]
    assert patterns
    assert all(pattern.search(right) for pattern in patterns)
    assert not all(pattern.search(wrong) for pattern in patterns)


def test_each_part_of_a_question_wants_its_own_evidence() -> None:
    question = read_question(f"what is {SLOT} and which parts of the body does it affect")
    assert [[facet.name for facet in clause] for clause in question.clauses] == [
        ["definition"],
        ["body part"],
    ]
    assert read_question(f"What does {SLOT} do and how").unchecked
    names = [
        facet.name for clause in read_question(f"Which cities banned {SLOT}").clauses for facet in clause
    ]
    assert names == ["word:cit", "word:bann"]


ASKED = {
    "symptoms": "What are the symptoms of <fi>a disease</fi>?",
    "treatment": "How do doctors treat <fi>a disease</fi>?",
    "cause": "What causes <fi>a disease</fi>?",
    "definition": "define <fi>a disease</fi>",
    "inheritance": "How is <fi>a genetic condition</fi> inherited?",
}


@pytest.mark.parametrize(
    ("asked", "sentence", "answers"),
    [
        ("symptoms", "Symptoms of gout include pain and swelling.", True),
        ("symptoms", "Gout is characterized by hot, swollen joints.", True),
        ("symptoms", "Symptoms of gout are linked to a buildup of crystals.", False),
        ("symptoms", "Gout is characterized by the abnormal production of acid.", False),
        ("treatment", "Gout is treated with medicines that lower the acid.", True),
        ("treatment", "Medicines can relieve the pain of gout.", True),
        ("treatment", "If gout is not treated, it can damage joints.", False),
        ("treatment", "Treatment of gout depends on its form.", False),
        ("treatment", "Colchicine is a drug used to treat mild fever, not gout.", False),
        ("cause", "Gout is caused by uric acid.", True),
        ("cause", "Stiff joints are the result of gout.", False),
        ("cause", "Gout is not caused by cold.", False),
        ("definition", "Gout is a kind of arthritis that comes in attacks.", True),
        ("definition", "Gout is a common disease.", False),
        ("definition", "Gout is the most common cause of a swollen toe.", False),
        ("inheritance", "Gout is inherited in an autosomal dominant pattern.", True),
        ("inheritance", "Gout is an inherited disorder.", False),
        ("inheritance", "Acquired gout is not inherited.", False),
    ],
)
def test_a_theme_is_no_evidence(asked: str, sentence: str, answers: bool) -> None:
    found = window(sentence, [0.9], ASKED[asked], "gout")
    assert found == (sentence if answers else "")


def test_a_sentence_leads_into_a_list_without_a_colon() -> None:
    text = "No one knows what causes gout. Symptoms include\n\n  • Pain\n  • Swelling\n\nRest helps."
    units = split(text)
    assert [unit.kind for unit in units] == [UnitKind.SENTENCE, UnitKind.LIST, UnitKind.SENTENCE]
    assert units[1].text == "Symptoms include\n\n  • Pain\n  • Swelling"


def test_what_could_not_be_an_answer_is_not_looked_at() -> None:
    text = "Gout hurts. Gout is old. Gout is caused by acid. It is rare. Rest helps. Walks help."
    units = split(text)
    mentions = [match.span() for match in re.finditer("gout", text, re.IGNORECASE)]
    question = plan(ASKED["cause"]).question
    assert answer.reachable(units, question, mentions) == {2}
    assert answer.possible(units, [2], question, mentions)
    assert not answer.possible(units, [0, 1, 3], question, mentions)


def test_a_list_that_mixes_in_what_is_no_sign_is_no_list_of_signs() -> None:
    text = "Gout\n\nGout hurts.\n\nSymptoms\n\n  • Pain\n  • Swelling\n  • Autosomal dominant inheritance"
    assert window(text, [0, 0.2, 0, 0.9], ASKED["symptoms"], "gout") == ""
