"""What a segment is about, and how a sentence would name it (rule b).

The subject is the page's title where that reads like a name or a term and the text uses it; else nothing, and
the segment is abstained from. How it is written (capitals, article, plural) is read off the text's own
sentences. The alternatives were measured on gold: the phrase nearest to a slot's description is right for
4 to 18 % of slots.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from workers.engines.extractive import casing
from workers.engines.extractive.sentences import Unit, UnitKind

MAX_WORDS: Final = 6
MAX_TERM_WORDS: Final = (
    9  # of a title that the text spells out twice: "X deficiency with Y and Z" is one term
)
MAX_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Subject:
    """The thing that a segment is about."""

    name: str
    """As a sentence writes it, without an article: "arachnoid cysts", "Warsaw Stock Exchange"."""
    span: tuple[int, int] | None
    """Where the text writes `name`, up to the case of its letters; None: only the title spells it out."""
    article: str
    """"", "a" or "the": how the text's sentences introduce it, where they do so mostly."""
    countable: bool
    """Some sentence puts "a" or "an" before it."""
    plural: bool | None
    """None where the text's verbs and the word's ending disagree."""
    mentions: tuple[tuple[int, int], ...]
    """All places, in order."""
    unit: int
    """Index of the first sentence that names it (of the first sentence, where only headings do)."""


_SEPARATOR: Final = re.compile(r"\s+[|»·•]\s+|\s+[–—-]\s+|\s*::\s*|\s*:\s+|\s+/\s+")
_BRACKETS: Final = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*")
_OPENING: Final = re.compile(
    r"^(?:(?:all )?about|overview of|an? introduction to|introduction to|understanding|facts about|"
    r"learn about|"
    r"what (?:is|are)|the|an?)\s+",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"\s+(?:overview|basics|fact sheet|factsheet|faqs?|home ?page|information)$", re.IGNORECASE
)
_NOT_A_NAME: Final = re.compile(
    r"^(?:the$|basics|how|what|why|when|where|who|which|is|are|do|does|can|should|if|to|your|you|my|"
    r"our|we|i|it|this|these|that|"
    r"and|or|but|not|no|more|new|top|tips?|ways?|get|make|use|using|find|learn|see|join|try|contact|"
    r"home|welcome|"
    r"index|page|news|blog|search|login|untitled|error|\d+)\b"
    r"|\b(?:you|your|we|our|us|my|is|are|was|were|be|will|can|should|has|have|does|do|did|how|why|what|who|"
    r"that|which|this|these|its?|vs|versus|now|today|yourself|i'm|don't|let's)\b"
    r"|[?!;\"“”…=<>{}\\|@#$%^*_~`]",
    re.IGNORECASE,
)
_INVERTED: Final = re.compile(
    r"^([^,]+), ((?:(?:familial|congenital|hereditary|infantile|childhood|juvenile|adult|primary|"
    r"secondary|sporadic|neonatal|"
    r"benign|malignant|acute|chronic|progressive|lethal|isolated|atypical|idiopathic|severe|mild|"
    r"autosomal (?:dominant|recessive)|"
    r"X-linked(?: recessive| dominant)?)(?: |$))+)$",
    re.IGNORECASE,
)
_HEAD_ENDS: Final = re.compile(
    r"\s+(?:of|in|with|for|from|on|by|without|due|caused|associated|during|after|before|at|to|type|"
    r"syndrome \d|\d)\b"
)
_SINGULAR_ENDINGS: Final = re.compile(
    r"(?:ss|us|is|ics|as|os|ous|rabies|scabies|caries|series|species|'s|’s)$"
)
_SINGULAR: Final = frozenset(
    [
        "diabetes",
        "herpes",
        "rickets",
        "measles",
        "mumps",
        "shingles",
        "yaws",
        "news",
        "pus",
        "bends",
        "tuberous",
        "lens",
        "pancreas",
        "aids",
    ]
)
_AFTER_SINGULAR: Final = re.compile(
    r"(?:\s*\([^)]{1,60}\))?,?\s+(?:is|was|has|does|occurs|causes|affects|means|refers|describes|"
    r"results|begins|"
    r"makes|involves|belongs|includes|comes|leads|develops|usually affects|usually occurs|tends|appears)\b"
)
_AFTER_PLURAL: Final = re.compile(
    r"(?:\s*\([^)]{1,60}\))?,?\s+(?:are|were|have|do|occur|cause|affect|mean|refer|describe|result|"
    r"begin|make|"
    r"involve|belong|include|come|lead|develop|tend|appear)\b"
)
_AFTER_HEAD: Final = re.compile(
    r"(?:\s*\([^)]{1,60}\))?\s*(?:[.,;:!?)\"”]|$|\s(?:is|are|was|were|has|have|had|does|do|can|may|"
    r"might|will|would|should|could|must|"
    r"in|of|on|at|by|for|from|with|without|to|and|or|but|as|that|which|who|when|where|if|because|than|"
    r"[a-z]+ly|[a-z]+(?:[^usi\W]s|ed))\b)"
)


def find_subject(title: str, units: Sequence[Unit], text: str) -> Subject | None:
    """Return the subject, or None where the title names none that the text uses.

    `units` are the text's (`sentences.split`). The whole title must stand in the first sentence or twice
    outside headings; a part of it three times; a name whose last word or initials alone are used, likewise.
    """
    sentences = [i for i, unit in enumerate(units) if unit.kind in (UnitKind.SENTENCE, UnitKind.LIST)]
    if not sentences:
        return None
    for name, whole in titles(title):
        found = _subject(name, units, text, sentences, whole=whole) or _by_alias(name, units, text, sentences)
        if found:
            return found
    return None


def titles(title: str) -> list[tuple[str, bool]]:
    """Return what a title may name, best first, and whether that is all of it but what pages add."""
    title = re.sub(r"\s+", " ", title[:300]).strip(" .,:;-–—|")
    whole = _BRACKETS.sub(" ", title).strip()
    parts = [part.strip(" .,:;-–—|") for part in _SEPARATOR.split(whole)]
    if len(parts) == 1 and re.fullmatch(r"[A-Z][\w.’'-]+(?: [A-Z][\w.’'-]+)*, [A-Z][\w. ]+", whole):
        parts.append(whole.partition(",")[0])  # "Fresno, California"
    out: dict[str, bool] = {}
    for part in [whole, *parts]:
        name = _CLOSING.sub("", _OPENING.sub("", _OPENING.sub("", part))).strip()
        if _names(name):
            out.setdefault(name, part == whole)
    return list(out.items())


def _names(name: str) -> bool:
    return (
        1 <= len(name.split()) <= MAX_TERM_WORDS
        and 3 <= len(name) <= MAX_CHARACTERS
        and ("," not in name or bool(re.fullmatch(r"[^,]+, [^,]+ type", name) or _INVERTED.match(name)))
        and not _NOT_A_NAME.search(name)
    )


def _phrase(name: str) -> re.Pattern[str]:
    """Match a name word by word, in any case, with a plural ending more where it has none."""
    words = r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", name) if word)
    return re.compile(
        rf"(?<![\w-]){words}{'' if name.endswith('s') else '(?:s|es)?'}(?![\w-])", re.IGNORECASE
    )


def _places(pattern: re.Pattern[str], units: Sequence[Unit], text: str) -> list[tuple[int, int, int]]:
    """Return (unit, start, end) of all matches outside headings."""
    return [
        (i, *match.span())
        for i, unit in enumerate(units)
        if unit.kind is not UnitKind.HEADING
        for match in pattern.finditer(text, unit.start, unit.end)
    ]


def _subject(
    name: str, units: Sequence[Unit], text: str, sentences: Sequence[int], *, whole: bool
) -> Subject | None:
    places = _places(_phrase(name), units, text)
    first = sentences[0]
    if len(name.split()) > MAX_WORDS and len(places) < 2:
        return None
    enough = len(places) >= 2 or bool(places and places[0][0] == first) if whole else len(places) >= 3
    if not enough:
        return None
    exact = [place for place in places if _same(text[place[1] : place[2]], name)] or places
    prose = [place for place in exact if units[place[0]].kind is not UnitKind.QUESTION] or exact
    surface: str
    span: tuple[int, int] | None
    surface, span = _surface(name, prose, units, text)
    if re.search(r"\band\b|\bor\b|[&/]", surface) and not _one_thing(prose, text):
        return None
    if inverted := _INVERTED.match(surface):
        surface, span = f"{inverted.group(2)} {inverted.group(1)}", None
        surface = surface[0].lower() + surface[1:] if not surface.startswith("X-") else surface
    articles = _articles(prose, units, text)
    plural = _plural(surface, prose, units, text)
    total = sum(articles.values())
    article = next((a for a in ("a", "the") if articles[a] * 2 > total), "")
    return Subject(
        name=surface,
        span=span,
        article="" if article == "a" and plural is not False else article,
        countable=articles["a"] > 0 and plural is False,
        plural=plural,
        mentions=tuple((start, end) for _, start, end in places),
        unit=next((i for i in sentences if any(place[0] == i for place in places)), first),
    )


def _by_alias(name: str, units: Sequence[Unit], text: str, sentences: Sequence[int]) -> Subject | None:
    """Find a name that the text shortens: a person by the last word, an organisation by its initials."""
    words = name.split()
    if not 2 <= len(words) <= 5 or not all(word[0].isupper() for word in words if len(word) > 3):
        return None
    initials = "".join(word[0] for word in words if word[0].isupper())
    aliases = [initials] if len(initials) >= 3 else []
    if len(words) == 2 and not any(casing.common_word(word) for word in words):
        aliases.append(words[1])
    for alias in aliases:
        pattern = re.compile(rf"(?<![\w-]){re.escape(alias)}(?![\w-])")
        places = _places(pattern, units, text)
        if len(places) >= 3:
            articles = _articles(places, units, text)
            plural = _plural(name, places, units, text)
            return Subject(
                name=casing.running(name),
                span=None,
                article="the" if articles["the"] * 2 > sum(articles.values()) else "",
                countable=False,
                plural=plural,
                mentions=tuple((start, end) for _, start, end in places),
                unit=next((i for i in sentences if any(place[0] == i for place in places)), sentences[0]),
            )
    return None


def _same(found: str, name: str) -> bool:
    return re.sub(r"[\s-]+", " ", found).lower() == re.sub(r"[\s-]+", " ", name).lower()


def _surface(
    name: str, places: Sequence[tuple[int, int, int]], units: Sequence[Unit], text: str
) -> tuple[str, tuple[int, int]]:
    """Choose how the name is written, and where the text writes it so."""
    inside: Counter[str] = Counter()
    where: dict[str, tuple[int, int]] = {}
    for i, start, end in places:
        found = re.sub(r"\s+", " ", text[start:end])
        where.setdefault(found.lower(), (start, end))
        if start > units[i].start + 3 and text[start - 2 : start] not in (": ", "- ", "• "):
            inside[found] += 1
    if inside:
        best = max(inside, key=lambda found: (inside[found], found == name, found))
        lowered = [found for found in inside if found.lower() == best.lower() and found[0].islower()]
        if lowered:
            best = max(lowered, key=lambda found: inside[found])
        elif best[0].isupper():
            # Written with a capital inside sentences: a name, or a title pasted into a sentence as it stood.
            later = [word for word in best.split()[1:] if len(word) > 3 and word.isalpha()]
            pasted = inside.total() == 1 and (not later or any(word.islower() for word in later))
            if pasted and casing.common_word(best.split()[0]):
                best = best[0].lower() + best[1:]
        return best, where[best.lower()]
    key = next(iter(where))
    start, end = where[key]
    return casing.running(re.sub(r"\s+", " ", text[start:end])), (start, end)


def _articles(places: Sequence[tuple[int, int, int]], units: Sequence[Unit], text: str) -> Counter[str]:
    """Count what stands before the subject where it is a noun phrase of its own."""
    out: Counter[str] = Counter()
    for i, start, end in places:
        if not _AFTER_HEAD.match(text, end, min(units[i].end, end + 40)):
            continue
        before = text[max(units[i].start, start - 60) : start].rstrip().lower()
        word = re.search(r"([a-z’'-]+)$", before)
        previous = word.group(1) if word else ""
        if previous in ("a", "an", "the"):
            out["the" if previous == "the" else "a"] += 1
        elif not re.search(
            r"\b(?:an?|the|this|that|these|each|every|its|their|his|her|your)\s+[\w-]+$", before
        ):
            out[""] += 1
    return out


def _plural(
    surface: str, places: Sequence[tuple[int, int, int]], units: Sequence[Unit], text: str
) -> bool | None:
    opening = [
        end
        for i, start, end in places
        if re.fullmatch(r"(?:the|an?|most|many|all|some)?\s*", text[units[i].start : start], re.IGNORECASE)
    ]
    one = sum(1 for end in opening if _AFTER_SINGULAR.match(text, end))
    many = sum(1 for end in opening if _AFTER_PLURAL.match(text, end))
    ending = _plural_ending(surface)
    if one or many:
        return ending if ending == (many > one) else None
    return ending


def _plural_ending(surface: str) -> bool:
    head = _HEAD_ENDS.split(surface, maxsplit=1)[0]
    last = (head.split() or [surface])[-1]
    if not last.endswith("s") or last.isupper():
        return False
    return last[-2:-1].isupper() or not (last.lower() in _SINGULAR or _SINGULAR_ENDINGS.search(last.lower()))


def _one_thing(places: Sequence[tuple[int, int, int]], text: str) -> bool:
    """Whether a name with "and" in it takes a singular verb: "foot and mouth disease is"."""
    return any(_AFTER_SINGULAR.match(text, end) for _, _, end in places)
