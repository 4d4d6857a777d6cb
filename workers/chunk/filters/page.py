"""A page's text as all filters look at it: lines, words and counts, each made once and only when asked for.

Words are what costs (a quarter of a millisecond for 10 kB), so a page that a rule about lines rejects is
never split, and the filters behind the first that splits find the words there.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Final, NamedTuple

from workers.chunk.filters.splitter import words

UNSPACED: Final = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "dz"})
"""Languages that write no spaces between words: what a splitter at spaces finds there are no words."""

# ! / " and so on: what datatrove calls punctuation, plus marks that end sentences in other scripts.
PUNCTUATION: Final = frozenset(
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
) | {chr(code) for first, last in ((0, 9), (11, 13), (13, 32), (127, 160)) for code in range(first, last)}
TERMINAL: Final = frozenset(
    "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡"
    "\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57\U00010f58\U00010f59\U00010f86\U00010f87\U00010f88"
    "\U00010f89\U00011047\U00011048\U000110be\U000110bf\U000110c0\U000110c1\U00011141\U00011142\U00011143"
    "\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9"
    "\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9\U000115ca\U000115cb\U000115cc\U000115cd\U000115ce"
    "\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4\U000115d5\U000115d6\U000115d7\U00011641"
    "\U00011642\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c"
    "\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37"
    "\U00016b38\U00016b44\U00016e98\U0001bc9f\U0001da88"
)
"""Marks that end a sentence, of all scripts (Unicode's Sentence_Terminal)."""
_SYMBOLS: Final = PUNCTUATION | TERMINAL
_PARAGRAPH_BREAK: Final = re.compile(r"\n{2,}")
_LINE_BREAK: Final = re.compile(r"\n+")


class Tally(NamedTuple):
    """What the words of a page add up to."""

    words: int  # punctuation among them
    named: int  # words that are not punctuation alone
    named_characters: int
    alpha: int  # words with a letter
    recurring: int  # most times that a word occurs, where it occurs twice
    recurring_characters: int  # most characters that all occurrences of such a word have


class Page:
    """A text and its language; everything else is found when it is first asked for."""

    def __init__(self, text: str, language: str = "en") -> None:
        self.text = text
        self.english = language == "en"
        self.spaced = language not in UNSPACED

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank."""
        return [line for line in self._split if line and not line.isspace()]

    @cached_property
    def _split(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def paragraphs(self) -> list[str]:
        """What blank lines part."""
        text = self.text.strip()
        return _PARAGRAPH_BREAK.split(text) if "\n\n\n" in text else text.split("\n\n")

    @cached_property
    def broken_lines(self) -> list[str]:
        """What line ends part: the outermost may be empty, and blanks count as lines."""
        text = self.text
        if text[:1] == "\n" or text[-1:] == "\n":
            return _LINE_BREAK.split(text)
        return [line for line in self._split if line] or [""]

    @cached_property
    def words(self) -> list[str]:
        """All words in order, punctuation marks among them."""
        return words(self.text)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs."""
        return Counter(self.words)

    @cached_property
    def tally(self) -> Tally:
        """The words added up, one look at each distinct one."""
        symbols = symbol_characters = alpha = characters = recurring = recurring_characters = 0
        for word, count in self.counts.items():
            length = len(word)
            if count > 1:
                length *= count
                # Comparing is half as dear as calling max.
                if length > recurring_characters:  # noqa: PLR1730
                    recurring_characters = length
                if count > recurring:  # noqa: PLR1730
                    recurring = count
            characters += length
            if word.isalpha():
                alpha += count
            elif word in _SYMBOLS or _SYMBOLS.issuperset(word):
                symbols += count
                symbol_characters += length
            elif any(map(str.isalpha, word)):
                alpha += count
        total = len(self.words)
        return Tally(
            total, total - symbols, characters - symbol_characters, alpha, recurring, recurring_characters
        )
