"""The WARC reader: each record one item, nothing lost silently, whatever the bytes are."""

import gzip
import hashlib
import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.stream_io import BrotliWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.crawl_files import crawl, page, response, warc_record, write_warc
from kit.reading import read_items
from kit.resident import peak_kilobytes

from streams.errors import SourceError
from streams.ingest.items import DAMAGE, Document, Item, Skip, Stub
from streams.ingest.source import Compression, Kind, inspect
from streams.ingest.stored import LocalFile
from streams.ingest.warc import WarcReader
from streams.settings import IngestSettings

DATA = Path(__file__).parents[1] / "data" / "warc"
MAX_BYTES = 1_000_000


def read(path: Path, max_bytes: int = MAX_BYTES) -> list[Item]:
    source = inspect(str(path))
    items = list(read_items(path, source.kind, source.compression, max_bytes))
    assert [item.index for item in items] == list(range(len(items)))
    return items


def read_bytes(folder: Path, data: bytes, compressed: bool, max_bytes: int = MAX_BYTES) -> list[Item]:
    path = folder / "bytes"
    path.write_bytes(data)
    compression = Compression.GZIP if compressed else Compression.NONE
    items = list(read_items(path, Kind.WARC, compression, max_bytes))
    assert [item.index for item in items] == list(range(len(items)))
    return items


def named(items: list[Item]) -> Counter[str]:
    """Each item by what became of it."""
    return Counter(
        "document"
        if isinstance(item, Document)
        else item.reason
        if isinstance(item, Skip)
        else item.record.reason
        for item in items
    )


def one(tmp_path: Path, record: bytes, max_bytes: int = MAX_BYTES, name: str = "a.warc.gz") -> Item:
    (item,) = read(write_warc(tmp_path / name, [record]), max_bytes)
    return item


def document(item: Item) -> Document:
    assert isinstance(item, Document), item
    return item


def buried(item: Item) -> Stub:
    assert isinstance(item, Stub), item
    return item


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.warc", {"warcinfo": 2, "request": 2, "revisit": 1, "document": 1}),
        ("example.warc.gz", {"warcinfo": 2, "request": 2, "revisit": 1, "document": 1}),
        (
            "example-bad.warc.gz.bad",
            {"warcinfo": 1, "request": 2, "revisit": 1, "redirect": 1, "document": 1},
        ),
        ("example-digest.warc", {"request": 4}),
        ("example-resource.warc.gz", {"warcinfo": 2, "document": 1}),
        ("example-space-in-target-uri.warc.gz", {"warcinfo": 1, "resource": 1}),
        (
            "example-wget-bad-target-uri.warc.gz",
            {"warcinfo": 1, "request": 1, "metadata": 1, "resource": 2, "document": 1},
        ),
        ("post-test.warc.gz", {"request": 3, "content_type": 3}),
        ("example.txt.warc.gz", {"warcinfo": 2, "request": 2, "content_type": 1, "document": 1}),
        ("block-sized-records.warc.gz", {"unknown_type": 3}),
        ("whirlwind.warc.gz", {"warcinfo": 1, "request": 1, "metadata": 1, "document": 1}),
        ("whirlwind.warc.wet.gz", {"warcinfo": 1, "document": 1}),
    ],
)
def test_files_of_other_tools(name: str, expected: dict[str, int]) -> None:
    assert named(read(DATA / name)) == expected


def test_a_capture_of_common_crawl() -> None:
    (found,) = [item for item in read(DATA / "whirlwind.warc.gz") if isinstance(item, Document)]
    record = found.record
    assert found.index == 2
    assert record.url == "https://an.wikipedia.org/wiki/Escopete"
    assert record.fetched_at == "2024-05-18T01:58:10Z"
    assert (record.content_type, record.charset) == ("text/html", "utf-8")
    assert len(record.id) == 36
    assert bytes(record.payload).startswith(b"<!DOCTYPE html>")
    assert bytes(record.payload).rstrip().endswith(b"</html>")
    (text,) = [item for item in read(DATA / "whirlwind.warc.wet.gz") if isinstance(item, Document)]
    assert (text.record.content_type, text.record.charset) == ("text/plain", "utf-8")
    assert "Escopete" in bytes(text.record.payload).decode()


def test_angle_brackets_around_addresses_come_off() -> None:
    (found,) = [
        item for item in read(DATA / "example-wget-bad-target-uri.warc.gz") if isinstance(item, Document)
    ]
    assert found.record.url == "http://example.com/"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (response(b"<p>x", status="301 Moved"), "redirect"),
        (response(b"<p>x", status="304 Not Modified"), "redirect"),
        (response(b"<p>x", status="404 Not Found"), "http_error"),
        (response(b"<p>x", status="503"), "http_error"),
        (response(b"<p>x", status="206 Partial Content"), "http_error"),
        (response(b"<p>x", status="203 From a proxy"), "document"),
        (response(b"<p>x", status="200"), "document"),
        (response(b"x", content_type="image/png"), "content_type"),
        (response(b"x", content_type="application/pdf"), "content_type"),
        (response(b"x", content_type="TEXT/HTML ; Charset=x"), "document"),
        (response(b"x", content_type="application/xhtml+xml"), "document"),
        (response(b"x", content_type="text/plain"), "document"),
        (response(b"x", content_type=""), "content_type"),
        (response(b"\xef\xbb\xbf\n <!DOCTYPE HTML><p>x", content_type=""), "document"),
        (response(b"x", content_type="", extra=[("WARC-Identified-Payload-Type", "text/html")]), "document"),
        (response(b"User-agent: *", "http://a.b/robots.txt", content_type="text/plain"), "robots"),
        (response(b""), "empty"),
        (warc_record("response", b"", "http://a.b/"), "empty"),
        (warc_record("response", b"no http at all", "http://a.b/"), "bad_http"),
        (warc_record("response", b"HTTP/1.1 20 OK\r\n\r\nx", "http://a.b/"), "bad_http"),
        (warc_record("response", b"a 1 IN A 1.2.3.4", "dns:a.b", "text/dns"), "dns"),
        (warc_record("response", b"file", "ftp://a.b/c", "text/plain"), "document"),
        (warc_record("resource", b"<p>x", "https://a.b/c", "text/html"), "document"),
        (warc_record("resource", b"log", "metadata://a.b/c", "text/plain"), "resource"),
        (warc_record("conversion", b"text", "https://a.b/c", "text/plain"), "document"),
        (warc_record("continuation", b"x", "https://a.b/c"), "continuation"),
        (warc_record("made-up", b"x", "https://a.b/c"), "unknown_type"),
    ],
)
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_what_becomes_of_a_record(tmp_path: Path, record: bytes, expected: str, name: str) -> None:
    assert named([one(tmp_path, record, name=name)]) == {expected: 1}


def test_bare_line_feeds_and_folded_headers(tmp_path: Path) -> None:
    block = b"HTTP/1.0 200 OK\nContent-Type:\n text/html;\n charset='ISO-8859-1'\n\nbody\n\nmore"
    record = document(one(tmp_path, warc_record("response", block, "http://a.b/"))).record
    assert (record.payload, record.content_type, record.charset) == (
        b"body\n\nmore",
        "text/html",
        "iso-8859-1",
    )


def test_no_robots_header_is_lost(tmp_path: Path) -> None:
    headers = [
        ("X-Robots-Tag", "otherbot: none"),
        ("Server", "x"),
        ("x-robots-tag", "noai"),
        ("X-ROBOTS-TAG", "a"),
    ]
    record = document(one(tmp_path, response(b"<p>x", headers=headers))).record
    assert record.metadata == {"x-robots-tag": "otherbot: none; noai; a"}
    flood = [("X-Robots-Tag", "b" * 500)] * 50
    record = document(one(tmp_path, response(b"<p>x", headers=flood))).record
    assert len(record.metadata["x-robots-tag"]) == 2048


def test_signals_are_kept_and_bounded(tmp_path: Path) -> None:
    headers = [
        ("X-Robots-Tag", "noai, noimageai"),
        ("TDM-Reservation", "1"),
        ("tdm-policy", "https://a.b/policy.json"),
        ("Link", '<https://creativecommons.org/licenses/by/4.0/>; rel="license"'),
        ("Content-Language", "en" * 1000),
        ("Set-Cookie", "secret"),
    ]
    extra = [("WARC-Truncated", "length")]
    record = document(one(tmp_path, response(b"<p>x", headers=headers, extra=extra, record_id="7"))).record
    assert record.id == "7"
    assert record.metadata == {
        "x-robots-tag": "noai, noimageai",
        "tdm-reservation": "1",
        "tdm-policy": "https://a.b/policy.json",
        "link": '<https://creativecommons.org/licenses/by/4.0/>; rel="license"',
        "content-language": ("en" * 256),
        "warc-truncated": "length",
    }


def test_ids_without_a_record_id_differ_by_source_and_index(tmp_path: Path) -> None:
    items = read(write_warc(tmp_path / "a.warc.gz", [response(b"<p>x")] * 3))
    assert len({document(item).record.id for item in items}) == 3


def test_hostile_bytes_in_a_payload_are_left_as_they_are(tmp_path: Path) -> None:
    payload = b'\xff\xfe\x00\x00<fi>\xed\xa0\x80<excerpt> {"text": 1}\r\n\r\nHTTP/1.1 200 OK\r\n\r\n' * 50
    assert document(one(tmp_path, response(payload))).record.payload == payload


def test_hostile_bytes_in_headers(tmp_path: Path) -> None:
    header = b"Content-Type: text/html; charset=\xff\xfe\r\nX-Robots-Tag: \xc3\x28\x00"
    block = b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n<p>x"
    made = warc_record("response", block, "http://a.b/\x00\x1b[31m").replace(b"a.b/", b"a.b/\xff")
    record = document(one(tmp_path, made)).record
    assert record.payload == b"<p>x"
    assert record.url.startswith("http://a.b/\ufffd")
    assert record.charset == ""


def chunked(data: bytes, size: int = 7) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def brotli(data: bytes, folder: Path) -> bytes:
    path = folder / "br"
    with path.open("wb") as file, BrotliWriter(file) as writer:
        writer.write(data)
    return path.read_bytes()


TEXT = b"<p>" + b"some text that is compressed, " * 40


@pytest.mark.parametrize(
    "encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "br", "gzip, gzip", "identity"]
)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_content_and_transfer_codings_come_off(tmp_path: Path, encoding: str, in_chunks: bool) -> None:
    raw = zlib.compressobj(wbits=-15)
    encoded = {
        "gzip": gzip.compress(TEXT),
        "x-gzip": gzip.compress(TEXT),
        "deflate": zlib.compress(TEXT),
        "raw deflate": raw.compress(TEXT) + raw.flush(),
        "br": brotli(TEXT, tmp_path),
        "gzip, gzip": gzip.compress(gzip.compress(TEXT)),
        "identity": TEXT,
    }[encoding]
    headers = [("Content-Encoding", encoding.removeprefix("raw "))]
    if in_chunks:
        headers.append(("Transfer-Encoding", "chunked"))
        encoded = chunked(encoded)
    record = document(one(tmp_path, response(encoded, headers=headers))).record
    assert record.payload == TEXT
    assert record.metadata == {}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "made-up"])
def test_a_coding_that_the_crawler_already_took_off(tmp_path: Path, encoding: str) -> None:
    headers = [("Content-Encoding", encoding), ("Transfer-Encoding", "chunked")]
    assert document(one(tmp_path, response(TEXT, headers=headers))).record.payload == TEXT


def test_a_capture_that_ends_early_is_kept_and_marked(tmp_path: Path) -> None:
    squeezed = gzip.compress(os.urandom(1000).hex().encode())[:700]
    record = document(one(tmp_path, response(squeezed, headers=[("Content-Encoding", "gzip")]))).record
    assert 500 < len(record.payload) < 2000
    assert record.metadata == {"http-truncated": "yes"}
    cut = chunked(TEXT)[:500]
    record = document(one(tmp_path, response(cut, headers=[("Transfer-Encoding", "chunked")]))).record
    assert TEXT.startswith(bytes(record.payload))
    assert record.metadata == {"http-truncated": "yes"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "made-up"])
def test_a_broken_coding_is_buried(tmp_path: Path, encoding: str) -> None:
    body = b"\x1f\x8b\x08" + bytes(range(200))
    found = buried(one(tmp_path, response(body, headers=[("Content-Encoding", encoding)])))
    assert found.record.reason == "undecodable"
    assert found.record.head.endswith(body)


def test_many_codings_are_refused(tmp_path: Path) -> None:
    body = TEXT
    for _ in range(6):
        body = gzip.compress(body)
    record = response(body, headers=[("Content-Encoding", ",".join(["gzip"] * 6))])
    assert buried(one(tmp_path, record)).record.reason == "undecodable"


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_an_over_long_document_leaves_hash_and_head(tmp_path: Path, name: str) -> None:
    payload = page(1, 300_000)
    path = write_warc(
        tmp_path / name, [response(b"<p>x"), response(payload, "http://a.b/long"), response(b"<p>y")]
    )
    items = read(path, max_bytes=200_000)
    assert named(items) == {"document": 2, "over_long": 1}
    found = buried(items[1]).record
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + payload
    assert found.url == "http://a.b/long"
    assert found.length == len(block)
    assert found.sha256 == hashlib.sha256(block).hexdigest()
    assert found.head == block[: 64 * 1024]
    stored = path.read_bytes()[found.start :]
    assert (gzip.decompress(stored) if name.endswith(".gz") else stored).startswith(b"WARC/1.0\r\n")


def test_a_long_video_is_skipped_not_buried(tmp_path: Path) -> None:
    assert named([one(tmp_path, response(b"x" * 300_000, content_type="video/mp4"), 1000)]) == {
        "content_type": 1
    }


@pytest.mark.parametrize("limit", [1, 0, -1])
def test_the_limit_is_exact(tmp_path: Path, limit: int) -> None:
    item = one(tmp_path, response(b"x" * 150_000), max_bytes=150_000 + limit)
    assert named([item]) == {"document" if limit >= 0 else "over_long": 1}


def test_bombs_are_bounded_in_memory(tmp_path: Path) -> None:
    """A record of 200 MB in 200 KB, the same as a content encoding in 400 bytes, headers without end."""
    zeros = b"\0" * 40_000_000
    squeezed = gzip.compress(gzip.compress(zeros))
    parts = [
        gzip.compress(response(zeros * 5)),
        gzip.compress(response(gzip.compress(zeros), headers=[("Content-Encoding", "gzip")])),
        gzip.compress(response(squeezed, headers=[("Content-Encoding", "gzip, gzip")])),
        gzip.compress(warc_record("response", b"HTTP/1.1 200 OK\r\nX: " + zeros)),
        gzip.compress(response(b"<p>good")),
        gzip.compress(b"WARC/1.0\r\nX: " + zeros),
    ]
    path = tmp_path / "bombs.warc.gz"
    path.write_bytes(b"".join(parts))
    del zeros
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from kit.reading import read_items
from kit.resident import peak_kilobytes
before = peak_kilobytes()
for item in read_items(Path({str(path)!r}), "warc", "gzip"):
    print(item.record.reason if hasattr(item.record, "reason") else "document")
print(peak_kilobytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *kinds, kilobytes = done.stdout.split()
    assert kinds == ["over_long", "inflates", "inflates", "bad_http", "document", "unreadable"]
    assert int(kilobytes) < 20_000


def test_a_sparse_file_of_100_mb(tmp_path: Path) -> None:
    """A document of 100 MB that is one hole on disk: counted, hashed, never held."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    record = warc_record("response", head, "http://a.b/", length=100_000_000 + len(head))
    path = tmp_path / "sparse.warc"
    with path.open("wb") as file:
        file.write(record.removesuffix(b"\r\n\r\n"))
        file.seek(100_000_000, os.SEEK_CUR)
        file.write(b"\r\n\r\n" + response(b"<p>after"))
    before = peak_kilobytes()
    items = read(path)
    assert named(items) == {"over_long": 1, "document": 1}
    assert buried(items[0]).record.length == 100_000_000 + len(head)
    assert peak_kilobytes() - before < 50_000


@pytest.mark.parametrize("length", ["", "abc", "-5", "18446744073709551617", "9999999999999999999999"])
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_length_that_is_no_number(tmp_path: Path, length: str, name: str) -> None:
    good = response(b"<p>good")
    bad, times = re.subn(rb"Content-Length: \d+", b"Content-Length: " + length.encode(), response(b"<p>bad"))
    assert times == 1
    items = read(write_warc(tmp_path / name, [good, bad, good]))
    assert isinstance(items[0], Document)
    # Without its length nobody knows where the next begins; in a member of its own it is part of the rest.
    expected = ["unreadable"] if name.endswith(".gz") else ["bad_length", "unreadable"]
    assert [buried(item).record.reason for item in items[1:]] == expected


@pytest.mark.parametrize("length", [9223372036854775807, 10**9])
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_length_beyond_the_file(tmp_path: Path, length: int, name: str) -> None:
    records = [response(b"<p>good"), response(b"<p>bad", length=length), response(b"<p>swallowed")]
    for kind in ("request", "response"):
        records[1] = warc_record(kind, b"HTTP/1.1 200 OK\r\n\r\n<html>", "http://a.b/", length=length)
        items = read(write_warc(tmp_path / name, records))
        assert [type(item) for item in items] == [Document, Stub]
        assert buried(items[1]).record.reason in {"truncated", "over_long"}


@pytest.mark.parametrize("kind", ["request", "response"])
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_length_that_swallows_the_next_record(tmp_path: Path, kind: str, name: str) -> None:
    hidden, body = response(b"<p>hidden"), b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>outer"
    outer = warc_record(kind, body, "http://a.b/", length=len(body) + 4 + len(hidden) - 4)
    items = read(write_warc(tmp_path / name, [outer, hidden, response(b"<p>next")]))
    assert [buried(item).record.reason if isinstance(item, Stub) else "document" for item in items] == [
        "bad_length",
        "document",
    ]


@pytest.mark.parametrize("garbage", [b"garbage\r\n", bytes(range(256)) * 300, b"\0" * 10])
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_garbage_between_records_is_one_stub_with_its_offset(
    tmp_path: Path, garbage: bytes, name: str
) -> None:
    good = [response(b"<p>one"), response(b"<p>two")]
    whole = write_warc(tmp_path / name, good).read_bytes()
    path = tmp_path / f"b{name}"
    path.write_bytes(whole + garbage + whole)
    items = read(path)
    assert named(items) == {"document": 2, "unreadable": 1}
    found = buried(items[2]).record
    assert (found.start, found.length) == (len(whole), len(garbage) + len(whole))
    assert found.sha256 == hashlib.sha256(garbage + whole).hexdigest()
    assert found.head == (garbage + whole)[: 64 * 1024]


def test_a_member_with_a_wrong_checksum_gives_no_document(tmp_path: Path) -> None:
    """The body of a large member can be read to its end before its checksum is known."""
    parts = [gzip.compress(response(page(n, 200_000), f"http://a.b/{n}")) for n in range(3)]
    broken = bytearray(parts[1])
    broken[-6] ^= 1  # in the checksum
    items = read_bytes(tmp_path, parts[0] + bytes(broken) + parts[2], compressed=True)
    assert named(items) == {"document": 1, "unreadable": 1}
    assert buried(items[1]).record.start == len(parts[0])


def test_records_that_share_members_are_read_like_any(tmp_path: Path) -> None:
    """Blocked gzip: members of a fixed size, records across their borders, an empty member at the end."""
    data = b"".join(crawl(page(n, 5000) for n in range(30)))
    members = [gzip.compress(data[i : i + 4096]) for i in range(0, len(data), 4096)]
    path = tmp_path / "blocks.warc.gz"
    path.write_bytes(b"".join(members) + gzip.compress(b""))
    assert named(read(path)) == {"warcinfo": 1, "request": 30, "metadata": 30, "document": 30}


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    for name in ("a.warc", "a.warc.gz"):
        (tmp_path / name).write_bytes(b"")
        assert read(tmp_path / name) == []


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_disk_that_fails_is_no_damage(tmp_path: Path, name: str) -> None:
    """An error of the machine must not be booked as the file's: it would never be read again."""
    path = write_warc(tmp_path / name, crawl(page(n) for n in range(50)))

    class Failing(LocalFile):
        def __init__(self) -> None:
            super().__init__(str(path))
            self.read_on, self.read = self.read, self.fail_later

        def fail_later(self, size: int) -> bytes:
            if self.tell() > 100_000:
                raise OSError(5, "Input/output error")
            return self.read_on(size)

    with pytest.raises(SourceError, match="cannot be read now: Input/output error"):
        list(WarcReader(Failing(), inspect(str(path)), IngestSettings(max_document_bytes=1000)))


SMALL = [
    warc_record("warcinfo", b"software: test\r\n", content_type="application/warc-fields"),
    response(b"<p>" + b"first " * 20, "http://a.b/1"),
    warc_record("request", b"GET / HTTP/1.1\r\n\r\n", "http://a.b/2"),
    response(gzip.compress(b"<p>second"), "http://a.b/2", headers=[("Content-Encoding", "gzip")]),
    warc_record("conversion", b"third", "http://a.b/3", "text/plain"),
]
WHOLE = {
    "plain": b"".join(SMALL),
    "members": b"".join(gzip.compress(record) for record in SMALL),
    "one member": gzip.compress(b"".join(SMALL)),
}
BORDERS = {
    "plain": [sum(map(len, SMALL[:n])) for n in range(6)],
    "members": [sum(len(gzip.compress(record)) for record in SMALL[:n]) for n in range(6)],
    "one member": [0, len(WHOLE["one member"])],
}


@pytest.mark.parametrize("layout", list(WHOLE))
def test_a_cut_at_any_byte_never_raises_and_never_loses_silently(tmp_path: Path, layout: str) -> None:
    data, compressed = WHOLE[layout], layout != "plain"
    whole = read_bytes(tmp_path, data, compressed)
    assert named(whole) == {"warcinfo": 1, "request": 1, "document": 3}
    for cut in range(len(data)):
        items = read_bytes(tmp_path, data[:cut], compressed)
        stubs = [item for item in items if isinstance(item, Stub)]
        kept = items[: len(items) - len(stubs)]
        assert kept == whole[: len(kept)], (
            cut
        )  # a stub is last, and what is before it is as in the whole file
        if stubs:
            assert len(stubs) == 1, cut
            assert stubs[0].record.reason in {reason.value for reason in DAMAGE}, cut
        else:
            # Only where nothing says that there was more: between records (or their closing line ends).
            line_ends = 4 if layout == "plain" else 0
            assert any(edge - line_ends <= cut <= edge for edge in BORDERS[layout]), cut
        if layout != "one member":
            complete = sum(edge <= cut for edge in BORDERS[layout]) - 1
            assert len(kept) >= complete, cut


@settings(max_examples=150, deadline=None)
@given(
    layout=st.sampled_from(list(WHOLE)),
    edits=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(max_size=12), st.integers(0, 12)), min_size=1, max_size=3
    ),
)
def test_changed_bytes_never_raise(
    tmp_path_factory: pytest.TempPathFactory, layout: str, edits: list[tuple[int, bytes, int]]
) -> None:
    data = WHOLE[layout]
    for place, put, take in edits:
        at = place % len(data)
        data = data[:at] + put + data[at + take :]
    items = read_bytes(tmp_path_factory.getbasetemp(), data, layout != "plain")
    if layout != "plain" and data != WHOLE[layout]:
        documents = {bytes(item.record.payload) for item in items if isinstance(item, Document)}
        allowed = {b"<p>" + b"first " * 20, b"<p>second", b"third"}
        if layout == "members":  # each under its own checksum: what passes is what was written
            assert documents <= allowed


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400), compressed=st.booleans())
def test_any_bytes_at_all(tmp_path_factory: pytest.TempPathFactory, data: bytes, compressed: bool) -> None:
    folder = tmp_path_factory.getbasetemp()
    for bytes_ in (data, b"WARC/1.0\r\n" + data, gzip.compress(data)):
        items = read_bytes(folder, bytes_, compressed)
        assert items or not bytes_.strip(b"\r\n") or compressed, "bytes without a word"
