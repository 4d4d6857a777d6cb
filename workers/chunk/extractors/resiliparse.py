"""Main content by Resiliparse: 10-20 times as fast as trafilatura for a little less precision; the default.

Options were chosen on 515 pages with known must-have and must-not-have snippets (dev/LOG.md): F1 0.838 by
default, 0.873 as here.
"""

from __future__ import annotations

import re
from typing import Any, Final

from resiliparse.extract.html2text import extract_plain_text

from streams.settings.extraction import ExtractorName

# Resiliparse takes lists, navigation and asides within two elements of the body for chrome, and with them the
# lists of pages written by hand. Those get three elements more around their content; what is chrome by its
# name goes all the same.
_SIMPLE_TAGS: Final = 500
_DEEPER: Final = "<div><div><div>"
_CHROME: Final = "nav, aside, footer"

# Each block ends its line, also within a table's row; so blocks in short cells become spaces. Long cells are
# those of tables that lay out a page: their paragraphs stay.
_TABLE: Final = r"/?[tT](?:[dhrDHR]|(?i:able|body|head|foot))[\s>]"
_BLOCKS: Final = r"(?:[pP]|[hH][1-6]|(?i:div|br|center))(?=[\s/>])"
_CELL: Final = re.compile(
    # Nothing is done, and nothing called, for a cell without a block.
    rf"(<[tT][dhDH](?=[\s>])[^<>]{{0,300}}+>)((?:[^<]++|<(?!{_TABLE}|{_BLOCKS})){{0,40}}+<{_BLOCKS}"
    rf"(?:[^<]++|<(?!{_TABLE})){{0,80}}+)(?=<{_TABLE})",
)
_MAX_CELL: Final = 400
_BLOCK: Final = re.compile(rf"<(/?)({_BLOCKS})[^<>]{{0,300}}+>")
_WITHOUT_DEPTH: Final = frozenset({"p", "br"})

MAIN_CONTENT: Final[dict[str, Any]] = {
    "main_content": True,
    "preserve_formatting": True,
    "comments": False,
    "post_meta": False,
    "alt_texts": False,
    "skip_elements": [_CHROME],
}
"""Resiliparse's options."""


class ResiliparseExtractor:
    """See `interface.Extractor`."""

    name: ExtractorName = "resiliparse"

    def text(self, html: str, tags: int) -> str:
        """Return the main content; a page of nothing but what looks like chrome is taken whole."""
        if "<td" in html:
            html = _CELL.sub(_on_one_line, html)
        start = _body(html) if tags <= _SIMPLE_TAGS else 0
        whole = f"{html[:start]}{_DEEPER}{html[start:]}" if start else html
        text: str = extract_plain_text(whole, **MAIN_CONTENT)
        if not text.strip():
            text = extract_plain_text(whole, main_content=False, preserve_formatting=True, alt_texts=False)
        if "\t" in text:  # two stand between the cells of a table
            text = text.replace("\t\t", "\t").replace(" \t", "\t").replace("\t ", "\t")
        return text


def _on_one_line(cell: re.Match[str]) -> str:
    """Return a cell without the blocks in it, unless that would open or close what stands around it."""
    content = cell[2]
    if len(content) > _MAX_CELL:
        return cell[0]
    depth: dict[str, int] = {}
    for end, name in _BLOCK.findall(content):
        if (kind := name.lower()) not in _WITHOUT_DEPTH:
            depth[kind] = depth.get(kind, 0) + (-1 if end else 1)
    return cell[0] if any(depth.values()) else cell[1] + _BLOCK.sub(" ", content)


def _body(html: str) -> int:
    """Return where the body's content begins, 0 where no tag says so."""
    for tag in ("<body", "<BODY", "</head", "</HEAD"):
        found = html.find(tag)
        if found >= 0:
            return html.find(">", found) + 1
    return 0
