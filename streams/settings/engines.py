"""How a language model behind an OpenAI-compatible server is reached, and how it samples."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr, field_validator

from streams.errors import SettingsError
from streams.settings.section import Section, Tuning


class EngineSettings(Section):
    """One model, served by one or more replicas that are interchangeable."""

    urls: tuple[str, ...] = Field(("http://127.0.0.1:8000/v1",), min_length=1, json_schema_extra=Tuning)
    """Bases of the replicas' APIs as clients of OpenAI name them; one without a path gets `/v1`."""
    model: str = Field("default", min_length=1)
    """The name that the servers know the model by."""
    api_key_env: str = Field("", json_schema_extra=Tuning)
    """*Name* of the environment variable that holds the key; empty: none is sent. The key itself is in no
    settings file and no hash, and is never shown."""
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(1024, ge=1)
    """Of one answer."""
    seed: int = 0
    """Mixed into each request's own seed: another one gives other samples of the same input."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of every request's body, as the server knows them (`chat_template_kwargs`, …)."""
    timeout_seconds: float = Field(120.0, gt=0, json_schema_extra=Tuning)
    """For one HTTP request, from sending to the last byte. A replica that hangs is found by it."""
    tries: int = Field(4, ge=1, json_schema_extra=Tuning)
    """Requests for one call that may end in a 5xx, a timeout or an unusable answer."""
    turned_away: int = Field(10, ge=1, json_schema_extra=Tuning)
    """Requests for one call that may end in a 429."""
    losses: int = Field(2, ge=1, json_schema_extra=Tuning)
    """How often a server may die under a call that already goes alone, since it was lost three times."""
    backoff_seconds: float = Field(0.2, ge=0, json_schema_extra=Tuning)
    """First pause before a retry; doubled each time, with jitter."""
    backoff_most_seconds: float = Field(20.0, gt=0, json_schema_extra=Tuning)
    retry_after_most_seconds: float = Field(60.0, gt=0, json_schema_extra=Tuning)
    """A server's `Retry-After` is obeyed up to here."""
    concurrency: int = Field(256, ge=1, json_schema_extra=Tuning)
    """Most requests at once, a replica."""
    fit_concurrency: bool = Field(default=True, json_schema_extra=Tuning)
    """Fit that to the queue that the server's own metrics show (vLLM's names), where it has them."""
    look_seconds: float = Field(2.0, gt=0, json_schema_extra=Tuning)
    """How often those metrics are read."""
    failures: int = Field(5, ge=1, json_schema_extra=Tuning)
    """Failures in a row, without a success between, after which a replica is out until a probe succeeds."""
    probe_seconds: float = Field(1.0, gt=0, json_schema_extra=Tuning)
    """Pause before a replica that is out is probed; doubled up to `probe_most_seconds`."""
    probe_most_seconds: float = Field(15.0, gt=0, json_schema_extra=Tuning)
    answer_bytes: int = Field(512 * 1024, ge=1024, json_schema_extra=Tuning)
    """A longer body of an answer is cut off."""

    @field_validator("urls")
    @classmethod
    def _plain_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        """Normalise; refuse what is no base of an API."""
        bases: list[str] = []
        for url in urls:
            parts = urlsplit(url)
            if parts.username is not None or parts.password is not None:
                raise ValueError("credentials do not belong into a URL, it is shown: name api_key_env")
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"{url!r} is no http:// or https:// URL")
            if parts.query or parts.fragment:
                raise ValueError(f"{url!r}: the base of an API has neither a query nor a fragment")
            bases.append(url.rstrip("/") + ("" if parts.path.strip("/") else "/v1"))
        if len(set(bases)) < len(bases):
            raise ValueError("a replica is named twice")
        return tuple(bases)

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        """Refuse what may be the key itself, without repeating it."""
        if name and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("api_key_env is the NAME of an environment variable (A-Z, 0-9, _), not the key")
        return name

    def api_key(self) -> SecretStr | None:
        """Return the key, or None where none is to be sent; raise `SettingsError` where it is not set."""
        if not self.api_key_env:
            return None
        if not (key := os.environ.get(self.api_key_env, "").strip()):
            raise SettingsError(
                f"api_key_env names {self.api_key_env}, which is not set; export the key there"
            )
        if not key.isascii() or not key.isprintable():
            raise SettingsError(f"{self.api_key_env} holds characters that no HTTP header may carry")
        return SecretStr(key)
