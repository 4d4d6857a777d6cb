"""Puts the subject into a template so that the sentence stays English, or says that it can't.

Only the slots change, and an "a" or "an" before one (issue: text outside the slots equals the template up to
case, white space, a/an). So where a template says "how do … form" a subject in the singular is refused, not
bent. Rules on the words around a slot, no parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from workers.engines.extractive.eligibility import Plan
from workers.engines.extractive.subject import Subject

_ARTICLE: Final = re.compile(r"\b(an?|the)\s+$", re.IGNORECASE)
_SINGULAR_BEFORE: Final = re.compile(
    r"\b(?:is|was|does|has|isn't|doesn't|wasn't|what's|whats|who's|whos|where's|how's|this|one|each|every|another)\s+(?:an?\s+|the\s+)?$",
    re.IGNORECASE,
)
_PLURAL_BEFORE: Final = re.compile(
    (
        r"\b(?:are|were|do|have|aren't|don't|weren't|these|those|many|some|few|several|most|"
        r"between)\s+(?:the\s+)?$"
    ),
    re.IGNORECASE,
)
_SINGULAR_AFTER: Final = re.compile(
    (
        r"^\s+(?:is|was|does|has|[a-z]{2,}[^s\W]s)\b(?!\s+(?:and|or|of|in)\b)|\b(?:is it|does it|did it|"
        r"was it|has it|can it|its)\b"
    ),
    re.IGNORECASE,
)
_PLURAL_AFTER: Final = re.compile(
    r"^\s+(?:are|were|do|have)\b|\b(?:are they|do they|were they|each other)\b", re.IGNORECASE
)
_AUXILIARY: Final = re.compile(
    r"\b(?:do|does|did|can|could|should|will|would|may|might|must)\s+(?:an?\s+|the\s+)?$", re.IGNORECASE
)
_NOT_MODIFIED: Final = frozenset(
    """
    is are was were be been being has have had do does did can could should would will may might must
    and or but if in on at of to for from with by about into after before during than as that which who
    when where why how not no really actually usually exactly still so get go come work mean called known
    located found used made named according among across against around between over under through without
    also even ever first originally today now right back up out off like there here then
    """.split()  # noqa: SIM905
)
_VOWEL: Final = re.compile(
    r"^(?:[aeio]|u(?!ni|s[eau]|t[io]|r[aeiou]|bi|k)|hour|honest|heir|x-ray)", re.IGNORECASE
)
_VOWEL_LETTERS: Final = frozenset("AEFHILMNORSX")


@dataclass(frozen=True, slots=True)
class Filled:
    """An instruction and what stands in its slots."""

    instruction: str
    subject: str
    """The value of the subject's slot, article included."""
    span: tuple[int, int] | None
    """Where the segment's text writes the value, up to the case of its letters; None: nowhere as a whole."""


def an(word: str) -> str:
    """Return "a" or "an" for what follows it, by its first sound."""
    first = re.split(r"[\s-]", word, maxsplit=1)[0]
    if (len(first) > 1 and first.isupper()) or len(first) == 1:
        return "an" if first[0].upper() in _VOWEL_LETTERS else "a"
    return "an" if _VOWEL.match(first) else "a"


def fill(plan: Plan, subject: Subject, text: str, extra: str = "") -> Filled | None:
    """Return the filled template, or None where the subject does not fit its words.

    `text` is the segment's; `extra` the value of the second slot, where the plan has one.
    """
    name = subject.name.lower()
    if any(name in part.lower() for part in plan.parts):
        return None  # "Is Medicare covered by Medicare"
    out = plan.parts[0]
    chosen = ""
    for description, after in zip(plan.slots, plan.parts[1:], strict=True):
        if description != plan.subject:
            out += extra + after
            continue
        value = _value(out, after, subject)
        if value is None or (chosen and value != chosen):
            return None
        chosen = value
        article = _ARTICLE.search(out)
        if article and article.group(1).lower() in ("a", "an"):
            word = an(value)
            out = (
                out[: article.start(1)] + (word.capitalize() if article.group(1)[0].isupper() else word) + " "
            )
        out += value + after
    instruction = re.sub(r"\s+", " ", out).strip()
    return Filled(instruction, chosen, _span(chosen, subject, text))


def _value(before: str, after: str, subject: Subject) -> str | None:  # noqa: PLR0911 -- one rule a line
    """Return what stands in one slot, or None where no form of the subject fits."""
    verb = bool(_AUXILIARY.search(before)) or bool(
        re.search(r"\b(?:is|are|was|were)\s+$", before, re.IGNORECASE)
    )
    word = re.match(r"\s+([a-z]+)", after)
    modifies = bool(
        word
        and not verb
        and word.group(1) not in _NOT_MODIFIED
        and not word.group(1).endswith(("s", "ed", "ly", "ing"))
    ) or after.startswith((" side effects", " symptoms", " causes"))
    if word and modifies and subject.name.lower().endswith(word.group(1)):
        return None
    if not modifies:
        singular = bool(_SINGULAR_BEFORE.search(before) or (_SINGULAR_AFTER.search(after) and not verb))
        plural = bool(_PLURAL_BEFORE.search(before) or _PLURAL_AFTER.search(after))
        if (singular and subject.plural is not False) or (plural and subject.plural is not True):
            return None
    article = _ARTICLE.search(before)
    if article:
        if modifies:
            return subject.name
        if article.group(1).lower() == "the":
            return subject.name if subject.article == "the" else None
        return subject.name if subject.countable else None
    if modifies or not subject.article:
        return None if subject.countable and not subject.article and not modifies else subject.name
    return f"{subject.article if subject.article == 'the' else an(subject.name)} {subject.name}"


def _span(value: str, subject: Subject, text: str) -> tuple[int, int] | None:
    """Find the value in the text: the subject's own place, or a mention with the same article before it."""
    if value == subject.name:
        return subject.span
    extra = len(value) - len(subject.name)
    for start, end in subject.mentions:
        first = start - extra
        if first >= 0 and text[first:end].lower() == value.lower():
            return (first, end)
    return None
