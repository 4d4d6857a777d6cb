r"""Foreign text inside a prompt: data that cannot close its frame, nor speak in a chat template's tokens.

A document may hold our tags, JSON, orders, or the very tokens that part a chat's turns, which servers read as
such wherever they stand. In a JSON string, the first character of whatever could be a tag or a token is
written as its `\uXXXX`: the same text for every reader of JSON, and no such token in the prompt.
Deterministic, so that prompts can be compared and a shared head stays shared; a random delimiter would do
neither. Orders in plain words pass, as data: what they bring about is caught by the checks of the answer,
which must be the source's own words.
"""

from __future__ import annotations

import json
import re
from typing import Final

_BRACKET_TOKENS: Final = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG|IMG_BREAK|IMG_END|THINK|"
    r"gMASK|sMASK|MASK|CLS|SEP|PAD|UNK|BOS|EOS"
)
_OPENS: Final = re.compile(rf"<(?=[^\s\d=])|\[(?=/?(?:{_BRACKET_TOKENS})\])")
"""`<` where a tag or token may begin (not in `p < 0.05`, `<=`), `[` of the bracketed tokens in use."""
_OPENS_BUT_SLOTS: Final = re.compile(rf"<(?!/?fi>)(?=[^\s\d=])|\[(?=/?(?:{_BRACKET_TOKENS})\])")
_ENTITY: Final = {"<": "&lt;", "[": "&#91;"}


def json_string(text: str, *, slots: bool = False) -> str:
    """Return a JSON string for exactly this text without any tag or token in it; `slots` lets `<fi>` be."""
    pattern = _OPENS_BUT_SLOTS if slots else _OPENS
    return pattern.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def element(name: str, text: str) -> str:
    """Return a text as an XML-like element, for formats that are no JSON; tags in it become entities."""
    return f"<{name}>\n{_OPENS.sub(lambda found: _ENTITY[found[0]], text)}\n</{name}>"


def is_bare_safe(text: str) -> bool:
    """Whether a text may stand in a prompt without a frame: it holds nothing that could be a token."""
    return not _OPENS.search(text)
