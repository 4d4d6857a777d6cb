"""What is sent to a language model: chat messages, and the shape that its answer must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

JsonSchema = dict[str, Any]


class Message(msgspec.Struct, frozen=True):
    """One turn of a chat, as it goes on the wire."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole request, without what a server adds to it (model, temperature, seed)."""

    messages: tuple[Message, ...]
    schema: JsonSchema | None = None
    """JSON schema for servers that can hold a model to one; None where the answer is no JSON."""

    def turns(self) -> list[dict[str, str]]:
        """Return the messages as the chat API has them."""
        return [msgspec.structs.asdict(message) for message in self.messages]
