"""The form that an answer must have: when asks for a date, how many for a number, who for a name (rule e).

Patterns, not a parser: they refuse answers without any date, number or name, and cannot tell whether the one
found is the one asked for. `evidence.py` asks for the question's other words in the same sentence, which
covers most of that.
"""

from __future__ import annotations

import re
from typing import Final

NUMBER_WORDS: Final = (
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozens?|hundreds?|thousands?|millions?|"
    r"billions?|half|quarter|third"
)
NUMBER: Final = rf"\b\d[\d,.]*|\b(?:{NUMBER_WORDS})\b"
YEAR: Final = r"\b(?:1[0-9]|20)\d\d\b"
MONTH: Final = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE: Final = (
    rf"\b{MONTH} \d{{1,2}}(?:, (?:1[0-9]|20)\d\d)?\b|\b\d{{1,2}} {MONTH}(?: (?:1[0-9]|20)\d\d)?\b|"
    rf"\b{MONTH} (?:1[0-9]|20)\d\d\b|{YEAR}|\b\d{{1,2}}(?:st|nd|rd|th) century\b"
)
NAME: Final = (
    r"(?<![.!?] )(?<!^)\b[A-Z][a-z]+(?:[ -](?:of|the|and|de|von|van|al|[A-Z][\w.’'-]*))*[ -][A-Z][\w’'-]+"
)
STEPS: Final = r"(?m)^\s*(?:[•*–—-]|\d{1,2}[.)])\s|\bfirst\b.*\b(?:then|next|second|after)\b|\bstep\b"

_FORMS: Final[tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...]] = tuple(
    (name, re.compile(asked, re.IGNORECASE), re.compile(wanted, flags))
    for name, asked, wanted, flags in (
        (
            "date",
            r"^when$|^(?:since )?when (?:was|were|did)\b|\b(?:what|which) (?:year|date|day|month)\b",
            DATE,
            0,
        ),
        (
            "number",
            (
                r"\bhow (?:many|much|big|large|tall|high|deep|old|fast|far|heavy|wide)\b|"
                r"\bhow long (?:is|are|was|does|do|did)\b|"
                r"\bwhat (?:percentage|share|number|size)\b|\bnumber of\b"
            ),
            NUMBER,
            re.IGNORECASE,
        ),
        (
            "name",
            (
                r"^who (?:was|were|is) (?:the|behind|in charge)\b|^who \w+ed\b|^who (?:first|wrote|"
                r"built|won|sang|made|led|found)\b|"
                r"^by whom\b|\bwhich (?:person|people|scientist|artist|author|company|country|city|agency)\b"
            ),
            NAME,
            0,
        ),
        (
            "place",
            r"^where\b",
            r"\b(?:in|from|at|near|across|to|of|between|along) (?:the |an? )?[A-Z][a-z]",
            0,
        ),
        (
            "steps",
            r"\bstep by step\b|\bsteps\b|^how to\b|^how (?:do|can) (?:you|people|i)\b",
            STEPS,
            re.IGNORECASE,
        ),
    )
)


def forms(clause: str) -> list[tuple[str, re.Pattern[str]]]:
    """Return the forms that one clause of a question asks for, as (name, pattern of the answer)."""
    return [(name, wanted) for name, asked, wanted in _FORMS if asked.search(clause)]
