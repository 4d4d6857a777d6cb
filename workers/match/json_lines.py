"""The lines of the files that a user gives about templates: JSONL, compressed or not, each line bounded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.errors import BankError


def bounded_lines(path: Path, most_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield the lines that are not blank with their places, None for one of more than `most_bytes`.

    Raises `BankError` where the file cannot be read.
    """
    try:
        with path.open("rb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            number = 0
            while line := stream.readline(most_bytes + 1):
                number += 1
                place = f"{path} line {number}"
                if len(line) > most_bytes:
                    yield place, None
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(most_bytes)
                elif line.strip():
                    yield place, line
    except (OSError, EOFError) as error:
        raise BankError(f"{path} cannot be read: {error}") from error
