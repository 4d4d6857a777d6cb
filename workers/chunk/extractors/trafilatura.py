"""Main content by trafilatura: more precise than Resiliparse, a tenth of its speed; an extra.

Its own text output sets code on one line with what follows and draws tables with bars, so its tree is written
out here, in the form that Resiliparse gives: one form for the engines, whoever extracted.

It takes its time with many elements (20 s for 60,000), so pages with more than `MAX_TAGS` tags go to
Resiliparse, and so do those in which it finds no text: frames, nothing but links, nesting beyond libxml2's
bound. The alternative, dropping them, would lose documents that the other extractor keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from streams.errors import SettingsError
from streams.settings.extraction import ExtractorName
from workers.chunk.extractors.resiliparse import ResiliparseExtractor

try:
    import trafilatura
    from lxml import etree
    from lxml import html as lxml_html
except ImportError as error:
    raise SettingsError(
        "extractor 'trafilatura' is not installed: install finestream[extract] where chunk workers run, or "
        "set chunk.extraction.extractor (and its rules) to resiliparse"
    ) from error

MAX_TAGS: Final = 20_000
_OPTIONS: Final[dict[str, Any]] = {
    "include_comments": False,
    "include_tables": True,
    "include_formatting": False,  # bold and italics; lists, tables and code are in its tree all the same
    "deduplicate": False,  # its memory of earlier pages would make a page's text depend on them
    "with_metadata": False,
}
_BLOCKS: Final = frozenset({"p", "head", "quote", "list", "table", "code", "div", "fw", "row"})
_DEEPEST: Final = 40
"""Levels of nesting that are told apart."""


class TrafilaturaExtractor:
    """See `interface.Extractor`."""

    name: ExtractorName = "trafilatura"

    def __init__(self) -> None:
        self._other = ResiliparseExtractor()

    def text(self, html: str, tags: int) -> str:
        """Return the main content, Resiliparse's where there are too many tags or trafilatura finds none."""
        tree = _parse(html) if tags <= MAX_TAGS else None
        found = None if tree is None else trafilatura.bare_extraction(tree, **_OPTIONS)
        body = getattr(found, "body", None)
        text = "" if body is None else "\n\n".join(_blocks(body, 0))
        return text if text.strip() else self._other.text(html, tags)


def _parse(html: str) -> Any | None:
    """Return the page's tree. Ours, since trafilatura's own refuses what lacks an html element."""
    parser = lxml_html.HTMLParser(
        encoding="utf-8", collect_ids=False, default_doctype=False, remove_comments=True, remove_pis=True
    )
    try:
        # A zero would end the page for libxml2.
        return lxml_html.document_fromstring(html.replace("\0", "").encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):  # nothing in it
        return None


def _blocks(element: Any, depth: int) -> Iterator[str]:
    """Yield the blocks inside an element, text between them included, each without the lines around it."""
    line = [element.text or ""]
    for child in element:
        if child.tag in _BLOCKS and depth < _DEEPEST and not (child.tag == "code" and _inline(child)):
            yield from _block_of("".join(line))
            yield from _block(child, depth + 1)
            line = []
        else:
            line.append("\n" if child.tag == "lb" else "".join(child.itertext()))
        line.append(child.tail or "")
    yield from _block_of("".join(line))


def _block_of(text: str) -> Iterator[str]:
    lines = [" ".join(line.split()) for line in text.split("\n")]
    whole = "\n".join(line for line in lines if line)
    if whole:
        yield whole


def _block(element: Any, depth: int) -> Iterator[str]:
    match element.tag:
        case "code":
            code = "".join(element.itertext()).strip("\n")
            if code.strip():
                yield code
        case "list":
            yield from filter(None, ["\n".join(_items(element, 1))])
        case "table":
            yield from filter(None, ["\n".join(_rows(element))])
        case _:
            yield from _blocks(element, depth)


def _items(element: Any, level: int) -> Iterator[str]:
    """Yield the lines of a list, indented by level."""
    indent = "  " * min(level, _DEEPEST)
    number = 0
    for item in element:
        if item.tag == "list":  # some pages nest them without an item between
            yield from _items(item, level + 1)
            continue
        number += 1
        mark = f"{number}." if element.get("rend") == "ol" else "\u2022"
        line = [item.text or ""]
        inner: list[str] = []
        for child in item:
            if child.tag == "list":
                inner += _items(child, level + 1)
            else:
                line += [" " if child.tag in {"lb", "p"} else "", "".join(child.itertext())]
            line.append(child.tail or "")
        text = " ".join("".join(line).split())
        if text:
            yield f"{indent}{mark} {text}"
        yield from inner


def _rows(table: Any) -> Iterator[str]:
    """Yield the rows of a table, cells parted by a tab."""
    for row in table.iter("row"):
        cells = [" ".join(" ".join(cell.itertext()).split()) for cell in row.iterchildren("cell")]
        if any(cells):
            yield "\t".join(cells)


def _inline(code: Any) -> bool:
    """Whether code stands within a line: on one line, inside a text."""
    return "\n" not in "".join(code.itertext()) and code.getparent().tag in {"p", "item", "cell", "head"}
