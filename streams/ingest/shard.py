"""Ingester i of n: which files it reads and which lanes it writes. Pure; `shards.py` has how n changes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final

from streams.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Shard:
    """Ingester `index` of `count`."""

    index: int = 0
    count: int = 1

    def owns(self, location: str) -> bool:
        """Whether a file is this ingester's to read. `location`: its own path or URL, also in a bundle."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(os.fsencode(location), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def lanes(self, lanes: int) -> range:
        """Return the lanes that it writes. Raises `SettingsError` where there are more ingesters."""
        if self.count > lanes:
            raise SettingsError(
                f"{self.count} ingesters cannot share {lanes} lanes; take at most {lanes} (each lane has one "
                "writer)"
            )
        return range(self.index, lanes, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


ALONE: Final = Shard()


def parse_shard(text: str) -> Shard:
    """Read `i/n`. Raises `SettingsError`."""
    index, found, count = text.partition("/")
    if not (found and index.isdecimal() and count.isdecimal() and int(index) < int(count) <= 4096):
        raise SettingsError(f"--shard wants i/n with 0 <= i < n, such as 0/2 and 1/2; {text!r} is none")
    return Shard(int(index), int(count))
