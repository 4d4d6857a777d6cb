"""Build the sample documents that ship: `python dev/build_samples.py DATA_FOLDER`. Same input, same bytes.

Chosen are short pages with one clear subject, named by their title and early in their text: they suit a small
model and an engine that only copies. Beside them stand a few that must *not* become segments, one for each
reason to drop, so that the demo shows why documents end. The gold set's documents and all questions stay out.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import corpora
from corpora import Page
from resiliparse.extract.html2text import extract_plain_text

from streams.tokens import load_tokenizer

OUT = Path(__file__).parents[1] / "streams" / "data" / "samples"
FETCHED = "2026-11-20T00:00:00Z"
TOKENS = range(60, 600)
TAKE = {"4": 440, "6": 122, "2": 235, "3": 60, "digitalgov": 50, "xquad": 40}
"""How many of each source: MedlinePlus, NINDS, GARD, GHR (folders of MedQuAD), digital.gov, Wikipedia."""
LICENCES = {
    "medquad": "CC BY 4.0, MedQuAD",
    "digitalgov": "public domain, digital.gov",
    "xquad": "CC BY-SA 4.0, XQuAD",
}
WHIRLWIND = "crawl/warc/whirlwind-python/whirlwind.warc.gz"
EVENT = re.compile(
    r"\b(register|webinar|join us|sign up|rsvp|this (event|session)|speakers?)\b", re.IGNORECASE
)

counter = load_tokenizer()


def text_of(page: Page) -> str:
    """Return a page's text as plain characters."""
    text: str = extract_plain_text(page.body, preserve_formatting=True)
    return text


def explainers(data: Path, gold: set[str]) -> Iterator[Page]:
    """Yield digital.gov's articles that explain something, which announcements of meetings do not."""
    for page in corpora.digitalgov(data):
        if page.path not in gold and not page.path.startswith(("content/events/", "content/communities/")):
            yield page._replace(title=html.unescape(page.title))


def by_paragraph(pages: Iterable[Page]) -> Iterator[Page]:
    """Part articles into pages of a paragraph: XQuAD holds loose paragraphs, not articles' beginnings."""
    for page in pages:
        for index, body in enumerate(page.body.split("\n")):
            yield page._replace(body=body, url=f"{page.url}#{index}")


def about_its_title(page: Page, text: str) -> bool:
    """Whether the page says early on what its title names."""
    name = re.sub(r"\s*\(.*?\)", "", page.title).casefold()
    return len(name.split()) <= 6 and "?" not in name and name in text[:250].casefold()


def suitable(page: Page) -> bool:
    """Whether a page is short, whole, and about one thing."""
    text = text_of(page)
    if counter.count(text) not in TOKENS or "Human Phenotype Ontology" in text:  # tables run together
        return False
    if page.corpus == "digitalgov":
        return len(page.title.split()) <= 9 and not EVENT.search(text) and "Code snippet" not in text
    return about_its_title(page, text)


def chosen(pages: Iterable[Page], count: int) -> list[Page]:
    """Take `count` suitable pages in a fixed shuffle, so that file names decide nothing."""
    shuffled = sorted(pages, key=lambda page: hashlib.blake2b(page.url.encode(), digest_size=8).digest())
    unique = {text_of(page): page for page in shuffled if suitable(page)}
    return sorted(list(unique.values())[:count], key=lambda page: page.url)


def as_html(page: Page) -> str:
    """Return a plain page around the text, as a site would serve it."""
    title = html.escape(page.title, quote=False)
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">'
        f'<head><meta charset="utf-8"><title>{title}</title></head>\n'
        '<body><header><nav><a href="/">Home</a> <a href="/topics">Topics</a></nav></header>\n'
        f"<main><article><h1>{title}</h1>\n{page.body}\n</article></main>\n"
        "<footer>Contact us</footer></body></html>\n"
    )


def record(
    url: str, body: bytes, content_type: str = "text/html; charset=utf-8", status: str = "200 OK"
) -> bytes:
    """Return one response record, a gzip member of its own as the format asks."""
    http = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    digest = hashlib.blake2b(url.encode() + http, digest_size=16).hexdigest()
    uuid = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{uuid}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: {FETCHED}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0)


def unwanted(pages: list[Page], foreign: list[Page]) -> list[bytes]:
    """Return what must not become a segment, and one page in an old encoding that must."""
    first, second = (as_html(page).encode() for page in pages[:2])
    old = next(page for page in pages if re.search("[\xa0-\xff]", page.body) and page.body.isascii() is False)
    latin = as_html(old).replace('<meta charset="utf-8">', "").encode("cp1252", "xmlcharrefreplace")
    return [
        record(pages[0].url, first),  # crawled twice: the same lane, so a duplicate
        record(
            pages[1].url + "?copy=1", second
        ),  # the same text elsewhere: perhaps another lane, then missed
        record(old.url + "?old=1", latin, "text/html; charset=ISO-8859-1"),
        record(
            "https://example.org/short",
            as_html(Page("", "", "", "Short", "<p>Nothing to see here.</p>")).encode(),
        ),
        record("https://example.org/empty", b"<html><body></body></html>"),
        record("https://example.org/moved", b"", status="301 Moved Permanently"),
        record("https://example.org/dot.gif", b"GIF89a\x01\0\x01\0", "image/gif"),
        record("https://example.org/report", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "text/html"),
        record("https://example.org/deep", b"<html><body>" + b"<div>" * 100_000 + b"deep", "text/html"),
        record("https://example.org/noise", bytes(range(256)) * 8, "text/html"),
        *(record(page.url, as_html(page).encode()) for page in foreign),
    ]


def write(name: str, content: bytes) -> None:
    """Write one sample file."""
    (OUT / name).write_bytes(content)


def jsonl(pages: Iterable[Page]) -> bytes:
    """Return pages as gzipped JSON lines of plain text."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for page in pages:
            licence = {"licence": LICENCES[page.corpus]}
            row = {"url": page.url, "title": page.title, "text": text_of(page), "metadata": licence}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return buffer.getvalue()


def main() -> None:
    """Choose, write, and say what was written."""
    data = Path(sys.argv[1])
    gold = corpora.held_out(data)
    OUT.mkdir(parents=True, exist_ok=True)
    health = [page for page in corpora.medquad(data) if page.path not in gold]
    pages = [
        page for part in "4623" for page in chosen((p for p in health if p.path.startswith(part)), TAKE[part])
    ]
    pages += chosen(explainers(data, gold), TAKE["digitalgov"])
    articles = (page for page in corpora.xquad(data) if page.path not in gold)
    encyclopedia = chosen(by_paragraph(articles), TAKE["xquad"])
    foreign = list(by_paragraph(corpora.xquad(data, "es")))[:120:30]
    write("health-and-government.warc.gz", b"".join(record(p.url, as_html(p).encode()) for p in pages))
    write("encyclopedia.jsonl.gz", jsonl(encyclopedia))
    write("unwanted.warc.gz", b"".join(unwanted(pages, foreign)))
    write("whirlwind.warc.gz", (data / WHIRLWIND).read_bytes())
    counts = sorted(counter.count(text_of(page)) for page in pages + encyclopedia)
    size = sum(file.stat().st_size for file in OUT.iterdir())
    print(f"{len(counts)} documents, {sum(counts)} tokens, median {counts[len(counts) // 2]}, {size} bytes")


if __name__ == "__main__":
    main()
