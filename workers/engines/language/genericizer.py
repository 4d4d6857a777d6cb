"""What a genericizer is asked about a user's query, and how its answer is read.

- `released`: the paper's student (`fineinstructions/query_templatizer`), whose user message is the bare query
  (paper section 1). A query that could be read as a chat template's token has no safe form there: it is
  refused by `template_check.query_fault` before anything is sent.
- `teacher`: a general model with our instructions and examples, the query as a JSON string. The paper's
  teacher went through a chain of prompts that it does not publish; one prompt whose answer is checked word by
  word is our choice: what a second prompt would repair, `template_check` refuses, and queries are not scarce.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from workers.engines.language.framing import json_string
from workers.engines.language.json_output import JsonReject, read_object
from workers.engines.language.message import JsonSchema, Message, Prompt
from workers.engines.language.profile import named, wording

_KEYS: Final = ("template", "compatible_document_description")

SCHEMA: Final[JsonSchema] = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in _KEYS},
    "required": list(_KEYS),
    "additionalProperties": False,
}


class TemplateDraft(msgspec.Struct, frozen=True):
    """What a model made of a query, read but not believed."""

    template: str
    compatible_document_description: str


class Example(TemplateDraft, frozen=True):
    """One worked example of `genericizer_examples.jsonl`, written for this project."""

    query: str


@dataclass(frozen=True, slots=True)
class GenericizerProfile:
    """How a genericizer model is spoken to."""

    name: str
    schema: JsonSchema
    messages: Callable[[str], tuple[Message, ...]]
    bare: bool  # the query stands in the prompt as it is: see `template_check.query_fault`

    def prompt(self, query: str) -> Prompt:
        """Return the request for one query."""
        return Prompt(self.messages(query), self.schema)

    def parse(self, raw: str) -> TemplateDraft | JsonReject:
        """Return what a model wrote, or why it cannot be read."""
        found = read_object(raw, _KEYS)
        if found is None:
            return JsonReject.EMPTY
        if isinstance(found, JsonReject):
            return found
        template, description = (found[key] for key in _KEYS)
        if not isinstance(template, str) or not isinstance(description, str):
            return JsonReject.KEYS
        return TemplateDraft(template.strip(), description.strip())


@cache
def examples() -> tuple[Example, ...]:
    """Return the teacher's worked examples."""
    data = resources.files(__package__).joinpath("genericizer_examples.jsonl").read_bytes()
    decoder = msgspec.json.Decoder(Example)
    return tuple(decoder.decode(line) for line in data.splitlines())


@cache
def _teacher_head() -> tuple[Message, ...]:
    turns = [Message("system", wording("genericizer"))]
    for example in examples():
        reply = {key: getattr(example, key) for key in _KEYS}
        turns.append(Message("user", _question(example.query)))
        turns.append(Message("assistant", msgspec.json.encode(reply).decode()))
    return tuple(turns)


def _question(query: str) -> str:
    return f'{{"query": {json_string(query)}}}'


def _teacher(query: str) -> tuple[Message, ...]:
    return (*_teacher_head(), Message("user", _question(query)))


def _released(query: str) -> tuple[Message, ...]:
    return (Message("user", query),)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        GenericizerProfile("released", SCHEMA, _released, bare=True),
        GenericizerProfile("teacher", SCHEMA, _teacher, bare=False),
    )
}


def genericizer(name: str) -> GenericizerProfile:
    """Return a profile by name; raise `SettingsError` where there is none."""
    return named(PROFILES, "genericize.profile", name)
