"""Builds the sample documents that ship: `python dev/build_samples.py DATA_FOLDER`.

DATA_FOLDER holds `docs/medquad-nih.tar.gz`, `docs/digitalgov.tar.gz` and `docs/xquad/xquad.{en,es}.json` as their
repositories publish them (NOTICE names repository, commit and licence). Same input, same bytes. Only texts are
taken: the questions of MedQuAD and XQuAD are an evaluation set and stay out.

Short pages with one clear subject are chosen, since they suit a small model; and a few that must *not* become
segments (a copy, another language, too short, no text), so that the demo shows why documents end.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import json
import re
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.tokens import load_tokenizer

OUT = Path(__file__).parents[1] / "streams" / "data" / "samples"
FETCHED = "2026-11-20T00:00:00Z"
LEAST_TOKENS, MOST_TOKENS = 90, 420
TAKE = {"medquad": 330, "digitalgov": 60, "xquad": 120}


class Page(NamedTuple):
    """One document before it is written."""

    url: str
    title: str
    paragraphs: list[str]
    licence: str

    @property
    def text(self) -> str:
        return "\n\n".join(self.paragraphs)


def order(page: Page) -> bytes:
    """A fixed shuffle: which pages are taken must not depend on file names."""
    return hashlib.blake2b(page.url.encode(), digest_size=8).digest()


def medquad(archive: Path) -> Iterator[Page]:
    """NIH pages: title and answers, without their questions."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".xml"):
                continue
            file = tar.extractfile(member)
            assert file is not None
            root = ET.fromstring(file.read())
            title = (root.findtext("Focus") or "").strip()
            answers = [re.sub(r"[ \t\n]+", " ", a.text or "").strip() for a in root.iter("Answer")]
            paragraphs = [a for a in answers if a]
            if title and paragraphs:
                yield Page(root.get("url") or member.name, title, paragraphs, "CC BY 4.0, MedQuAD")


def digitalgov(archive: Path) -> Iterator[Page]:
    """US government articles: front matter gives the title, Markdown the text."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".md") or "/_" in member.name:
                continue
            file = tar.extractfile(member)
            assert file is not None
            text = file.read().decode("utf-8", "replace")
            if not text.startswith("---") or text.count("\n---") < 1:
                continue
            front, _, body = text[3:].partition("\n---")
            title = re.search(r'^title: *["\']?(.+?)["\']?$', front, re.M)
            body = re.sub(r"\{\{.*?\}\}", "", body, flags=re.S)
            body = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", body)
            body = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", body)
            body = re.sub(r"[*_#>`]+", "", body)
            paragraphs = [re.sub(r"\s+", " ", p).strip() for p in body.split("\n\n")]
            paragraphs = [p for p in paragraphs if len(p) > 40]
            if title and paragraphs:
                yield Page(f"https://digital.gov/{member.name}", title[1].strip(), paragraphs, "public domain, digital.gov")


def xquad(path: Path) -> Iterator[Page]:
    """Wikipedia paragraphs, without their questions."""
    for article in json.loads(path.read_text())["data"]:
        title = article["title"].replace("_", " ")
        for i, paragraph in enumerate(article["paragraphs"]):
            url = f"https://{path.stem[-2:]}.wikipedia.org/wiki/{article['title']}#{i}"
            yield Page(url, title, [paragraph["context"].strip()], "CC BY-SA 4.0, XQuAD")


def chosen(pages: Iterator[Page], n: int) -> list[Page]:
    """Take n pages of a handy length in a fixed shuffle."""
    tokenizer = load_tokenizer("finestream-bpe")
    fitting = [p for p in sorted(pages, key=order) if LEAST_TOKENS <= tokenizer.count(p.text) <= MOST_TOKENS]
    seen: set[str] = set()
    unique = [p for p in fitting if not (p.url in seen or seen.add(p.url))]  # type: ignore[func-returns-value]
    return unique[:n]


def as_html(page: Page) -> bytes:
    """A plain page around the text, as a site would serve it."""
    body = "\n".join(f"<p>{html.escape(p)}</p>" for p in page.paragraphs)
    title = html.escape(page.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n<body>'
        f'<nav><a href="/">Home</a> <a href="/topics">Topics</a></nav>\n<main><h1>{title}</h1>\n{body}\n</main>\n'
        "<footer>Contact us</footer></body></html>\n"
    ).encode()


def warc_record(page: Page, n: int, body: bytes, content_type: str = "text/html; charset=utf-8") -> bytes:
    """One response record, a gzip member of its own as the format asks."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    identity = hashlib.blake2b(f"{n} {page.url}".encode(), digest_size=16).hexdigest()
    uuid = "-".join((identity[:8], identity[8:12], identity[12:16], identity[16:20], identity[20:]))
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{uuid}>\r\nWARC-Target-URI: {page.url}\r\n"
        f"WARC-Date: {FETCHED}\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    ).encode()
    return gzip.compress(head + http + b"\r\n\r\n", mtime=0)


def write_warc(name: str, records: list[bytes]) -> None:
    (OUT / name).write_bytes(b"".join(records))


def write_jsonl(name: str, pages: list[Page]) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for page in pages:
            row = {"url": page.url, "title": page.title, "text": page.text, "metadata": {"licence": page.licence}}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    (OUT / name).write_bytes(buffer.getvalue())


def main() -> None:
    data = Path(sys.argv[1]) / "docs"
    OUT.mkdir(parents=True, exist_ok=True)
    health = chosen(medquad(data / "medquad-nih.tar.gz"), TAKE["medquad"])
    government = chosen(digitalgov(data / "digitalgov.tar.gz"), TAKE["digitalgov"])
    encyclopedia = chosen(xquad(data / "xquad" / "xquad.en.json"), TAKE["xquad"])
    spanish = chosen(xquad(data / "xquad" / "xquad.es.json"), 4)
    records = [warc_record(p, i, as_html(p)) for i, p in enumerate(health + government)]
    unwanted = [
        warc_record(health[0]._replace(url=health[0].url + "?copy=1"), 1001, as_html(health[0])),
        warc_record(health[1], 1002, as_html(health[1])),
        warc_record(Page("https://example.org/short", "Short", ["Nothing to see here."], ""), 1003, as_html(
            Page("", "Short", ["Nothing to see here."], ""))),
        warc_record(Page("https://example.org/empty", "", [], ""), 1004, b"<html><body></body></html>"),
        warc_record(Page("https://example.org/dot.gif", "", [], ""), 1005, b"GIF89a\x01\x00\x01\x00", "image/gif"),
        *(warc_record(p, 1010 + i, as_html(p)) for i, p in enumerate(spanish)),
    ]  # fmt: skip
    write_warc("health-and-government.warc.gz", records)
    write_warc("unwanted.warc.gz", unwanted)
    write_jsonl("encyclopedia.jsonl.gz", encyclopedia)
    tokenizer = load_tokenizer("finestream-bpe")
    counts = sorted(tokenizer.count(p.text) for p in health + government + encyclopedia)
    size = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{len(counts)} documents, median {counts[len(counts) // 2]} tokens, {sum(counts)} in all, {size} bytes")


if __name__ == "__main__":
    main()
