"""Rows to items: which field is the text, which the address, what goes along. One for all formats of rows.

The mapping is the user's (`ingest.fields`): of each list the first field that is there counts. A field is a
name, or a path of names between dots where no field has the whole as its name.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import date, time
from typing import Any, Final, TypeAlias

import msgspec

from streams.ingest.items import (
    Document,
    Item,
    Skip,
    SkipReason,
    Stub,
    StubReason,
    digest,
    fallback_id,
    stub,
)
from streams.records import RawDocument
from streams.settings import FieldSettings

MAX_URL_CHARACTERS: Final = 8192
MAX_FIELD_CHARACTERS: Final = 512
MAX_FIELDS: Final = 32
Row: TypeAlias = Mapping[str, Any]
_ALL: Final = "*"
_NESTED: Final = dict | list | tuple


class RowMapping:
    """Turns the rows of one source into items."""

    def __init__(self, fields: FieldSettings, source: str, max_bytes: int) -> None:
        self._source, self._max_bytes = source, max_bytes
        self._texts = [(name, "text/plain") for name in fields.text]
        self._texts += [(name, "text/html") for name in fields.html]
        self._fields = fields
        self._everything = _ALL in fields.metadata
        self._wanted = tuple(name for name in fields.metadata if name != _ALL)
        roles = (fields.text, fields.html, fields.url, fields.id, fields.title, self._wanted)
        self._named = frozenset(name for role in roles for name in role)
        asked = self._named.union(fields.fetched_at)
        self._asked = asked.union(name.partition(".")[0] for name in asked)

    def columns(self, names: Iterable[str]) -> list[str]:
        """Return which of a table's columns the mapping needs, in their order."""
        return [name for name in names if self._everything or name in self._asked]

    def names_field(self, name: str) -> bool:
        """Whether the mapping names a field (or one within it): its values are wanted at any length."""
        return name in self._asked

    def item(
        self,
        row: Row,
        index: int,
        start: int,
        body: bytes | None = None,
        *,
        strings: Container[str] = (),
        valid: bool = True,
    ) -> Item:
        """Return what becomes of a row; `start` is its offset in the file as stored.

        `body` is what a stub shows of it, by default its short fields as JSON. Bytes are passed on as they
        are: as UTF-8 where the field is one of `strings` (checked here unless they are known to be `valid`),
        else (a binary column) in an encoding that is to be detected.
        """
        text = media_type = None
        field = ""
        for name, kind in self._texts:
            found = row.get(name) if name in row else _dig(row, name)
            if isinstance(found, str | bytes):
                text, media_type, field = found, kind, name
                break
        if text is None or media_type is None:
            return self._stub(StubReason.NO_TEXT, index, start, _shown(row) if body is None else body)
        payload = text.encode() if isinstance(text, str) else text
        if len(payload) > self._max_bytes:
            return self._stub(StubReason.OVER_LONG, index, start, payload if body is None else body)
        utf8 = isinstance(text, str) or field in strings
        if utf8 and not valid and not _is_utf8(payload):
            return self._stub(StubReason.INVALID_UTF8, index, start, payload)
        if not payload or payload.isspace():
            return Skip(index, SkipReason.EMPTY)
        fields = self._fields
        dated, fetched_at = self._first(row, fields.fetched_at)
        return Document(
            index,
            RawDocument(
                id=self._first(row, fields.id)[1][:256] or fallback_id(self._source, index),
                url=self._first(row, fields.url)[1].strip()[:MAX_URL_CHARACTERS],
                source=self._source,
                content_type=media_type,
                payload=payload,
                charset="utf-8" if utf8 else "",
                fetched_at=fetched_at[:64],
                title=self._first(row, fields.title)[1][:MAX_FIELD_CHARACTERS],
                metadata=self._metadata(row, dated),
            ),
        )

    def _stub(self, reason: StubReason, index: int, start: int, body: bytes) -> Stub:
        found = digest((body,))
        return stub(index, reason, found, source=self._source, start=start, length=found.length)

    @staticmethod
    def _first(row: Row, names: Iterable[str]) -> tuple[str, str]:
        """Return the first of some fields that says something: its name and text; both empty for none."""
        for name in names:
            value = row.get(name) if name in row else _dig(row, name)
            if value is not None and (text := scalar_text(value)):
                return name, text
        return "", ""

    def _metadata(self, row: Row, dated: str) -> dict[str, str]:
        """Return the further fields as strings, what is no scalar as JSON; long ones are left out."""
        rest: dict[str, str] = {}
        for name in self._wanted:
            _keep(rest, name, row.get(name) if name in row else _dig(row, name))
        if self._everything:
            named = self._named
            for key, value in row.items():
                if key not in named and key != dated and value is not None:
                    _keep(rest, key, value)
                if len(rest) >= MAX_FIELDS:
                    break
        return rest


def _keep(rest: dict[str, str], key: str, value: Any) -> None:
    if value is None or len(key) > MAX_FIELD_CHARACTERS or len(rest) >= MAX_FIELDS:
        return
    if isinstance(value, _NESTED):
        # Encoding may not cost more than it is worth: what has many parts is no label.
        text = _json(value) if len(value) <= MAX_FIELDS else ""
    else:
        text = scalar_text(value)
    if 0 < len(text) <= MAX_FIELD_CHARACTERS:
        rest[key] = text


def _dig(row: Row, name: str) -> Any:
    """Follow a path of names between dots; None where it leads nowhere."""
    if "." not in name:
        return None
    value: Any = row
    for step in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def scalar_text(value: Any) -> str:
    """Return a scalar as text; empty for nothing, for what is no scalar and for bytes that are no text."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, _NESTED):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode() if len(value) <= MAX_URL_CHARACTERS * 4 else ""
        except UnicodeDecodeError:
            return ""
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, UnicodeError, RecursionError):
        return ""  # what JSON has no form for


def _shown(row: Row) -> bytes:
    """Return the short fields of a row as JSON."""
    rest: dict[str, str] = {}
    for key, value in row.items():
        _keep(rest, key, value)
    return msgspec.json.encode(rest)
