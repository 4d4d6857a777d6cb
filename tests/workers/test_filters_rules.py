"""Each rule of each filter on a page made to fail it and nothing before it, and on one just within."""

import random

import pytest

from streams.settings.filters import (
    C4Settings,
    FilterSettings,
    FineWebSettings,
    GopherQualitySettings,
    GopherRepetitionSettings,
)
from workers.chunk.filters.c4 import c4
from workers.chunk.filters.fineweb import fineweb
from workers.chunk.filters.gopher_quality import gopher_quality
from workers.chunk.filters.gopher_repetition import gopher_repetition
from workers.chunk.filters.page import Page
from workers.chunk.filters.reasons import FILTER_REASONS, FilterReason

LETTERS = "bcdfghklmnprstvz"


def words(count: int, seed: int = 1, length: int = 5) -> list[str]:
    """Words that occur once."""
    draw = random.Random(seed)
    out: dict[str, None] = {}
    while len(out) < count:
        out["".join(draw.choice(LETTERS) for _ in range(length))] = None
    return list(out)


def prose(count: int, seed: int = 1, a_sentence: int = 10) -> str:
    """Sentences of words that occur once, with stop words between."""
    found = words(count, seed)
    sentences = (found[i : i + a_sentence] for i in range(0, count, a_sentence))
    return " ".join(f"The {' '.join(s[:4])} of {' '.join(s[4:-1])} and {s[-1]}." for s in sentences)


GOOD = prose(200)
QUALITY = [
    ("short_doc", prose(30), {}),
    ("short_doc", GOOD, {"min_words": 1000}),
    ("long_doc", GOOD, {"max_words": 100}),
    ("short_words", " ".join(["to", "be", "of"] * 40) + " the end", {}),
    ("long_words", " ".join(words(100, length=12)) + " the of", {}),
    ("hashes", GOOD + " #a" * 60, {}),
    ("ellipses", GOOD + " well..." * 60, {}),
    ("bullet_lines", "\n".join(f"- {line}" for line in GOOD.split(". ")), {}),
    ("bullet_lines", "\n".join(f"  • {line}" for line in GOOD.split(". ")), {}),
    ("ellipsis_lines", "\n".join(f"{line} …" for line in GOOD.split(". ")), {"max_ellipses_per_word": 1}),
    ("few_alpha_words", GOOD + " 1234" * 100, {}),
    ("few_stop_words", " ".join(words(100)), {}),
]


@pytest.mark.parametrize(("rule", "text", "limits"), QUALITY)
def test_gopher_quality(rule, text, limits):
    finding = gopher_quality(Page(text), GopherQualitySettings(**limits))
    assert finding is not None
    assert finding.reason == f"gopher_quality.{rule}"
    assert "wanted" in finding.detail


def test_gopher_quality_keeps_what_is_within():
    assert gopher_quality(Page(GOOD), GopherQualitySettings()) is None
    assert gopher_quality(Page(GOOD + " #a" * 20), GopherQualitySettings()) is None
    off = dict.fromkeys(("min_words", "max_words", "min_stop_words", "max_mean_word_characters"), 0)
    assert gopher_quality(Page("Unfathomably"), GopherQualitySettings(**off)) is None
    assert gopher_quality(Page(""), GopherQualitySettings(**off)) is None


SENTENCE = "The garden behind the house holds many old trees and a few new ones"
PARAGRAPHS = [prose(20, seed=i) for i in range(10)]
REPETITION = [
    ("duplicate_paragraphs", "\n\n".join([*PARAGRAPHS[:6], *["x y."] * 5])),
    ("duplicate_paragraph_characters", "\n\n".join([*PARAGRAPHS[:3], PARAGRAPHS[0]])),
    ("duplicate_lines", "\n\n".join([*PARAGRAPHS, "\n".join(f"x\ny{i}" for i in range(12))])),
    ("duplicate_line_characters", "\n".join([*PARAGRAPHS[:3], PARAGRAPHS[0]])),
    ("top_2_gram", " ".join(f"very nicelyput {w}" for w in words(80))),
    (
        "top_3_gram",
        " ".join(f"be nicely do {' '.join(w)}" for w in zip(*(words(90, i) for i in range(7)), strict=True)),
    ),
    (
        "top_4_gram",
        " ".join(
            f"of it all then {' '.join(w)}" for w in zip(*(words(90, i) for i in range(9)), strict=True)
        ),
    ),
]


@pytest.mark.parametrize(("rule", "text"), REPETITION)
def test_gopher_repetition(rule, text):
    limits = GopherRepetitionSettings()
    if rule == "top_4_gram":  # no text fails it and none of the stricter ones before, but with thresholds
        limits = GopherRepetitionSettings(max_top_2_gram=0.5, max_top_3_gram=0.5, max_top_4_gram=0.1)
    finding = gopher_repetition(Page(text), limits)
    assert finding is not None
    assert finding.reason == f"gopher_repetition.{rule}"


@pytest.mark.parametrize("n", range(5, 11))
def test_duplicate_n_grams(n):
    run = words(n, seed=99)
    fill = iter(words(4000, seed=3))
    text = " ".join(" ".join([*run, *(next(fill) for _ in range(4 * n))]) for _ in range(20))
    others = {f"max_duplicate_{m}_grams": 1.0 for m in range(5, 11) if m != n}
    tops = {f"max_top_{m}_gram": 1.0 for m in (2, 3, 4)}
    exact = 19 * sum(map(len, run)) / len(text)  # every time but the first
    for most, fails in ((exact - 1e-9, True), (exact + 1e-9, False)):
        limits = GopherRepetitionSettings(**others, **tops, **{f"max_duplicate_{n}_grams": most})
        finding = gopher_repetition(Page(text), limits)
        assert (finding is not None) == fails
        assert not fails or finding.reason == f"gopher_repetition.duplicate_{n}_grams"


def test_gopher_repetition_keeps_what_does_not_repeat_itself():
    assert gopher_repetition(Page(GOOD), GopherRepetitionSettings()) is None
    assert gopher_repetition(Page(""), GopherRepetitionSettings()) is None
    assert gopher_repetition(Page("word"), GopherRepetitionSettings()) is None


C4 = [
    ("few_sentences", "One sentence is here. And two of them. Three are not enough. Nor are four.", {}),
    ("few_sentences", "Menu\nHome page\n" + "Short\n" * 20 + f"{SENTENCE}.", {}),
    ("few_sentences", "\n".join(f"You must enable JavaScript to see part {i}." for i in range(9)), {}),
    ("few_sentences", "\n".join(f"This site uses cookies for part {i}." for i in range(9)), {}),
    ("few_sentences", "\n".join(f"{SENTENCE} {'x' * 1001}." for i in range(9)), {}),
    ("few_sentences", f"{SENTENCE}\n" * 9, {"terminal_punctuation": True}),
    ("lorem_ipsum", f"{SENTENCE}. " * 9 + "Lorem Ipsum dolor sit amet.", {}),
    ("curly_bracket", f"{SENTENCE}. " * 9 + "if (x) { return; }", {}),
]


@pytest.mark.parametrize(("rule", "text", "limits"), C4)
def test_c4(rule, text, limits):
    finding = c4(Page(text), C4Settings(**limits))
    assert finding is not None
    assert finding.reason == f"c4.{rule}"


def test_c4_keeps_what_it_would_only_shorten():
    kept = f"{SENTENCE}.\n" * 5
    assert c4(Page(kept), C4Settings()) is None
    assert c4(Page(f"{SENTENCE}\n" * 5), C4Settings()) is None
    assert c4(Page(kept + "Please enable JavaScript {here}.\nA {\n"), C4Settings()) is None
    assert c4(Page(kept + "Some of it has { in it."), C4Settings(curly_bracket=False)) is None
    assert c4(Page("One sentence."), C4Settings(min_sentences=0)) is None


FINEWEB = [
    ("empty", " \n\t\n", {}),
    ("line_punctuation", f"{SENTENCE}\n" * 9, {}),
    ("short_lines", "A short one.\n" * 3 + f"{SENTENCE}.", {}),
    ("duplicate_characters", "\n".join([*(f"{SENTENCE} {i}." for i in range(5)), f"{SENTENCE} 1."]), {}),
    (
        "list",
        "\n".join(f"{w} {v}." for w, v in zip(words(60), words(60, 2), strict=True)),
        {"max_short_lines": 1},
    ),
]


@pytest.mark.parametrize(("rule", "text", "limits"), FINEWEB)
def test_fineweb(rule, text, limits):
    finding = fineweb(Page(text), FineWebSettings(**limits))
    assert finding is not None
    assert finding.reason == f"fineweb.{rule}"


def test_fineweb_keeps_prose_of_any_script():
    assert fineweb(Page(GOOD), FineWebSettings()) is None
    assert (
        fineweb(
            Page(
                "这座城市有许多古老的桥梁人们每天都从上面走过河水在下面流淌着昼夜不停地奔向远方的大海。", "zh"
            ),
            FineWebSettings(),
        )
        is None
    )


def test_every_text_rule_has_a_page_that_fails_it():
    tried = (
        {f"gopher_quality.{rule}" for rule, *_ in QUALITY}
        | {f"gopher_repetition.{rule}" for rule, *_ in REPETITION}
        | {f"gopher_repetition.duplicate_{n}_grams" for n in range(5, 11)}
        | {f"c4.{rule}" for rule, *_ in C4}
        | {f"fineweb.{rule}" for rule, *_ in FINEWEB}
    )
    assert tried == {reason for reason in FILTER_REASONS if not reason.startswith(("url.", "opt_out."))}
    assert len(FilterReason) == len(set(FILTER_REASONS))


def test_other_languages_are_asked_what_is_not_about_english():
    german = "Masern sind eine Krankheit, die durch die Luft übertragen wird. " + " ".join(words(60)) + "."
    limits = FilterSettings()
    assert gopher_quality(Page(german, "en"), limits.gopher_quality).reason == "gopher_quality.few_stop_words"
    assert gopher_quality(Page(german, "de"), limits.gopher_quality) is None
    assert gopher_quality(Page("Zu kurz.", "de"), limits.gopher_quality).reason == "gopher_quality.short_doc"
    assert gopher_quality(Page("麻疹是一种传染病。", "zh"), limits.gopher_quality) is None
    assert c4(Page("Ein Satz.", "de"), limits.c4) is None
    assert c4(Page("Ein { Satz.", "de"), limits.c4).reason == "c4.curly_bracket"
    repeated = "Das ist immer wieder derselbe Satz mit denselben Worten. " * 20
    assert gopher_repetition(Page(repeated, "de"), limits.gopher_repetition) is not None
    lines = "麻疹是一种传染病。\n" * 9
    assert gopher_repetition(Page(lines, "zh"), limits.gopher_repetition).reason.endswith("duplicate_lines")
