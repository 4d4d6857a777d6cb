"""Tokenizers: count, encode and locate tokens of hostile text, without torch.

A thin typed wrapper over `tokenizers`. What it adds: text is only ever text (a crawl page that contains
`<|end_of_text|>` gets the tokens of those characters, never the special id); identity by fingerprint; and a
count that is exact but 5-10 times cheaper than encoding, since counting every document of the stream would
otherwise cost more than extracting its text. The alternative, an estimate by characters, would make the
trainer's token budget an estimate too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, cast

from tokenizers import Tokenizer

from streams.errors import SettingsError

DEFAULT: Final = "finestream-bpe"
LLAMA3_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 (the paper's tokenizer) and ours part a text before BPE merges anything."""

_NAMES: Final = {
    "bos": ("<|begin_of_text|>", "<s>", "<bos>", "<|im_start|>", "<|startoftext|>"),
    "eos": ("<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", "<|im_end|>"),
    "pad": ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>"),
}
_CACHED_WORDS: Final = 1 << 17
_CACHED_CHARACTERS: Final = 40
_PARAGRAPH, _RUN, _LINE, _TAB, _PLAIN = "\1", "\2", "\3", "\4", "\5"
_ENDS_LINES: Final = frozenset("\r\n")
_SPACES: Final = re.compile(r"  +(?=\S)")
_NOT_A_BOUNDARY: Final = -(1 << 60)


class TokenCounter:
    """A loaded tokenizer. Thread-safe. No method adds special tokens; the trainer places them itself."""

    def __init__(self, name: str, definition: str, special: dict[str, str] | None = None) -> None:
        """Build from the text of a `tokenizer.json`; `special` names the bos, eos and pad tokens."""
        self.name = name
        self.fingerprint = hashlib.blake2b(definition.encode(), digest_size=8).hexdigest()
        """16 hex digits over the definition: two tokenizers of one name can still differ."""
        self._tokenizer = _text_is_text(name, definition)
        self._words = _Words(self._tokenizer) if _splits_at_spaces(self._tokenizer) else None
        special = special or {}
        eos = self._special_id("eos", special)
        if eos is None:
            raise SettingsError(
                f"tokenizer {name!r} has no end-of-text token: name one as eos_token in tokenizer_config.json"
            )
        bos, pad = self._special_id("bos", special), self._special_id("pad", special)
        self.eos_id: int = eos
        self.bos_id: int = eos if bos is None else bos
        """The end token where there is none of its own, as GPT-2 does."""
        self.pad_id: int = eos if pad is None else pad

    @property
    def vocab_size(self) -> int:
        """One more than the highest id: rows that a model's embedding needs."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def count(self, text: str) -> int:
        """Return `len(encode(text))`, exactly."""
        if self._words is not None and (words := self._words.split(text)):
            counts = self._words.counts(words)
            total = sum(counts)
            if total < 0:
                self._words.settle(words, counts)
                total = sum(counts)
            return total
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text; several texts use several threads."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return each token's (first, behind last) character in the text.

        Tokens that are parts of one character share its span; a space belongs to the word behind it.
        """
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets

    def prefixes(self, text: str, unit_tokens: int) -> tuple[list[int], list[int]]:
        """Return (characters, tokens): the first `characters[i]` of the text have `tokens[i]` tokens.

        Both ascend to the whole text, in steps of a word where that is exact and no word has more than
        `unit_tokens`, else of a token.
        """
        if self._words is not None and (words := self._words.split(text)):
            counts = self._words.counts(words)
            # A plain word stands for itself and a space; the few others bear a mark that is not in the text.
            characters = [size + 1 for size in map(len, words)]
            for index in [index for index, word in enumerate(words) if word < _PLAIN]:
                characters[index] = len(_stretch(words[index]))
            for first, last in self._words.settle(words, counts) if min(counts) < 0 else ():
                characters[last] = sum(characters[first : last + 1])
                characters[first:last] = [0] * (last - first)
                counts[first], counts[last] = 0, counts[first]
            if max(counts) <= unit_tokens:
                return list(accumulate(characters)), list(accumulate(counts))
        ends = [last for _, last in self.offsets(text)]
        return ends, list(range(1, len(ends) + 1))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special ones left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def _special_id(self, role: str, special: dict[str, str]) -> int | None:
        names = (special[role],) if role in special else _NAMES[role]
        found = (self._tokenizer.token_to_id(token) for token in names)
        return next((number for number in found if number is not None), None)


class _Words:
    """Token counts of words, so that a text is counted by lookups.

    Under Llama 3's rule a piece never reaches across the last space before a non-space, nor across the last
    newline of a run, and the spaces of a run but the last are a piece: so a text's count is the sum over the
    stretches between, and what holds of a space holds of a tab. A word stands for the stretch of itself and
    the space before it; behind a tab it bears `_TAB`, where it begins a line `_LINE`; spaces of a run are
    `_RUN`. A stretch that begins where the rule does not hold (inside other white space) counts as
    `_NOT_A_BOUNDARY` and is counted with what stands before it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.cache: dict[str, int] = {}

    def split(self, text: str) -> list[str]:
        """Return the words that make up the text, nothing where they cannot be told."""
        if _LINE in text or _RUN in text or _TAB in text or _PARAGRAPH in text:
            return []
        if "  " in text:
            text = _SPACES.sub(_mark_run, text)
        if "\n" in text:
            text = text.replace("\n\n", _PARAGRAPH).replace("\n", "\n " + _LINE)
            text = text.replace(_PARAGRAPH, "\n\n " + _LINE)
        if "\t" in text:
            text = text.replace("\t", " " + _TAB)
        return (_LINE + text).split(" ")

    def counts(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word's stretch."""
        known = list(map(self.cache.get, words))
        unknown = -1
        try:
            while True:
                unknown = known.index(None, unknown + 1)
                known[unknown] = self._count(words[unknown])
        except ValueError:
            return cast("list[int]", known)

    def settle(self, words: list[str], counts: list[int]) -> list[tuple[int, int]]:
        """Count what begins at no boundary with what stands before it.

        The count of such a run of stretches, in place, goes to its first, the others have 0; returned are the
        (first, last) of each run.
        """
        wrong = [index for index, count in enumerate(counts) if count < 0]
        runs: list[tuple[int, int]] = []
        for index in wrong:
            behind = index - 2 if index and words[index - 1] == _LINE else index - 1
            if runs and runs[-1][1] >= behind:
                runs[-1] = (runs[-1][0], index)
            else:  # where the text begins there is a boundary whatever stands there
                runs.append((max(behind, 0), index))
        for first, last in runs:
            counts[first : last + 1] = [0] * (last + 1 - first)
            counts[first] = self._encoded("".join(map(_stretch, words[first : last + 1])))
        return runs

    def _count(self, word: str) -> int:
        if word == _LINE:
            return 0
        if word[:1] == _LINE:
            content = word[1:].lstrip()
            boundary = content and _ENDS_LINES.isdisjoint(word[1 : len(word) - len(content)])
        else:
            content = word[1:] if word[:1] == _TAB else word
            boundary = content and not content[0].isspace()
        tokens = self._encoded(_stretch(word)) if boundary else _NOT_A_BOUNDARY
        if len(word) <= _CACHED_CHARACTERS:
            if len(self.cache) >= _CACHED_WORDS:
                self.cache.clear()
            self.cache[word] = tokens
        return tokens

    def _encoded(self, stretch: str) -> int:
        return len(self._tokenizer.encode_batch_fast([stretch], add_special_tokens=False)[0])


def _stretch(word: str) -> str:
    """Return the part of the text that a word stands for."""
    if word[:1] == _LINE:
        return word[1:]
    if word[:1] == _TAB:
        return "\t" + word[1:]
    return " " * len(word) if word[:1] == _RUN else " " + word


def _mark_run(run: re.Match[str]) -> str:
    before = run.string[run.start() - 1 : run.start()]
    if before.isspace() and before != "\n":
        return run[0]  # part of a run of other white space: no boundary, and `_Words` merges it
    return " " + _RUN * (len(run[0]) - 1) + " "


def load_tokenizer(name: str = DEFAULT) -> TokenCounter:
    """Load a tokenizer; raise `SettingsError` where there is none or it cannot be used safely.

    `finestream-bpe` is our own (8,192 entries, `dev/train_tokenizer.py`); else `name` is a `tokenizer.json`,
    a folder that holds one, or a Hugging Face id, which is fetched on first use.
    """
    if name == DEFAULT:
        definition = (Path(__file__).parent / "data" / "finestream-bpe.json").read_text(encoding="utf-8")
        return TokenCounter(name, definition)
    path = Path(name).expanduser()
    if path.is_dir():
        path /= "tokenizer.json"
    if path.is_file():
        config = path.with_name("tokenizer_config.json")
        return TokenCounter(name, _read(path), _special_tokens(config))
    if path.suffix == ".json" or path.is_absolute() or name.startswith((".", "~")):
        raise SettingsError(
            f"tokenizer {name!r}: no such file; give a tokenizer.json or a folder that holds one"
        )
    return _from_hub(name)


def _from_hub(name: str) -> TokenCounter:
    # Imported only here: a worker on the shipped tokenizer needs no HTTP client.
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        definition = _read(Path(hf_hub_download(name, "tokenizer.json")))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SettingsError(
            f"tokenizer {name!r} is neither {DEFAULT!r}, nor a file or folder here, nor could it be fetched "
            f"as a Hugging Face id ({type(error).__name__}): check the name, the network, or your access"
        ) from error
    try:
        config = _special_tokens(Path(hf_hub_download(name, "tokenizer_config.json")))
    except (EntryNotFoundError, LocalEntryNotFoundError):
        config = {}
    return TokenCounter(name, definition, config)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"tokenizer file {path} cannot be read: {error}") from error


def _special_tokens(config: Path) -> dict[str, str]:
    """Read which tokens a `tokenizer_config.json` calls bos, eos and pad."""
    if not config.is_file():
        return {}
    try:
        content = json.loads(_read(config))
    except json.JSONDecodeError as error:
        raise SettingsError(f"{config} is no JSON: {error}") from error
    found = {role: content.get(f"{role}_token") for role in _NAMES}
    named = {
        role: token.get("content") if isinstance(token, dict) else token for role, token in found.items()
    }
    return {role: token for role, token in named.items() if isinstance(token, str)}


def _text_is_text(name: str, definition: str) -> Tokenizer:
    """Build the tokenizer so that no string in a text can become a control token."""
    try:
        content: dict[str, Any] = json.loads(definition)
        added: list[dict[str, Any]] = content.get("added_tokens") or []
        for token in added:
            # Some tokenizers do not flag their control tokens. Runs of spaces and the like stay ordinary.
            if token["content"][:1] in ("<", "[") and token["content"][-1:] in (">", "]"):
                token["special"] = True
        tokenizer = Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the Rust side raises nothing narrower
        raise SettingsError(f"tokenizer {name!r} is no valid tokenizer.json: {error}") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for token in added:
        text, number = token["content"], token["id"]
        if token["special"] and number in tokenizer.encode(f"a {text} b{text}", add_special_tokens=False).ids:
            raise SettingsError(
                f"tokenizer {name!r} turns the text {text!r} into its control token {number}, so a crawled "
                "page could end a document: use a byte-level BPE tokenizer, for example finestream-bpe"
            )
    return tokenizer


def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether `_Words` counts exactly: byte-level BPE behind Llama 3's rule, and nothing else at work."""
    content = json.loads(tokenizer.to_str())
    expected = [
        {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ]
    steps = (content["pre_tokenizer"] or {}).get("pretokenizers") or []
    return (
        content["normalizer"] is None
        and content["model"]["type"] == "BPE"
        and [{**step, "trim_offsets": True} if step["type"] == "ByteLevel" else step for step in steps]
        == expected
        and all(token["special"] for token in content["added_tokens"])
    )
