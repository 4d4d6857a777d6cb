"""Train the project's own small tokenizer: `python dev/train_tokenizer.py DATA_FOLDER`.

Byte-level BPE, 8,192 entries, with Llama 3's splitting rule, so that no text is unknown and counts behave
like those of the paper's tokenizer. Small on purpose: a demo's model on a CPU spends most of its time in the
output layer. Trained on documents only, never on questions, so that no benchmark's wording shapes it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import corpora
from resiliparse.extract.html2text import extract_plain_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from streams.tokens import LLAMA3_SPLIT

VOCABULARY = 8192
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>")
TARGET = Path(__file__).parents[1] / "streams" / "data" / "finestream-bpe.json"


def texts(folder: Path) -> Iterator[str]:
    """Yield the documents' texts, the gold set's left out."""
    held_out = corpora.held_out(folder)
    for read in (corpora.medquad, corpora.digitalgov, corpora.xquad):
        for page in read(folder):
            if page.path not in held_out:
                yield page.title + "\n\n" + extract_plain_text(page.body, preserve_formatting=True)


def train(folder: Path) -> Tokenizer:
    """Return the trained tokenizer; the same documents give the same file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(folder), trainer)
    return tokenizer


def main() -> None:
    """Train, write, and say what was written."""
    tokenizer = train(Path(sys.argv[1]))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(tokenizer.to_str(), encoding="utf-8")
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    print(f"{TARGET.name}: {tokenizer.get_vocab_size()} entries, sha256 {digest}")


if __name__ == "__main__":
    main()
