"""The columns of a built bank, mapped from an Arrow file: sequences of texts that are read where they lie.

18 million templates are some 6 GB of text. Mapped, a worker holds what it touches, and the workers of one
machine share it; a row costs about a microsecond. The alternative, tuples, costs a worker 100 bytes a text
beside the text and a minute at each start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.errors import BankError
from workers.match.bank import TemplateRow, slots

ROWS_A_BATCH: Final = 65_536
SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("template", pa.string(), nullable=False),
        pa.field("compatible_document_description", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("complexity", pa.int16(), nullable=False),
        pa.field("keep", pa.float32(), nullable=False),
    ]
)


class TextColumn(Sequence[str]):
    """A column of texts."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._ends = list(accumulate(len(chunk) for chunk in self._chunks))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        if isinstance(row, slice):
            return tuple(self[i] for i in range(*row.indices(len(self))))
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        chunk = bisect_right(self._ends, row)
        text: str = self._chunks[chunk][row - self._ends[chunk]].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            for start in range(0, len(chunk), 4096):
                yield from chunk.slice(start, 4096).to_pylist()


class RowOf(Mapping[str, int]):
    """Row number by id; the table is made when first asked for, since only small banks' engines ask."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._rows: dict[str, int] | None = None

    def __getitem__(self, template: str) -> int:
        if self._rows is None:
            self._rows = {name: row for row, name in enumerate(self._ids)}
        return self._rows[template]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def write(path: Path, rows: Iterable[TemplateRow], keep: NDArray[np.float32] | None = None) -> int:
    """Write rows as an Arrow file, a batch at a time; return how many. `keep` has one number a row."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as out:
        batch: list[TemplateRow] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_A_BATCH:
                out.write_batch(_batch(batch, keep, count))
                count += len(batch)
                batch = []
        if batch:
            out.write_batch(_batch(batch, keep, count))
            count += len(batch)
    return count


def _batch(rows: Sequence[TemplateRow], keep: NDArray[np.float32] | None, first: int) -> Any:
    kept = np.ones(len(rows), np.float32) if keep is None else keep[first : first + len(rows)]
    return pa.record_batch(
        [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.template for row in rows], pa.string()),
            pa.array([row.compatible_document_description for row in rows], pa.string()),
            pa.array([row.domain for row in rows], pa.string()),
            pa.array([row.language for row in rows], pa.string()),
            pa.array([row.source for row in rows], pa.string()),
            pa.array([len(slots(row.template)) for row in rows], pa.int16()),
            pa.array(kept, pa.float32()),
        ],
        schema=SCHEMA,
    )


def read(path: Path) -> Any:
    """Return the mapped table of an Arrow file; raise `BankError` where it is none of ours."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise BankError(f"template bank: {path} cannot be read as Arrow: {error}") from error
    if not table.schema.equals(SCHEMA):
        raise BankError(f"template bank: {path} has other columns than a bank: build it again")
    return table


def rows_of(table: Any) -> Iterator[TemplateRow]:
    """Yield a bank's rows."""
    names = ("id", "template", "compatible_document_description", "domain", "language", "source")
    columns = [TextColumn(table.column(name).chunks) for name in names]
    for values in zip(*columns, strict=True):
        yield TemplateRow(*values)
