"""`contamination_vs_token_set`: CPU time to hold a segment of 10 kB against benchmarks, over its token set.

Baseline = `set(text.lower().split())`, the least that any comparison of tokens must do. Both run
in this process, in turns, over the same segments of the shipped documents; the best round of each counts.
The milliseconds a segment, the load time and the index's memory a test item are told beside.

The benchmarks are the tests' sample. `FINESTREAM_BENCH_EVAL` names a folder to take instead: each folder in
it is a benchmark, of which the `.jsonl` and `.json` files that hold test items are read.
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text

from streams.errors import SettingsError
from streams.samples import sample_paths
from workers.contamination import ContaminationIndex, Item, read_items

SAMPLE = Path(__file__).parents[1] / "data" / "benchmarks"
CHARACTERS = 10_000
ROUNDS = 9
GOAL = 2.0


def segments() -> list[str]:
    """Return the shipped texts, one behind the other, in pieces of 10 kB."""
    texts: list[str] = []
    for path in sample_paths():
        if ".jsonl" in path.name:
            texts += [json.loads(line)["text"] for line in gzip.decompress(path.read_bytes()).splitlines()]
        elif "health" in path.name:
            with path.open("rb") as stream:
                for page in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                    html = page.reader.read().decode("utf-8", "replace")
                    texts.append(extract_plain_text(html, main_content=True))
    whole = "\n\n".join(texts)
    return [whole[i : i + CHARACTERS] for i in range(0, len(whole) - CHARACTERS, CHARACTERS)]


def benchmarks() -> dict[str, list[Item]]:
    """Return the items of each benchmark; files without test items (judges' prompts, answers) are told."""
    named = os.environ.get("FINESTREAM_BENCH_EVAL")
    if named is None:
        return {path.stem: read_items(path) for path in sorted(SAMPLE.glob("*.jsonl"))}
    found: dict[str, list[Item]] = {}
    for path in sorted(Path(named).rglob("*.json*")):
        try:
            items = read_items(path)
        except SettingsError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            found.setdefault(path.relative_to(named).parts[0], []).extend(items)
    return found


def cpu_seconds(work: Callable[[str], Any], texts: list[str]) -> float:
    """CPU time of one call for each text."""
    began = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - began


def main() -> int:
    """Measure and print."""
    texts, items = segments(), benchmarks()
    began = time.process_time()
    index = ContaminationIndex(items)
    load = time.process_time() - began
    rounds = []
    for turn in range(ROUNDS):
        plain = cpu_seconds(lambda text: set(text.lower().split()), texts)
        rounds.append((plain, cpu_seconds(index.shares, texts)))
        print(
            f"{turn}: token set {rounds[-1][0]:.4f} s, shares {rounds[-1][1]:.4f} s of CPU", file=sys.stderr
        )
    baseline, ours = (min(times) / len(texts) * 1000 for times in zip(*rounds, strict=True))
    tracemalloc.start()
    again = ContaminationIndex(items)
    held, _ = tracemalloc.get_traced_memory()
    value = round(ours / baseline, 3)
    figure = {
        "name": "contamination_vs_token_set",
        "value": value,
        "unit": "ratio of CPU time a segment",
        "goal": GOAL,
        "better": "lower",
        "baseline": f"the set of a segment's lower-case words, {len(texts)} segments of "
        f"{CHARACTERS / 1000:.0f} kB: "
        f"{baseline:.3f} ms each",
        "met": value <= GOAL,
        "ms_a_segment": round(ours, 3),
        "benchmarks": list(index.benchmarks),
        "items": len(again),
        "bytes_an_item": round(held / len(again)),
        "tokens_an_item": round(
            statistics.mean(len(item.text.split()) for kept in items.values() for item in kept), 1
        ),
        "load_seconds": round(load, 2),
        "flagged": sum(bool(index.shares(text)) for text in texts),
    }
    print(json.dumps(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
