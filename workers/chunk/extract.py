"""Payload to title and text: HTML by an extractor, plain text and Markdown as they are.

Text comes out in one canonical form (`canonical`), to which all offsets, hashes and excerpts refer.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from typing import Final, NamedTuple

from resiliparse.parse.encoding import detect_mime

from streams.records import RawDocument
from workers.chunk import markup
from workers.chunk.decode import decode
from workers.chunk.extractors.interface import Extractor
from workers.chunk.extractors.resiliparse import ResiliparseExtractor
from workers.chunk.reasons import Reason, Unusable

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml", "application/xml", "text/xml"})
MAX_TITLE_CHARACTERS: Final = 300

_CONTROL: Final = re.compile(
    "[\0-\b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufff9-\ufffd\ufffe\uffff\ud800-\udfff]"
)
_SPACE: Final = re.compile("[\v\f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_LINE_END: Final = re.compile("\r\n|[\r\x85\u2028\u2029]")
_BAR: Final = re.compile(r"\s+(?:\||::|[\xab\xbb\xb7\u203a\u2022])\s+")
_DASH: Final = re.compile(r"\s+[-\u2013\u2014]\s+")
_NOT_A_LETTER: Final = re.compile(r"[\W_]+")
_HEADING_LINES: Final = 12
_HEADING_CHARACTERS: Final = 1500
_HEADING_SHARE: Final = 0.3
_MARKDOWN_HEADING: Final = re.compile(r"\A#{1,2} +(.+?)[ #]*$", re.MULTILINE)


_DEFAULT_EXTRACTOR: Final = ResiliparseExtractor()


class Extracted(NamedTuple):
    """What a payload says."""

    title: str  # one line, perhaps empty
    text: str  # canonical
    html: str  # the page as characters; empty where the payload is none


def extract(
    document: RawDocument,
    max_payload_bytes: int,
    max_text_characters: int,
    extractor: Extractor = _DEFAULT_EXTRACTOR,
) -> Extracted:
    """Return a document's title and canonical text; raise `Unusable` with the reason where there is none.

    Time is bounded by the payload's bound and by `markup.check`: 8 s for the worst 6 MiB found, milliseconds
    for a page.
    """
    payload = document.payload
    if len(payload) > max_payload_bytes:
        raise Unusable(Reason.TOO_LONG, f"payload of {len(payload)} bytes, {max_payload_bytes} allowed")
    media_type = document.content_type.partition(";")[0].strip().lower()
    if media_type and media_type not in HTML_TYPES and not media_type.startswith("text/"):
        raise Unusable(Reason.NOT_TEXT, media_type[:100])
    if payload[:1] != b"<":
        _refuse_binary(payload)
    characters = decode(payload, document.charset)
    if media_type in HTML_TYPES or (not media_type and characters.lstrip()[:1] == "<"):
        html, raw = characters, extractor.text(characters, markup.check(characters))
    else:
        html, raw = "", characters
    text = canonical(raw)
    if not text:
        raise Unusable(Reason.EMPTY)
    if len(text) > max_text_characters:
        raise Unusable(Reason.TOO_LONG, f"text of {len(text)} characters, {max_text_characters} allowed")
    return Extracted(clean_title(document.title or title_of(html, text, document.url)), text, html)


def canonical(text: str) -> str:
    """Return text in the form that offsets refer to. Idempotent.

    NFC: what looks the same should be the same for hashes, tokens and excerpts (NFKC would change what the
    author wrote). Lines end with one newline, paragraphs with two, no line with spaces; every space is a
    plain one; control characters, soft hyphens, byte order marks and other invisible marks are gone. Indents
    and tabs stay: code and lists mean something by them.
    """
    text = text.replace(
        "\xa0", " "
    )  # by far the most frequent, and this is faster than a look at each character
    if not text.replace("\n", "").replace("\t", "").isprintable():
        text = _LINE_END.sub("\n", text)
        text = _CONTROL.sub("", _SPACE.sub(" ", text))
    text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join(map(str.rstrip, text.split("\n")))
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip().lstrip("\n")


def clean_title(title: str) -> str:
    """Return a title as one bounded line."""
    return " ".join(canonical(title[: 4 * MAX_TITLE_CHARACTERS]).split())[:MAX_TITLE_CHARACTERS].rstrip()


def subject(title: str, text: str, url: str) -> str:
    """Return what a page is about: its title without the site's name.

    A line at the start of the text that stands in the title, since that is how sites build titles. Else the
    first part between bars that does not name the host, less a part before or behind a dash that does.
    """
    host = _letters(url.partition("://")[2].partition("/")[0])
    lower = title.lower()
    heading = ""
    for line in text[:_HEADING_CHARACTERS].split("\n", _HEADING_LINES)[:_HEADING_LINES]:
        line = line.strip()  # noqa: PLW2901 - lists are indented
        if len(heading) < len(line) >= _HEADING_SHARE * len(title) and line.lower() in lower:
            heading = "" if _BAR.search(line) or _names(line, host) else line
    if heading:
        start = lower.index(heading.lower())
        return title[start : start + len(heading)]
    parts = _BAR.split(title)
    part = next((part for part in parts if not _names(part, host)), parts[0])
    dashes = list(_DASH.finditer(part))
    if dashes and _names(part[dashes[-1].end() :], host):
        return part[: dashes[-1].start()]
    if dashes and _names(part[: dashes[0].start()], host):
        return part[dashes[0].end() :]
    return part


def _letters(text: str) -> str:
    return _NOT_A_LETTER.sub("", text.casefold())


def _names(part: str, host: str) -> bool:
    name = _letters(part)
    return len(name) >= 3 and name in host


def title_of(html: str, text: str, url: str) -> str:
    """Return what a document is called by its own words: its title element, else a heading of Markdown."""
    if html:
        return subject(_title(html), text, url)
    heading = _MARKDOWN_HEADING.match(text)
    return heading[1] if heading else ""


def _title(html: str) -> str:
    """Return the content of the first title element; cheaper than a tree that is needed for nothing else."""
    for tag, end_tag in (("<title", "</title"), ("<TITLE", "</TITLE")):
        start = html.find(">", html.find(tag)) + 1 if tag in html else 0
        end = html.find(end_tag, start, start + 4 * MAX_TITLE_CHARACTERS) if start else -1
        if end >= 0:
            return " ".join(unescape(html[start:end]).split())
    return ""


def _refuse_binary(payload: bytes) -> None:
    kind = detect_mime(payload[:2048])
    # It calls all that is not Latin an octet-stream; whether that is text, decoding shows.
    if not kind.startswith("text/") and kind not in HTML_TYPES and kind != "application/octet-stream":
        raise Unusable(Reason.NOT_TEXT, f"looks like {kind}")
