"""Which templates the extractive engine takes on (rule a), decided from a template's words alone.

Simple questions with one slot for the subject, and perhaps one for a date, a number or a name. What asks for
writing, a role, a format or a reader ("in simple terms", "in three bullets") cannot be answered by copying,
and what speaks of "my" or "I" invents a person that no document is about. About a third of the seed bank
passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

from workers.engines.extractive.evidence import SLOT, Question, read_question

MAX_WORDS: Final = 24
_SLOTS: Final = re.compile(r"<fi>(.*?)</fi>", re.DOTALL)


class Extra(Enum):
    """What a second slot may hold: something that a pattern finds in the answer."""

    DATE = "date"
    NUMBER = "number"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a template is to be filled; `refusal` says why not, else it is empty."""

    parts: tuple[str, ...] = ()
    """Text before, between and behind the slots: one more than `slots`."""
    slots: tuple[str, ...] = ()
    """Descriptions in order, repeats included."""
    subject: str = ""
    """Description of the slot that takes the subject."""
    extra: str = ""
    """Description of the second slot, where there is one."""
    extra_kind: Extra | None = None
    question: Question = field(default_factory=lambda: Question(()))
    refusal: str = ""


_QUESTION: Final = re.compile(
    r"^(?:so,? |and |ok,? )?(?:what|what's|whats|who|who's|whos|whom|whose|which|when|where|why|how|"
    r"how's|is|are|was|were|do|"
    r"does|did|can|could|should|will|would|has|have|at what|in what|in which|on what|for what|"
    r"from what|by whom|"
    r"list|name|define|describe|explain (?:how|why|what|the|when|where|who)|tell)\b",
    re.IGNORECASE,
)
_NOUN_QUERY: Final = re.compile(
    r"^(?:the )?(?:main |common |early |first |known )?(?:symptoms?|signs?|causes?|treatments?|"
    r"diagnosis|risk factors?|"
    r"side effects?|complications?|definition|meaning|history|benefits?|types?|prevention|prognosis|outlook|"
    r"uses?|origins?|incubation period|life cycle|health benefits|location|population)\b",
    re.IGNORECASE,
)
_SIDE_EFFECTS: Final = re.compile(
    rf"^{SLOT} (?:symptoms|causes|treatment|side effects|meaning|definition)\b", re.IGNORECASE
)
_REFUSED: Final = re.compile(
    r"\b(?:i|i'm|im|i've|i'd|i'll|me|my|mine|myself|we|we're|our|ours|us|your|yours|yourself|let's|lets)\b"
    r"|\b(?:write|draft|compose|create an?|design an?|generate|act as|pretend|imagine|role|rewrite|"
    r"summari[sz]e|sum up|"
    r"translate|paraphrase|convert|compare|versus|vs|pros and cons|review|essay|poem|story|script|"
    r"email|letter|"
    r"headline|slogan|tagline|caption|tweet|blurb|quiz|exercise|tl;?dr|eli5)\b"
    r"|\b(?:bullets?|bulleted|table|timeline|sentences?|paragraphs?|words|one line|short answer|"
    r"briefly|in short|"
    r"in detail|simple terms|simply|plain (?:english|language)|layman|beginners?|kid|year[- ]old|"
    r"without any|step by step|"
    r"example|examples|analogy|my own words|opinion|do you think|please|pls|plz|thanks|help me|justify|argue|"
    r"spoilers?|this morning|tonight|tomorrow|yesterday|this week|this year|latest|these days|joke)\b",
    re.IGNORECASE,
)
_VERB_SLOT: Final = re.compile(
    rf"\b(?:to|that|if|whether|while|before|after|when|how to|say|says|believe) {SLOT}", re.IGNORECASE
)
_TO_NOUN: Final = re.compile(
    rf"\b(?:linked|related|due|lead|leads|led|similar|exposed|exposure|allergic|compared|respond|addicted|next|close|"
    rf"belong|attached|sensitive|happens|happened|happen|in response|resistant|answer|"
    rf"solution|go|travel|trip|visit) to {SLOT}",
    re.IGNORECASE,
)
_EXTRAS: Final = (
    (
        Extra.DATE,
        re.compile(
            (
                r"\b(?:a|the|specific|exact)?\s*(?:date|year|day and month|month and year|"
                r"deadline or date|century)\b"
            ),
            re.IGNORECASE,
        ),
    ),
    (Extra.NUMBER, re.compile(r"^(?:a |the )?(?:number|percentage|amount|quantity|figure)\b", re.IGNORECASE)),
    (
        Extra.NAME,
        re.compile(
            (
                r"^(?:a |the )?(?:name of a |named? |full name of a )?(?:person|scientist|author|"
                r"official|artist|inventor|founder)\b"
            ),
            re.IGNORECASE,
        ),
    ),
)
_ACTION: Final = re.compile(
    (
        r"^(?:do|does|doing|be|being|have|having|make|making|\w+ing)\b|\b(?:someth|somebody|scenario|"
        r"situation|claim|belief|statement|question|quote)\w*"
    ),
    re.IGNORECASE,
)


def _refuse(reason: str) -> Plan:
    return Plan(refusal=reason)


@lru_cache(maxsize=65536)
def plan(template: str) -> Plan:  # noqa: C901, PLR0911 -- one refusal after another is what it is
    """Read a template; cached, since a bank's templates come again and again."""
    parts = _SLOTS.split(template)
    texts, slots = tuple(parts[::2]), tuple(part.strip() for part in parts[1::2])
    if not slots or any(tag in text for text in texts for tag in ("<fi>", "</fi>")):
        return _refuse("its slots are not whole")
    distinct = list(dict.fromkeys(slots))
    if len(distinct) > 2:
        return _refuse("more than two slots")
    outside = re.sub(r"\s+", " ", SLOT.join(texts)).strip()
    if len(outside.split()) > MAX_WORDS or "\n" in template.strip():
        return _refuse("too long")
    if _REFUSED.search(outside):
        return _refuse("asks for more than an excerpt can give")
    if re.search(r"[.?!]\s+\S", outside):
        return _refuse("more than one sentence")
    if not (_QUESTION.search(outside) or _NOUN_QUERY.search(outside) or _SIDE_EFFECTS.search(outside)):
        return _refuse("no question")
    if (_VERB_SLOT.search(outside) and not _TO_NOUN.search(outside)) or re.search(
        rf"{SLOT}\s*{SLOT}", outside
    ):
        return _refuse("a slot for more than a name")
    extra, kind = "", None
    if len(distinct) == 2:
        extras = [(d, k) for d in distinct for k, pattern in _EXTRAS if pattern.search(d)]
        if len(extras) != 1:
            return _refuse("two slots that no pattern fills")
        extra, kind = extras[0]
    subject = next(d for d in distinct if d != extra)
    if _ACTION.search(subject):
        return _refuse("a slot for more than a name")
    question = read_question(outside.rstrip("?.! "))
    if not question.clauses or question.unchecked:
        return _refuse("asks for nothing that words could show")
    return Plan(texts, slots, subject, extra, kind, question)
