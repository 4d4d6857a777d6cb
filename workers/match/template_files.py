"""Templates from other people's files: JSONL, Parquet, and the columns of the released `finetemplates`.

A column is known by the names that these files use for it (`NAMES`); others are named by the caller. A row
that gives no id gets one from its contents, so that the same file gives the same ids. A row that is no
template is refused by file, line and fault, or, where the caller wants that (millions of a model's outputs
always hold some), left out and counted by fault. The alternative, repairing a broken tag, would guess.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.errors import BankError
from workers.match.bank import DEFAULT_LANGUAGE, TemplateRow, fault_of
from workers.match.json_lines import bounded_lines

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "id": ("id", "template_id"),
    "template": ("template", "instruction_template"),
    "compatible_document_description": (
        "compatible_document_description", "document_description", "description",
    ),
    "domain": ("domain", "topic"),
    "language": ("language", "lang"),
    "source": ("source", "dataset", "query_source"),
}  # fmt: skip
"""By field, what columns are called. Of `finetemplates` the two texts' names are known from the released
models' output (`template`, `compatible_document_description`); pass `columns` where a file differs."""
MAX_LINE_BYTES: Final = 1024 * 1024
_TEXTS: Final = ("template", "compatible_document_description")
_JSON: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class Reader:
    """Reads files of templates; `left_out` counts by fault what was skipped."""

    def __init__(self, columns: Mapping[str, str] | None = None, *, skip_faulty: bool = False) -> None:
        """Take names of columns by field (`NAMES`). Raises `BankError` for a field that there isn't."""
        if strangers := sorted(set(columns or {}) - NAMES.keys()):
            raise BankError(f"a template has no field {strangers[0]!r}; it has {', '.join(NAMES)}")
        self._columns = dict(columns or {})
        self._skip = skip_faulty
        self.left_out: Counter[str] = Counter()
        self._seen: dict[bytes, str] = {}

    def taken(self, ids: Sequence[str], where: str) -> None:
        """Say that ids are in use already, for `add`."""
        self._seen.update((_key(name), where) for name in ids)

    def read(self, paths: Sequence[Path]) -> Iterator[TemplateRow]:
        """Yield the templates of some files; raise `BankError` that names file, line and fault."""
        for path in paths:
            for place, raw in _rows(path, self._columns):
                fault, row = self._row(raw)
                if not fault and row is not None:
                    key = _key(row.id)
                    if key in self._seen:
                        fault = f"id {row.id!r} is taken by {self._seen[key]}"
                    else:
                        self._seen[key] = place
                if not fault and row is not None:
                    yield row
                elif self._skip:
                    self.left_out[_kind(fault)] += 1
                else:
                    raise BankError(
                        f"{place}: {fault}. Mend it, or leave out all such rows, counted, with --skip-faulty"
                    )

    def _row(self, raw: Any) -> tuple[str, TemplateRow | None]:
        if isinstance(raw, str):
            return raw, None
        if not isinstance(raw, dict):
            return "a row is an object", None
        values: dict[str, str] = {}
        for field, names in NAMES.items():
            chosen = (self._columns[field],) if field in self._columns else names
            value = next((raw[name] for name in chosen if raw.get(name) is not None), None)
            if value is None and field in _TEXTS:
                return f"there is no {' or '.join(chosen)}", None
            if value is None:
                continue
            if isinstance(value, int) and not isinstance(value, bool) and field == "id":
                value = str(value)
            if not isinstance(value, str):
                return f"{field} is no text", None
            values[field] = value
        values.setdefault("id", content_id(values["template"], values["compatible_document_description"]))
        values.setdefault("language", DEFAULT_LANGUAGE)
        row = TemplateRow(**values)
        return fault_of(row), row


def content_id(template: str, description: str) -> str:
    """Return the id of a template that names none: `t` and 16 hex digits of its contents."""
    digest = hashlib.blake2b(msgspec.msgpack.encode((template, description)), digest_size=8)
    return f"t{digest.hexdigest()}"


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _kind(fault: str) -> str:
    """Return a fault without what is in quotes or counted, so that it can be counted by."""
    return re.sub(
        r"\s+", " ", re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", fault.split(" is taken by ", maxsplit=1)[0])
    )[:120]


def _rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        raise BankError(f"{path} is no file of templates")
    if path.suffix == ".parquet":
        yield from _parquet(path, columns)
    elif path.name.endswith(_JSON):
        yield from _json(path)
    else:
        raise BankError(f"{path}: format unknown; it is one of {', '.join(_JSON)} or .parquet")


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    for place, line in bounded_lines(path, MAX_LINE_BYTES):
        if line is None:
            yield place, f"the line is longer than {MAX_LINE_BYTES} bytes"
            continue
        try:
            yield place, msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield place, f"no JSON: {error}"
        except RecursionError:
            yield place, "no JSON: nested too deeply"


def _parquet(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            known = {name for names in NAMES.values() for name in names} | set(columns.values())
            present = [name for name in file.schema_arrow.names if name in known]
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BankError(f"{path} cannot be read as Parquet: {error}") from error
