"""What a server says: a completion read from its JSON, or its words where it refuses. All of it is hostile.

Only the fields that we use are decoded, with their types: an answer with another type in one of them is
unusable, not half understood. Words pass `safe` before they reach a log or a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from streams.errors import Broken
from workers.engines.openai.request import Api

WORDS_CHARACTERS: Final = 500

Count = Annotated[int, msgspec.Meta(ge=0, le=2**48)]


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer and what it cost."""

    text: str
    """May be empty: that is an answer too, and the stage's to judge."""
    finish_reason: str
    """`stop`, `length` (cut at max_tokens) or a server's own word; empty where it says none."""
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt's, those that the server found in its prefix cache."""
    completion_tokens: int
    model: str
    """As the server names it."""
    replica: str
    """Base URL of the server that answered."""
    seconds: float
    """From sending the request that was answered to its last byte; earlier tries are not in it."""


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _ChatChoice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _TextChoice(msgspec.Struct):
    text: str | None
    finish_reason: str | None = None


class _ChatAnswer(msgspec.Struct):
    choices: list[_ChatChoice]
    usage: _Usage | None = None
    model: str | None = None


class _TextAnswer(msgspec.Struct):
    choices: list[_TextChoice]
    usage: _Usage | None = None
    model: str | None = None


_chat: Final = msgspec.json.Decoder(_ChatAnswer)
_text: Final = msgspec.json.Decoder(_TextAnswer)


def read(api: Api, body: bytes, replica: str, seconds: float) -> Completion:
    """Return the first choice of an answer; raise `Broken` where there is none to be read."""
    try:
        answer: _ChatAnswer | _TextAnswer = (_chat if api is Api.CHAT else _text).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = (
            "has not the fields of an answer" if isinstance(error, msgspec.ValidationError) else "is no JSON"
        )
        raise Broken(f"the answer of {replica} {what} ({error}): {_begin(body)}") from None
    if not answer.choices:
        raise Broken(f"the answer of {replica} has no choices: {_begin(body)}")
    choice = answer.choices[0]
    text = choice.message.content if isinstance(choice, _ChatChoice) else choice.text
    usage = answer.usage or _Usage()
    details = usage.prompt_tokens_details
    return Completion(
        text or "",
        printable(choice.finish_reason or "", 40),
        usage.prompt_tokens or 0,
        (details.cached_tokens or 0) if details is not None else 0,
        usage.completion_tokens or 0,
        printable(answer.model or "", 200),
        replica,
        seconds,
    )


class _Problem(msgspec.Struct):
    message: str = ""


class _Complaint(msgspec.Struct):
    """An error as vLLM and others say it: `{"error": {"message"}}`, `{"message"}` or `{"detail"}`."""

    error: _Problem | str | None = None
    message: str | None = None
    detail: str | None = None


_complaint: Final = msgspec.json.Decoder(_Complaint)


def words(body: bytes) -> str:
    """Return what a server says of a refusal; unbounded as yet."""
    try:
        it = _complaint.decode(body)
        said = it.error.message if isinstance(it.error, _Problem) else it.error
        text = said or it.message or it.detail or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = ""
    return text or body.decode("utf-8", "replace").strip() or "(it says nothing)"


def safe(text: str, secret: str) -> str:
    """Return a server's words as they may be logged: without our key, bounded, printable."""
    return printable(text.replace(secret, "***") if secret else text, WORDS_CHARACTERS)


def printable(text: str, characters: int) -> str:
    """Bound a text and escape what could move a cursor, break a line or hide."""
    text = text[: characters + 1]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _begin(body: bytes) -> str:
    return body[:1000].decode("utf-8", "replace")
