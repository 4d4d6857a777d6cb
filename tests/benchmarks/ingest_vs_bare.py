"""`ingest_vs_bare`: documents a CPU-second of our ingester, over those of the least that could do the same.

For each format, bare is a loop of the library that one would take (FastWARC's iteration over the response
records; gzip and msgspec for JSON lines; pyarrow's batches; gzip and `read` for ARC; `read_bytes`), its
payloads into the same partitions of a topic through the idempotent producer that all of ours use (same
library, codec and batches of 256 KB), one flush. Both run in this process, in turns, over the same pages of
about 50 kB; the ratio of their medians is what counts, and the lowest of the formats is the figure. Start-up
of either (imports, clients, books) is left out. The ingester's own producer uses batches of 1 MB, which is
part of what it does well; how it compares with a bare loop that uses them too is said beside, for WARC.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from fastwarc.stream_io import ZstdReader
from fastwarc.warc import ArchiveIterator, WarcRecordType
from kit.crawl_files import crawl, page, page_url, write_warc
from kit.formats import arc_head, arc_record, gz, zstd

from streams import clients, generations
from streams.broker import Broker
from streams.ingest.ingester import Ingester
from streams.ingest.inputs import expand
from streams.ingest.lanes import canonical_url, lane_of
from streams.ingest.progress import Progress
from streams.ingest.raw_sender import BATCHES
from streams.ingest.source import Source
from streams.settings import Settings, load

DOCUMENTS = 600
ROUNDS = 5
GOAL = 0.9


class Cost(NamedTuple):
    """Of one pass."""

    cpu: float
    wall: float


class Clock(Progress):
    """Measures from the booking of a source to its last acknowledgement."""

    def __init__(self) -> None:
        self.cost = Cost(0, 0)
        self._began = (0.0, 0.0)

    def begin(self, source: Source) -> None:
        self._began = (time.process_time(), time.perf_counter())

    def end(self) -> None:
        cpu, wall = time.process_time() - self._began[0], time.perf_counter() - self._began[1]
        self.cost = Cost(self.cost.cpu + cpu, self.cost.wall + wall)


class Format(NamedTuple):
    """One way to hold the pages, and the least code that gets them out again."""

    write: Callable[[Path, Sequence[bytes]], Path]
    read: Callable[[Path], Iterator[bytes]]


def rows(payloads: Sequence[bytes]) -> list[dict[str, str]]:
    texts = enumerate(payloads)
    return [{"url": page_url(n), "html": html.decode(), "title": f"Page {n}"} for n, html in texts]


def write_zstd_warc(folder: Path, payloads: Sequence[bytes]) -> Path:
    (path := folder / "crawl.warc.zst").write_bytes(b"".join(map(zstd, crawl(payloads))))
    return path


def write_arc(folder: Path, payloads: Sequence[bytes]) -> Path:
    records = [arc_head(), *(arc_record(html, page_url(n)) for n, html in enumerate(payloads))]
    (path := folder / "crawl.arc.gz").write_bytes(b"".join(map(gz, records)))
    return path


def write_jsonl(folder: Path, payloads: Sequence[bytes]) -> Path:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows(payloads))
    (path := folder / "pages.jsonl.gz").write_bytes(gz(lines))
    return path


def write_parquet(folder: Path, payloads: Sequence[bytes]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows(payloads)), path := folder / "pages.parquet")
    return path


def write_files(folder: Path, payloads: Sequence[bytes]) -> Path:
    (path := folder / "pages").mkdir()
    for number, html in enumerate(payloads):
        (path / f"{number:05}.html").write_bytes(html)
    return path


def bare_warc(path: Path) -> Iterator[bytes]:
    source = ZstdReader(str(path)) if path.suffix == ".zst" else str(path)
    for record in ArchiveIterator(source, record_types=WarcRecordType.response):
        yield record.reader.read(record.content_length)


def bare_arc(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while line := file.readline():
            body = file.read(int(line.rsplit(b" ", 1)[1]))
            file.readline()
            if not line.startswith(b"filedesc:"):
                yield body


def bare_jsonl(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        for line in file:
            yield msgspec.json.decode(line)["html"].encode()


def bare_parquet(path: Path) -> Iterator[bytes]:
    for batch in pq.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            yield row["html"].encode()


def bare_files(path: Path) -> Iterator[bytes]:
    for file in sorted(path.iterdir()):
        yield file.read_bytes()


FORMATS = {
    "warc.gz": Format(lambda to, pages: write_warc(to / "crawl.warc.gz", crawl(pages)), bare_warc),
    "warc.zst": Format(write_zstd_warc, bare_warc),
    "arc.gz": Format(write_arc, bare_arc),
    "jsonl.gz": Format(write_jsonl, bare_jsonl),
    "parquet": Format(write_parquet, bare_parquet),
    "html files": Format(write_files, bare_files),
}


def ours(settings: Settings, path: Path, turn: int) -> Cost:
    """One pass of the ingester; another modification time makes the file another source."""
    for file in path.iterdir() if path.is_dir() else [path]:
        os.utime(file, (turn + 1, turn + 1))
    clock = Clock()
    reports = Ingester(settings, progress=clock).run(expand([str(path)]))
    sent = sum(report.sent for report in reports)
    assert sent == sum(report.documents for report in reports) == DOCUMENTS, reports
    return clock.cost


def bare(settings: Settings, payloads: Iterator[bytes], lanes: list[int], **producing: int) -> Cost:
    """One pass of the least that could do it; `lanes` says which record goes where."""
    producer = clients.sync_producer(settings, **producing)
    producer.partitions_for("bare")
    cpu, wall, sent = time.process_time(), time.perf_counter(), 0
    for payload in payloads:
        producer.send("bare", payload, partition=lanes[sent])
        sent += 1
    producer.flush()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    producer.close()
    assert sent == DOCUMENTS
    return cost


def measure(settings: Settings, name: str, folder: Path, lanes: list[int]) -> dict[str, float]:
    """Return the medians of one format."""
    form = FORMATS[name]
    path = form.write(folder, [page(n) for n in range(DOCUMENTS)])
    costs: dict[str, list[Cost]] = {"ours": [], "bare": []}
    for turn in range(ROUNDS):
        costs["bare"].append(bare(settings, form.read(path), lanes))
        costs["ours"].append(ours(settings, path, turn))
        if name == "warc.gz":
            costs.setdefault("bare, 1 MB", []).append(bare(settings, form.read(path), lanes, **BATCHES))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    cpu = {who: statistics.median(cost.cpu for cost in found) for who, found in costs.items()}
    wall = {who: statistics.median(cost.wall for cost in found) for who, found in costs.items()}
    result = {
        "ratio": round(cpu["bare"] / cpu["ours"], 3),
        "by_the_wall_clock": round(wall["bare"] / wall["ours"], 3),
        **{f"{who} a CPU-second": round(DOCUMENTS / seconds) for who, seconds in cpu.items()},
    }
    print(f"{name}: {result}", file=sys.stderr)
    return result


def main(names: Sequence[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker = Broker(folder, start_seconds=120)
    try:
        broker.start()
        settings = load(data_dir=folder, kafka={"bootstrap_servers": broker.bootstrap_servers})
        count = generations.create(settings).lanes
        make_topic(settings, count)
        lanes = [lane_of(canonical_url(page_url(n)), count) for n in range(DOCUMENTS)]
        found = {name: measure(settings, name, folder, lanes) for name in names or FORMATS}
        lowest = min(found, key=lambda name: found[name]["ratio"])
        value = found[lowest]["ratio"]
        result = {
            "name": "ingest_vs_bare",
            "value": value,
            "unit": "ratio of documents per CPU-second, the lowest of the formats",
            "goal": GOAL,
            "better": "higher",
            "baseline": f"the least code that reads {lowest} and a bare idempotent produce in batches of "
            f"256 KB, {found[lowest]['bare a CPU-second']} documents a CPU-second",
            "met": value >= GOAL,
            "formats": found,
        }
        print(json.dumps(result))
        return 0
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_topic(settings: Settings, lanes: int) -> None:
    """A topic for the baseline, like `raw`."""
    from streams.topics import _LANE_CONFIG, create

    create(settings, {"bare": (lanes, _LANE_CONFIG)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
