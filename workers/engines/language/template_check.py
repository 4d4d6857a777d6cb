"""Whether a template is its query with slots in it and nothing worse, and a query fit to be asked about.

The paper says what a template is (section 1) and nothing of how its makers checked that. The rules are ours:
the words outside the slots are the query's, up to white space; a description comes again exactly where the
same words do; no slot repeats what it replaced; no personal data outside the slots. What is doubtful is
refused: queries are plenty, and a bad template is filled a thousand times.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from streams.settings.extraction import ScrubSettings
from workers.chunk.scrub import Scrubber
from workers.engines.language.alignment import align
from workers.engines.language.answer_checks import is_null, is_placeholder, words
from workers.engines.language.framing import is_bare_safe
from workers.engines.language.genericizer import TemplateDraft
from workers.engines.language.json_output import JsonReject
from workers.engines.language.markup import has_markup, is_broken
from workers.engines.language.template_text import TemplateText, read_template
from workers.match.bank import MAX_DESCRIPTION_CHARACTERS, MAX_TEMPLATE_CHARACTERS

MAX_SLOTS: Final = 40
"""The paper calls 10 and more complex; gold goes to 12."""
MAX_SLOT_CHARACTERS: Final = 200

_SCRUBBER: Final = Scrubber(ScrubSettings(emails=True, ip_addresses=True, phone_numbers=True))


class QueryReject(StrEnum):
    """Why a query is not asked about."""

    EMPTY = "query_empty"
    TOO_LONG = "query_too_long"
    BROKEN_TEXT = "query_broken_text"
    MARKUP = "query_markup"  # our tags: a template already, or an attack
    TOKENS = "query_tokens"  # could be read as a chat template's, and the profile has no frame for it


class CheckReject(StrEnum):
    """Why a template that could be read is none."""

    TAGS = "template_tags"  # unbalanced, nested, empty, none
    TOO_LONG = "template_too_long"
    TOO_MANY_SLOTS = "template_too_many_slots"
    BROKEN_TEXT = "template_broken_text"
    MARKUP = "template_markup"  # other tags, inside a description too
    CHANGED = "template_changed_words"  # the words outside the slots are not the query's
    SLOT_DIFFERS = "template_slot_differs"  # the same description for different words
    SAME_WORDS = "template_same_words"  # different descriptions for the same words
    NOT_GENERIC = "template_not_generic"  # a slot repeats what it replaced
    ONLY_SLOTS = "template_only_slots"  # nothing is asked any more
    DESCRIPTION = "description_missing"
    DESCRIPTION_TOO_LONG = "description_too_long"
    PERSONAL_DATA = "personal_data"  # outside the slots, or in a description


TemplateReject = JsonReject | QueryReject | CheckReject
REASONS: Final = tuple(reason.value for part in (JsonReject, QueryReject, CheckReject) for reason in part)
"""Why there is no template: a closed set, to be counted."""


def query_fault(query: str, *, bare: bool) -> QueryReject | None:
    """Say why a query is not sent to a model; `bare` where the profile sends it without a frame."""
    if not words(query):
        return QueryReject.EMPTY
    if len(query) > MAX_TEMPLATE_CHARACTERS:
        return QueryReject.TOO_LONG
    if is_broken(query):
        return QueryReject.BROKEN_TEXT
    if has_markup(query):
        return QueryReject.MARKUP
    return QueryReject.TOKENS if bare and not is_bare_safe(query) else None


def template_fault(query: str, draft: TemplateDraft) -> CheckReject | None:
    """Say why a draft is no template of its query, or None where it is one."""
    whole = draft.template + draft.compatible_document_description
    template = read_template(draft.template)
    if template is None:
        return CheckReject.TAGS
    return (
        _form_fault(draft, template, whole)
        or _description_fault(draft.compatible_document_description)
        or _words_fault(query, template)
        or (CheckReject.PERSONAL_DATA if _personal(template, draft) else None)
    )


def _form_fault(draft: TemplateDraft, template: TemplateText, whole: str) -> CheckReject | None:
    if len(draft.template) > MAX_TEMPLATE_CHARACTERS:
        return CheckReject.TOO_LONG
    if len(template.slots) > MAX_SLOTS:
        return CheckReject.TOO_MANY_SLOTS
    if is_broken(whole):
        return CheckReject.BROKEN_TEXT
    if any(has_markup(part) for part in (*template.words, *template.slots)):
        return CheckReject.MARKUP
    if any(len(slot) > MAX_SLOT_CHARACTERS or not words(slot) or is_null(slot) for slot in template.slots):
        return CheckReject.TAGS
    return None if any(words(part) for part in template.words) else CheckReject.ONLY_SLOTS


def _description_fault(description: str) -> CheckReject | None:
    if not words(description) or is_null(description) or is_placeholder(description):
        return CheckReject.DESCRIPTION
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        return CheckReject.DESCRIPTION_TOO_LONG
    return CheckReject.MARKUP if has_markup(description) else None


def _words_fault(query: str, template: TemplateText) -> CheckReject | None:
    """Compare the words outside the slots with the query's, and descriptions with what they replaced."""
    if align(template, query, loose=False, repeats=False) is None:
        return CheckReject.CHANGED
    # The same words may begin a sentence once.
    alignment = align(template, query, loose=False) or align(template, query)
    if alignment is None:
        return CheckReject.SLOT_DIFFERS
    replaced: dict[tuple[str, ...], str] = {}
    for filling in alignment.fillings:
        value = query[filling.start : filling.end]
        said = tuple(words(value))
        if value.casefold() == filling.description.casefold() or (
            said and said == tuple(words(filling.description))
        ):
            return CheckReject.NOT_GENERIC
        if (
            said
            and alignment.certain
            and replaced.setdefault(said, filling.description) != filling.description
        ):
            return CheckReject.SAME_WORDS
    return None


def _personal(template: TemplateText, draft: TemplateDraft) -> bool:
    """Whether personal data stands where no slot took it away."""
    # A slot parts what stood on both sides of it; the mark keeps them from running together.
    for text in (" \ufffc ".join(template.words), *template.slots, draft.compatible_document_description):
        _, counts = _SCRUBBER.scrub(text)
        if counts:
            return True
    return False
