"""Which documents chunk keeps: thresholds and lists of its filters, each `off`, `flag` or `drop`.

`drop` ends a document with a marker, `flag` lets it pass with the rule's name in its segments' `flags`, for
the reader of `judged` to decide. Thresholds are those of the papers as datatrove 0.10 has them; a share of 1
switches a rule with a maximum off, a 0 one with a minimum.

Our choice: Gopher's rules, lists and opt-outs drop, FineWeb's and C4's only flag. FineWeb's speak of lines
and were tuned on trafilatura's, where ours keep list items, rows and headings as lines of their own: of NIH
pages they reject 5 %, most for well-made lists. C4's least of five sentences is about documents to train on
whole; four sentences of an encyclopedia are a good source for a pair. FineWeb's pipeline: all on `drop`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from streams.settings.files import digest
from streams.settings.section import Section

Mode = Literal["off", "flag", "drop"]
Signal = Literal["tdm-reservation", "noai", "noimageai", "noindex", "noarchive", "nosnippet"]


_FILES: Final = ("domain_files", "url_files", "word_files", "substring_files")


class UrlSettings(Section):
    """Blocklists of addresses. Files are paths or globs: an entry a line, `#` begins a comment; gzip too."""

    mode: Mode = "drop"
    domains: tuple[str, ...] = ()
    """Hosts; each stands for its subdomains too."""
    domain_files: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    """Whole addresses, compared without their scheme."""
    url_files: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """Rejected where they stand between other characters than letters and digits."""
    word_files: tuple[str, ...] = ()
    substrings: tuple[str, ...] = ()
    """Rejected anywhere, once everything but letters and digits is taken out of the address."""
    substring_files: tuple[str, ...] = ()

    def shaping(self) -> dict[str, Any]:
        """Return what shapes the output: of the lists the files' contents, not their paths."""
        digests = {name: [digest(pattern) for pattern in getattr(self, name)] for name in _FILES}
        return {**super().shaping(), **digests}


class OptOutSettings(Section):
    """Pages whose owners ask not to be used, in an HTTP header or in the page."""

    mode: Mode = "drop"
    signals: tuple[Signal, ...] = ("tdm-reservation", "noai", "noindex")
    """Obeyed ones. `noimageai` is about pictures, `noarchive` and `nosnippet` about how search engines show a
    page, so these are left out (our choice)."""


class FineWebSettings(Section):
    """Penedo et al. 2024."""

    mode: Mode = "flag"
    min_line_punctuation: float = Field(0.12, ge=0, le=1)
    max_short_lines: float = Field(0.67, ge=0, le=1)
    short_line_characters: int = Field(30, ge=0)
    max_duplicate_characters: float = Field(0.01, ge=0, le=1)
    max_lines_per_word: float = Field(0.3, ge=0)


class GopherQualitySettings(Section):
    """Rae et al. 2021, appendix A.1.1."""

    mode: Mode = "drop"
    min_words: int = Field(50, ge=0)
    max_words: int = Field(100_000, ge=0)
    """0: any number."""
    min_mean_word_characters: float = Field(3.0, ge=0)
    max_mean_word_characters: float = Field(10.0, ge=0)
    """0: any length."""
    max_hashes_per_word: float = Field(0.1, ge=0)
    max_ellipses_per_word: float = Field(0.1, ge=0)
    max_bullet_lines: float = Field(0.9, ge=0, le=1)
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1)
    min_alpha_words: float = Field(0.8, ge=0, le=1)
    min_stop_words: int = Field(2, ge=0, le=8)


class C4Settings(Section):
    """Raffel et al. 2020, section 2.2."""

    mode: Mode = "flag"
    min_sentences: int = Field(5, ge=0)
    min_line_words: int = Field(3, ge=0)
    """Lines with fewer do not count."""
    max_word_characters: int = Field(1000, ge=1)
    """Lines with a longer word do not count."""
    terminal_punctuation: bool = False
    """Whether lines without a final mark do not count: C4 says so, FineWeb does not."""
    lorem_ipsum: bool = True
    curly_bracket: bool = True
    javascript: bool = True
    """Lines that speak of it do not count."""
    policy: bool = True
    """Lines about cookies and terms of use do not count."""


class GopherRepetitionSettings(Section):
    """Rae et al. 2021, table A1. Shares of paragraphs, lines or characters."""

    mode: Mode = "drop"
    max_duplicate_paragraphs: float = Field(0.30, ge=0, le=1)
    max_duplicate_paragraph_characters: float = Field(0.20, ge=0, le=1)
    max_duplicate_lines: float = Field(0.30, ge=0, le=1)
    max_duplicate_line_characters: float = Field(0.20, ge=0, le=1)
    max_top_2_gram: float = Field(0.20, ge=0, le=1)
    max_top_3_gram: float = Field(0.18, ge=0, le=1)
    max_top_4_gram: float = Field(0.16, ge=0, le=1)
    max_duplicate_5_grams: float = Field(0.15, ge=0, le=1)
    max_duplicate_6_grams: float = Field(0.14, ge=0, le=1)
    max_duplicate_7_grams: float = Field(0.13, ge=0, le=1)
    max_duplicate_8_grams: float = Field(0.12, ge=0, le=1)
    max_duplicate_9_grams: float = Field(0.11, ge=0, le=1)
    max_duplicate_10_grams: float = Field(0.10, ge=0, le=1)


class FilterSettings(Section):
    """All filters of chunk, in the order in which a document meets them."""

    url: UrlSettings = UrlSettings()
    opt_out: OptOutSettings = OptOutSettings()
    fineweb: FineWebSettings = FineWebSettings()
    gopher_quality: GopherQualitySettings = GopherQualitySettings()
    c4: C4Settings = C4Settings()
    gopher_repetition: GopherRepetitionSettings = GopherRepetitionSettings()
