"""Find what a page says of itself: raw values of the head's elements, JSON-LD and licence links, by name.

One pass over the tags of the head and look-ups of fixed strings in the body; no tree, since the extractor's
own is out of reach and a second one would cost as much as extraction. The price: markup that only a parser
would mend (a `<meta>` in a table) is missed. What the values mean is `page_metadata`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Final

import msgspec

AGENTS: Final = frozenset(
    {"robots", "ccbot", "gptbot", "google-extended", "anthropic-ai", "claudebot", "applebot-extended"}
)
"""Names of robots meta elements (and prefixes in X-Robots-Tag) that count; `robots` is for everybody."""

MAX_HEAD_CHARACTERS: Final = 256 * 1024
MAX_TAGS: Final = 400
MAX_JSON_CHARACTERS: Final = 64 * 1024
_MAX_SCRIPTS: Final = 4
_MAX_LINKS: Final = 8
_MAX_THINGS: Final = 50
_LONGEST_TAG: Final = 2000

_HEAD_TAG: Final = re.compile(
    r"<(?:(!--|script(?=[\s/>])|style(?=[\s/>]))|(meta|link)[\s/]|/head\b|body\b)", re.IGNORECASE
)
_ENDS: Final = {"!--": "-->", "script": "</script", "style": "</style"}
_ENDS_IN_ANY_CASE: Final = {end: re.compile(end, re.IGNORECASE) for end in _ENDS.values()}
_INSIDE: Final = re.compile(r"""[^>"']{0,500}+(?:(?:"[^"]{0,2000}+"|'[^']{0,2000}+')[^>"']{0,500}+){0,40}+""")
_ATTRIBUTE: Final = re.compile(r"""([a-zA-Z][\w:.-]{0,40}+)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_FIRST_NAME: Final = re.compile(
    r"""\s*(?:name|property|itemprop|NAME)=(?:"\s*([^"]{0,60}+)"|'\s*([^']{0,60}+)'|([^\s"'>]{1,60}+)[\s>])"""
)
"""The name of most meta elements, without a look at the rest."""
_TELLING: Final = re.compile(
    r"canonical|licen[sc]e|robots|bot\b|-ai\b|extended|tdm|date|time|rights|created|issued|modified|:url|lastmod"
)
"""What a name must hold to be of interest."""


_DATED: Final = frozenset({"json datePublished", "article:published_time", "datepublished"})


def find(html: str) -> dict[str, str]:
    """Return what a page's own markup says, unescaped and otherwise untouched.

    Names are those of the meta elements in lower case (`dc:` written as `dc.`, the robots of `AGENTS` joined
    under `robots`), and `link canonical`, `link license`, `a license`, `json datePublished`,
    `json dateModified`, `json license`, `creative commons`: with a space, so that no meta element can pose as
    one of them.
    Linear in the page, and bounded for what stands in the head.
    """
    found: dict[str, str] = {}
    _head(html, found)
    _linked_data(html, found)
    if "license" in html:
        _licenses(html, found)
    if not found.keys() & _DATED and (start := html.find('itemprop="datePublished"')) >= 0:
        tag = _attributes(_tag_around(html, start))
        found["datepublished"] = tag.get("content") or tag.get("datetime", "")
    return found


def _head(html: str, found: dict[str, str]) -> None:
    """Gather the telling elements of the head; the first of a name counts."""
    position, end = 0, min(len(html), MAX_HEAD_CHARACTERS)
    for _ in range(MAX_TAGS):
        tag = _HEAD_TAG.search(html, position, end)
        if tag is None:
            return
        raw, kind = tag.groups()
        if raw:
            position = _behind(html, _ENDS[raw.lower()], tag.end(), end)
        elif kind:
            inside = _INSIDE.match(html, tag.end(), end)
            assert inside is not None  # it matches nothing, too
            position = inside.end()
            if kind[0] in "lL":
                _link(inside[0], found)
            else:
                _meta(inside[0], found)
        else:
            return


def _behind(html: str, close: str, start: int, end: int) -> int:
    """Return where an element of raw text ends; `end` where it is never closed."""
    place = html.find(close, start, end)
    if place < 0:
        late = _ENDS_IN_ANY_CASE[close].search(html, start, end)
        place = late.start() if late else end
    return place


def _link(tag: str, found: dict[str, str]) -> None:
    lower = tag.lower()
    if "canonical" not in lower and "license" not in lower:
        return
    attributes = _attributes(tag)
    relations = attributes.get("rel", "").lower().split()
    for relation in ("canonical", "license"):
        if relation in relations:
            found.setdefault(f"link {relation}", attributes.get("href", ""))


def _meta(tag: str, found: dict[str, str]) -> None:
    first = _FIRST_NAME.match(tag)
    if first and not _TELLING.search((first[1] or first[2] or first[3] or "").lower()):
        return
    attributes = _attributes(tag)
    name = attributes.get("name") or attributes.get("property") or attributes.get("itemprop", "")
    name = "".join(name.split()).lower()
    if name.startswith(("dc:", "dcterms:")):
        name = name.replace(":", ".", 1)
    content = attributes.get("content", "")
    if name in AGENTS:
        found["robots"] = f"{found['robots']},{content}" if "robots" in found else content
    elif content and _TELLING.search(name):
        found.setdefault(name, content)


def _attributes(tag: str) -> dict[str, str]:
    """Return the attributes of a tag that have a value, names in lower case; the first of a name counts."""
    attributes: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(tag):
        value = double or single or bare
        attributes.setdefault(name.lower(), unescape(value) if "&" in value else value)
    return attributes


def _tag_around(html: str, place: int) -> str:
    """Return the inside of the tag that holds a place; empty where none does."""
    start = html.rfind("<", max(0, place - _LONGEST_TAG), place) + 1
    inside = _INSIDE.match(html, start) if start else None
    return inside[0] if inside and inside.end() > place else ""


def _licenses(html: str, found: dict[str, str]) -> None:
    for quoted in ('rel="license', "rel='license", "rel=license"):
        start = html.find(quoted)
        if start >= 0 and (address := _attributes(_tag_around(html, start)).get("href")):
            found.setdefault("a license", address)
            break
    start = 0
    for _ in range(_MAX_LINKS):
        start = html.find("creativecommons.org/", start + 1)
        if start < 0:
            return
        if html.startswith(("licenses/", "publicdomain/"), start + len("creativecommons.org/")):
            found.setdefault("creative commons", html[max(0, start - 12) : start + 80])
            return


def _linked_data(html: str, found: dict[str, str]) -> None:
    """Take dates and licence of the first thing described that has them (JSON-LD, schema.org)."""
    start = 0
    for _ in range(_MAX_SCRIPTS):
        start = html.find("application/ld+json", start + 1)
        if start < 0:
            return
        first = html.find(">", start, start + _LONGEST_TAG) + 1
        last = html.find("</", first, first + MAX_JSON_CHARACTERS) if first else -1
        if last < 0:
            continue
        try:
            content = msgspec.json.decode(html[first:last].strip().encode("utf-8", "replace"))
        except (msgspec.DecodeError, RecursionError):
            continue
        for thing in _things(content):
            for key in ("datePublished", "dateModified", "license"):
                value = thing.get(key)
                if isinstance(value, dict):
                    value = value.get("@id") or value.get("url")
                if isinstance(value, str):
                    found.setdefault(f"json {key}", value)


def _things(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects at the top: a thing, things in a list or a graph, and a page's main entity."""
    for part in content[:_MAX_THINGS] if isinstance(content, list) else [content]:
        if not isinstance(part, dict):
            continue
        yield part
        graph = part.get("@graph")
        if isinstance(graph, list):
            yield from (thing for thing in graph[:_MAX_THINGS] if isinstance(thing, dict))
        if isinstance(main := part.get("mainEntity"), dict):
            yield main
