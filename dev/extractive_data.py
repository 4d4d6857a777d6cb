"""Makes the extractive engine's package data: background passages, their vectors, lower-case words.

    python dev/extractive_data.py FOLDER

FOLDER holds the corpora as `dev/corpora.py` reads them. Only MedQuAD (CC BY 4.0) and digital.gov (CC0) are
used; the gold set's documents are left out, since the engine is measured on them.
"""

from __future__ import annotations

import collections
import gzip
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import corpora
import numpy as np
from resiliparse.extract.html2text import extract_plain_text

from workers.encoder import EMBEDDED, Encoder
from workers.engines.extractive.answer import may_be_copied
from workers.engines.extractive.roundtrip import BACKGROUND, PASSAGES, VECTORS, text_hash
from workers.engines.extractive.sentences import Unit, UnitKind, split

SEED = 20261125
SHARES = {"medquad": 550, "digitalgov": 450}
WORDS = (35, 90)
TABLE = "lowercase.txt.gz"


def texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (corpus, path, text) of every document that is not in the gold set."""
    gold = corpora.held_out(folder)
    for pages in (corpora.medquad(folder), corpora.digitalgov(folder)):
        for page in pages:
            if page.path not in gold:
                html = f"<html><body><h1>{page.title}</h1>{page.body}</body></html>"
                yield (
                    page.corpus,
                    page.path,
                    extract_plain_text(html, list_bullets=True, preserve_formatting=True),
                )


def passage(units: list[Unit], text: str, draw: random.Random) -> str:
    """Return a run of sentences of 35 to 90 words, or nothing."""
    starts = [i for i, unit in enumerate(units) if unit.kind is UnitKind.SENTENCE and may_be_copied(unit)]
    draw.shuffle(starts)
    for i in starts[:5]:
        words = 0
        for unit in units[i : i + 5]:
            if unit.kind is not UnitKind.SENTENCE or not may_be_copied(unit):
                break
            words += unit.words
            if WORDS[0] <= words <= WORDS[1]:
                return text[units[i].start : unit.end]
    return ""


def lower_case_words(documents: list[list[Unit]]) -> list[str]:
    """Return words written in lower case inside sentences at least four times as often as with a capital."""
    low: collections.Counter[str] = collections.Counter()
    capital: collections.Counter[str] = collections.Counter()
    for units in documents:
        for unit in units:
            if unit.kind is not UnitKind.SENTENCE or "Human Phenotype Ontology provides" in unit.text:
                continue  # that sentence has a title pasted into it
            for word in re.findall(r"[A-Za-z][A-Za-z'\u2019-]*", unit.text)[1:]:
                if word.islower():
                    low[word] += 1
                elif word[0].isupper() and word[1:].islower():
                    capital[word.lower()] += 1
    return sorted(w for w, n in low.items() if n >= 3 and n >= 4 * capital[w] and len(w) < 25)


def main() -> None:
    """Write the three files beside the engine."""
    folder = Path(sys.argv[1])
    out = Path("workers/engines/extractive")
    draw = random.Random(SEED)  # noqa: S311 -- a reproducible sample, no secret
    documents: list[list[Unit]] = []
    found: dict[str, list[dict[str, str]]] = {corpus: [] for corpus in SHARES}
    seen: set[str] = set()
    for corpus, path, text in texts(folder):
        units = split(text)
        documents.append(units)
        piece = passage(units, text, draw)
        if piece and piece[:80] not in seen:
            seen.add(piece[:80])
            found[corpus].append({"source": corpus, "path": path, "text": piece})
    rows = [row for corpus, n in SHARES.items() for row in draw.sample(found[corpus], n)]
    assert len(rows) == PASSAGES
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / BACKGROUND).write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    vectors = Encoder.load(EMBEDDED).encode([row["text"] for row in rows])
    digest = np.frombuffer(text_hash([row["text"] for row in rows]), dtype=np.uint8)
    np.savez(out / VECTORS, vectors=vectors.astype(np.float16), digest=digest)
    words = lower_case_words(documents)
    (out / TABLE).write_bytes(gzip.compress("\n".join(words).encode(), 9, mtime=0))
    print(f"{len(rows)} passages, {len(words)} words", file=sys.stderr)


if __name__ == "__main__":
    main()
