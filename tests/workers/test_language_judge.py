"""Judges' words to scores: closed tags or not, the last score counts, and what is no level has a name."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.records import Verdict
from workers.engines.language.json_output import MAX_RAW_CHARACTERS, JsonReject
from workers.engines.language.judge import (
    LEVELS,
    MAX_FEEDBACK_CHARACTERS,
    REASONS,
    RUBRIC,
    JudgeReject,
    Opinion,
    judge,
    read_feedback_score,
    read_json_score,
)


def test_an_opinion_is_a_verdict() -> None:
    assert Opinion(4, "Good.").verdict("t1") == Verdict(template_id="t1", score=4, feedback="Good.")
    assert list(RUBRIC) == list(LEVELS)


@given(
    st.integers(1, 5),
    st.text(max_size=100).filter(lambda text: "<" not in text and "score" not in text.lower()),
)
def test_what_the_format_says_is_read_back(score: int, feedback: str) -> None:
    opinion = judge("flow").parse(f"<feedback>\n{feedback}\n</feedback>\n<score>\n{score}\n</score>")
    assert opinion == Opinion(score, feedback.strip())
    assert judge("json").parse(json.dumps({"feedback": feedback, "score": score})) == Opinion(
        score, feedback.strip()
    )


@pytest.mark.parametrize(
    ("raw", "score", "feedback"),
    [
        ("<feedback>Fine.</feedback><score>4</score>", 4, "Fine."),
        ("<feedback>Fine.</feedback>\n<score>4", 4, "Fine."),
        ("<feedback>Fine. <score>4</score>", 4, "Fine."),
        ("Fine.</feedback><score>4</score>", 4, "Fine."),
        ("<Feedback>Fine.</Feedback><Score> **4** </Score>", 4, "Fine."),
        ("<feedback>Fine.</feedback><score>Score: 4</score>", 4, "Fine."),
        ("<feedback>Fine.</feedback><score>4/5</score>", 4, "Fine."),
        ("<feedback>Fine.</feedback><score>4.0</score>", 4, "Fine."),
        ("<feedback>Not <score>2</score> at all.</feedback><score>5</score>", 5, "Not"),
        ("<feedback>A score of 3 would be harsh.</feedback>\nScore: 4", 4, "A score of 3 would be harsh."),
        ("Fine.\n**Score:** 4/5", 4, "Fine."),
        ("Fine.\n- Final score = 4 out of 5.", 4, "Fine."),
        ("Score: 2\nno, wait\nScore: 4", 4, "Score: 2\nno, wait"),
        ("<think>Score: 1</think><score>4</score>", 4, ""),
    ],
)
def test_sloppy_forms_are_read(raw: str, score: int, feedback: str) -> None:
    assert read_feedback_score(raw) == Opinion(score, feedback)


FLOW = [
    ("", JudgeReject.EMPTY),
    ("<think>hm</think>", JudgeReject.EMPTY),
    ("x" * (MAX_RAW_CHARACTERS + 1), JudgeReject.TOO_LONG),
    ("A good answer.", JudgeReject.NO_SCORE),
    ("I would give it a score of 4 or so, perhaps 5", JudgeReject.NO_SCORE),
    ("<feedback>Fine.</feedback><score></score>", JudgeReject.NO_SCORE),
    ("<score>four</score>", JudgeReject.NO_SCORE),
    ("<score>0</score>", JudgeReject.NOT_A_LEVEL),
    ("<score>6</score>", JudgeReject.NOT_A_LEVEL),
    ("<score>-4</score>", JudgeReject.NOT_A_LEVEL),
    ("<score>4.5</score>", JudgeReject.NOT_A_LEVEL),
    ("<score>4</score><score>45</score>", JudgeReject.NOT_A_LEVEL),
    ("Score: 80", JudgeReject.NOT_A_LEVEL),
]
JSON = [
    ("null", JudgeReject.EMPTY),
    ('{"score": 6}', JudgeReject.NOT_A_LEVEL),
    ('{"score": 4.5}', JudgeReject.NOT_A_LEVEL),
    ('{"score": NaN}', JudgeReject.NOT_A_LEVEL),
    ('{"score": "6"}', JudgeReject.NOT_A_LEVEL),
    ('{"score": true}', JsonReject.KEYS),
    ('{"score": null}', JsonReject.KEYS),
    ('{"score": "good"}', JsonReject.KEYS),
    ('{"rating": 4}', JsonReject.KEYS),
    ('{"feedback": "never end', JsonReject.TRUNCATED),
    ("4", JsonReject.NO_JSON),
    ("", JsonReject.EMPTY),
    ("x" * (MAX_RAW_CHARACTERS + 1), JsonReject.TOO_LONG),
]


@pytest.mark.parametrize(("raw", "reason"), FLOW)
def test_what_is_no_verdict_of_the_tag_format_has_a_name(raw: str, reason: JudgeReject) -> None:
    assert read_feedback_score(raw) is reason


@pytest.mark.parametrize(("raw", "reason"), JSON)
def test_what_is_no_verdict_of_the_json_format_has_a_name(raw: str, reason: JudgeReject | JsonReject) -> None:
    assert read_json_score(raw) is reason


def test_every_name_is_earned_once_at_least() -> None:
    assert {reason.value for _, reason in (*FLOW, *JSON)} == set(REASONS)
    assert len(REASONS) == len(set(REASONS))


@pytest.mark.parametrize(
    ("raw", "score"), [('{"score": "3"}', 3), ('Sure: {"score": 3.0, "feedback": 7}', 3)]
)
def test_json_scores_in_other_dress_are_read(raw: str, score: int) -> None:
    assert read_json_score(raw) == Opinion(score, "")


def test_feedback_is_bounded_and_can_be_sent_on() -> None:
    for raw in (
        f"<feedback>{'why ' * 9_000}</feedback><score>3</score>",
        '{"feedback": "\\ud800", "score": 3}',
    ):
        opinion = (read_feedback_score if raw.startswith("<") else read_json_score)(raw)
        assert isinstance(opinion, Opinion)
        assert len(opinion.feedback) <= MAX_FEEDBACK_CHARACTERS
        opinion.feedback.encode()


@pytest.mark.parametrize(
    "unit", ["<score>", "score: ", "\n#", "Score: 4 ", "\n- score *** ", "{", "<feedback>", "1"]
)
def test_endless_words_take_bounded_time(unit: str) -> None:
    raw = (unit * MAX_RAW_CHARACTERS)[:MAX_RAW_CHARACTERS]
    began = time.process_time()
    read_feedback_score(raw)
    read_json_score(raw)
    assert time.process_time() - began < 1.0


@given(st.text(max_size=200))
def test_any_words_are_an_opinion_or_have_a_name(raw: str) -> None:
    for profile in ("flow", "json"):
        found = judge(profile).parse(raw)
        assert found.score in LEVELS if isinstance(found, Opinion) else found.value in REASONS
