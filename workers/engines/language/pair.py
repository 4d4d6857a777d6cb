"""A model's words to a pair of `streams.records`: parsed, expanded, compared with its template, or refused.

Every refusal is a reason of `PairReject`, a closed set that counts can be made of, and keeps the beginning of
what the model said. A pair whose answer is excerpts for less than 0.80 (paper section 3) is no refusal: its
share stands in the record, and readers of `judged` select.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streams.records import Candidate, Pair, SlotValue
from workers.engines.language.alignment import Alignment, align
from workers.engines.language.answer_checks import (
    MAX_TOLD_SHARE,
    is_null,
    is_placeholder,
    repeats_endlessly,
    told_share,
    words,
)
from workers.engines.language.excerpts import (
    ExcerptReject,
    Expansion,
    Source,
    Span,
    expand,
    quoted_whole,
)
from workers.engines.language.json_output import JsonReject
from workers.engines.language.markup import TAG, has_markup, is_broken
from workers.engines.language.template_text import TemplateText, read_template

KEPT_RAW_CHARACTERS: Final = 2_000


class ValidationReject(StrEnum):
    """Why a draft that could be read is no pair."""

    INCOMPATIBLE = "incompatible"  # the model said null: this document cannot fill or answer the template
    TEMPLATE_BROKEN = "template_broken"
    INSTRUCTION_EMPTY = "instruction_empty"
    ANSWER_EMPTY = "answer_empty"  # or it says null
    INSTRUCTION_TOO_LONG = "instruction_too_long"
    ANSWER_TOO_LONG = "answer_too_long"
    REPETITION = "repetition"
    MARKUP_LEFT = "markup_left"  # a tag of ours, a control token, the training frame
    BROKEN_TEXT = "broken_text"  # half surrogates, control characters
    TEMPLATE_CHANGED = "template_changed"  # other words around the slots, or a slot left out
    SLOT_DIFFERS = "slot_differs"  # the same description by different words
    SLOT_UNFILLED = "slot_unfilled"  # its description, a blank or null in its place
    ANSWER_TOLD = "answer_told"  # the instruction holds over half of the answer


PairReject = JsonReject | ExcerptReject | ValidationReject
"""Why there is no pair: the closed set of `Pair.rejected`, from reading, expanding and comparing."""
REASONS: Final = tuple(
    reason.value for part in (JsonReject, ExcerptReject, ValidationReject) for reason in part
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a model wrote, read but not believed: both texts with their copy tags."""

    instruction: str
    answer: str


@dataclass(frozen=True, slots=True)
class PairRules:
    """Bounds of a pair."""

    max_instruction_characters: int = 6_000
    max_answer_characters: int = 12_000
    max_told_share: float = MAX_TOLD_SHARE


def make_pair(
    raw: str,
    parse: Callable[[str], Draft | PairReject],
    candidate: Candidate,
    source: Source,
    *,
    rules: PairRules = PairRules(),
    family: str = "",
) -> Pair:
    """Return the pair that a model's answer makes with its template and its segment, or a rejected one.

    `parse` is the profile's, `source` the segment's text, shared by all its candidates.
    """
    draft = parse(raw)
    made = _pair(draft, candidate, source, rules, family) if isinstance(draft, Draft) else draft
    if isinstance(made, Pair):
        return made
    kept = raw[:KEPT_RAW_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return Pair(template_id=candidate.template_id, rejected=made.value, raw_output=kept, family=family)


def _pair(  # noqa: PLR0911 -- one refusal after another
    draft: Draft, candidate: Candidate, source: Source, rules: PairRules, family: str
) -> Pair | PairReject:
    template = read_template(candidate.template)
    if template is None:
        return ValidationReject.TEMPLATE_BROKEN
    instruction = expand(draft.instruction, source, whole_words=False)
    if not isinstance(instruction, Expansion):
        return instruction
    answer = expand(draft.answer, source) if TAG.search(draft.answer) else quoted_whole(draft.answer, source)
    if not isinstance(answer, Expansion):
        return answer
    if fault := _text_fault(instruction.text, answer.text, rules):
        return fault
    alignment = align(
        template, instruction.text, hints=[(piece.start, piece.end) for piece in instruction.pieces]
    )
    if alignment is None:
        same = align(template, instruction.text, repeats=False)
        return ValidationReject.SLOT_DIFFERS if same else ValidationReject.TEMPLATE_CHANGED
    slots = _slots(template, alignment, instruction, source)
    if any(is_unfilled(slot.description, slot.value) for slot in slots):
        return ValidationReject.SLOT_UNFILLED
    if told_share(instruction.text, answer.text) > rules.max_told_share:
        return ValidationReject.ANSWER_TOLD
    return Pair(
        template_id=candidate.template_id,
        instruction=instruction.text,
        answer=answer.text,
        slots=slots,
        excerpts=[piece.span for piece in answer.pieces],
        excerpt_share=answer.share,
        family=family,
    )


def _text_fault(  # noqa: PLR0911 -- one refusal after another
    instruction: str, answer: str, rules: PairRules
) -> ValidationReject | None:
    """Say what is wrong with either text by itself."""
    if not instruction or is_null(instruction):
        return ValidationReject.INSTRUCTION_EMPTY
    if not words(answer) or is_null(answer) or is_placeholder(answer):
        return ValidationReject.ANSWER_EMPTY
    if len(instruction) > rules.max_instruction_characters:
        return ValidationReject.INSTRUCTION_TOO_LONG
    if len(answer) > rules.max_answer_characters:
        return ValidationReject.ANSWER_TOO_LONG
    if is_broken(instruction) or is_broken(answer):
        return ValidationReject.BROKEN_TEXT
    if has_markup(instruction) or has_markup(answer):
        return ValidationReject.MARKUP_LEFT
    if repeats_endlessly(answer) or repeats_endlessly(instruction):
        return ValidationReject.REPETITION
    return None


def is_unfilled(description: str, value: str) -> bool:
    """Whether a slot's value is none: its description (up to its article), null or a blank.

    A long description inside a longer value is one too; a short one ("a number" in "a number of people") is
    not.
    """
    asked, said = words(description), words(value)
    asked = asked[1:] if len(asked) > 1 and asked[0] in ("a", "an", "the") else asked
    bare = said[1:] if len(said) > 1 and said[0] in ("a", "an", "the") else said
    if not value.strip() or bare == asked or is_null(value) or is_placeholder(value):
        return True
    n = len(asked)
    return n >= 3 and any(said[i : i + n] == asked for i in range(len(said) - n + 1))


def _slots(
    template: TemplateText, alignment: Alignment, instruction: Expansion, source: Source
) -> list[SlotValue]:
    """Return one value a description, with its span in the source where it was copied."""
    out: dict[str, SlotValue] = {}
    for filling in alignment.fillings:
        known = out.get(filling.description)
        if known is None or known.span is None:
            value = instruction.text[filling.start : filling.end]
            span = _span(filling.start, filling.end, instruction, source)
            if known is None or span is not None:
                out[filling.description] = SlotValue(description=filling.description, value=value, span=span)
    return [out[description] for description in dict.fromkeys(template.slots)]


def _span(start: int, end: int, instruction: Expansion, source: Source) -> Span | None:
    """Return where a value stands in the source: by its copy tag, else where it stands there exactly once."""
    for piece in instruction.pieces:
        if piece.start <= start and end <= piece.end:
            shift = piece.span[0] - piece.start
            return start + shift, end + shift
    whole = quoted_whole(instruction.text[start:end], source)
    return whole.pieces[0].span if whole.pieces else None
