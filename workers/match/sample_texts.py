"""Documents from files, cut into segments and embedded as matching does: for `measure` and `calibrate`.

The settings of chunk and match give the segments' length and the pooling, so that what is measured is what
the stream will do. Texts are read as they are (fields `text` and `language` of JSONL): no extraction, no
filters; take a sample of what those let through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.errors import BankError
from streams.settings import MatchSettings
from streams.tokens import TokenCounter
from workers.chunk.segment import cut
from workers.encoder import Encoder, FloatArray
from workers.match.bank import DEFAULT_LANGUAGE
from workers.match.json_lines import bounded_lines
from workers.match.pooling import gaussian_pool

TEXTS_AT_ONCE: Final = 32
MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class SampleText(NamedTuple):
    """A segment of a sample."""

    text: str
    language: str


class _Line(msgspec.Struct):
    text: str
    language: str = DEFAULT_LANGUAGE


def json_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a JSONL file, compressed or not, with their places; raise `BankError`."""
    for place, line in bounded_lines(path, MAX_LINE_BYTES):
        if line is None:
            raise BankError(f"{place} is longer than {MAX_LINE_BYTES} bytes")
        yield place, line


def sample_segments(paths: Sequence[Path], counter: TokenCounter, tokens: int, most: int) -> list[SampleText]:
    """Return at most `most` segments of documents in JSONL files, cut at `tokens` tokens as chunk does."""
    decoder = msgspec.json.Decoder(_Line)
    out: list[SampleText] = []
    for path in paths:
        for place, line in json_lines(path):
            try:
                document = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BankError(f"{place} is no document: {error}") from None
            out += [
                SampleText(piece.text, document.language)
                for piece in cut(document.text, counter, tokens)
                if piece.text.strip()
            ]
            if len(out) >= most:
                return out[:most]
    return out


def embeddings(encoder: Encoder, texts: Sequence[str], settings: MatchSettings) -> Iterator[FloatArray]:
    """Yield each text's K + 1 embeddings, shape (K + 1, d), as matching makes them."""
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        for states in encoder.token_embeddings(texts[start : start + TEXTS_AT_ONCE]):
            yield gaussian_pool(states, settings.gaussians, settings.sigma, settings.alpha)
