"""Gaussian pooling: one mean over a segment's tokens and K local views of it (paper section 2).

    global    h     = sum_t m_t h_t / sum_t m_t
    centres   c_k   = T k / (K + 1),  k = 1..K,  T = number of unmasked tokens;  width  sigma T
    weights   w_kt ~ m_t exp(-1/2 ((t - c_k) / (sigma T))^2),  normalised over t = 1..T
    local     h~_k  = sum_t w_kt h_t
    blended   h*_k  = (1 - alpha) h + alpha h~_k
    output    [h, h*_1, ..., h*_K]

The weights are worked out as logarithms in double precision and normalised by their largest: in a text of a
few tokens every centre may lie twenty widths from the nearest token, where single precision would divide 0
by 0. The alternative, adding an epsilon, would turn such a view into a null vector. numpy, not torch: the
product is (K x T) by (T x d), some 0.2 ms beside the 100 ms of the encoder, and needs no second thread pool.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


def centres(tokens: int, gaussians: int) -> NDArray[np.float64]:
    """Return the K centres in tokens, counted from 1: shape (K,). K = 5 gives 1/6 … 5/6 of the text."""
    return tokens * np.arange(1, gaussians + 1, dtype=np.float64) / (gaussians + 1)


def weights(mask: NDArray[np.bool_], gaussians: int, sigma: float) -> NDArray[np.float64]:
    """Return the weight of each token in each local view: shape (K, len(mask)), rows sum to 1.

    `mask` has shape (T,), True where a token counts; the width is `sigma` times the number of those. Raises
    `ValueError` where no token counts.
    """
    count = int(mask.sum())
    if count == 0:
        raise ValueError("no token to pool: the mask is empty")
    t = np.arange(1, len(mask) + 1, dtype=np.float64)
    distance = (t[None, :] - centres(count, gaussians)[:, None]) / (sigma * count)
    logits = np.where(mask[None, :], -0.5 * distance**2, -np.inf)
    unnormalised = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    normalised: NDArray[np.float64] = unnormalised / unnormalised.sum(axis=1, keepdims=True)
    return normalised


def gaussian_pool(
    tokens: Floats, gaussians: int, sigma: float, alpha: float, mask: NDArray[np.bool_] | None = None
) -> Floats:
    """Return the K + 1 embeddings of a text from its token embeddings (paper section 2).

    `tokens` has shape (T, d) and `mask` shape (T,), True where a token counts (None: everywhere); the result
    has shape (K + 1, d), row 0 the mean of all tokens, row k centred at k/(K+1) of the text. Not normalised:
    search does that. The paper takes K = 5, sigma = 0.05, alpha = 1. Raises `ValueError` where no token
    counts.
    """
    if mask is None:
        mask = np.ones(len(tokens), dtype=np.bool_)
    count = int(mask.sum())
    if count == 0:
        raise ValueError("no token to pool: the text is empty")
    mean = mask.astype(np.float64) / count
    local = (1.0 - alpha) * mean[None, :] + alpha * weights(mask, gaussians, sigma)
    mixing = np.concatenate([mean[None, :], local]).astype(np.float32)  # (K + 1, T): one product does it all
    pooled: Floats = mixing @ np.where(mask[:, None], tokens, np.float32(0))
    return pooled
