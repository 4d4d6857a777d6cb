"""Copy tags to spans: against a slow reading of the same rules, on gold, and on what hostile texts hold."""

from __future__ import annotations

import json
import time
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from workers.engines.language.excerpts import (
    MAX_TAGS,
    ExcerptReject,
    Expansion,
    Level,
    Source,
    expand,
    inside_word,
    quoted_whole,
)
from workers.engines.language.folding import Folded, fold, fold_character, lowered

GOLD = Path(__file__).parents[1] / "data" / "gold"

SPECIAL = (
    "\u2019\u201c\u2014\u2026\ufb01\u00e9e\u0301\u00a0\u200b\u00ad\t\n  \u0130\uff21\u00df\u03a3\u03c3\u03c2"
)
SPECIAL += "\u00bd\ud55c\u4e2d"
WORDS = ["pain", "Pain", "a", "of", "the", "knee,", "\u201cache\u201d", "ne\u0301e", "5", "mg.", "\n\n"]
TEXT = st.text(alphabet=st.sampled_from("aabBc .,'\"-" + SPECIAL), max_size=80)
ANY = st.text(max_size=60)


@cache
def documents() -> dict[str, str]:
    rows = map(json.loads, (GOLD / "documents.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["document_id"]: row["text"] for row in rows}


def gold() -> list[dict[str, Any]]:
    rows = map(json.loads, (GOLD / "instantiations.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["compatible"]]


def tag(first: str, last: str | None = None) -> str:
    return f"<excerpt>{first}</excerpt>" if last is None else f"<excerpt>{first}<...>{last}</excerpt>"


# Folding


def slowly_folded(text: str) -> list[tuple[str, int, int]]:
    """Each folded character with the source's characters that it stands for."""
    out: list[tuple[str, int, int]] = []
    gap = False  # whether something was dropped since the last space
    for i, character in enumerate(text):
        folded = fold_character(character)
        if folded == " " and out and out[-1][0] == " " and (out[-1][2] == i or gap):
            out[-1] = (" ", out[-1][1], i + 1)
            continue
        if not folded:
            gap = gap or bool(out and out[-1][0] == " ")
            continue
        gap = False
        out += [(c, i, i + 1) for c in folded]
    return out


@given(st.one_of(TEXT, ANY))
@example("a\u200b b \u200b\u200b c")
@example("caf\u00e9 cafe\u0301")
@example("\u2026\u2026 \ufb01")
@example("\u0130\u0130")
def test_folding_is_what_a_slow_reading_says_character_for_character(text: str) -> None:
    folded, slow = Folded(text), slowly_folded(text)
    assert folded.text == "".join(c for c, _, _ in slow)
    assert len(folded.caseless) == len(folded.text)
    for i, (character, start, end) in enumerate(slow):
        found = folded.span(i, i + 1)
        if character != " ":
            assert found[0] == start
            rest = text[end : found[1]]
            assert found[1] >= end
            assert all(unicodedata.category(c)[0] == "M" for c in rest)
        else:
            assert not fold(text[found[0] : found[1]])  # white space, and what is invisible beside it


@given(ANY)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("It\u2019s \u201cfine\u201d \u2014 really\u2026", 'It\'s "fine" - really...'),
        ("two\n\n  lines\u00a0here", "two lines here"),
        ("soft\u00adhyphen and zero\u200bwidth", "softhyphen and zerowidth"),
        ("caf\u00e9 na\u00efve", "cafe\u0301 nai\u0308ve"),
        ("\ufb01ne \uff21\uff22\uff23", "fine ABC"),
        ("10\u00a0\u2212\u00a05", "10 - 5"),
    ],
)
def test_copies_in_another_spelling_give_the_sources_own_text(source: str, said: str) -> None:
    page = f"Before it. {source} And behind."
    made = expand(tag(said), Source(page))
    assert isinstance(made, Expansion)
    assert made.text == source
    assert made.level is Level.FOLDED
    assert page[slice(*made.pieces[0].span)] == source
    shouted = expand(tag(said.upper()), Source(page))
    assert isinstance(shouted, Expansion)
    assert shouted.text == source


# One span or none


def fits(text: str, first: str, last: str | None) -> list[tuple[int, int]]:
    """All spans that fit, as the rule has it."""

    def places(words: str) -> list[int]:
        return [i for i in range(len(text) - len(words) + 1) if text.startswith(words, i)]

    if last is None:
        return [(i, i + len(first)) for i in places(first)]
    return [(i, j + len(last)) for i in places(first) for j in places(last) if j >= i + len(first)]


def expected(text: str, first: str, last: str | None) -> tuple[tuple[int, int], Level] | ExcerptReject:
    if not first.strip() or (last is not None and not last.strip()):
        return ExcerptReject.EMPTY
    slow = slowly_folded(text)
    folded = "".join(c for c, _, _ in slow)
    for level in Level:
        look_at, ends = text, (first, last)
        if level:
            look_at, ends = folded, (fold(first), None if last is None else fold(last))
            if not ends[0] or ends[1] == "":
                return ExcerptReject.EMPTY
        if level is Level.CASELESS:
            look_at, ends = lowered(folded), (lowered(ends[0]), None if ends[1] is None else lowered(ends[1]))
        found = fits(look_at, *ends)
        if len(found) > 1:
            return ExcerptReject.AMBIGUOUS
        if found:
            start, end = found[0]
            if level is Level.EXACT:
                return (start, end), level
            last_end = slow[end - 1][2]
            while last_end < len(text) and unicodedata.category(text[last_end])[0] == "M":
                last_end += 1
            return (slow[start][1], last_end), level
    return ExcerptReject.NOT_FOUND


@given(TEXT, st.data())
def test_exactly_one_span_by_the_slow_reading_of_the_rule(text: str, data: st.DataObject) -> None:
    cut = st.integers(0, len(text))
    a, b, c, d = (data.draw(cut) for _ in range(4))
    first = data.draw(st.sampled_from([text[a:b], fold(text[a:b]), text[a:b].upper(), "ab"]))
    last = data.draw(st.sampled_from([None, text[c:d], fold(text[c:d]), text[c:d].upper(), "a"]))
    assert Source(text).locate(first, last) == expected(text, first, last)


@given(st.lists(st.sampled_from(WORDS), min_size=4, max_size=40), st.data())
def test_passages_cut_into_tags_come_back_or_are_called_ambiguous(
    words: list[str], data: st.DataObject
) -> None:
    text = " ".join(words)
    place = st.integers(0, len(words) - 1)
    i, j = sorted((data.draw(place), data.draw(place)))
    passage = " ".join(words[i : j + 1])
    assume(passage.strip())
    n = data.draw(st.integers(1, 3))
    if data.draw(st.booleans()) and j - i >= 2 * n:
        ends: tuple[str, str | None] = (" ".join(words[i : i + n]), " ".join(words[j + 1 - n : j + 1]))
    else:
        ends = (passage, None)
    assume(all(end is None or end.strip() for end in ends))
    made = expand(f"So: {tag(*ends)} Done.", Source(text))
    if len(fits(text, *ends)) == 1:
        assert isinstance(made, Expansion)
        assert made.text == f"So: {passage} Done."
        assert made.text[made.pieces[0].start : made.pieces[0].end] == text[slice(*made.pieces[0].span)]
        assert made.share == len(passage) / len(made.text)
    else:
        assert made is ExcerptReject.AMBIGUOUS


def test_gold_expands_exactly() -> None:
    sources = {name: Source(text) for name, text in documents().items()}
    rows = gold()
    assert len(rows) == 144
    for row in rows:
        source, raw = sources[row["document_id"]], row["raw_output"]
        answer = expand(raw["answer"], source)
        instruction = expand(raw["instantiated_instruction"], source, whole_words=False)
        assert isinstance(answer, Expansion)
        assert isinstance(instruction, Expansion)
        assert (answer.text, instruction.text) == (row["answer"], row["instruction"])
        assert answer.level is Level.EXACT
        assert round(answer.share, 4) == row["excerpt_share"]
        start, end = answer.pieces[0].span
        assert round((start + end) / 2 / len(source.text), 4) == row["location"]


def test_gold_in_a_models_spelling_gives_the_same_spans() -> None:
    for row in gold():
        source, raw = Source(documents()[row["document_id"]]), row["raw_output"]["answer"]
        said, exact = expand(fold(raw), source), expand(raw, source)
        assert isinstance(said, Expansion), row["id"]
        assert isinstance(exact, Expansion)
        assert [piece.span for piece in said.pieces] == [piece.span for piece in exact.pieces], row["id"]


PAGE = "Rest helps. Ice helps too. See a doctor when the pain stays. Then rest again."


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (tag("Ice", "stays."), None),
        ("< excerpt >Ice< ... >stays.</ excerpt >", None),
        ("<EXCERPT>Ice<\u2026>stays.</EXCERPT>", None),
        (tag("helps", "stays."), ExcerptReject.AMBIGUOUS),  # two firsts before the last
        (tag("Ice", "."), ExcerptReject.AMBIGUOUS),  # nearness does not choose
        (tag("helps"), ExcerptReject.AMBIGUOUS),
        (tag("stays.", "Ice"), ExcerptReject.NOT_FOUND),  # the wrong way round
        (tag("Ice helps", "helps too."), ExcerptReject.NOT_FOUND),  # ends that overlap
        (tag("Heat helps"), ExcerptReject.NOT_FOUND),
        (tag(""), ExcerptReject.EMPTY),
        (tag("Ice", " "), ExcerptReject.EMPTY),
        (tag("", "stays."), ExcerptReject.EMPTY),
        (tag("\u200b"), ExcerptReject.EMPTY),
        (tag("Ice helps to"), ExcerptReject.MID_WORD),
        (tag("octor", "stays."), ExcerptReject.MID_WORD),
        ("<excerpt>Ice", ExcerptReject.MALFORMED),
        ("Ice</excerpt>", ExcerptReject.MALFORMED),
        ("<excerpt>Ice <excerpt>helps</excerpt> too.</excerpt>", ExcerptReject.MALFORMED),
        ("<excerpt>Rest<...>Ice<...>again.</excerpt>", ExcerptReject.MALFORMED),
        (tag("Ice helps too.") * (MAX_TAGS + 1), ExcerptReject.TOO_MANY),
    ],
)
def test_what_does_not_fit_once_is_refused_by_name(raw: str, reason: ExcerptReject | None) -> None:
    made = expand(raw, Source(PAGE))
    if reason is None:
        assert isinstance(made, Expansion)
        assert made.text == "Ice helps too. See a doctor when the pain stays."
    else:
        assert made is reason


def test_a_true_copy_is_not_ambiguous_with_a_look_alike() -> None:
    made = expand(tag("the pain"), Source("The pain. the pain. THE PAIN."))
    assert isinstance(made, Expansion)
    assert made.pieces[0].span == (10, 18)


def test_a_whole_page_is_no_excerpt() -> None:
    page = "Begin. " + "word " * 3000 + "End."
    assert expand(tag("Begin.", "End."), Source(page)) is ExcerptReject.TOO_LONG


def test_white_space_around_a_text_goes_from_its_passages_too() -> None:
    made = expand("  " + tag(" Ice helps too. ") + "\n", Source(PAGE))
    assert isinstance(made, Expansion)
    assert made.text == "Ice helps too."
    assert [(p.start, p.end, PAGE[slice(*p.span)]) for p in made.pieces] == [(0, 14, "Ice helps too.")]
    assert made.share == 1.0


@given(TEXT, TEXT)
def test_pieces_are_the_sources_text_whatever_stands_around(before: str, behind: str) -> None:
    made = expand(f"{before}{tag(' Ice helps too. ')}{behind}", Source(PAGE))
    assert isinstance(made, Expansion)
    assert made.text == f"{before} Ice helps too. {behind}".strip()
    for piece in made.pieces:
        assert made.text[piece.start : piece.end] == PAGE[slice(*piece.span)]


@pytest.mark.parametrize(
    ("text", "offset", "inside"),
    [
        ("word", 2, True), ("two words", 3, False), ("12", 1, True), ("5mg", 1, False),
        ("endStart", 3, False), ("e\u0301", 1, True), ("\u4e2d\u6587", 1, False),
        ("\u0e01\u0e02", 1, False), ("\u0434\u043e\u043c", 1, True), ("", 0, False), ("a", 1, False),
    ],
)  # fmt: skip
def test_where_a_cut_parts_a_word(text: str, offset: int, inside: bool) -> None:
    assert inside_word(text, offset) is inside


def test_an_untagged_copy_counts_where_it_is_one_exact_span() -> None:
    assert quoted_whole(" Ice helps too. ", Source(PAGE)).share == 1.0
    assert quoted_whole("helps", Source(PAGE)).share == 0.0
    assert quoted_whole("Ice helps to", Source(PAGE)).share == 0.0
    assert quoted_whole("ice helps too.", Source(PAGE)).share == 0.0
    assert quoted_whole("", Source(PAGE)).text == ""


@pytest.mark.parametrize(
    "unit", ["a", "ab ", "e\u0301", "\u2026", " \u200b", "\ufdfa", "<excerpt>", "\u0130"]
)
def test_hostile_documents_take_linear_time(unit: str) -> None:
    page = (unit * 100_000)[:100_000] + " The end."
    raw = " ".join(tag((unit * 60)[:60] + "x", "The end.") for _ in range(20))
    began = time.process_time()
    made = expand(raw, Source(page))
    assert isinstance(made, ExcerptReject)
    assert time.process_time() - began < 1.0  # 20 ms here; quadratic is minutes
