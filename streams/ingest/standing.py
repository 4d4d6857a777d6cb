"""How an ingester that follows stands: a small file beside `processes.json`, for `finestream status`.

Nothing depends on it: what was sent is in the log. Metrics alone would not do, since names and reasons are
no labels.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from streams import children
from streams.ingest.progress import Progress
from streams.ingest.shard import Shard
from streams.ingest.source import Source
from streams.ingest.watch import Watch

EVERY_SECONDS: Final = 1.0
MOST_SHOWN: Final = 100
"""Of the files that are waited for."""
_NAME: Final = "ingest-{}.json"


class Standing(Progress):
    """Writes the file, at most once a second; passes progress on."""

    def __init__(self, data_dir: Path, shard: Shard, inputs: list[str], inner: Progress) -> None:
        self._path = data_dir / _NAME.format(shard.index)
        self._inner = inner
        self._written = 0.0
        self.watch: Watch | None = None
        self._data: dict[str, Any] = {
            "pid": os.getpid(),
            "started": children.started(os.getpid()),
            "shard": str(shard),
            "following": inputs,
            "reading": None,
        }

    def begin(self, source: Source) -> None:
        """Say which source is read."""
        size = source.identity.size
        self._data["reading"] = {"source": source.name, "at": 0, "bytes": size, "documents": 0}
        self._inner.begin(source)
        self.write()

    def at(self, position: int, documents: int) -> None:
        """Say how far it is."""
        self._data["reading"] |= {"at": position, "documents": documents}
        self._inner.at(position, documents)
        self.write()

    def end(self) -> None:
        """Say that none is read."""
        self._data["reading"] = None
        self._inner.end()

    def write(self, *, now: bool = False) -> None:
        """Replace the file where it is time for it."""
        if not now and time.monotonic() - self._written < EVERY_SECONDS:
            return
        self._written = time.monotonic()
        watch = self.watch
        if watch is not None:
            self._data |= {
                "waiting": watch.waiting,
                "waiting_for": list(watch.why_waiting(MOST_SHOWN)),
                "problems": watch.problems(),
                "lag_seconds": round(watch.lag_seconds, 1),
            }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            children.write_atomically(self._path, json.dumps({**self._data, "at": time.time()}) + "\n")
        except OSError:  # a full disk passes, and what matters does not go through here
            return

    def __enter__(self) -> Self:
        self._inner.__enter__()
        self.write(now=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)
        self._path.unlink(missing_ok=True)


def read_all(data_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield how each ingester stands that follows something and lives."""
    for path in sorted(data_dir.glob(_NAME.format("*"))):
        try:
            data = json.loads(path.read_bytes())
            alive = children.same(int(data["pid"]), float(data["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if alive:
            yield data
