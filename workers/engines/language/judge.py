"""What a judge is asked about a pair, and how its score is read.

- `flow`: Flow Judge v0.1 (the paper's judge, section 4), whose prompt has fixed sections: goal, input,
  output, criteria and rubric, instructions, format; it answers `<feedback>…</feedback><score>n</score>`.
  Sections, tags and the rubric's shape are the model's, the sentences ours; levels 1 and 5 say what the
  paper's say, levels 2 to 4, which it does not publish, are our choice.
- `json`: any general model, held to a schema; feedback before score, so that the score follows from it.

The judge sees instruction and answer alone, not the document: the paper asks whether the answer addresses the
query, and Flow Judge breaks down above 4,096 tokens on some servers. Both texts come from the crawl: tags in
them become entities, or JSON escapes, so that no answer closes its section and scores itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streams.records import Pair, Verdict
from workers.engines.language.framing import element, json_string
from workers.engines.language.json_output import MAX_RAW_CHARACTERS, JsonReject, read_object
from workers.engines.language.message import JsonSchema, Message, Prompt
from workers.engines.language.profile import named, wording

LEVELS: Final = range(1, 6)
MAX_FEEDBACK_CHARACTERS: Final = 2_000

CRITERIA: Final = (
    "Does the response answer the query that it was given, all of it and nothing else, clearly and without "
    "saying the same thing again?"
)
RUBRIC: Final = {
    1: "The response has nothing to do with the query, or is about another subject.",
    2: "The response touches the query's subject, but most of it is beside what was asked.",
    3: "The response bears on the query, but leaves open a good part of what was asked, stays vague, repeats "
    "itself, carries much that was not asked, or cannot be understood alone.",
    4: "The response answers the query for the most part; something small is missing or too much.",
    5: "The response answers the query fully and directly, with nothing extraneous, vague or repeated in it.",
}

SCHEMA: Final[JsonSchema] = {
    "type": "object",
    "properties": {"feedback": {"type": "string"}, "score": {"type": "integer", "enum": list(LEVELS)}},
    "required": ["feedback", "score"],
    "additionalProperties": False,
}


class JudgeReject(StrEnum):
    """Why a judge's words give no verdict: a closed set, beside `JsonReject`."""

    EMPTY = "judge_empty"
    TOO_LONG = "judge_too_long"
    NO_SCORE = "judge_no_score"
    NOT_A_LEVEL = "judge_not_a_level"  # 0, 6, 4.5


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge said of one pair."""

    score: int  # 1..5
    feedback: str

    def verdict(self, template_id: str) -> Verdict:
        """Return it as the record has it."""
        return Verdict(template_id=template_id, score=self.score, feedback=self.feedback)


Unjudged = JudgeReject | JsonReject
REASONS: Final = tuple(reason.value for part in (JudgeReject, JsonReject) for reason in part)


@dataclass(frozen=True, slots=True)
class JudgeProfile:
    """How a judge is spoken to."""

    name: str
    schema: JsonSchema | None
    messages: Callable[[Pair], tuple[Message, ...]]
    parse: Callable[[str], Opinion | Unjudged]
    """Returns what a judge wrote, or why it cannot be read: to be asked again, then buried."""

    def prompt(self, pair: Pair) -> Prompt:
        """Return the request for one pair."""
        return Prompt(self.messages(pair), self.schema)


def _rubric() -> str:
    return "\n".join(f"- Score {level}: {text}" for level, text in RUBRIC.items())


def _flow(pair: Pair) -> tuple[Message, ...]:
    content = wording("flow_judge").format(
        inputs=element("query", pair.instruction),
        output=element("response", pair.answer),
        criteria=CRITERIA,
        rubric=_rubric(),
    )
    return (Message("user", content),)


def _json(pair: Pair) -> tuple[Message, ...]:
    content = f'{{"query": {json_string(pair.instruction)},\n"response": {json_string(pair.answer)}}}'
    return (
        Message("system", wording("json_judge").format(criteria=CRITERIA, rubric=_rubric())),
        Message("user", content),
    )


_FEEDBACK: Final = re.compile(r"<feedback>", re.IGNORECASE)
_FEEDBACK_ENDS: Final = re.compile(r"</feedback>|<score>", re.IGNORECASE)
_SCORE: Final = re.compile(r"<score>[\s*\"']*(?:score[\s:=*]*)?(-?\d{1,6}(?:\.\d{1,6})?)", re.IGNORECASE)
_SCORE_SAID: Final = re.compile(
    r"^[\s*#>_-]{0,8}(?:final |overall )?(?:score|rating)\b[\s*_:=]{1,8}(-?\d{1,6}(?:\.\d{1,6})?)"
    r"(?:\s?/\s?5|\s?out of 5)?[\s*_.]{0,8}$",
    re.IGNORECASE | re.MULTILINE,
)


def read_feedback_score(raw: str) -> Opinion | JudgeReject:
    """Read `<feedback>…</feedback><score>n</score>`, closed or not, or a line such as "Score: 4".

    The last score counts: feedback may speak of other levels before.
    """
    if len(raw) > MAX_RAW_CHARACTERS:
        return JudgeReject.TOO_LONG
    said = raw.rpartition("</think>")[2].strip()
    if not said:
        return JudgeReject.EMPTY
    scores = [*_SCORE.finditer(said)] or [*_SCORE_SAID.finditer(said)]
    if not scores:
        return JudgeReject.NO_SCORE
    score = float(scores[-1][1])
    if score not in LEVELS:
        return JudgeReject.NOT_A_LEVEL
    opening = _FEEDBACK.search(said)
    start = opening.end() if opening else 0
    closing = _FEEDBACK_ENDS.search(said, start)
    end = closing.start() if closing else scores[-1].start()
    return Opinion(int(score), _bounded(said[start : max(start, end)]))


def read_json_score(raw: str) -> Opinion | Unjudged:
    """Read an object with `feedback` and `score`; a score in quotes counts, a broken one does not."""
    found = read_object(raw, ("score",))
    if found is None:
        return JudgeReject.EMPTY
    if isinstance(found, JsonReject):
        return found
    score, feedback = found["score"], found.get("feedback", "")
    if isinstance(score, str) and re.fullmatch(r"\s*\d\s*", score, re.ASCII):
        score = int(score)
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        return JsonReject.KEYS
    if score not in LEVELS:
        return JudgeReject.NOT_A_LEVEL
    return Opinion(int(score), _bounded(feedback if isinstance(feedback, str) else ""))


def _bounded(text: str) -> str:
    kept = text.strip()[:MAX_FEEDBACK_CHARACTERS]
    return kept.encode("utf-8", "replace").decode("utf-8")


PROFILES: Final = {
    profile.name: profile
    for profile in (
        JudgeProfile("flow", None, _flow, read_feedback_score),
        JudgeProfile("json", SCHEMA, _json, read_json_score),
    )
}


def judge(name: str) -> JudgeProfile:
    """Return a profile by name; raise `SettingsError` where there is none."""
    return named(PROFILES, "judge.profile", name)
