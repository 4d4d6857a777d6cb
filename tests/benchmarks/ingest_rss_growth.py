"""`ingest_rss_growth`: megabytes by which the reader's memory grows over a source of 2 GB.

The source is made by repeating gzip members of pages of 50 kB, so that its 2 GB (unpacked) cost seconds, not
minutes; each record is read as the ingester reads it and then dropped. Growth is from after the first tenth,
where buffers have their size, to the peak. The same for JSON lines, whose lines share members.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from kit.crawl_files import page, page_url, response
from kit.formats import gz, line
from kit.resident import peak_kilobytes

SIZE_BYTES = 2 << 30
GOAL_MB = 16
PAGES = 64


def write(folder: Path, name: str) -> Path:
    """A file of `SIZE_BYTES` when unpacked."""
    payloads = [page(n) for n in range(PAGES)]
    if name.startswith("warc"):
        parts = [gz(response(html, page_url(n))) for n, html in enumerate(payloads)]
    else:
        parts = [gz(b"".join(line(n, html) for n, html in enumerate(payloads)))]
    unpacked, whole = sum(map(len, payloads)), b"".join(parts)
    path = folder / f"a.{name}"
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // unpacked + 1):
            file.write(whole)
    return path


def measure(path: Path) -> None:
    """Run in a process of its own: print documents, unpacked bytes and growth in MB."""
    from streams.ingest.items import Document
    from streams.ingest.reader import open_reader
    from streams.ingest.source import inspect
    from streams.settings import IngestSettings

    opened = open_reader(inspect(str(path)), IngestSettings())
    assert opened is not None
    documents = size = before = 0
    for item in opened:
        assert isinstance(item, Document)
        documents += 1
        size += len(item.record.payload)
        if not before and size > SIZE_BYTES // 10:
            before = peak_kilobytes()
    growth = (peak_kilobytes() - before) / 1024
    print(json.dumps({"documents": documents, "bytes": size, "growth_mb": round(growth, 2)}))


def main() -> int:
    found = {}
    for name in ("warc.gz", "jsonl.gz"):
        with tempfile.TemporaryDirectory(prefix="finestream-bench-") as folder:
            path = write(Path(folder), name)
            command = [sys.executable, __file__, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name] = json.loads(done.stdout)
        print(f"{name}: {found[name]}", file=sys.stderr)
    value = max(one["growth_mb"] for one in found.values())
    result = {
        "name": "ingest_rss_growth",
        "value": value,
        "unit": "MB of resident memory, from a tenth of the source to its end",
        "goal": GOAL_MB,
        "better": "lower",
        "baseline": "{bytes} bytes of pages in {documents} documents".format(**found["warc.gz"]),
        "met": value <= GOAL_MB,
        "formats": found,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(measure(Path(sys.argv[1])) if len(sys.argv) > 1 else main())
