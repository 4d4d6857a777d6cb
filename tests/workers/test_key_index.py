"""The index of the duplicate windows against lists that are searched: every answer, at every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.key_index import KeyIndex

keys = st.sampled_from([0, 1, 2, 3, 2**32 - 1, 2**63 + 5, 2**64 - 1])


@st.composite
def batches(draw, columns):
    row = st.lists(keys, min_size=columns, max_size=columns)
    return draw(st.lists(st.lists(row, min_size=1, max_size=9), max_size=25))


@pytest.mark.parametrize("columns", [1, 3])
@given(st.data())
def test_it_finds_what_a_search_finds(columns, data):
    most = data.draw(st.integers(1, 12))
    index, rows = KeyIndex(columns, most), []
    if data.draw(st.booleans()):
        index.rebase_at = most + 12  # the tables' numbers begin anew again and again
    for drawn in data.draw(batches(columns)):
        batch = drawn[-most:]
        if index.grows(len(batch)):
            index.grow(len(batch))
        index.extend(np.array(batch, np.uint64))
        rows += batch
        assert index.added == len(rows)
        first = index.oldest
        assert first == max(0, len(rows) - index.capacity)
        assert index.capacity == most  # so few are made room for at once
        asked = data.draw(st.lists(keys, min_size=columns, max_size=columns))
        for column, key in enumerate(asked):
            there = [n for n in range(first, len(rows)) if rows[n][column] == key]
            assert index.newest(key, column) == max(there, default=-1)
        bound = data.draw(st.integers(1, 4))
        wanted = {
            n
            for column, key in enumerate(asked)
            for n in [n for n in range(first, len(rows)) if rows[n][column] == key][-bound:]
        }
        assert index.sharing(np.array(asked, np.uint64), bound).tolist() == sorted(wanted)
    kept = index.kept()
    assert index.keys(kept).tolist() == [rows[n] for n in kept]


@pytest.mark.parametrize("key_type", [np.uint32, np.uint64])
def test_it_grows_and_finds_all_that_it_held(key_type):
    index = KeyIndex(2, 5000, key_type)
    rows = np.random.default_rng(1).integers(0, 2**32, (12_000, 2)).astype(key_type)
    for begin in range(0, len(rows), 37):
        part = rows[begin : begin + 37]
        if index.grows(len(part)):
            index.grow(len(part))
        index.extend(part)
    assert (index.capacity, index.oldest, index.added) == (5000, 7000, 12_000)
    for n in range(7000, 12_000, 111):
        assert index.newest(int(rows[n, 1]), 1) == n
        assert index.sharing(rows[n], 1).tolist() == [n]
    assert index.newest(int(rows[6999, 1]), 1) == -1
    assert index.nbytes < 5000 * 2 * (8 + 4 + 7)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="columns and rows"):
        KeyIndex(0, 5)
    with pytest.raises(ValueError, match="columns and rows"):
        KeyIndex(1, 0)
