"""`ingest_vs_bare`: documents a CPU-second of our ingester, over those of the least that could do the same.

Bare = FastWARC's iteration over the response records, their payloads into the same partitions of a topic
through the idempotent producer that all of ours use (same library, codec and batches of 256 KB), one flush.
Both run in this process, in turns, over the same pages of about 50 kB; the ratio of their medians is what
counts. Start-up of either (imports, clients, books) is left out. The ingester's own producer uses batches of
1 MB, which is part of what it does well; how it compares with a bare loop that uses them too is said beside.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "kit"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from crawl_files import crawl, page, page_url, write_warc
from fastwarc.warc import ArchiveIterator, WarcRecordType

from streams import clients, generations
from streams.broker import Broker
from streams.ingest.ingester import Ingester
from streams.ingest.lanes import canonical_url, lane_of
from streams.ingest.progress import Progress
from streams.ingest.raw_sender import BATCHES
from streams.ingest.source import Source
from streams.settings import Settings, load

DOCUMENTS = 1200
ROUNDS = 7
GOAL = 0.9
BARE = ("bare", "bare, 1 MB")


class Cost(NamedTuple):
    """Of one pass over the file."""

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
        self.cost = Cost(time.process_time() - self._began[0], time.perf_counter() - self._began[1])


def ours(settings: Settings, path: Path, turn: int) -> Cost:
    """One pass of the ingester; another modification time makes the file another source."""
    os.utime(path, (turn + 1, turn + 1))
    clock = Clock()
    (report,) = Ingester(settings, progress=clock).run([str(path)])
    assert report.documents == report.sent == DOCUMENTS, report
    return clock.cost


def bare(settings: Settings, path: Path, lanes: list[int], **producing: int) -> Cost:
    """One pass of the least that could do it; `lanes` says which record goes where."""
    producer = clients.sync_producer(settings, **producing)
    producer.partitions_for("bare")
    cpu, wall, sent = time.process_time(), time.perf_counter(), 0
    for record in ArchiveIterator(str(path), record_types=WarcRecordType.response):
        producer.send("bare", record.reader.read(record.content_length), partition=lanes[sent])
        sent += 1
    producer.flush()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    producer.close()
    assert sent == DOCUMENTS
    return cost


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker = Broker(folder, start_seconds=120)
    try:
        path = write_warc(folder / "crawl.warc.gz", crawl(page(n) for n in range(DOCUMENTS)))
        broker.start()
        settings = load(data_dir=folder, kafka={"bootstrap_servers": broker.bootstrap_servers})
        count = generations.create(settings).lanes
        make_topic(settings, count)
        lanes = [lane_of(canonical_url(page_url(n)), count) for n in range(DOCUMENTS)]
        costs: dict[str, list[Cost]] = {"ours": [], "bare": [], "bare, 1 MB": []}
        for turn in range(ROUNDS):
            costs["bare"].append(bare(settings, path, lanes))
            costs["ours"].append(ours(settings, path, turn))
            costs["bare, 1 MB"].append(bare(settings, path, lanes, **BATCHES))
            for name, found in costs.items():
                rates = [DOCUMENTS / seconds for seconds in found[-1]]
                print(
                    "{} {}: {:.0f} a CPU-second, {:.0f} a second".format(turn, name, *rates), file=sys.stderr
                )
        cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in costs.items()}
        wall = {name: statistics.median(cost.wall for cost in found) for name, found in costs.items()}
        print(
            f"by the wall clock {wall['bare'] / wall['ours']:.3f}; against bare with batches of 1 MB: CPU "
            f"{cpu['bare, 1 MB'] / cpu['ours']:.3f}, wall clock {wall['bare, 1 MB'] / wall['ours']:.3f}",
            file=sys.stderr,
        )
        value = cpu["bare"] / cpu["ours"]
        result = {
            "name": "ingest_vs_bare",
            "value": round(value, 3),
            "unit": "ratio of documents per CPU-second",
            "goal": GOAL,
            "better": "higher",
            "baseline": "FastWARC and a bare idempotent produce, a CPU-second: {:.0f} in our usual batches "
            "of 256 KB, {:.0f} in the ingester's of 1 MB".format(*(DOCUMENTS / cpu[n] for n in BARE)),
            "met": value >= GOAL,
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
    sys.exit(main())
