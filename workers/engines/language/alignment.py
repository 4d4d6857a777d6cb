"""Which words of an instruction stand for which slot of its template.

The instruction must be the template with its slots filled: the words around the slots in order, up to white
space (and, for instructions, capitals and a/an, which follow the value), every slot by something, the same
description by the same words. Where several fillings fit ("<A> and <B>" in "salt and pepper and oil") the
known ends of copied passages decide, else each slot is as short as can be: `certain` says that there was no
choice.

A search with a memory of dead ends instead of a regular expression: back-references make those
exponential, and a hostile answer would find the case. It takes at most `MAX_STEPS`; without repeated
descriptions about one step a slot, since the first place of the next words always leaves most room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from workers.engines.language.template_text import TemplateText

MAX_STEPS: Final = 5_000

_SPACE: Final = re.compile(r"\s+")
_AN: Final = re.compile(r"\ban\b")


@dataclass(frozen=True, slots=True)
class Filling:
    """A slot's description and where its value stands in the text; without the space around it."""

    description: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """One filling a slot, in the template's order, repeats included."""

    fillings: tuple[Filling, ...]
    certain: bool  # no other division of the words fits


class _Canonical:
    """A text as it is compared, and where its characters come from."""

    def __init__(self, text: str, *, loose: bool) -> None:
        parts: list[str] = []
        self.places: list[int] = []
        done = 0
        for run in [*_SPACE.finditer(text), None]:
            start = run.start() if run else len(text)
            chunk = text[done:start]
            made = chunk.casefold() if loose else chunk
            parts.append(made)
            if len(made) == len(chunk):  # folding never shortens a letter: each stands for itself
                self.places.extend(range(done, start))
            else:
                for offset in range(done, start):
                    self.places += [offset] * len(text[offset].casefold())
            if run:
                parts.append(" ")
                self.places.append(start)
                done = run.end()
        self.places.append(len(text))
        self.text = "".join(parts)
        if loose and "an" in self.text:  # "an" as "a": the n goes
            for found in reversed([*_AN.finditer(self.text)]):
                del self.places[found.end() - 1]
            self.text = _AN.sub("a", self.text)


@lru_cache(maxsize=4096)
def _literals(words: tuple[str, ...], *, loose: bool) -> tuple[str, ...]:
    """Return a template's words as they are compared, without the white space at its ends."""
    whole = (words[0].lstrip(), *words[1:-1], words[-1].rstrip())
    return tuple(_Canonical(part, loose=loose).text for part in whole)


def align(
    template: TemplateText,
    text: str,
    *,
    loose: bool = True,
    repeats: bool = True,
    hints: Sequence[tuple[int, int]] = (),
) -> Alignment | None:
    """Return which words stand for which slot, or None where the text is not the template filled.

    `loose` overlooks capitals and a/an; `repeats` asks for the same words for the same description; `hints`
    are spans of the text that are likely to be whole values (what was copied). White space at the ends of
    text and template does not count.
    """
    lead = len(text) - len(text.lstrip())
    whole = _Canonical(text.strip(), loose=loose)
    literals = _literals(template.words, loose=loose)
    slots = template.slots if repeats else tuple(map(str, range(len(template.slots))))
    search = _Search(whole.text, literals, slots)
    if hints:
        back = {place + lead: i for i, place in reversed([*enumerate(whole.places)])}
        search.hints = {back[a]: back[b] for a, b in hints if a in back and b in back}
    found = search.run()
    if found is None:
        return None
    fillings: list[Filling] = []
    for description, (start, end) in zip(template.slots, found, strict=True):
        first, last = whole.places[start] + lead, whole.places[end - 1] + lead + 1
        if loose and end < len(whole.places) and text[last - 1 : last + 1].casefold() == "an":
            last = whole.places[end] + lead  # its n has gone
        fillings.append(Filling(description, first, last))
    return Alignment(tuple(fillings), search.certain)


_State = tuple[int, int, tuple[str, ...]]
"""Slots filled, where the text goes on, values that must come again: what the rest depends on."""


class _Search:
    """Depth first over the places of the words behind each slot, leftmost first."""

    def __init__(self, text: str, literals: Sequence[str], slots: Sequence[str]) -> None:
        self._text = text
        self._literals = literals
        self._slots = slots
        self._steps = 0
        self._seen: set[_State] = set()
        self.hints: dict[int, int] = {}
        self.certain = True
        # Descriptions that come again behind slot i: only their values make a dead end one.
        again = len(set(slots)) < len(slots)
        self._awaited = [
            tuple(sorted(set(slots[: i + 1]) & set(slots[i + 1 :]))) if again else ()
            for i in range(len(slots))
        ]

    def run(self) -> list[tuple[int, int]] | None:
        """Return a span of the text for each slot, white space left out, or None."""
        text, literals = self._text, self._literals
        if not text.startswith(literals[0]):
            return None
        # An explicit stack: a template may have more slots than Python has frames to spare.
        spans: list[tuple[int, int]] = []
        choices: list[Iterator[tuple[int, int, int]]] = [self._choices(0, len(literals[0]), {})]
        path: list[_State] = []
        first: list[tuple[int, int]] | None = None
        led: frozenset[_State] = frozenset()  # states on the way to the first filling
        while choices:
            self._steps += 1
            if self._steps > MAX_STEPS:
                self.certain = False
                return first
            step = next(choices[-1], None)
            if step is None:
                choices.pop()
                if spans:
                    spans.pop()
                    path.pop()
                continue
            start, end, behind = step
            spans.append((start, end))
            depth = len(spans)
            if depth == len(self._slots):
                if first is not None:
                    self.certain = False
                    return first
                first, led = spans.copy(), frozenset(path)
                spans.pop()
                continue
            values = {self._slots[i]: text[a:b] for i, (a, b) in enumerate(spans)}
            key = depth, behind, tuple(values[name] for name in self._awaited[depth - 1])
            if key in led:
                self.certain = False  # the rest of the first filling fits behind other beginnings too
                return first
            if key in self._seen:
                spans.pop()
                continue
            self._seen.add(key)
            path.append(key)
            choices.append(self._choices(depth, behind, values))
        return first

    def _choices(self, slot: int, at: int, values: dict[str, str]) -> Iterator[tuple[int, int, int]]:
        """Yield spans of values for a slot that begins at `at`, and where the words behind each end."""
        text, literal = self._text, self._literals[slot + 1]
        last = slot + 1 == len(self._slots)
        known = values.get(self._slots[slot])
        start = at + 1 if text[at : at + 1] == " " else at
        if known is not None:
            stop = start + len(known)
            ends: Iterator[int] = iter((stop, stop + 1) if text.startswith(known, start) else ())
        elif last:
            ends = iter((len(text) - len(literal),))
        else:
            ends = self._ends(start, literal)
        for end in ends:
            if (
                end <= start
                or not text.startswith(literal, end)
                or (last and end + len(literal) != len(text))
            ):
                continue
            stop = end - 1 if text[end - 1] == " " else end
            if stop > start and known in (None, text[start:stop]):
                yield start, stop, end + len(literal)

    def _ends(self, start: int, literal: str) -> Iterator[int]:
        """Yield where a value may end: first at the end of a passage copied from `start` on, then upwards."""
        hint = self.hints.get(start, -1)
        if hint > start:
            yield hint
        end = self._text.find(literal, start + 1)
        while end >= 0:
            if end != hint:
                yield end
            end = self._text.find(literal, end + 1)
