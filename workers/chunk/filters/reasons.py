"""Why a filter rejects a document: the closed list, one name a rule, and what carries it with its numbers."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class FilterReason(enum.StrEnum):
    """Value of a marker's `reason`, of a segment's flag and of the metric's label: `family.rule`."""

    DOMAIN = "url.domain"  # the host, or one that it belongs to, is on a list
    URL = "url.url"  # the very address is
    URL_WORD = "url.word"  # one of the words that the address is made of is
    URL_SUBSTRING = "url.substring"  # its letters and digits contain one
    TDM_RESERVATION = "opt_out.tdm_reservation"
    NOAI = "opt_out.noai"
    NOIMAGEAI = "opt_out.noimageai"
    NOINDEX = "opt_out.noindex"
    NOARCHIVE = "opt_out.noarchive"
    NOSNIPPET = "opt_out.nosnippet"
    EMPTY_LINES = "fineweb.empty"
    LINE_PUNCTUATION = "fineweb.line_punctuation"
    SHORT_LINES = "fineweb.short_lines"
    DUPLICATE_CHARACTERS = "fineweb.duplicate_characters"
    LIST = "fineweb.list"
    SHORT_DOC = "gopher_quality.short_doc"
    LONG_DOC = "gopher_quality.long_doc"
    SHORT_WORDS = "gopher_quality.short_words"
    LONG_WORDS = "gopher_quality.long_words"
    HASHES = "gopher_quality.hashes"
    ELLIPSES = "gopher_quality.ellipses"
    BULLET_LINES = "gopher_quality.bullet_lines"
    ELLIPSIS_LINES = "gopher_quality.ellipsis_lines"
    FEW_ALPHA_WORDS = "gopher_quality.few_alpha_words"
    FEW_STOP_WORDS = "gopher_quality.few_stop_words"
    LOREM_IPSUM = "c4.lorem_ipsum"
    CURLY_BRACKET = "c4.curly_bracket"
    FEW_SENTENCES = "c4.few_sentences"
    DUPLICATE_PARAGRAPHS = "gopher_repetition.duplicate_paragraphs"
    DUPLICATE_PARAGRAPH_CHARACTERS = "gopher_repetition.duplicate_paragraph_characters"
    DUPLICATE_LINES = "gopher_repetition.duplicate_lines"
    DUPLICATE_LINE_CHARACTERS = "gopher_repetition.duplicate_line_characters"
    TOP_2_GRAM = "gopher_repetition.top_2_gram"
    TOP_3_GRAM = "gopher_repetition.top_3_gram"
    TOP_4_GRAM = "gopher_repetition.top_4_gram"
    DUPLICATE_5_GRAMS = "gopher_repetition.duplicate_5_grams"
    DUPLICATE_6_GRAMS = "gopher_repetition.duplicate_6_grams"
    DUPLICATE_7_GRAMS = "gopher_repetition.duplicate_7_grams"
    DUPLICATE_8_GRAMS = "gopher_repetition.duplicate_8_grams"
    DUPLICATE_9_GRAMS = "gopher_repetition.duplicate_9_grams"
    DUPLICATE_10_GRAMS = "gopher_repetition.duplicate_10_grams"


FILTER_REASONS: Final = tuple(reason.value for reason in FilterReason)


class Finding(NamedTuple):
    """A rule that a document fails."""

    reason: FilterReason
    detail: str  # the value, and the threshold that it missed


def above(reason: FilterReason, value: float, most: float, what: str) -> Finding:
    """A value that is too high."""
    return Finding(reason, f"{what} {value:.4g}, at most {most:g} wanted")


def below(reason: FilterReason, value: float, least: float, what: str) -> Finding:
    """A value that is too low."""
    return Finding(reason, f"{what} {value:.4g}, at least {least:g} wanted")
