"""The JSON object in a model's words: fenced, after a preamble, with something behind it, or cut off.

Structured decoding makes most of this needless, but not every server has it and none has it for every model.
The first object that has the keys asked for counts. Nothing is repaired: a cut-off answer is a wrong answer.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Collection
from typing import Any, Final

MAX_RAW_CHARACTERS: Final = 262_144
"""Longest answer that is looked at; an instantiation is seldom above 4,000 characters."""
_TRIES: Final = 16
_DECODER: Final = json.JSONDecoder(strict=False)  # models write line breaks into strings
_NOTHING: Final = re.compile(r"[\s`\"']*(?:json\s*)?(?:null|none|nil)\b[\s`\"'.]*(?:$|\n)", re.IGNORECASE)


class JsonReject(enum.StrEnum):
    """Why there is no object: a closed set."""

    EMPTY = "output_empty"
    TOO_LONG = "output_too_long"
    NO_JSON = "output_no_json"
    TRUNCATED = "output_truncated"
    KEYS = "output_keys"  # an object, but not of the keys or types that were asked for


def read_object(raw: str, keys: Collection[str]) -> dict[str, Any] | JsonReject | None:
    """Return the first object with all `keys`, None where the model said null, or why there is neither."""
    if len(raw) > MAX_RAW_CHARACTERS:
        return JsonReject.TOO_LONG
    said = raw.rpartition("</think>")[2].strip()
    if not said:
        return JsonReject.EMPTY
    if _NOTHING.match(said):
        return None
    reason = JsonReject.NO_JSON
    at = said.find("{")
    for _ in range(_TRIES):
        if at < 0:
            break
        try:
            found, end = _DECODER.raw_decode(said, at)
        except (ValueError, RecursionError):
            # On behind it: an object inside a broken one is a quotation, not the answer.
            end = _closing(said, at)
            if end < 0:
                return JsonReject.TRUNCATED if reason is JsonReject.NO_JSON else reason
        else:
            if isinstance(found, dict) and all(key in found for key in keys):
                return found
            reason = JsonReject.KEYS
        at = said.find("{", end)
    return reason


def _closing(text: str, start: int) -> int:
    """Return the offset behind the object that begins at `start`, -1 where it never ends."""
    depth = 0
    quoted = escaped = False
    for offset in range(start, len(text)):
        character = text[offset]
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return offset + 1
    return -1
