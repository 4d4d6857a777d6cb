"""Text to sentences, headings and whole lists, each with its exact place in the text.

A rule-based splitter: a few abbreviations, no model. What it gets wrong is a boundary, never a character:
every unit is a span of the text. The alternative, a trained splitter, is better on prose and no better on
what pages are made of: headings, bullet lists, questions as headings, lines run together.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 60_000  # of a text that is looked at; a segment of 3,000 tokens has some 14,000
MAX_UNITS: Final = 400


class UnitKind(enum.Enum):
    """What a unit is."""

    HEADING = "heading"
    """A short line without a full stop: names what follows, is never part of an answer."""
    QUESTION = "question"
    """A sentence that asks: a heading in disguise."""
    SENTENCE = "sentence"
    LIST = "list"
    """All items of a list, with the sentence before them where that ends in a colon."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of a text."""

    kind: UnitKind
    start: int
    end: int
    text: str
    section: int
    """Grows with each heading or question: units with the same number stand under the same one."""
    heading: str
    """Text of the heading or question above; empty before the first."""
    words: int


_BULLET: Final = re.compile(r"[ \t]*(?:[•*‣▪◦·●○–—-]|\(?\d{1,2}[.)])[ \t]+(?=\S)")
_BOUNDARY: Final = re.compile(
    r"""(?:[.!?…]+["'”’)\]]*)      # the stop and what closes behind it
        (?=\s+["'“‘(\[]*[A-Z0-9])  # then space and a beginning
      |(?<=[a-z)]{3})[.!?](?=[A-Z][a-z]+\s)  # or run together: "pressure.Medicines help"
    """,
    re.VERBOSE,
)
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Ft|Jr|Sr|Inc|Ltd|Co|Corp|No|Nos|Fig|Figs|Vol|vs|etc|approx|ca|"
    r"cf|e\.g|i\.e|"
    r"al|Gen|Col|Lt|Sgt|Rev|Hon|Sen|Rep|Gov|Pres|Dept|Ave|Blvd|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|"
    r"Oct|Nov|Dec|"
    r"U\.S|U\.K|U\.N|D\.C|a\.m|p\.m)|\b[A-Z])\.$"
)
_ENDS_SENTENCE: Final = re.compile(r"""[.!?…]["'”’)\]]*$""")
_WORD: Final = re.compile(r"\S+")
HEADING_WORDS: Final = 14
_LEADS: Final = re.compile(r"\b(?:are|is|be|have|include|includes|including|involve|following|such as)$")
"""Ends a sentence that goes on in a list, whether or not somebody wrote the colon."""

# A list whose line breaks were lost: "Fever 90% Rash 50% …" or "Fever - Rash - Pain - …".
_FLAT_ITEM: Final = re.compile(r"[A-Z(][^.%\n]{1,90}?(?: \d{1,3}(?:\.\d+)?%(?= [A-Z]|$)| -(?= [A-Z]|$))")
MIN_FLAT_ITEMS: Final = 3


def split(text: str) -> list[Unit]:
    """Return the units of a text in order; their spans never overlap and `text[start:end] == unit.text`.

    Only the first `MAX_CHARACTERS` characters and `MAX_UNITS` units are looked at. Linear in the text.
    """
    text = text[:MAX_CHARACTERS]
    raw: list[tuple[UnitKind, int, int]] = []
    items: tuple[int, int] | None = None
    for start, end in _lines(text):
        bullet = _BULLET.match(text, start, end)
        if bullet:
            items = (items[0] if items else bullet.start() + _leading(text, start), end)
            continue
        if items:
            raw.append((UnitKind.LIST, *items))
            items = None
        raw.extend(_sentences(text, start, end))
        if len(raw) > MAX_UNITS:
            break
    if items:
        raw.append((UnitKind.LIST, *items))
    return _sectioned(text, _with_leads(text, raw))[:MAX_UNITS]


def _leading(text: str, start: int) -> int:
    i = start
    while i < len(text) and text[i] in " \t":
        i += 1
    return i - start


def _lines(text: str) -> list[tuple[int, int]]:
    """Return the spans of non-empty lines; a line that plainly goes on in the next one is joined with it."""
    out: list[tuple[int, int]] = []
    position = 0
    for line in text.splitlines(keepends=True):
        body = line.strip()
        if body:
            start = position + line.index(body[0])
            end = start + len(body)
            previous = out[-1] if out else None
            if (
                previous
                and text.count("\n", previous[1], start) <= 1
                and body[0].islower()
                and not _ENDS_SENTENCE.search(text, max(previous[0], previous[1] - 4), previous[1])
                and text[previous[1] - 1] not in ":;"
                and not _BULLET.match(text, *previous)
            ):
                out[-1] = (previous[0], end)
            else:
                out.append((start, end))
        position += len(line)
    return out


def _sentences(text: str, start: int, end: int) -> list[tuple[UnitKind, int, int]]:
    """Cut one line."""
    cuts: list[int] = []
    for match in _BOUNDARY.finditer(text, start, end):
        stop = match.end()
        if text[match.start()] == "." and _ABBREVIATION.search(text, max(start, stop - 12), stop):
            continue
        cuts.append(stop)
    spans: list[tuple[int, int]] = []
    begin = start
    for stop in [*cuts, end]:
        while begin < stop and text[begin].isspace():
            begin += 1
        if begin < stop:
            spans.append((begin, stop))
        begin = stop
    out: list[tuple[UnitKind, int, int]] = []
    for first, last in spans:
        piece = text[first:last]
        if piece.rstrip("\"'”’)]").endswith("?"):
            out.append((UnitKind.QUESTION, first, last))
        elif (
            len(spans) == 1
            and not _ENDS_SENTENCE.search(piece)
            and not piece.endswith((":", ";", ","))
            and len(piece.split()) <= HEADING_WORDS
        ):
            out.append((UnitKind.HEADING, first, last))
        elif flat := _flat_list(text, first, last):
            out.extend(flat)
        else:
            out.append((UnitKind.SENTENCE, first, last))
    return out


def _flat_list(text: str, start: int, end: int) -> list[tuple[UnitKind, int, int]]:
    """Cut a list whose line breaks were lost out of the sentence that swallowed it; empty where none is.

    What stands before it is its heading where it reads like a table's head (up to a closing bracket), and
    what follows the last item is a sentence of its own.
    """
    items = list(_FLAT_ITEM.finditer(text, start, end))
    run: list[re.Match[str]] = []
    for item in items:  # the longest unbroken run is the last one that grew
        if run and item.start() - run[-1].end() > 1:
            if len(run) >= MIN_FLAT_ITEMS:
                break
            run = []
        run.append(item)
    if len(run) < MIN_FLAT_ITEMS:
        return []
    first, last = run[0].start(), run[-1].end()
    if text[last - 2 : last] == " -":
        last -= 2
    head = text.rfind(") ", first, run[0].end())
    if head >= 0 and text[head + 2].isupper():
        first = head + 2
    out: list[tuple[UnitKind, int, int]] = []
    before = text[start:first].rstrip()
    if before:
        out.append((UnitKind.HEADING, start, start + len(before)))
    out.append((UnitKind.LIST, first, last))
    after = run[-1].end()
    while after < end and text[after].isspace():
        after += 1
    if after < end:
        out.append((UnitKind.SENTENCE, after, end))
    return out


def _with_leads(text: str, raw: list[tuple[UnitKind, int, int]]) -> list[tuple[UnitKind, int, int]]:
    """Join each list with the unit before it where that leads into it."""
    out: list[tuple[UnitKind, int, int]] = []
    for kind, start, end in raw:
        if kind is UnitKind.LIST and out:
            before, first, last = out[-1]
            lead = text[first:last].rstrip()
            opens = lead.endswith(":") or _LEADS.search(lead)
            if opens and before in (UnitKind.HEADING, UnitKind.SENTENCE):
                out[-1] = (UnitKind.LIST, first, end)
                continue
        out.append((kind, start, end))
    return out


def _sectioned(text: str, raw: list[tuple[UnitKind, int, int]]) -> list[Unit]:
    out: list[Unit] = []
    section, heading = 0, ""
    for kind, start, end in raw:
        piece = text[start:end]
        if kind in (UnitKind.HEADING, UnitKind.QUESTION):
            section, heading = section + 1, piece
        words = sum(1 for _ in _WORD.finditer(piece))
        out.append(Unit(kind, start, end, piece, section, heading, words))
    return out
