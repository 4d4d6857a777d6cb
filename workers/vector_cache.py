"""Embeddings of texts that do not change, kept in the user's cache: descriptions, slots, passages.

Embedding a bank takes some 12 s on two cores, and every worker start would pay it, also after a kill; so the
vectors are kept by what they follow from, as plain `.npy`: 2 ms to read. A file that is missing, cut off or
of another shape is made anew; one that cannot be written costs time, not results. The alternative, vectors
shipped beside the texts, would fit one encoder only.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from workers.encoder import FloatArray

FORMAT: Final = 1
"""Of the cached vectors; raised when the same texts and encoder would give others."""

log = structlog.get_logger(__name__)


def cache_folder() -> Path:
    """Return where cached embeddings lie: `$XDG_CACHE_HOME/finestream/embeddings`, else under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "finestream" / "embeddings"


def cached(key: str, shape: tuple[int, int], make: Callable[[], FloatArray]) -> FloatArray:
    """Return the array kept under a key, or make it and keep it.

    `key` must name everything that the array follows from. A file that is no float32 array of this shape, or
    holds a number that is none, is made anew. Written whole or not at all: two processes that make the same
    array at once both succeed.
    """
    digest = hashlib.blake2b(f"{FORMAT} {key}".encode(), digest_size=16).hexdigest()
    path = cache_folder() / f"{digest}.npy"
    kept = _read(path, shape)
    if kept is not None:
        return kept
    made = np.ascontiguousarray(make(), dtype=np.float32)
    if made.shape != shape:
        raise ValueError(f"embeddings have shape {made.shape}, not {shape}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.save(file, made, allow_pickle=False)
        Path(file.name).replace(path)
    except OSError as error:
        log.warning("embeddings are not cached: each start makes them anew", reason=str(error))
    return made


def _read(path: Path, shape: tuple[int, int]) -> FloatArray | None:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("cached embeddings are unreadable and made anew", path=str(path), reason=str(error))
        return None
    if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
        return None
    out: FloatArray = array
    return out
