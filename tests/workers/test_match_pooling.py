import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.match.pooling import centres, gaussian_pool, weights


def naive(tokens, mask, gaussians, sigma, alpha):
    """The formulas of the paper's section 2 as they stand, one number at a time, exact sums."""
    total, d = len(tokens), len(tokens[0])
    m = [1.0 if x else 0.0 for x in mask]
    count = sum(m)
    mean = [math.fsum(m[t] * float(tokens[t][j]) for t in range(total)) / count for j in range(d)]
    out = [mean]
    for k in range(1, gaussians + 1):
        c = count * k / (gaussians + 1)
        logs = [-0.5 * ((t + 1 - c) / (sigma * count)) ** 2 if m[t] else -math.inf for t in range(total)]
        top = max(logs)
        w = [math.exp(x - top) for x in logs]
        w = [x / math.fsum(w) for x in w]
        local = [math.fsum(w[t] * float(tokens[t][j]) for t in range(total)) for j in range(d)]
        out.append([(1 - alpha) * a + alpha * b for a, b in zip(mean, local, strict=True)])
    return np.array(out)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(0, 7),
    st.sampled_from([0.01, 0.05, 0.3, 2.0]),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_pooling_equals_the_formulas(length, gaussians, sigma, alpha, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((length, 5), dtype=np.float32)
    mask = rng.random(length) < 0.8
    mask[rng.integers(length)] = True
    got = gaussian_pool(tokens, gaussians, sigma, alpha, mask)
    assert got.shape == (gaussians + 1, 5)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive(tokens, mask, gaussians, sigma, alpha), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4000), st.integers(1, 12), st.sampled_from([0.001, 0.05, 1.0]))
def test_weights_are_a_distribution_even_where_every_token_is_far(length, gaussians, sigma):
    w = weights(np.ones(length, dtype=bool), gaussians, sigma)
    assert np.isfinite(w).all()
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(axis=1), 1.0, rtol=1e-9)


def test_the_papers_numbers():
    assert centres(600, 5).tolist() == [100, 200, 300, 400, 500]
    w = weights(np.ones(600, dtype=bool), 5, 0.05)
    assert (w.argmax(axis=1) + 1).tolist() == [100, 200, 300, 400, 500]
    # One width is 30 tokens: the weight there is exp(-1/2) of the peak.
    assert w[0, 129] / w[0, 99] == pytest.approx(math.exp(-0.5))


def test_what_is_masked_does_not_count():
    tokens = np.ones((6, 3), dtype=np.float32)
    tokens[4:] = np.nan  # padding may hold anything
    mask = np.array([True] * 4 + [False] * 2)
    np.testing.assert_allclose(gaussian_pool(tokens, 5, 0.05, 1.0, mask), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(
        gaussian_pool(tokens, 5, 0.05, 1.0, mask), gaussian_pool(tokens[:4], 5, 0.05, 1.0)
    )


def test_alpha_zero_is_the_mean_and_no_gaussians_leave_it_alone():
    tokens = np.random.default_rng(1).standard_normal((50, 4), dtype=np.float32)
    pooled = gaussian_pool(tokens, 3, 0.05, 0.0)
    np.testing.assert_allclose(pooled, np.broadcast_to(tokens.mean(axis=0), (4, 4)), rtol=1e-4, atol=1e-6)
    assert gaussian_pool(tokens, 0, 0.05, 1.0).shape == (1, 4)


def test_a_local_view_sees_its_place():
    """Each sixth of the text has a direction of its own: view k looks at the border of sixths k and k+1."""
    tokens = np.repeat(np.eye(6, dtype=np.float32), 100, axis=0)
    pooled = gaussian_pool(tokens, 5, 0.05, 1.0)
    for k in range(1, 6):
        assert pooled[k, k - 1] + pooled[k, k] > 0.99


def test_nothing_to_pool_is_an_error():
    with pytest.raises(ValueError, match="no token"):
        gaussian_pool(np.zeros((0, 4), dtype=np.float32), 5, 0.05, 1.0)
    with pytest.raises(ValueError, match="no token"):
        gaussian_pool(np.zeros((3, 4), dtype=np.float32), 5, 0.05, 1.0, np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="no token"):
        weights(np.zeros(3, dtype=bool), 5, 0.05)
