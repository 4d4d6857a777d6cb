"""What a record of any topic says: its key as words, its header's fields, its value decoded.

For eyes and tools, never for the flow. Whatever cannot be read is shown as bytes with the reason beside it.
Texts come from a hostile crawl: `bounded` cuts them, and whoever prints them escapes them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from streams import pipeline
from streams.errors import RecordError
from streams.positions import (
    HEADER,
    Kind,
    unpack_lane_header,
    unpack_origin,
    unpack_position,
    unpack_raw_header,
)
from streams.records import TOPIC_RECORDS, RawDocument, RawStub, decode, decode_any
from streams.settings import STAGES

ITEMS_SHOWN: Final = 50
"""Of a list; the rest is counted."""
HEX_BYTES: Final = 32
"""Byte strings up to this length are hashes and keys, shown as hexadecimal digits; longer ones as text."""
_PAYLOADS: Final = {"payload", "head"}
"""Fields that hold crawled bytes, shown as text however short."""
_LEDGER: Final = "ledger."
_DEAD: Final = "dead."


def describe(record: Any, *, characters: int = 0) -> dict[str, Any]:
    """Return a record, as kafka-python gives it, as plain dictionaries, lists, numbers and texts.

    Texts longer than `characters` are cut and say so; 0 cuts nothing.
    """
    base = pipeline.base_name(record.topic)
    out: dict[str, Any] = {
        "topic": record.topic,
        "lane": record.partition,
        "offset": record.offset,
        "appended_at": moment(record.timestamp),
        "bytes": len(record.value or b""),
        "key": _key(base, record.key),
        "header": None,
    }
    kind, headers = None, list(record.headers)
    if base in TOPIC_RECORDS or base == pipeline.SEEN or base.startswith(_DEAD):
        try:
            unpacked = unpack_raw_header(headers) if base == pipeline.RAW else unpack_lane_header(headers)
            kind = unpacked.kind
            out["header"] = _header(unpacked)
        except RecordError as error:
            out["unreadable"] = str(error)
        headers = [(name, value) for name, value in headers if name != HEADER]
    if headers:
        out["headers"] = {name: value.decode("utf-8", "backslashreplace") for name, value in headers}
    try:
        out["record"] = _value(base, kind, record.value)
    except (RecordError, RecursionError) as error:
        out.setdefault("unreadable", str(error))
        out["record"] = record.value or b""
    cut: dict[str, Any] = bounded(out, characters)
    return cut


def moment(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC, or an empty text for none."""
    if milliseconds <= 0:
        return ""
    try:
        at = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    except (OverflowError, ValueError):
        return str(milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bounded(value: Any, characters: int) -> Any:
    """Return a value with long texts and lists cut, and bytes as texts. `characters` 0 cuts nothing."""
    if isinstance(value, str):
        cut = bool(characters) and len(value) > characters
        return f"{value[:characters]}… ({len(value):,} characters)" if cut else value
    if isinstance(value, bytes):
        return value.hex() if len(value) <= HEX_BYTES else _bounded_bytes(value, characters)
    if isinstance(value, dict):
        return {
            _name(key): _bounded_bytes(item, characters)
            if key in _PAYLOADS and isinstance(item, bytes)
            else bounded(item, characters)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        shown = value[:ITEMS_SHOWN] if characters else value
        out = [bounded(item, characters) for item in shown]
        if len(shown) < len(value):
            out.append(f"… ({len(value) - len(shown):,} more)")
        return out
    return value


def _bounded_bytes(value: bytes, characters: int) -> str:
    # No character takes more than four bytes: what lies beyond is never shown, so it is not decoded.
    text = (value[: 4 * characters] if characters else value).decode("utf-8", "backslashreplace")
    cut = bool(characters) and (len(text) > characters or len(value) > 4 * characters)
    return f"{text[:characters]}… ({len(value):,} bytes)" if cut else text


def _name(key: Any) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _key(base: str, key: bytes | None) -> Any:
    """Return a key as what it is in its topic, or as text where it is none of that."""
    if key is None:
        return None
    try:
        if base == pipeline.RAW:
            origin = unpack_origin(key)
            return {"source": origin.source, "record": origin.record}
        if base in TOPIC_RECORDS or base == pipeline.SEEN or base.startswith(_DEAD):
            position = unpack_position(key)
            return {"offset": position.offset, "segment": position.segment}
    except RecordError:
        return key.hex()
    if base == pipeline.CLAIMS or (base.startswith(_LEDGER) and len(key) == 8):
        return {"lane" if base == pipeline.CLAIMS else "step": int.from_bytes(key, "big")}
    return key.decode("utf-8", "backslashreplace")


def _header(header: Any) -> dict[str, Any]:
    fields: dict[str, Any] = header._asdict()
    for name, value in fields.items():
        if isinstance(value, Kind):
            fields[name] = value.name.lower()
        elif name.endswith("_at_ms"):
            fields[name] = moment(value)
        elif name in {"epoch", "prefix", "content"}:
            fields[name] = f"{value:016x}"
        elif isinstance(value, tuple):
            fields[name] = list(value)
    return {name.removesuffix("_ms"): value for name, value in fields.items()}


def _value(base: str, kind: Kind | None, value: bytes | None) -> Any:
    if base.startswith(_DEAD):
        return msgspec.to_builtins(_buried(base.removeprefix(_DEAD), value), builtin_types=(bytes,))
    if base in TOPIC_RECORDS:
        if kind is None:
            return value or b""
        return msgspec.to_builtins(decode_any(base, kind, value), builtin_types=(bytes,))
    if base in {pipeline.SEEN, pipeline.CLAIMS}:
        return {"packed_bytes": len(value or b"")}  # many documents' hashes, and nothing to read
    if value and (base in pipeline.BOOKS or base.startswith(_LEDGER)):
        try:
            return msgspec.msgpack.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"not msgpack: {error}") from error
    return value or b""


def _buried(stage: str, value: bytes | None) -> Any:
    """Read a dead letter: the input of a stage, as it was."""
    if stage not in STAGES:
        raise RecordError(f"there is no stage {stage!r}")
    source = pipeline.TOPICS[STAGES.index(stage)]
    if source != pipeline.RAW:
        return decode(value, TOPIC_RECORDS[source])
    try:
        return decode(value, RawDocument)
    except RecordError:
        return decode(value, RawStub)
