"""`chunk_pure_vs_resiliparse`: pages a CPU-second through the chunk stage, over those of bare Resiliparse.

Bare = detect the encoding, decode, extract the main content with the stage's own options. The stage also
guards against costly markup, cleans, finds title and language, hashes, counts tokens exactly, cuts and builds
records. Both run in this process, in turns, over the same pages; the best round of each counts: whatever else
the machine does can only add.

The pages are made here, 54 kB each: the shipped documents' texts in the frame of a usual site, with the tags
(about 1,000) and the share of text (a tenth) of real pages of that size. Given WARC files as arguments, it
reads their HTML pages instead.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from streams.records import RawDocument
from streams.samples import sample_paths
from streams.settings import load
from workers.chunk.extractors.resiliparse import MAIN_CONTENT
from workers.chunk.stage import ChunkStage
from workers.stage import Drop

PAGES = 200
PAGE_BYTES = 54_000
TEXT_CHARACTERS = 5_200
ROUNDS = 7
GOAL = 0.85


def from_warc(path: Path) -> Iterator[RawDocument]:
    """Yield the HTML pages of a WARC file."""
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            if record.http_content_type == "text/html" and (payload := record.reader.read()):
                yield RawDocument(
                    id=record.record_id,
                    url=record.headers["WARC-Target-URI"],
                    source=path.name,
                    content_type="text/html",
                    charset=record.http_charset or "",
                    payload=payload,
                )


def made() -> Iterator[RawDocument]:
    """Yield pages of a usual frame around shipped texts, the same in every run."""
    [jsonl] = [path for path in sample_paths() if ".jsonl" in path.name]
    rows = [json.loads(line) for line in gzip.decompress(jsonl.read_bytes()).splitlines()]
    [warc] = [path for path in sample_paths() if "health" in path.name]
    texts = [row["text"] for row in rows]
    texts += [extract_plain_text(page.payload.decode(), main_content=True) for page in from_warc(warc)]
    draw = random.Random(54)
    words = sorted({word for text in texts for word in text.split() if word.isalpha()})

    def links(count: int, kind: str) -> str:
        items = (
            f'<li class="{kind}-item item-{i}">'
            f'<a class="{kind}-link" href="/{kind}/{draw.choice(words)}?id={i}">'
            f"{draw.choice(words)} {draw.choice(words)}</a></li>\n"
            for i in range(count)
        )
        return f'<div class="{kind}"><ul class="{kind}-list">\n{"".join(items)}</ul></div>\n'

    for number in range(PAGES):
        paragraphs: list[str] = []
        while sum(map(len, paragraphs)) < TEXT_CHARACTERS * draw.uniform(0.5, 1.5):
            paragraphs += draw.choice(texts).split("\n\n")
        article = "\n".join(
            f'<div class="block"><p id="p{i}">{text} <a href="/more/{i}">More</a></p></div>'
            for i, text in enumerate(paragraphs)
        )
        body = (
            '<body class="page"><div id="outer">'
            f'<header class="site-header"><nav>{links(50, "menu")}</nav></header>\n'
            f'<div class="layout"><main id="content"><article><h1>{draw.choice(words)}</h1>\n'
            f"{article}</article></main>"
            f'<aside class="sidebar">{links(70, "related")}</aside></div>\n'
            f'<footer class="site-footer">{links(60, "sitemap")}</footer></div></body></html>'
        )
        title = f"{draw.choice(words)} {draw.choice(words)} | A Site"
        script = "".join(
            f"window.t{i} = {{a: '{draw.choice(words)}', b: {i}, c: function(x) {{ return x < {i}; }}}};\n"
            for i in range((PAGE_BYTES - len(body)) // 75)
        )
        page = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        page += f"<script>{script}</script></head>\n{body}"
        yield RawDocument(
            id=str(number),
            url=f"https://site{number}.example/",
            source="made",
            content_type="text/html",
            charset="utf-8",
            payload=page.encode(),
        )


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    """Measure and print."""
    given = [Path(argument) for argument in sys.argv[1:]]
    documents = [page for path in given for page in from_warc(path)] or list(made())
    payloads = [document.payload for document in documents]
    settings = load(chunk={"languages": [], "min_characters": 1})  # every page the whole way
    stage = ChunkStage(settings)
    stage.open()
    size = settings.chunk.batch_records

    def ours() -> list[Any]:
        return [
            outcome
            for i in range(0, len(documents), size)
            for outcome in stage.process(documents[i : i + size])
        ]

    def theirs() -> None:
        for payload in payloads:
            extract_plain_text(bytes_to_str(payload, detect_encoding(payload)), **MAIN_CONTENT)

    outcomes = ours()  # fills the cache of words, as a worker's first second does
    kept = [outcome for outcome in outcomes if not isinstance(outcome, Drop)]
    characters = statistics.mean(sum(len(segment.text) for segment in segments) for segments in kept)
    pairs = []
    for turn in range(ROUNDS):
        pairs.append((cpu_seconds(theirs), cpu_seconds(ours)))
        print(f"{turn}: bare {pairs[-1][0]:.3f} s, chunk {pairs[-1][1]:.3f} s of CPU", file=sys.stderr)
    bare = min(theirs for theirs, _ in pairs)
    value = bare / min(ours for _, ours in pairs)
    bare_rate = len(documents) / bare
    print(
        json.dumps(
            {
                "name": "chunk_pure_vs_resiliparse",
                "value": round(value, 3),
                "unit": "ratio of documents per CPU-second",
                "goal": GOAL,
                "better": "higher",
                "baseline": f"Resiliparse decode and main content of the same {len(documents)} pages of "
                f"{statistics.mean(map(len, payloads)) / 1000:.0f} kB ({len(kept)} kept, {characters:.0f} "
                f"characters each): {bare_rate:.0f} documents a CPU-second",
                "met": round(value, 3) >= GOAL,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
