"""What an answer must show: the words of a question, turned into patterns that its answer has to hold.

A stock encoder finds a passage on the same theme; whether the passage answers the question it cannot say
(cosines of answers and near misses overlap). So every part of the question asks for evidence: a word of our
small lexicon for its synonyms ("what causes" wants "caused by", "due to" …), any other word for itself. The
price is yield: a right answer in words that we don't list is refused. An entailment model would know
better, and would be a second model to carry; the engines' language models are that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from workers.engines.extractive.form import forms
from workers.engines.extractive.lexicon import DEFINITION, LEXICON, Facet, facet

SLOT: Final = "\u27e8\u27e9"  # stands for a slot inside a clause


@dataclass(frozen=True, slots=True)
class Question:
    """What a template asks, read once from its words."""

    clauses: tuple[tuple[Facet, ...], ...]
    """Each is answered where one sentence (or list, with its heading) shows all of its facets."""
    unchecked: str = ""
    """A clause for which no evidence is known; empty where there is none."""


_ASKS_DEFINITION: Final = re.compile(
    rf"^(?:so |and )?(?:what(?:'s|s| is| are| was| were| exactly is| exactly are)|"
    rf"who (?:is|was|were|are)|define)\s+"
    rf"(?:(?:an?|the)\s+)?{SLOT}$|^(?:what does )?{SLOT} (?:mean|meaning|definition)$|"
    rf"^what does {SLOT} mean$|^meaning of {SLOT}$|^definition of {SLOT}$",
    re.IGNORECASE,
)

_CLAUSE: Final = re.compile(
    r"\s*(?:[?;:]|,\s*(?:and|or|but)\b|,|\band\b(?=\s+(?:what|who|how|when|where|why|which|is|are|"
    r"does|do|can|did)\b))\s*"
)
_STOP: Final = frozenset(
    """
    a an the this that these those it its they them their there here he she his her
    is are was were be been being am do does did doing done have has had having
    can could should would will may might must
    what what's whats who who's whos whom whose which when where why how how's
    and or but if then than as of in on at to for from with by about into onto over up down
    out off through during between
    not no yes any some each every all both other others another same such only just so too very
    exactly actually really usually normally typically generally mostly mainly ever still also even
    kind kinds type types sort sorts thing things way ways
    main major key typical usual known general basic overall
    explain describe list name define tell know say mean means give show look like happen happens happened
    people person someone anyone anybody somebody somebody's one ones you
    work works come comes go goes get gets getting take takes make makes made
    involve involved involves please right now today currently particular seen only
    doctor doctors scientist scientists expert experts researcher researchers physician physicians
    """.split()  # noqa: SIM905 -- sixty quoted words a line would hide them
)
_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z'’-]*")


def stem(word: str) -> str:
    """Cut an English word's common endings; good enough to find the word again in other forms."""
    word = word.lower().removesuffix("'s").removesuffix("’s")
    for ending, least in (
        ("ations", 4), ("ation", 4), ("ments", 4), ("ment", 4), ("ingly", 4), ("ings", 4), ("ing", 4),
        ("ness", 4), ("ities", 4), ("ity", 4), ("ies", 3), ("ied", 3), ("ers", 4), ("ed", 4), ("es", 4),
        ("er", 4), ("ly", 4), ("s", 3), ("y", 3), ("e", 4),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= least:
            return word[: -len(ending)]
    return word


def _clauses(question: str) -> list[str]:
    return [part.strip(" .!,") for part in _CLAUSE.split(question) if part.strip(" .!,")]


@lru_cache(maxsize=65536)
def read_question(outside: str) -> Question:
    """Read what a template asks from its text with `SLOT` for each slot. Cached: templates repeat."""
    clauses: dict[tuple[str, ...], tuple[Facet, ...]] = {}
    unchecked = ""
    for clause in _clauses(outside):
        if _ASKS_DEFINITION.search(clause):
            facets = [DEFINITION]
        else:
            facets = [Facet(name, pattern) for name, pattern in forms(clause)]
            rest = _FORM_WORDS.sub(" ", clause)
            for trigger, wanted in LEXICON:
                rest, found = trigger.subn(" ", rest)
                if found:
                    facets.append(wanted)
            for token in _TOKEN.findall(rest.replace(SLOT, " ")):
                word = token.lower()
                if word not in _STOP and len(word) > 2:
                    root = stem(word)
                    facets.append(facet(f"word:{root}", rf"\b{re.escape(root)}"))
        if facets:
            clauses.setdefault(tuple(one.name for one in facets), tuple(facets))
        elif not _TRIVIAL.match(clause):
            unchecked = clause
    return Question(tuple(clauses.values()), unchecked)


_TRIVIAL: Final = re.compile(
    r"^(?:and |or )?(?:if so(?: how| why| when)?|how|why|really|exactly|ever)?$", re.IGNORECASE
)


_FORM_WORDS: Final = re.compile(
    r"\bhow (?:many|much|big|large|tall|high|deep|long|old|fast|far|heavy|wide)\b|\b(?:what|"
    r"which) (?:year|date)\b|"
    r"\bwhat (?:percentage|share|number) of\b|\bstep by step\b|\bsteps (?:to|for|of)\b",
    re.IGNORECASE,
)


LEADS_TO: Final = 25
"""Characters between "caused by" and a subject that is then the cause, not what is asked about."""


def shows(wanted: Facet, text: str, mentions: Sequence[tuple[int, int]]) -> bool:
    """Whether a text holds a facet's evidence; `mentions` are the subject's places in it."""
    if wanted.needs_subject:
        return any(wanted.pattern.match(text, end) for _, end in mentions)
    if wanted.not_of_subject:
        ends = [match.end() for match in wanted.pattern.finditer(text)]
        if any(not any(0 <= start - end <= LEADS_TO for start, _ in mentions) for end in ends):
            return True
    elif wanted.pattern.search(text):
        return True
    after = wanted.after_subject
    if after is not None and any(after.match(text, end) for _, end in mentions):
        return True
    before = wanted.before_subject
    return before is not None and any(before.search(text, max(0, start - 60), start) for start, _ in mentions)
