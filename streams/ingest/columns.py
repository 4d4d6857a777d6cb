"""Arrow record batches to rows of Python values, whatever a hostile table holds.

Strings stay bytes: a document's text goes on without being decoded and encoded again, and Arrow's own check
tells whether it is UTF-8. Values that Python has no form for (a year 300,000, an unknown time zone) are None.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from streams.ingest.items import Item
from streams.ingest.rows import MAX_FIELD_CHARACTERS, MAX_FIELDS, RowMapping

ARROW_ERRORS: Final = (pa.ArrowException, ValueError)
"""What pyarrow raises for bytes that are wrong, beside `OSError` without an errno."""
_UNFIT: Final = (pa.ArrowException, ValueError, ArithmeticError, KeyError, RecursionError)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def items_of(batch: pa.RecordBatch, mapping: RowMapping, index: int, start: int) -> Iterator[Item]:
    """Yield the items of a batch, whose first row has number `index`. Of equal names the first counts."""
    columns: dict[str, list[Any]] = {}
    strings, valid = set(), True
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in columns:
            continue
        values = column.storage if isinstance(column, pa.ExtensionArray) else column
        if _is_string(values.type):
            strings.add(name)
            valid = valid and _is_utf8(values)
        columns[name] = _values(values, mapping.names_field(name))
    names = tuple(columns)
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        fields = dict(zip(names, row, strict=True))
        yield mapping.item(fields, index + number, start, strings=strings, valid=valid)


def is_plain(kind: Any) -> bool:
    """Whether values of a type have no more bytes than their column: views and runs may share theirs."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_list_view)
    if any(of(kind) for of in (*views, pa.types.is_large_list_view, pa.types.is_run_end_encoded)):
        return False
    if pa.types.is_union(kind):
        return False
    return all(is_plain(kind.field(n).type) for n in range(kind.num_fields))


def as_binary(column: Any) -> Any:
    """Return a string column as bytes, unchecked; others as they are."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if _is_string(column.type):
        return column.view(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
    return column


def _is_string(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_utf8(column: Any) -> bool:
    try:
        column.validate(full=True)
    except ARROW_ERRORS:
        return False
    return True


def _values(column: Any, named: bool) -> list[Any]:
    """Return a column's values; of one that nobody named, only those short enough to be kept."""
    kind = column.type
    try:
        column = as_binary(column)
        if pa.types.is_timestamp(kind):
            return _times(column)
        if not named:
            column = _short(column)
    except _UNFIT:
        return [None] * len(column)
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except _UNFIT:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except _UNFIT:
        return None


def _short(column: Any) -> Any:
    """Replace by nulls what is too long for the metadata."""
    kind = column.type
    if _is_string(kind) or _is_binary(kind):
        return pc.if_else(pc.less_equal(pc.binary_length(column), 4 * MAX_FIELD_CHARACTERS), column, None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.if_else(pc.less_equal(pc.list_value_length(column), MAX_FIELDS), column, None)
    if pa.types.is_fixed_size_list(kind) and kind.list_size > MAX_FIELDS:
        return pa.nulls(len(column))
    return column


def _times(column: Any) -> list[str | None]:
    """Return timestamps as ISO 8601, in UTC where they have a zone; those without are left without."""
    mark = "Z" if column.type.tz else ""
    micros = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_pylist()
    return [None if value is None else _time(value, mark) for value in micros]


def _time(micros: int, mark: str) -> str | None:
    try:
        return (_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat() + mark
    except OverflowError:
        return None
