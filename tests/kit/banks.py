"""Banks for tests: an encoder that needs no model, and templates that are all different."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS = (
    "river", "mountain", "disease", "planet", "law", "recipe", "engine", "novel", "treaty", "insect",
    "bridge", "tax", "virus", "garden", "song", "battle", "harbour", "crystal", "market", "robot",
)  # fmt: skip


class WordEncoder:
    """A text's vector is the sum of its words' random directions, at length 1: real enough to be near."""

    dimension = 32

    def __init__(self, name: str = "words") -> None:
        self.name = name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        out = np.zeros((len(texts), self.dimension), np.float32)
        for i, text in enumerate(texts):
            for word in text.lower().split():
                seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big")
                out[i] += np.random.default_rng(seed).standard_normal(self.dimension, dtype=np.float32)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return templates with 1 to 4 slots, none near another."""
    out = []
    for i in range(first, first + count):
        one, two = WORDS[i % 20], WORDS[(i // 20 + 7 * i + 3) % 20]
        slots = " and ".join(f"<fi>{one} part {j}</fi>" for j in range(1 + i % 4))
        out.append(
            {
                "id": f"t{i:04}",
                "template": f"question number{i} about{i} {one}{i} {two}: {slots}?",
                "compatible_document_description": f"A{i} page{i} on {one}{i} beside {two}{i} number{i}.",
                "domain": one,
            }
        )
    return out


def write_jsonl(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
