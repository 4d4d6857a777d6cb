"""Rows of keys with a hash index over each column, in numpy: 4 to 8 bytes a key besides the key itself.

A ring: beyond its bound the oldest row gives way. Each column has a table of heads, and each row one link a
column to the row before it in the same bucket, so a bucket is walked from the newest row to the oldest. The
alternative, a Python dictionary a column, takes some 130 bytes a key: 2 GB a lane for a million documents
with 16 keys each. The tables grow with what is held; what a walk finds does not depend on their size.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.unsignedinteger[Any]]

_FACTOR: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1
_FIRST_ROWS: Final = 256
_GROWTH: Final = 4
_LINK_ROWS: Final = 2048


class KeyIndex:
    """The newest `most` rows of `columns` keys each. Rows are numbered from 0 on, in the order of adding."""

    rebase_at = 2**31
    """Links are 32 bits: beyond so many rows the numbers begin anew (in the tables; not for the caller)."""

    def __init__(self, columns: int, most: int, key_type: type[np.uint64 | np.uint32] = np.uint64) -> None:
        if columns < 1 or most < 1:
            raise ValueError(f"an index needs columns and rows, not {columns} and {most}")
        self.columns = columns
        self.most = most
        self._type = key_type
        self.added = 0
        self._base = 0  # number of the row that the tables call 0
        self._make(min(most, _FIRST_ROWS))

    def _make(self, capacity: int) -> None:
        self.capacity = capacity
        bits = max(1, (capacity - 1).bit_length())  # one to two buckets a row
        self._shift = 64 - bits
        self._keys: Keys = np.zeros((capacity, self.columns), self._type)
        # Links and heads hold a row's number + 1; 0 is none.
        self._links = np.zeros((capacity, self.columns), np.uint32)
        self._heads = np.zeros(self.columns << bits, np.uint32)
        self._first = np.arange(self.columns, dtype=np.int64) << bits

    @property
    def oldest(self) -> int:
        """Number of the oldest row held."""
        return max(0, self.added - self.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes that the tables take."""
        return self._keys.nbytes + self._links.nbytes + self._heads.nbytes

    def grows(self, rows: int) -> bool:
        """Whether so many more rows make the index move to larger tables: the caller's arrays must follow."""
        return self.capacity < self.most and self.added - self.oldest + rows > self.capacity

    def grow(self, rows: int) -> None:
        """Make room for so many more rows, or for `most`. Takes about 2 us a row and 17 columns."""
        kept = self.kept()
        keys = self._keys[kept % self.capacity]
        first = self.oldest
        capacity = self.capacity
        while capacity < min(self.most, len(kept) + rows):
            capacity *= _GROWTH
        self._make(min(self.most, capacity))
        self._base = self.added = first
        self.extend(keys)

    def kept(self) -> NDArray[np.int64]:
        """Return the numbers of the rows held, ascending."""
        return np.arange(self.oldest, self.added, dtype=np.int64)

    def keys(self, rows: NDArray[np.int64]) -> Keys:
        """Return the keys of rows that are held, shape (n, columns)."""
        found: Keys = self._keys[rows % self.capacity]
        return found

    def extend(self, keys: Keys) -> None:
        """Add rows, shape (n, columns); at most `capacity` of them, after `grow` where that is due."""
        for begin in range(0, len(keys), _LINK_ROWS):
            self._link(keys[begin : begin + _LINK_ROWS])

    def append(self, keys: Keys) -> None:
        """Add one row, shape (columns,), after `grow` where that is due."""
        if self.added + 1 - self._base >= self.rebase_at:
            self._rebase()
        slot, at = self.added % self.capacity, self._buckets(keys)
        self._keys[slot] = keys
        self._links[slot] = self._heads[at]
        self.added += 1
        self._heads[at] = self.added - self._base

    def _link(self, keys: Keys) -> None:
        n = len(keys)
        if self.added + n - self._base >= self.rebase_at:
            self._rebase()
        slots = np.arange(self.added, self.added + n) % self.capacity
        marks = np.arange(self.added - self._base + 1, self.added - self._base + n + 1, dtype=np.uint32)
        buckets = self._buckets(keys)
        flat = buckets.ravel()
        order = np.argsort(flat, kind="stable")
        ordered, marked = flat[order], np.repeat(marks, self.columns)[order]
        same = ordered[1:] == ordered[:-1]
        before = self._heads[ordered]  # of the first of each bucket; the others follow one of these rows
        before[1:][same] = marked[:-1][same]
        links = np.empty_like(before)
        links[order] = before
        last = np.append(~same, True)
        self._heads[ordered[last]] = marked[last]
        self._keys[slots] = keys
        self._links[slots] = links.reshape(n, self.columns)
        self.added += n

    def _rebase(self) -> None:
        """Begin the tables' numbers anew, with the rows that are held."""
        kept = self.kept()
        keys = self._keys[kept % self.capacity]
        self._heads[:] = 0
        self._base = self.added = self.oldest
        if self.added + len(keys) - self._base >= self.rebase_at:
            raise ValueError(f"an index of {self.capacity} rows cannot be numbered in {self.rebase_at}")
        self.extend(keys)

    def _buckets(self, keys: Keys) -> NDArray[np.int64]:
        hashed = (keys.astype(np.uint64) * np.uint64(_FACTOR)) >> np.uint64(self._shift)
        found: NDArray[np.int64] = hashed.astype(np.int64) + self._first
        return found

    def newest(self, key: int, column: int = 0) -> int:
        """Return the number of the newest row with a key in a column, or -1."""
        bucket = ((key * _FACTOR) & _MASK) >> self._shift
        mark = self._heads.item(int(self._first[column]) + bucket)
        oldest, base = self.oldest, self._base
        while mark and (row := mark - 1 + base) >= oldest:
            slot = row % self.capacity
            if self._keys.item(slot, column) == key:
                return row
            mark = self._links.item(slot, column)
        return -1

    def sharing(self, keys: Keys, most: int) -> NDArray[np.int64]:
        """Return the numbers of rows that have one of these keys, shape (columns,), in its column.

        The newest `most` of each column, ascending, each once: a key that a hundred thousand documents share
        must not make each of them slow.
        """
        # By hand: a bucket holds one or two rows, and sixteen calls of numpy cost more than sixteen steps.
        buckets, asked = self._buckets(keys).tolist(), keys.tolist()
        key_at, link_at, head_at = self._keys.item, self._links.item, self._heads.item
        first, base, capacity = self.oldest - self._base + 1, self._base - 1, self.capacity
        found: set[int] = set()
        for column, bucket in enumerate(buckets):
            key, left, mark = asked[column], most, head_at(bucket)
            while mark >= first:
                slot = (mark + base) % capacity
                if key_at(slot, column) == key:
                    found.add(mark + base)
                    left -= 1
                    if not left:
                        break
                mark = link_at(slot, column)
        return np.array(sorted(found), np.int64)
