"""Contamination: whether a text holds a test item of a benchmark that the user names.

`words` says what a token is, `items` reads benchmark files, `index` finds their items in texts.
"""

from workers.contamination.index import ContaminationIndex, Match, load_index
from workers.contamination.items import Item, read_items
from workers.contamination.words import words

__all__ = ["ContaminationIndex", "Item", "Match", "load_index", "read_items", "words"]
