"""Reading benchmark files: each text that a model would be asked is a test item.

A row's text is found by the names that benchmarks use for it (`FIELDS`), or by the fields that the settings
name. Each text is an item of its own, so each turn of a dialogue too: who has seen one has seen part of the
test. Files are the user's and may be broken: an error names the file and the line. The alternative, skipping
what cannot be read, would leave test items unprotected without a word.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams.errors import SettingsError

FIELDS: Final = (
    "turns", "history", "conversations", "messages", "dialogue", "prompt", "question", "instruction",
    "instructions", "problem", "query", "input", "text",
)  # fmt: skip
"""Where a test item's text is looked for, the first that a row has. Passages (`context`) are left out: those
of reading tests come from Wikipedia, and an article is no test item."""
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_USERS: Final = frozenset({"user", "human", "prompter"})
_TABLES: Final = {".csv": ",", ".tsv": "\t"}
_FORMATS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")


class Item(NamedTuple):
    """One text of a benchmark."""

    place: str  # file and line (of a `.json` file: row)
    text: str


def read_items(path: Path, fields: Sequence[str] = ()) -> list[Item]:
    """Return the items of a benchmark file; raise `SettingsError` where it cannot be read whole.

    By the suffix: `.jsonl`/`.ndjson` (a row a line), `.json` (a list of rows, or an object whose values are
    rows or that has one list of them), `.csv`/`.tsv` (with a header; without one `fields` are column numbers
    from 0), `.txt` (an item a line). A row is a text or an object. `fields` are names, or dotted paths that
    walk through objects and all elements of lists, such as `history.user`. An empty text is no item.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise SettingsError(
            f"benchmark file {path}: format unknown; it is one of {', '.join(_FORMATS)}, uncompressed"
        )
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"benchmark file {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"benchmark file {path} is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
    items = [
        Item(place, text)
        for place, row in _rows(path, suffix, data, fields)
        for text in _texts(place, row, fields)
        if text.strip()
    ]
    if not items:
        raise SettingsError(
            f"benchmark file {path} holds no test item; take it out of chunk.contamination.benchmarks"
        )
    return items


def _rows(path: Path, suffix: str, data: bytes, fields: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if suffix == ".json":
        yield from _json_rows(path, _decode(f"{path}", data))
        return
    if suffix in _TABLES:
        yield from _table_rows(path, _decode(f"{path}", data), _TABLES[suffix], fields)
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            text = _decode(place, line)
            yield place, text if suffix == ".txt" else _json(place, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    content = _json(f"{path}", text)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if content and all(isinstance(value, dict) for value in content.values()):
            content = list(content.values())
        elif len(lists) == 1:
            content = lists[0]
    if not isinstance(content, list):
        raise SettingsError(
            f"benchmark file {path} is no list of rows; write it as JSON lines, one test item a line"
        )
    for number, row in enumerate(content, 1):
        yield f"{path}, row {number}", row


def _table_rows(path: Path, text: str, delimiter: str, fields: Sequence[str]) -> Iterator[tuple[str, Any]]:
    lines = io.StringIO(text, newline="")
    reader = (
        csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        if delimiter == "\t"
        else csv.reader(lines, delimiter=delimiter, strict=True)
    )
    header: list[str] | None = None
    numbered = bool(fields) and all(field.isdecimal() for field in fields)
    try:
        for cells in reader:
            if header is None and not numbered:
                header = [cell.strip() for cell in cells]
            elif cells:
                names = header or [str(i) for i in range(len(cells))]
                yield f"{path}, line {reader.line_num}", dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise SettingsError(f"benchmark file {path}, line {reader.line_num}: {error}") from error


def _decode(place: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = place if b"\n" not in data else f"{place}, line {line}"
        raise SettingsError(f"benchmark file {where}: no UTF-8 ({error.reason}); convert it") from error


def _json(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise SettingsError(
            f"benchmark file {place}{line}: no JSON ({error.msg} at column {error.colno})"
        ) from error
    except RecursionError as error:
        raise SettingsError(f"benchmark file {place}: nested too deeply for a list of test items") from error


def _texts(place: str, row: Any, fields: Sequence[str]) -> Iterator[str]:
    if isinstance(row, str):
        yield row
        return
    if not isinstance(row, dict):
        raise SettingsError(f"benchmark file {place}: a row is a text or an object, not {type(row).__name__}")
    if fields:
        for field in fields:
            yield from _walk(place, row, field)
        return
    found = next((name for name in FIELDS if row.get(name)), None)
    if found is None:
        has = ", ".join(map(str, list(row)[:12]))
        raise SettingsError(
            f"benchmark file {place}: none of the usual fields holds a test item's text. Name those that do "
            f"in chunk.contamination.fields; this row has {has[:300] or 'none'}"
        )
    yield from _user_texts(f"{place}, field {found}", row[found])


def _walk(place: str, row: dict[str, Any], field: str) -> Iterator[str]:
    values: list[Any] = [row]
    for name in field.split("."):
        flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
        values = [part[name] for part in flat if isinstance(part, dict) and name in part]
    if not values:
        has = ", ".join(map(str, list(row)[:12]))
        raise SettingsError(
            f"benchmark file {place} has no field {field!r}; chunk.contamination.fields names it, "
            f"but the row has {has[:300] or 'none'}"
        )
    for value in values:
        yield from _user_texts(f"{place}, field {field}", value)


def _user_texts(place: str, value: Any) -> Iterator[str]:
    """Yield what the user says in a field: a text, a list of turns, or a dialogue with roles."""
    for turn in value if isinstance(value, list) else [value]:
        said: Any = turn
        if isinstance(turn, dict):
            role = turn.get("role", turn.get("from"))
            if isinstance(turn.get("user"), str):
                said = turn["user"]
            elif isinstance(role, str):
                said = turn.get("content", turn.get("value")) if role.lower() in _USERS else None
        if isinstance(said, str):
            yield said
        elif said is not None:
            raise SettingsError(
                f"benchmark file {place}: a text, a list of texts or turns with a role are wanted, not "
                f"{type(said).__name__}; name the path of the text in chunk.contamination.fields"
            )
