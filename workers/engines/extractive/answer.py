"""The answer: the contiguous run of sentences that is nearest to the instruction (rule d).

A window's score is the sum over its sentences of (similarity - tau), tau = mean + 0.5 (max - mean) over the
segment's sentences that could be part of an answer, so that a window grows while it gains. (On gold such
windows reached token F1 0.51 with the right instruction, single sentences 0.44.) It must stand alone (no
"It", "However", "the table below"), end whole, and show the evidence that every part of the question asks
for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from workers.encoder import FloatArray
from workers.engines.extractive.evidence import Question, shows
from workers.engines.extractive.lexicon import Facet
from workers.engines.extractive.sentences import Unit, UnitKind

MAX_SENTENCES: Final = 6
MAX_WORDS: Final = 120
MAX_LIST_WORDS: Final = 200  # a list stays whole, so an answer that holds one may be longer
EMBEDDED_LIST_WORDS: Final = 60  # a list's first items say what it lists; the rest would only cost
PEAK: Final = 0.5  # tau lies this far from the mean to the maximum
LEAST_SPAN: Final = 0.12
"""tau lies at least this far below the maximum: the sentences compared all show evidence, so that their mean
is no background to stand out from, and the second of two good ones would never be taken."""

_LEANS_ON: Final = re.compile(
    r"""["'“‘(\[]*(?:"""
    r"it|its|this|that|these|those|they|their|them|he|she|his|her|him|hers|both|either|neither|such|each|"
    r"others?|another|additional|further|(?:most|some|many|all|one|much|none) of (?:these|them|this|that)|"
    r"however|but|and|or|so|also|therefore|thus|then|hence|instead|otherwise|moreover|furthermore|"
    r"additionally|in addition|for (?:example|instance)|nevertheless|nonetheless|consequently|as a result|"
    r"(?:in|by) contrast|on the other hand|similarly|likewise|meanwhile|still|yet|too|if so|"
    r"because of (?:this|that)|in (?:this|these|those|such|both|that)|at (?:this|that)|of these|"
    r"among (?:these|them)|to do (?:this|so)|with (?:this|that|these)|after (?:this|that)|here|"
    r"there(?! (?:is|are|was|were|may|can)\b)|"
    r"rarely|occasionally|sometimes|yes|no|ok|well|now|"
    r"the (?:above|following|latter|former|second|third|same|other)|a second|a third|second|third|finally|"
    r"next|last(?:ly)?|click|see|read|check|visit|contact|call|please|learn|"
    r"(?:some|most|many|all|several|few|one|two|three|certain) (?:of \w+ )?"
    r"(?:is|are|was|were|have|has|can|may|might|will|do|does)|"
    r"(?:\w+ ){1,3}also|\w+ing (?:this|that|these|it))\b",
    re.IGNORECASE,
)
_POINTS_AWAY: Final = re.compile(
    r"\b(?:click|see (?:the|our|also|below|above|figure|table|appendix|more|how)|shown (?:in|below|"
    r"above)|(?:table|figure|chart|list|"
    r"image|video|links?|sections?|steps?|map|photo|graph|diagram) (?:below|above)|(?:below|above|"
    r"following) (?:table|figure|chart|image|"
    r"video|links?|section|map|photo|graph|diagram|list)|this (?:page|site|website|web site|article|"
    r"section|post|document|chapter|"
    r"summary|factsheet|fact sheet|topic|booklet|brochure|publication|blog)|read more|learn more|"
    r"more information|additional "
    r"information|for (?:more|further) (?:details|info)|contact us|sign up|subscribe|copyright|"
    r"all rights reserved|cookies?|"
    r"last (?:updated|reviewed)|clinicaltrials\.gov|medical dictionary|advertisement|share this|"
    r"follow us|guest post|"
    r"human phenotype ontology|orphanet|we recommend that you|(?:offers?|provides?) information (?:about|on)|"
    r"further (?:\w+ )?information|information page|by visiting|"
    r"these resources)\b|https?://|\bwww\.|©|<[^>]{1,80}>",
    re.IGNORECASE,
)
_ENDS: Final = re.compile(r"""[.!?…]["'”’)\]]*$""")
_BEGINS: Final = re.compile(r"""["'“‘(\[]*[A-Z0-9•*–—-]|[a-z]+[A-Z]""")
_MARKUP: Final = re.compile(
    r"</?(?:fi|excerpt|s|bos|eos|pad)\b|<\||<\.\.\.>|\bInstruction:|\bAnswer:|\x00|\ufffd|[{}\\]{2}"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A run of units, first and last included."""

    first: int
    last: int
    score: float
    start: int
    end: int


def may_be_copied(unit: Unit) -> bool:
    """Whether an answer may hold a unit: it says something itself and does not point elsewhere."""
    return (
        unit.kind in (UnitKind.SENTENCE, UnitKind.LIST)
        and unit.words <= (MAX_LIST_WORDS if unit.kind is UnitKind.LIST else MAX_WORDS)
        and not _POINTS_AWAY.search(unit.text)
        and not _MARKUP.search(unit.text)
        and balanced(unit.text)
    )


def embedded_text(unit: Unit, subject: str) -> str:
    """Return what stands for a unit in the encoder: a bare list with what it lists, and of what."""
    if unit.kind is UnitKind.LIST:
        items = " ".join(unit.text.split()[:EMBEDDED_LIST_WORDS])
        return ": ".join(part for part in (subject, unit.heading, items) if part)
    return unit.text


def may_begin(unit: Unit) -> bool:
    """Whether an answer may begin with a unit: it needs nothing that stands before it."""
    return bool(_BEGINS.match(unit.text)) and not _LEANS_ON.match(unit.text)


def may_end(unit: Unit) -> bool:
    """Whether an answer may end with a unit: it is whole."""
    return unit.kind is UnitKind.LIST or bool(_ENDS.search(unit.text))


def threshold(similarities: FloatArray) -> float:
    """Return tau for the similarities of a segment's sentences to an instruction."""
    mean, top = float(similarities.mean()), float(similarities.max())
    return min(mean + PEAK * (top - mean), top - LEAST_SPAN)


def reachable(units: Sequence[Unit], question: Question, mentions: Sequence[tuple[int, int]]) -> set[int]:
    """Return the units that an admissible window may hold; none where some part finds no evidence at all.

    Those that show evidence, the one before where such a one leans on it, and what lies between two of them.
    Words only, no vectors: it spares the encoder what cannot become an answer.
    """
    usable = {i for i, unit in enumerate(units) if may_be_copied(unit)}
    shown: set[int] = set()
    for clause in question.clauses:
        found = {i for i in usable if _shows_clause(units[i], clause, mentions)}
        if not found:
            return set()
        shown |= found
    out = set(shown)
    before = -MAX_SENTENCES
    for i in sorted(shown):
        if i - before < MAX_SENTENCES and units[i].section == units[before].section:
            between = set(range(before + 1, i))
            if between <= usable:
                out |= between
        if i - 1 in usable and units[i - 1].section == units[i].section and not may_begin(units[i]):
            out.add(i - 1)
        before = i
    return out


def best_window(
    units: Sequence[Unit],
    similarities: FloatArray,
    usable: Sequence[int],
    question: Question,
    mentions: Sequence[tuple[int, int]],
    taken: Sequence[tuple[int, int]] = (),
) -> Window | None:
    """Return the best admissible window, or None.

    `similarities` has one value a unit, of which those at `usable` count (`reachable`, of any question asked
    of the segment); `mentions` are the spans of the subject in the text; windows that touch a span of `taken`
    by more than rule (g) allows are left out. First and last sentence earn their place by evidence, the first
    also because the next one leans on it.
    """
    if not len(usable):
        return None
    usable = list(usable)
    tau = threshold(similarities[usable])
    strong = {i: shows_any(units[i], question, mentions) for i in usable}
    best: Window | None = None
    for i in usable:
        if not may_begin(units[i]):
            continue
        words, score, listed = 0, 0.0, False
        for j in range(i, min(i + MAX_SENTENCES, len(units))):
            unit = units[j]
            if unit.section != units[i].section or j not in strong:
                break
            words += unit.words
            listed = listed or unit.kind is UnitKind.LIST
            if words > (MAX_LIST_WORDS if listed else MAX_WORDS):
                break
            score += float(similarities[j]) - tau
            if (best is not None and score <= best.score) or not strong[j] or not may_end(unit):
                continue
            if not strong[i] and (j == i or not strong[i + 1] or may_begin(units[i + 1])):
                continue
            window = Window(i, j, score, units[i].start, unit.end)
            if overlap(window, taken) <= MAX_OVERLAP and answers(units[i : j + 1], question, mentions):
                best = window
    return best


def possible(
    units: Sequence[Unit], usable: Sequence[int], question: Question, mentions: Sequence[tuple[int, int]]
) -> bool:
    """Whether some window is admissible, whatever the similarities: found before anything is embedded."""
    nothing = np.zeros(len(units), dtype=np.float32)
    return best_window(units, nothing, usable, question, mentions) is not None


MAX_OVERLAP: Final = 0.3  # rule (g): share of the shorter answer


def overlap(window: Window, taken: Sequence[tuple[int, int]]) -> float:
    """Return the largest share of characters that a window has in common with another answer."""
    worst = 0.0
    for start, end in taken:
        common = min(end, window.end) - max(start, window.start)
        worst = max(worst, common / max(1, min(end - start, window.end - window.start)))
    return worst


_REFERS: Final = re.compile(
    r"\b(?:it|its|they|their|them|this (?:condition|disease|disorder|syndrome|infection|illness|"
    r"type)|these (?:conditions|disorders|"
    r"diseases)|the (?:condition|disease|disorder|syndrome|infection|illness|exact cause|cause|"
    r"underlying cause|specific cause|causes))\b",
    re.IGNORECASE,
)


def answers(units: Sequence[Unit], question: Question, mentions: Sequence[tuple[int, int]]) -> bool:
    """Whether every clause of a question finds all of its evidence in one unit that is about the subject.

    A list, and the heading above it, may only show what lists hold (symptoms, treatments …); for all else
    a sentence has to, which names the subject or refers to it after one that does.
    """
    named = [any(unit.start <= start < unit.end for start, _ in mentions) for unit in units]
    for clause in question.clauses:
        free = all(facet.bare for facet in clause)
        if not any(
            _shows_clause(unit, clause, mentions)
            and (
                free
                or named[i]
                or unit.kind is UnitKind.LIST
                or (any(named[:i]) and bool(_REFERS.search(unit.text)))
            )
            for i, unit in enumerate(units)
        ):
            return False
    return True


_MIXED: Final = re.compile(
    r"\binheritance\b|\b[Ss]omatic mutation\b|\b[Ss]poradic\b|\bcontiguous gene\b|\bPhenotypic variability\b"
)
"""In a list of signs: terms of a database that are none (pages of rare diseases copy such lists whole)."""


def _shows_clause(unit: Unit, clause: Sequence[Facet], mentions: Sequence[tuple[int, int]]) -> bool:
    listed = unit.kind is UnitKind.LIST
    if (
        listed
        and _MIXED.search(unit.text)
        and any(facet.name in ("symptom", "frequency") for facet in clause)
    ):
        return False
    inside = [(a - unit.start, b - unit.start) for a, b in mentions if unit.start <= a and b <= unit.end]
    return all(
        (not listed or facet.listed)
        and (
            shows(facet, unit.text, inside)
            or (listed and bool((facet.heading or facet.pattern).search(unit.heading)))
        )
        for facet in clause
    )


def shows_any(unit: Unit, question: Question, mentions: Sequence[tuple[int, int]]) -> bool:
    """Whether a unit holds the evidence of at least one clause."""
    return any(_shows_clause(unit, clause, mentions) for clause in question.clauses)


def balanced(text: str) -> bool:
    """Whether brackets and double quotes close: a sentence cut inside them is none."""
    return (
        text.count("(") == text.count(")")
        and text.count("[") == text.count("]")
        and text.count('"') % 2 == 0
        and text.count("“") == text.count("”")
    )
