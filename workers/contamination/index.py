"""Finds test items in texts: the share of an item's tokens that lie in 8-grams which the text holds too.

What is Tulu 3's (arXiv 2411.15124, section 3.2): 8-grams; a token of a test item matches where the two texts
share an 8-gram that contains it; there is significant overlap where *more than* 50 % of the item's tokens
match within the same training instance; of a test item its prompt counts (user turns), not the answer. As in
their released code, the grams may lie anywhere in the text and in any order, and an item without 8 tokens
has no 8-gram.

What is our choice, since their question is which *instruction data* to leave out and ours which *crawl*:
- the training instance is a segment, all of its text: a document's other segments are judged on their own,
  and an item that a cut between two segments divides can go unseen where it leaves half to neither side;
- tokens are words without case, accents and punctuation (`words`); theirs are spaCy's, compared by a search
  engine's analyser;
- each text of a row is an item (`items`); theirs are averaged over the row's fields. So one turn is enough;
- an item of fewer than 8 tokens matches only a text that is nothing but the item: inside a document "Who is
  the president?" is chance, as a whole query it is the test;
- placeholders for personal data stand in the text by then (`chunk.scrub`): an item's address is not found;
- the segment alone is flagged, and selection left to readers; theirs drops whole data sets of which more than
  2 % of a benchmark's items are found.

How: a shared run of 8 tokens contains, wherever it begins, one of the text's 6-grams at a multiple of 3. So a
text's hashes of those are looked up, a third of its positions, in a bit table and, where that says perhaps,
in a sorted array; nearly all texts end there. What is left names items, and each is compared token by token
with the set of the text's 8-grams, so a collision of hashes costs time and flags nothing. The alternative, a
set of all 8-grams, is as exact, three times as slow and needs three times the memory.

Memory: 8 bytes for an item's token, 12 for each of its 6-grams and 8-16 of table, some 200 for its place and
list: about 600 bytes for an item of 20 tokens, 3.5 kB for one of 100. Time at worst: a text of everybody's
phrases makes every item be compared once, which is linear in the index (`dev/LOG.md`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from streams.settings import ContaminationSettings
from streams.settings.files import named_files
from workers.contamination.items import Item, read_items
from workers.contamination.words import words

GRAM: Final = 8
_SEED: Final = 6
_STRIDE: Final = GRAM - _SEED + 1
_SLOTS_A_SEED: Final = 8
_SECOND: Final = 23
"""How far the hash is shifted for the table's second probe."""


class Match(NamedTuple):
    """A test item that a text holds more of than the threshold allows."""

    benchmark: str
    place: str  # file and line of the item
    share: float  # of the item's tokens


class ContaminationIndex:
    """The items of some benchmarks. Immutable, so threads may share it; hashes are this process's own."""

    def __init__(self, benchmarks: Mapping[str, Iterable[Item]], threshold: float = 0.5) -> None:
        self.benchmarks = tuple(benchmarks)
        self._threshold = threshold
        self._names: list[str] = []
        self._places: list[str] = []
        self._tokens: list[tuple[bytes, ...]] = []
        self._short: dict[tuple[bytes, ...], list[int]] = {}
        seeds: list[tuple[int, int]] = []
        one: dict[bytes, bytes] = {}  # equal tokens are one object
        for name, items in benchmarks.items():
            for item in items:
                tokens = tuple(one.setdefault(token, token) for token in words(item.text))
                number = len(self._tokens)
                if not tokens:
                    continue
                self._names.append(name)
                self._places.append(item.place)
                self._tokens.append(tokens)
                if len(tokens) < GRAM:
                    self._short.setdefault(tokens, []).append(number)
                else:
                    seeds += ((seed, number) for seed in set(map(hash, _grams(tokens, _SEED))))
        seeds.sort()
        self._seeds = array("q", (seed for seed, _ in seeds))
        self._items = array("I", (item for _, item in seeds))
        bits = max(10, (_SLOTS_A_SEED * len(seeds)).bit_length())
        self._mask = (1 << bits) - 1
        self._table = bytearray(1 << bits)
        for seed in self._seeds:
            self._table[seed & self._mask] = self._table[seed >> _SECOND & self._mask] = 1

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def short(self) -> int:
        """Items of fewer than 8 tokens, which only a whole text can match."""
        return sum(map(len, self._short.values()))

    def shares(self, text: str) -> dict[str, float]:
        """Return, for each benchmark that the text contaminates, the largest share of one of its items.

        The keys come in order of name, the share is rounded to 4 digits. Empty for a clean text.
        """
        found: dict[str, float] = {}
        for match in self.matches(text):
            found[match.benchmark] = max(match.share, found.get(match.benchmark, 0.0))
        return {name: round(found[name], 4) for name in sorted(found)}

    def matches(self, text: str) -> list[Match]:
        """Return all items of which the text holds more than the threshold, in the order of the index."""
        tokens = words(text)
        if len(tokens) < GRAM:
            whole = self._short.get(tuple(tokens), ())
            return [Match(self._names[item], self._places[item], 1.0) for item in whole]
        table, mask = self._table, self._mask
        seeds = [
            seed
            for seed in map(hash, _grams(tokens, _SEED, _STRIDE))
            if table[seed & mask] and table[seed >> _SECOND & mask]
        ]
        items = sorted({item for seed in seeds for item in self._holders(seed)}) if seeds else []
        if not items:
            return []
        grams = set(_grams(tokens, GRAM))
        shares = ((item, _covered(self._tokens[item], grams) / len(self._tokens[item])) for item in items)
        return [
            Match(self._names[item], self._places[item], share)
            for item, share in shares
            if share > self._threshold
        ]

    def _holders(self, seed: int) -> Iterator[int]:
        """Yield the items that have a 6-gram of this hash."""
        place = bisect_left(self._seeds, seed)
        while place < len(self._seeds) and self._seeds[place] == seed:
            yield self._items[place]
            place += 1


def load_index(settings: ContaminationSettings) -> ContaminationIndex | None:
    """Read the benchmarks that the settings name; None where they name none. Raise `SettingsError`."""
    if not settings.benchmarks:
        return None
    benchmarks: dict[str, list[Item]] = {}
    for name, pattern in settings.benchmarks.items():
        fields = settings.fields.get(name, ())
        benchmarks[name] = [item for path in named_files(pattern) for item in read_items(path, fields)]
    return ContaminationIndex(benchmarks, settings.threshold)


def _grams(tokens: Sequence[bytes], size: int, stride: int = 1) -> Iterator[tuple[bytes, ...]]:
    """Yield the runs of `size` tokens that begin at each `stride`-th."""
    return zip(*(tokens[first::stride] for first in range(size)), strict=False)


def _covered(tokens: Sequence[bytes], grams: set[tuple[bytes, ...]]) -> int:
    """Return how many of an item's tokens lie in one of the 8-grams."""
    covered = end = 0
    for first, gram in enumerate(_grams(tokens, GRAM)):
        if gram in grams:
            covered += first + GRAM - max(first, end)
            end = first + GRAM
    return covered
