"""Guard before the HTML parser: refuse markup on which parsing or extraction would take minutes or gigabytes.

Parser and extractor are fast C and Rust, but their time grows with tags x depth (260 kB of nested `<div>`
take 67 s), with the square of a tag's attributes, and `<font>` left open is rebuilt in each later paragraph
(33 kB make 4 million nodes, 1.5 GB). A limit of nesting alone, as browsers have, can only be set inside the
parser; running it in a child process under a time limit would make what a page becomes depend on the
machine's load. So one linear pass over the tags computes that cost, the same everywhere. Only pages that
could be expensive at all are looked at: most pass by counting `<`. Of those that are, most are written so
plainly (no angle brackets in comments and attributes) that a simpler pattern sees the same tags in a third of
the time.
"""

from __future__ import annotations

import re
from typing import Final

from workers.chunk.reasons import Reason, Unusable

HARMLESS_TAGS: Final = 1500
"""So few can do no harm however they are nested: 2 s, 220 MB at worst."""
HARMLESS_CHARACTERS: Final = 128 * 1024
"""In so many no tag can hold enough attributes: 1 s at worst."""
MANY_TAGS: Final = 4000
MANY_UNCLOSED: Final = 400
MAX_STEPS: Final = 20_000_000
"""Sum over all tags of the depth at which they stand; about 2 s (real pages: under 1 million)."""
MAX_REBUILT: Final = 500_000
"""Sum over all tags of the formatting elements still open; about 200 MB."""
MAX_ATTRIBUTES: Final = 5_000
"""In one tag; 0.1 s."""

_ATTRIBUTES: Final = (
    r"""(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^\s>]*+))?+)*+"""
)
_ATTRIBUTE: Final = re.compile(r"""[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]*+))?+""")
_TAG: Final = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rf"|<(script|style|textarea|title|xmp|iframe|noembed|noframes)(?=[\s/>]){_ATTRIBUTES}>?"
    r"(?:[^<]++|<(?!/\1))*+"
    rf"|<(/?)([a-z][^\s/>]*+)({_ATTRIBUTES})"
    r"|<[!?/][^>]*+",
    re.IGNORECASE | re.DOTALL,
)
"""As the HTML standard's tokenizer sees them: what stands in comments, scripts and quotes is no tag."""

_PLAIN_ATTRIBUTES: Final = r"""[^<>"']*+(?:"[^"<>]*+"[^<>"']*+|'[^'<>]*+'[^<>"']*+)*+>"""
_PLAIN_TAG: Final = re.compile(rf"""<(/?[a-zA-Z][^\s/<>"']*+){_PLAIN_ATTRIBUTES}""")
"""Where each `<` between two of `_NO_TAGS` begins one, there is but one way to read them, that of `_TAG`."""
_NO_TAGS: Final = re.compile(
    r"<(?:!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|[!?][^>]*+"
    rf"|(?i:(script|style|textarea|title|xmp|iframe|noembed|noframes))(?=[\s/>]){_PLAIN_ATTRIBUTES}"
    r"(?:[^<]++|<(?!/(?i:\1)))*+)",
    re.DOTALL,
)
"""Comments, declarations, and elements of raw text up to their end tag."""
_LONG_TAG: Final = re.compile(rf"<[a-z/][^<>]{{{MAX_ATTRIBUTES}}}", re.IGNORECASE)
_MANY_PLAIN_TAGS: Final = 250_000
"""More are not held at once: 50 MB."""

_NO_DEPTH: Final = (
    # void elements, and those whose end tag may be left out because the next one of their kind ends them
    "area base br col embed hr img input link meta source track wbr param keygen basefont frame "
    "p li dt dd option optgroup td th tr thead tbody tfoot colgroup rp rt html head body"
)
_FORMATTING: Final = "a b big code em font i nobr s small strike strong tt u"
_PLAIN_KIND, _NO_DEPTH_KIND, _FORMATTING_KIND = 0, 1, 2
_KINDS: Final = dict.fromkeys(_NO_DEPTH.split(), _NO_DEPTH_KIND) | dict.fromkeys(
    _FORMATTING.split(), _FORMATTING_KIND
)


def check(html: str) -> int:
    """Return how many tags there are at most; raise `Unusable` where they would cost out of proportion."""
    tags = html.count("<")
    if len(html) <= HARMLESS_CHARACTERS and (
        tags <= HARMLESS_TAGS or (tags <= MANY_TAGS and tags - 2 * html.count("</") <= MANY_UNCLOSED)
    ):
        return tags
    if not (tags <= _MANY_PLAIN_TAGS and _plainly_cheap(html)):
        _look_at_each(html)
    return tags


class _Codes(dict[str, int]):
    """A number for each tag: 0 without depth, else positive, and negative for its end; formatting is odd."""

    def __missing__(self, tag: str) -> int:
        name = tag.lower()
        if name[0] == "/":
            code = -self[name[1:]]
        elif tag != name:
            code = self[name]
        else:
            kind = _KINDS.get(name, _PLAIN_KIND)
            code = 0 if kind == _NO_DEPTH_KIND else 2 * len(self) + 2 + (kind == _FORMATTING_KIND)
        self[tag] = code
        return code


def _plainly_cheap(html: str) -> bool:
    """Whether a page is written plainly, and passes. Else each tag must be looked at."""
    found: list[str] = []
    position = 0
    while position < len(html):
        hidden = _NO_TAGS.search(html, position)
        end = hidden.start() if hidden else len(html)
        between = _PLAIN_TAG.findall(html, position, end)
        if len(between) != html.count("<", position, end):
            return False
        found += between
        position = hidden.end() if hidden else end
    if max(map(len, html.split("<"))) > MAX_ATTRIBUTES and _LONG_TAG.search(html):
        return False
    depth = formatting = steps = rebuilt = 0
    codes = _Codes()
    still_open: dict[int, int] = {}
    for code in map(codes.__getitem__, found):
        steps += depth
        rebuilt += formatting
        if code > 0:
            still_open[code] = still_open.get(code, 0) + 1
            depth += 1
            formatting += code & 1
        elif code and still_open.get(-code):
            still_open[-code] -= 1
            depth -= 1
            formatting -= code & 1
    return steps <= MAX_STEPS and rebuilt <= MAX_REBUILT


def _look_at_each(html: str) -> None:
    """Raise `Unusable` where a page's tags would cost out of proportion."""
    depth = formatting = steps = rebuilt = 0
    still_open: dict[str, int] = {}
    for tag in _TAG.finditer(html):
        close, name, attributes = tag.group(2, 3, 4)
        if name is None:  # a comment, a script and the like
            continue
        steps += depth
        rebuilt += formatting
        if steps > MAX_STEPS:
            raise Unusable(Reason.TOO_COMPLEX, f"tags nested {depth} deep")
        if rebuilt > MAX_REBUILT:
            raise Unusable(Reason.TOO_COMPLEX, f"{formatting} formatting elements left open")
        if len(attributes) > MAX_ATTRIBUTES and len(_ATTRIBUTE.findall(attributes)) > MAX_ATTRIBUTES:
            raise Unusable(Reason.TOO_COMPLEX, f"more than {MAX_ATTRIBUTES} attributes in one tag")
        kind = _KINDS.get(name)
        if kind is None:
            name = name.lower()
            kind = _KINDS.get(name, _PLAIN_KIND)
        if kind == _NO_DEPTH_KIND:
            continue
        if not close:
            still_open[name] = still_open.get(name, 0) + 1
            depth += 1
            formatting += kind == _FORMATTING_KIND
        elif still_open.get(name):
            still_open[name] -= 1
            depth -= 1
            formatting -= kind == _FORMATTING_KIND
