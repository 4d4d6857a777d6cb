"""`follow_s`: from a WARC file's renaming into a followed folder to its first document in `raw`.

With the settings that users have: 5 s of these are the time that a file must not change in, so that a writer
who pauses is not taken for one who has finished. The clock ends with the broker's own append time of the
file's first record. The worst of `ROUNDS` is the figure; the median stands beside.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # first: tests/ has a `streams` too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.crawl_files import page, response

from streams import books, generations
from streams.broker import Broker
from streams.settings import Settings, load, to_environment

ROUNDS = 10
PAGES = 60
LANES = 8
GOAL = 10.0
COMMAND = [sys.executable, "-c", "from streams.cli import main; main()", "ingest", "--follow"]


def write(path: Path, number: int) -> None:
    """A crawl file of some 3 MB before compression."""
    pages = (response(page(n, 50_000), f"http://site-{n}.org/{number}/{n}") for n in range(PAGES))
    path.write_bytes(b"".join(gzip.compress(one, 1) for one in pages))


def first_append(settings: Settings, before: list[int]) -> tuple[float, list[int]]:
    """Wait for records beyond some offsets; return when the first was appended, and the offsets then."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        times, after = [], list(before)
        for lane in range(LANES):
            for record in books.each(settings, "raw", lane, first=before[lane]):
                times.append(record.timestamp / 1000)
                after[lane] = record.offset + 1
        if sum(after) - sum(before) >= PAGES:
            return min(times), after
        time.sleep(0.2)
    raise SystemExit("nothing arrived within 60 s")


def measure(settings: Settings, folder: Path) -> list[float]:
    found, ends, rnd = [], [0] * LANES, random.Random(1)
    for number in range(ROUNDS):
        hidden = folder / f".{number}.warc.gz"
        write(hidden, number)
        time.sleep(rnd.uniform(0.0, 1.0))  # anywhere between two looks
        hidden.rename(folder / f"{number}.warc.gz")
        moved = time.time()
        appended, ends = first_append(settings, ends)
        found.append(appended - moved)
        print(f"round {number}: {found[-1]:.2f} s", file=sys.stderr)
    return found


def main() -> int:
    data = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    broker = Broker(data, start_seconds=120)
    child: subprocess.Popen[bytes] | None = None
    try:
        broker.start()
        settings = load(
            data_dir=data, kafka={"bootstrap_servers": broker.bootstrap_servers}, pipeline={"lanes": LANES}
        )
        generations.create(settings)
        folder = data / "crawl"
        folder.mkdir()
        environment = {**os.environ, **to_environment(settings)}
        child = subprocess.Popen([*COMMAND, str(folder)], env=environment, stdout=subprocess.DEVNULL)
        found = measure(settings, folder)
        quiet = settings.ingest.quiet_seconds
        figure = {
            "name": "follow_s",
            "value": round(max(found), 2),
            "unit": "s from rename to the first document in raw, worst of 10",
            "goal": GOAL,
            "better": "lower",
            "baseline": f"{quiet:g} s in which a file must not change, as the settings are",
            "met": round(max(found), 2) <= GOAL,
            "median_s": round(statistics.median(found), 2),
        }
        print(json.dumps(figure), flush=True)
        return 0
    finally:
        if child is not None:
            child.kill()
            child.wait()
        broker.stop()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
