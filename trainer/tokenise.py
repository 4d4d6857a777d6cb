"""Rendered pairs to token ids: each whole, between its own BOS and EOS.

Special ids are placed here and nowhere else: the tokenizer reads every text as plain text, so a crawled
page that holds `<|end_of_text|>` cannot end a document (`streams/tokens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from streams.tokens import TokenCounter

Tokens: TypeAlias = npt.NDArray[np.int32]
"""Token ids of one text, shape (n,). 4 bytes an id: a list of Python ints takes nine times as much."""


def encode_texts(tokenizer: TokenCounter, texts: Sequence[str]) -> list[Tokens]:
    """Return, for each text, BOS + its ids + EOS (the released runs' loader, paper section 5).

    One call for many texts: the tokenizer spreads them over threads.
    """
    begin, end = tokenizer.bos_id, tokenizer.eos_id
    return [np.array([begin, *ids, end], np.int32) for ids in tokenizer.encode_batch(texts)]
