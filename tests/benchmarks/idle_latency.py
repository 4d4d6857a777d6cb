"""`idle_latency_p99_s`: how long a short document takes from `raw` to `judged` when nothing waits.

Documents of at most 120 tokens enter `raw` at 5 a second; one worker a stage, the real stages with the
extractive engine, on the embedded broker. Every time is the broker's own (LogAppendTime, milliseconds): that
of the record in a topic, less that of its document's record before. What each stage adds is shown beside.
Only documents that go all the way as segments count, and the first ones not: a model's first call is slow.
On a machine that is not idle the figure says nothing; the load average stands beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # first: tests/ has a `streams` too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.flow import RawWriter

from streams import generations, pipeline
from streams.drained import DrainWatch
from streams.ingest.items import Document, Item
from streams.ingest.reader import open_reader
from streams.ingest.source import inspect
from streams.lane_log import LaneStream, LogReader
from streams.records import RawDocument, decode, encode
from streams.samples import sample_paths
from streams.settings import STAGES, IngestSettings, Settings, load
from streams.supervisor import Plan, Supervisor, stage_slots
from streams.tokens import load_tokenizer
from workers.chunk.extract import extract

DOCUMENTS = 300
WARM_UP = 20
A_SECOND = 5
MOST_TOKENS = 120
LEAST_CHARACTERS = 250
LANES = 8
GOAL = 0.5


def documents() -> list[RawDocument]:
    """The first sentences of the shipped health and government pages, each its own document."""
    (path,) = [path for path in sample_paths() if path.name.startswith("health")]
    found = [
        RawDocument(
            id=url, url=url, source="benchmark", content_type="text/plain", payload=text.encode(), title=title
        )
        for url, title, text in _texts(path)
    ]
    return found[:: len(found) // DOCUMENTS or 1][:DOCUMENTS]


def _texts(path: Path) -> Iterator[tuple[str, str, str]]:
    """The first sentences of a file's documents, as many as fit: (url, title, text)."""
    tokenizer = load_tokenizer("finestream-bpe")
    for item in open_file(path):
        if not isinstance(item, Document):
            continue
        title, text, _ = extract(decode(encode(item.record), RawDocument), 1_000_000, 1_000_000)
        kept = ""
        for sentence in text.replace(". ", ".\n").splitlines():
            longer = f"{kept} {sentence}".strip()
            if tokenizer.count(longer) > MOST_TOKENS:
                break
            kept = longer
        if len(kept) >= LEAST_CHARACTERS:
            yield item.record.url, title, kept


def open_file(path: Path) -> Iterator[Item]:
    opened = open_reader(inspect(str(path)), IngestSettings(max_document_bytes=6_000_000))
    assert opened is not None
    with closing(opened):
        yield from opened


def appended(settings: Settings, name: str) -> dict[tuple[int, int], int]:
    """When each document's record was appended to a topic: (lane, raw offset) -> Unix milliseconds.

    In lane topics markers are left out: a document that was dropped takes no model's time.
    """
    out: dict[tuple[int, int], int] = {}
    with LogReader(settings) as reader:
        for lane in range(LANES):
            records = list(reader.read(name, lane, *reader.bounds(name, lane)))
            if name == pipeline.RAW:
                out |= {(lane, record.offset): record.timestamp for record in records}
                continue
            at = {record.offset: record.timestamp for record in records}
            stream = LaneStream(iter(records))
            while (entry := stream.advance()) is not None:
                if not entry.header.kind.marker:
                    out[lane, entry.position.offset] = at[entry.offset]
    return out


def feed(settings: Settings, wanted: list[RawDocument]) -> None:
    """Write the documents to `raw` at a steady rate, and wait until they are through."""
    generation = generations.load(settings)
    writer = RawWriter(settings, generation)
    began = time.monotonic()
    for number, item in enumerate(wanted):
        time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        writer.write_bytes(number % LANES, encode(item))
        writer.flush()
    writer.close()
    deadline = time.monotonic() + 60
    with DrainWatch(settings, generation) as watch:
        while not watch.drained():
            if time.monotonic() > deadline:
                raise SystemExit(f"not drained: {watch.look()}")
            time.sleep(0.2)


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98]


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    wanted = documents()
    settings = load(
        data_dir=folder,
        broker={"port": 0},
        pipeline={"lanes": LANES},
        match={"threads": 1},
        instantiate={"threads": 1},
        judge={"threads": 1},
    )
    supervisor = Supervisor(settings, Plan(slots=stage_slots(settings)), attached=True)
    try:
        supervisor.start()
        supervisor.wait_healthy(300, say=lambda text: print(text, file=sys.stderr))
        settings = supervisor.settings
        print(f"{len(wanted)} documents at {A_SECOND} a second", file=sys.stderr)
        feed(settings, wanted)
        times = {name: appended(settings, name) for name in pipeline.TOPICS}
    finally:
        supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)
    first = sorted(times[pipeline.RAW].values())[WARM_UP]
    through = sorted(place for place in times["judged"] if times[pipeline.RAW][place] >= first)
    dropped = len(wanted) - len(times["judged"])
    print(f"{len(through)} documents count, {dropped} were dropped on the way", file=sys.stderr)
    if len(through) < DOCUMENTS // 2:
        raise SystemExit("too few documents went all the way to say anything")

    def between(before: str, after: str) -> list[float]:
        return [(times[after][place] - times[before][place]) / 1000 for place in through]

    median, worst = quantiles(between(pipeline.RAW, "judged"))
    stages = {}
    for stage, (before, after) in zip(STAGES, pairwise(pipeline.TOPICS), strict=True):
        p50, p99 = quantiles(between(before, after))
        stages[stage] = {"p50_s": round(p50, 3), "p99_s": round(p99, 3)}
    cores, load_average = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    result = {
        "name": "idle_latency_p99_s",
        "value": round(worst, 3),
        "unit": "s from raw to judged",
        "goal": GOAL,
        "better": "lower",
        "baseline": f"none; {cores} cores, load average {load_average:.1f}",
        "met": round(worst, 3) <= GOAL,
        "p50_s": round(median, 3),
        "stages": stages,
        "documents": len(through),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
