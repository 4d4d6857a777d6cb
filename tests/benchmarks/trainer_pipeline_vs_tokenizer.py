"""`pipeline_vs_tokenizer`: tokens a CPU-second of the trainer's pipeline, over those of the bare tokenizer.

Bare = the tokenizer's own batch encoding of the same rendered pairs. The pipeline reads them from Kafka:
fetch, filter and gap check, decode, select, render, encode with BOS and EOS, budget, blocks, packing, and a
committed ledger entry for each batch of 64 x 1,024 targets. Both run in this process, in turns; the ratio of
their median CPU times counts, all threads of the process in it.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # first: tests/ has a `streams` too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.judged import JudgedWriter, judged_of

from streams import generations
from streams.broker import Broker
from streams.garbage import collect_seldom
from streams.generations import Generation
from streams.settings import Settings, load
from streams.tokens import load_tokenizer
from trainer import plan
from trainer.batches import Batch, Batches, Terms
from trainer.ledger import LedgerReader, LedgerWriter
from trainer.readings import Readings
from trainer.render import render
from trainer.source import JudgedSource
from trainer.takeover import beginning

SEGMENTS = 1000
PAIRS = 6
ROUNDS = 7
GOAL = 0.9


def pairs_of(passages: list[str], rnd: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """A segment of shipped passages (some 1,200 tokens), and six pairs whose answers are pieces of it.

    Their tokens stay just below the segment's, so the budget keeps them: what is encoded is trained.
    """
    text = "\n\n".join(rnd.sample(passages, 14))
    size = len(text) // PAIRS
    answers = [text[i * size : i * size + size * 3 // 4] for i in range(PAIRS)]
    return text, [(f"What about {answer[:20]}?", answer) for answer in answers]


def pipeline_seconds(settings: Settings, generation: Generation, run: str) -> tuple[float, int]:
    """CPU time of reading everything into committed batches, and their targets."""
    tokenizer = load_tokenizer()
    writer = LedgerWriter(settings, run)
    reader = LedgerReader(settings, run)
    state = beginning(generation)
    terms = Terms(
        run=run,
        attempt=1,
        settings_hash="",
        generation=generation.id,
        epoch=generation.epoch,
        batch_targets=64 * 1024,
        block_pairs=1,
        seed=0,
        pad=tokenizer.pad_id,
        heldout_pairs=0,
        books={},
        until_drained=True,
    )
    source = JudgedSource(settings, generation, state.cursors(), lambda: None)
    readings = Readings(settings.trainer, tokenizer, lambda reason, n: None)
    batches = Batches(terms, source, readings, writer, state)
    began = time.process_time()
    made = [item for item in plan.items(batches, reader.steps()) if isinstance(item, Batch)]
    spent = time.process_time() - began
    for client in (source, reader, writer):
        client.close()
    return spent, made[-1].entry.tokens


def tokenizer_seconds(texts: Sequence[str]) -> tuple[float, int]:
    """CPU time of encoding the texts in batches as large as the pipeline's, and their tokens."""
    tokenizer = load_tokenizer()
    tokens = 0
    began = time.process_time()
    for at in range(0, len(texts), 256 * PAIRS):
        tokens += sum(map(len, tokenizer.encode_batch(texts[at : at + 256 * PAIRS])))
    return time.process_time() - began, tokens


def main() -> int:
    """Measure and print."""
    packed = resources.files("workers.engines.extractive").joinpath("background.jsonl.gz").read_bytes()
    passages = [json.loads(line)["text"] for line in gzip.decompress(packed).splitlines()]
    rnd = random.Random(7)
    tokenizer = load_tokenizer()
    texts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "broker", start_seconds=120)
        broker.start()
        try:
            settings = load(
                data_dir=Path(folder) / "data",
                kafka={"bootstrap_servers": broker.bootstrap_servers},
                trainer={"heldout_share": 0.0},
            )
            generation = generations.create(settings)
            writer = JudgedWriter(settings, generation)
            for number in range(SEGMENTS):
                text, pairs = pairs_of(passages, rnd)
                writer.document(number % generation.lanes, [judged_of(number, text, pairs, tokenizer)])
                texts += [render(*pair) for pair in pairs]
            writer.close()
            collect_seldom()  # as the trainer does once it is set up
            ours, bare = [], []
            for n in range(ROUNDS):
                spent, trained = pipeline_seconds(settings, generation, f"round-{n}")
                ours.append(spent)
                spent, tokens = tokenizer_seconds(texts)
                bare.append(spent)
                print(
                    f"round {n}: pipeline {ours[-1]:.2f} s CPU for {trained} targets",
                    end=", ",
                    file=sys.stderr,
                )
                print(f"tokenizer {bare[-1]:.2f} s for {tokens} tokens", file=sys.stderr)
        finally:
            broker.stop()
    ratio = statistics.median(bare) / statistics.median(ours)
    rate = tokens / statistics.median(bare)
    figure = {
        "name": "pipeline_vs_tokenizer",
        "value": round(ratio, 3),
        "unit": "ratio",
        "goal": GOAL,
        "better": "higher",
        "baseline": f"encode_batch of the same {len(texts)} pairs: {rate / 1e6:.2f} M tokens a CPU-second",
        "met": round(ratio, 3) >= GOAL,
    }
    print(json.dumps(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
