"""Building crawl files: WARC records by hand (so that they can be wrong), pages of a given size."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = """
the of and to in water river region people city history system where which first between about century light
species energy surface process government public research during several important population language example
number large small different model south north west east island
""".split()  # noqa: SIM905


def warc_record(
    kind: str,
    body: bytes,
    url: str = "",
    content_type: str = "application/http; msgtype=response",
    record_id: str = "",
    length: int | None = None,
    extra: Iterable[tuple[str, str]] = (),
) -> bytes:
    """One WARC record; `length` lies about its body, `extra` are further headers."""
    lines = ["WARC/1.0", f"WARC-Type: {kind}", "WARC-Date: 2026-01-02T03:04:05Z"]
    if record_id:
        lines.append(f"WARC-Record-ID: <urn:uuid:{record_id}>")
    if url:
        lines.append(f"WARC-Target-URI: {url}")
    lines += [f"{name}: {value}" for name, value in extra]
    lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def response(
    payload: bytes,
    url: str = "http://example.org/",
    status: str = "200 OK",
    content_type: str = "text/html; charset=utf-8",
    headers: Iterable[tuple[str, str]] = (),
    **record: Any,
) -> bytes:
    """One response record with its HTTP header."""
    lines = [f"HTTP/1.1 {status}"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in headers]
    return warc_record("response", "\r\n".join(lines).encode() + b"\r\n\r\n" + payload, url, **record)


def write_warc(path: Path, records: Iterable[bytes], members: bool = True) -> Path:
    """Write records; a name that ends in `.gz` gets one gzip member a record (or one in all)."""
    parts = list(records)
    if path.name.endswith(".gz"):
        path.write_bytes(b"".join(map(_gzip, parts)) if members else _gzip(b"".join(parts)))
    else:
        path.write_bytes(b"".join(parts))
    return path


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines, gzip where the name says so."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(_gzip(data) if path.name.endswith(".gz") else data)
    return path


def page(number: int, size: int = 50_000) -> bytes:
    """An HTML page of about `size` bytes, with as much markup and redundancy as pages of a crawl have."""
    rnd = random.Random(number)
    parts = [f"<!DOCTYPE html><html><head><title>Page {number}</title></head><body>"]
    length = len(parts[0])
    while length < size:
        text = " ".join(rnd.choices(WORDS, k=rnd.randrange(8, 60)))
        item = rnd.randrange(10**9)
        word, title, label = rnd.choices(WORDS, k=3)
        part = (
            f'<div class="row item-{item:x}" data-id="{rnd.getrandbits(64):016x}">'
            f'<a href="/section/{item}/{word}.html" title="{title}">{label}</a><p>{text}.</p></div>\n'
        )
        parts.append(part)
        length += len(part)
    return "".join([*parts, "</body></html>"]).encode()


def page_url(number: int) -> str:
    """The address of a page of `crawl`."""
    return f"https://site-{number % 997}.example.org/section/{number}?page={number % 7}"


def crawl(pages: Iterable[bytes]) -> Iterable[bytes]:
    """The records of a crawl file over these pages, as Common Crawl has them: request, response, metadata."""
    yield warc_record("warcinfo", b"software: test\r\n", content_type="application/warc-fields")
    for number, payload in enumerate(pages):
        url = page_url(number)
        request = f"GET /section/{number} HTTP/1.1\r\nHost: example.org\r\nUser-Agent: crawler/1.0\r\n\r\n"
        yield warc_record("request", request.encode(), url, "application/http; msgtype=request")
        headers = [
            ("Date", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ("Server", "nginx/1.18.0"),
            ("X-Crawler-Content-Encoding", "gzip"),
            ("Vary", "Accept-Encoding"),
            ("Set-Cookie", "session=0123456789abcdef; path=/; HttpOnly"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Cache-Control", "max-age=0, private, must-revalidate"),
            ("Content-Length", str(len(payload))),
        ]
        record_id = f"00000000-0000-4000-8000-{number:012x}"
        extra = [
            ("WARC-IP-Address", "192.0.2.1"),
            ("WARC-Payload-Digest", "sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("WARC-Identified-Payload-Type", "text/html"),
        ]
        yield response(payload, url, headers=headers, record_id=record_id, extra=extra)
        yield warc_record(
            "metadata", b"fetchTimeMs: 123\r\ncharset-detected: UTF-8\r\n", url, "application/warc-fields"
        )
