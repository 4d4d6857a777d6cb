"""What an instantiator is asked about a segment and a template, and how its answer is read.

- `released`: the paper's student (`fineinstructions/template_instantiator`), which knows its task: one JSON
  object as the user's message (paper section 3).
- `teacher`: a general model with our instructions and examples (paper section 3 names the model, no
  prompt). The document stands before the template, so that a segment's candidates share all of the prompt but
  its last line, which a server with prefix caching computes once.

Both carry document and template as JSON strings: data that cannot leave its frame (`framing.py`), with the
same escapes in what is read and what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

import msgspec

from streams.records import Candidate, Segment
from workers.engines.language.framing import json_string
from workers.engines.language.json_output import JsonReject, read_object
from workers.engines.language.message import JsonSchema, Message, Prompt
from workers.engines.language.pair import Draft, PairReject, ValidationReject
from workers.engines.language.profile import named, wording

_KEYS: Final = ("instantiated_instruction", "answer")

_TEXT_OR_NULL: Final[JsonSchema] = {"type": ["string", "null"]}
_OBJECT: Final[JsonSchema] = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in _KEYS},
    "required": list(_KEYS),
    "additionalProperties": False,
}
RELEASED_SCHEMA: Final[JsonSchema] = {"anyOf": [{"type": "null"}, _OBJECT]}
TEACHER_SCHEMA: Final[JsonSchema] = _OBJECT | {"properties": dict.fromkeys(_KEYS, _TEXT_OR_NULL)}
"""An object at the root, since some servers take nothing else there; both values null where incompatible."""


class Example(msgspec.Struct, frozen=True):
    """One worked example of `instantiator_examples.jsonl`: a gold row and its document."""

    id: str  # the gold row; whoever measures on gold leaves these out
    document_id: str
    document: str
    template: str
    instantiated_instruction: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class InstantiatorProfile:
    """How an instantiator model is spoken to."""

    name: str
    schema: JsonSchema
    messages: Callable[[Segment, Candidate], tuple[Message, ...]]

    def prompt(self, segment: Segment, candidate: Candidate) -> Prompt:
        """Return the request for one candidate."""
        return Prompt(self.messages(segment, candidate), self.schema)

    def parse(self, raw: str) -> Draft | PairReject:
        """Return what a model wrote, or why it cannot be read; null for either text is a refusal."""
        found = read_object(raw, _KEYS)
        if found is None:
            return ValidationReject.INCOMPATIBLE
        if isinstance(found, JsonReject):
            return found
        instruction, answer = (found[key] for key in _KEYS)
        if instruction is None or answer is None:
            return ValidationReject.INCOMPATIBLE
        if not isinstance(instruction, str) or not isinstance(answer, str):
            return JsonReject.KEYS
        return Draft(instruction, answer)


@cache
def examples() -> tuple[Example, ...]:
    """Return the teacher's worked examples (NOTICE names their sources)."""
    data = resources.files(__package__).joinpath("instantiator_examples.jsonl").read_bytes()
    decoder = msgspec.json.Decoder(Example)
    return tuple(decoder.decode(line) for line in data.splitlines())


@lru_cache(maxsize=64)
def _document(text: str) -> str:
    """Return a segment's text as all its candidates' prompts have it."""
    return json_string(text)


def _question(document: str, template: str) -> str:
    """Document first: what all candidates of a segment have in common."""
    return (
        f'{{"document": {_document(document)},\n"instruction_template": {json_string(template, slots=True)}}}'
    )


def _reply(example: Example) -> str:
    values: dict[str, Any] = {key: getattr(example, key) for key in _KEYS}
    return msgspec.json.encode(values).decode()


@cache
def _teacher_head() -> tuple[Message, ...]:
    turns = [Message("system", wording("instantiator"))]
    for example in examples():
        turns.append(Message("user", _question(example.document, example.template)))
        turns.append(Message("assistant", _reply(example)))
    return tuple(turns)


def _teacher(segment: Segment, candidate: Candidate) -> tuple[Message, ...]:
    return (*_teacher_head(), Message("user", _question(segment.text, candidate.template)))


def _released(segment: Segment, candidate: Candidate) -> tuple[Message, ...]:
    content = (
        f'{{"instruction_template": {json_string(candidate.template, slots=True)}, '
        f'"document": {_document(segment.text)}}}'
    )
    return (Message("user", content),)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        InstantiatorProfile("released", RELEASED_SCHEMA, _released),
        InstantiatorProfile("teacher", TEACHER_SCHEMA, _teacher),
    )
}


def instantiator(name: str) -> InstantiatorProfile:
    """Return a profile by name; raise `SettingsError` where there is none."""
    return named(PROFILES, "instantiate.profile", name)
