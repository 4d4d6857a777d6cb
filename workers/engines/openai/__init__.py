"""Any OpenAI-compatible server as an engine: one pooled client over interchangeable replicas."""

from workers.engines.language.message import Message
from workers.engines.openai.answer import Completion
from workers.engines.openai.client import Client
from workers.engines.openai.request import Api, JsonSchema, Request, Sampling
from workers.engines.openai.retry import Spent

__all__ = ["Api", "Client", "Completion", "JsonSchema", "Message", "Request", "Sampling", "Spent"]
