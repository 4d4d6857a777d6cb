"""Round trip: would the answer be found again by its instruction, and the instruction by its answer (rule f)?

The answer must come first for its instruction among the segment's other sentences that show evidence, and
in the first three with 1,000 fixed passages of other documents; and of all templates that the engine takes
on, filled or not, few may be nearer to the answer than its own. The passages come with the project
(NOTICE), and so do their vectors for the embedded encoder; another encoder's are made once and kept in the
user's cache.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final

import numpy as np

from workers.encoder import EMBEDDED, Encoder, FloatArray
from workers.engines.extractive.eligibility import plan
from workers.match.bank import Bank
from workers.vector_cache import cached

PASSAGES: Final = 1000
BACKGROUND: Final = "background.jsonl.gz"
VECTORS: Final = "background.npz"
PASSAGES_AHEAD: Final = 2
"""Passages of other documents that may be nearer to an instruction than its answer is."""
TEMPLATES_AHEAD: Final = 25
"""Templates that may be nearer to an answer than its own: bare of the subject's name their order is rough."""


def text_hash(texts: Sequence[str]) -> bytes:
    """Return 16 bytes over texts and their order."""
    return hashlib.blake2b("\x00".join(texts).encode(), digest_size=16).digest()


@cache
def passages() -> tuple[str, ...]:
    """Return the background passages in their fixed order."""
    data = gzip.decompress(resources.files(__package__).joinpath(BACKGROUND).read_bytes())
    return tuple(json.loads(line)["text"] for line in data.decode("utf-8").splitlines())


def background(encoder: Encoder) -> FloatArray:
    """Return the passages' normalised vectors, float32 [1000, d]."""
    texts = passages()
    if encoder.name == EMBEDDED:
        data = resources.files(__package__).joinpath(VECTORS).read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            if arrays["digest"].tobytes() == text_hash(texts):
                kept: FloatArray = arrays["vectors"].astype(np.float32)
                return kept
    key = f"background {text_hash(texts).hex()} {encoder.name}"
    return cached(key, (len(texts), encoder.dimension), lambda: encoder.encode(texts))


class RoundTrip:
    """Compares an instruction and its answer with everything else they could have gone with."""

    def __init__(self, bank: Bank, encoder: Encoder) -> None:
        """Take the background and the bank's eligible templates, slots spelled out as their descriptions."""
        self._background = background(encoder)
        rows = [i for i, template in enumerate(bank.templates) if not plan(template).refusal]
        self._ids = {bank.ids[row]: i for i, row in enumerate(rows)}
        spelled = [re.sub(r"</?fi>", "", bank.templates[row]) for row in rows]
        key = f"templates {text_hash(spelled).hex()} {encoder.name}"
        self._templates = cached(key, (len(spelled), encoder.dimension), lambda: encoder.encode(spelled))

    def fails(
        self, instruction: FloatArray, answer: FloatArray, others: FloatArray, template_id: str, text: str
    ) -> str:
        """Say which way fails, "answer" or "instruction"; empty where the pair comes back both ways.

        All vectors are normalised: `instruction` and `answer` [d], `others` [n, d] the segment's other
        sentences. A passage that the segment itself holds is no rival.
        """
        own = float(instruction @ answer)
        if len(others) and float((others @ instruction).max()) > own:
            return "answer"
        rivals = np.flatnonzero(self._background @ instruction > own)
        if sum(passages()[rival] not in text for rival in rivals) > PASSAGES_AHEAD:
            return "answer"
        row = self._ids.get(template_id)
        if row is not None:
            similarities = self._templates @ answer
            if np.count_nonzero(similarities > similarities[row]) > TEMPLATES_AHEAD:
                return "instruction"
        return ""

    def rival(self, instruction: FloatArray, text: str, n: int) -> float:
        """Return the cosine of an instruction and its n-th nearest background passage that `text` has not."""
        similarities = self._background @ instruction
        order = np.argsort(-similarities, kind="stable")[: 3 * n]
        rivals = [int(row) for row in order if passages()[int(row)] not in text]
        return float(similarities[rivals[min(n, len(rivals)) - 1]]) if rivals else 0.0

    def template_place(self, answer: FloatArray, own: float) -> float:
        """Return the share of eligible templates whose cosine to the answer is above `own`."""
        if not len(self._templates):
            return 0.0
        return float(np.count_nonzero(self._templates @ answer > own)) / len(self._templates)
