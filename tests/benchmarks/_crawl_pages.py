"""Pages for the benchmarks of the chunk stage: made here, or read from WARC files.

The made ones are 54 kB each: the shipped documents' texts in the frame of a usual site, with the tags (about
1,000) and the share of text (a tenth) of real pages of that size, and with the head that such pages have.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from streams.records import RawDocument
from streams.samples import sample_paths
from workers.chunk.extractors.resiliparse import MAIN_CONTENT

PAGES = 200
PAGE_BYTES = 54_000
TEXT_CHARACTERS = 5_200


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


def given_or_made(arguments: list[str]) -> list[RawDocument]:
    """Return the pages of the WARC files named, else made ones."""
    return [page for name in arguments for page in from_warc(Path(name))] or list(made())


def bare(pages: list[RawDocument]) -> None:
    """Do what the baseline does: detect the encoding, decode, extract the main content as the stage does."""
    for page in pages:
        payload = page.payload
        extract_plain_text(bytes_to_str(payload, detect_encoding(payload)), **MAIN_CONTENT)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began
