"""What is asked of a model, and its JSON on the wire.

Everything that calls have in common (model, sampling, schema) is encoded once and joined to each call's own
part as bytes: 3 us a call instead of 12, and those bytes name "requests of this shape" where the client asks
whether a server accepts any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.errors import Refused
from workers.engines.language.message import Message


class Api(StrEnum):
    """The two calls of the protocol that we make; the value is the path below the base."""

    CHAT = "chat/completions"
    TEXT = "completions"


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The form that a server must force an answer into (`response_format`)."""

    name: str
    schema: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn."""

    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: JsonSchema | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One call. A tuple of messages goes to the chat API, a text to the completions API."""

    prompt: tuple[Message, ...] | str
    sampling: Sampling
    seed: int | None = None
    near: int | None = None
    """Requests with the same number share the head of their prompts: they go to the same replica, where that
    head is cached, as far as its load allows. Not sent."""

    @property
    def api(self) -> Api:
        """Where it goes."""
        return Api.TEXT if isinstance(self.prompt, str) else Api.CHAT


_encoder: Final = msgspec.json.Encoder()
_WORD: Final = "Hello"
"""The prompt of requests that ask for nothing but a sign of life."""


class Wire:
    """Encodes requests for one model."""

    def __init__(self, model: str, extra: Mapping[str, Any]) -> None:
        self._model = model
        self._extra = dict(extra)
        self._shapes: dict[Sampling, bytes] = {}

    def shape(self, sampling: Sampling) -> bytes:
        """Return what requests with this sampling have in common: the end of a JSON object."""
        if (known := self._shapes.get(sampling)) is not None:
            return known
        fields: dict[str, Any] = {
            **self._extra,
            "model": self._model,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "stream": False,
        }
        if sampling.stop:
            fields["stop"] = sampling.stop
        if sampling.schema is not None:
            form = {
                "name": sampling.schema.name,
                "strict": True,
                "schema": msgspec.Raw(sampling.schema.schema),
            }
            fields["response_format"] = {"type": "json_schema", "json_schema": form}
        if len(self._shapes) > 256:
            self._shapes.clear()
        shape = self._shapes[sampling] = b"," + _encoder.encode(fields)[1:]
        return shape

    def encode(self, request: Request) -> bytes:
        """Return a request's body. Raise `Refused` where its text cannot be sent (half a surrogate pair)."""
        key = b'{"prompt":' if isinstance(request.prompt, str) else b'{"messages":'
        try:
            prompt = _encoder.encode(request.prompt)
        except UnicodeEncodeError as error:
            raise Refused(f"the prompt is no Unicode text ({error.reason}); clean the document") from None
        seed = b"" if request.seed is None else b',"seed":%d' % request.seed
        return key + prompt + seed + self.shape(request.sampling)

    def sign_of_life(self, api: Api, shape: bytes) -> bytes:
        """Return the body of a one-word request of a shape."""
        prompt = _WORD if api is Api.TEXT else (Message("user", _WORD),)
        key = b'{"prompt":' if api is Api.TEXT else b'{"messages":'
        return key + _encoder.encode(prompt) + shape
