"""`chunk_vs_datatrove`: crawled pages a CPU-second from WARC to filtered text, over datatrove's.

Ours: the WARC reader, its records through their wire form, the whole chunk stage with the filters dropping as
FineWeb's do (extraction, metadata, language, filters, exact token counts, cutting). datatrove's: its WARC
reader, trafilatura favouring precision, the same four filters; without its sandbox, which would cost it more,
and without its language filter, whose model would have to be fetched. One process each, one after the other,
the same file: 300 pages of 54 kB made of shipped documents, or the WARC that `CHUNK_WARC` names.

The extractors differ, so the texts do, and with them what is kept; both counts are shown. Beside it
`chunk_trafilatura_vs_datatrove`, where that is installed: the same with trafilatura as our extractor.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _crawl_pages as pages
import _datatrove

from streams.garbage import collect_seldom
from streams.ingest.items import Document
from streams.ingest.reader import open_reader
from streams.ingest.source import inspect
from streams.records import RawDocument, decode, encode
from streams.settings import load
from workers.chunk.stage import ChunkStage
from workers.stage import Drop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kit.crawl_files import response, write_warc

PAGES = 300
_MORE = re.compile(rb' <a href="/more/\d+">More</a>')
"""Ends each paragraph of those pages without a mark, for which FineWeb's rules would reject them all."""
GOAL = 5
ROUNDS = 2


def made(path: Path) -> Path:
    """Write the pages as a crawler does: a response a gzip member."""
    pages.PAGES = PAGES
    return write_warc(
        path,
        (
            response(
                _MORE.sub(b"", page.payload),
                page.url,
                record_id=str(uuid.UUID(int=number)),
                extra=[("WARC-Identified-Payload-Type", "text/html")],
            )
            for number, page in enumerate(pages.made())
        ),
    )


def ours(path: Path, **chunk: Any) -> dict[str, Any]:
    """One pass; the stage is open and has seen pages before."""
    modes = {family: {"mode": "drop"} for family in _datatrove.FAMILIES}
    settings = load(chunk={"languages": [], "min_characters": 1, "filters": modes, **chunk})
    stage = ChunkStage(settings)
    stage.open()
    collect_seldom()  # as a worker does
    size = settings.chunk.batch_records

    def once() -> dict[str, Any]:
        source = inspect(str(path))
        began = time.process_time()
        opened = open_reader(source, settings.ingest)
        assert opened is not None
        read = kept = 0
        reading = 0.0
        reasons: Counter[str] = Counter()
        batch: list[RawDocument] = []

        def through() -> int:
            outcomes = stage.process(batch)
            reasons.update(outcome.reason for outcome in outcomes if isinstance(outcome, Drop))
            return sum(not isinstance(outcome, (Drop, Exception)) for outcome in outcomes)

        last = time.process_time()
        for item in opened:
            if not isinstance(item, Document):
                continue
            read += 1
            batch.append(decode(encode(item.record), RawDocument))
            if len(batch) == size:
                reading += time.process_time() - last
                kept += through()
                batch.clear()
                last = time.process_time()
        kept += through()
        seconds = time.process_time() - began
        opened.close()
        return {
            "pages": read,
            "kept": kept,
            "cpu_seconds": seconds,
            "reading": reading,
            "dropped": dict(reasons),
        }

    return min((once() for _ in range(ROUNDS)), key=lambda answer: float(answer["cpu_seconds"]))


def figure(name: str, goal: float | None, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Print one ratio of pages a CPU-second; both read the same pages."""
    value = round(theirs["cpu_seconds"] / mine["cpu_seconds"], 2)
    count = mine["pages"]
    print(
        json.dumps(
            {
                "name": name,
                "value": value,
                "unit": "ratio of pages a CPU-second",
                "goal": goal,
                "better": "higher",
                "baseline": f"datatrove {_datatrove.VERSION}: {count / theirs['cpu_seconds']:.1f} pages a "
                f"CPU-second, {theirs['kept']} of {count} kept; ours {count / mine['cpu_seconds']:.1f}, "
                f"{mine['kept']} kept",
                "met": None if goal is None else value >= goal,
                "ours": mine,
                "theirs": theirs,
            }
        ),
        flush=True,
    )


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        given = os.environ.get("CHUNK_WARC")
        path = Path(given) if given else made(Path(name) / "pages.warc.gz")
        mine = ours(path)
        try:
            theirs = _datatrove.ask("pipeline", path)
        except _datatrove.NoDatatrove as error:
            print(f"datatrove: {error}", file=sys.stderr)
            return 1
        figure("chunk_vs_datatrove", GOAL, mine, theirs)
        if find_spec("trafilatura"):
            same = ours(path, extraction={"extractor": "trafilatura"})
            figure("chunk_trafilatura_vs_datatrove", None, same, theirs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
