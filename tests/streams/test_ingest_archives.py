"""ARC files and zstd: lengths, versions, frames, dictionaries; nothing expands or ends unseen."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.crawl_files import crawl, page, response
from kit.formats import arc_head, arc_record, gz, line, lying, zstd
from kit.reading import read_items

from streams.ingest.items import Document, Item, Skip, Stub
from streams.ingest.members import Members
from streams.ingest.source import Compression, Kind, inspect
from streams.ingest.stored import LocalFile
from streams.ingest.zstd_frames import MAX_DICTIONARY_BYTES, FrameWalk

DATA = Path(__file__).parents[1] / "data" / "warc"
PAGES = [page(n, 2000) for n in range(6)]
SKIPPED = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


def read(path: Path) -> list[Item]:
    source = inspect(str(path))
    items = list(read_items(path, source.kind, source.compression))
    assert [item.index for item in items] == list(range(len(items)))
    return items


def read_bytes(
    folder: Path, data: bytes, kind: Kind, compression: Compression = Compression.ZSTD
) -> list[Item]:
    path = folder / "bytes"
    path.write_bytes(data)
    items = list(read_items(path, kind, compression))
    assert [item.index for item in items] == list(range(len(items)))
    return items


def named(items: list[Item]) -> Counter[str]:
    return Counter(
        "document"
        if isinstance(item, Document)
        else item.reason
        if isinstance(item, Skip)
        else item.record.reason
        for item in items
    )


def payloads(items: list[Item]) -> list[bytes]:
    return [bytes(item.record.payload) for item in items if isinstance(item, Document)]


# ARC


def test_an_arc_file_of_another_tool() -> None:
    for name in ("example.arc", "example.arc.gz"):
        items = read(DATA / name)
        assert named(items) == {"warcinfo": 1, "document": 1}
        found = items[1]
        assert isinstance(found, Document)
        assert (found.record.url, found.record.fetched_at) == ("http://example.com/", "2014-02-16T05:02:21Z")
        assert bytes(found.record.payload).startswith(b"<!doctype html>")
        assert bytes(found.record.payload).endswith(b"</html>\n")


@pytest.mark.parametrize("pack", [bytes, gz, zstd], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_and_addresses_with_spaces(tmp_path: Path, version: int, pack) -> None:
    url = "http://a.b/c?d=Examples From The Web&e=f"
    parts = [arc_head(version), arc_record(PAGES[0], url, version=version)]
    parts.append(b"dns:a.b 192.0.2.1 20260102030405 text/dns 3\nabc\n" if version == 1 else b"")
    parts.append(arc_record(PAGES[1], "http://a.b/2", version=version))
    (tmp_path / "a.arc").write_bytes(b"".join(pack(part) for part in parts if part))
    items = read(tmp_path / "a.arc")
    assert payloads(items) == PAGES[:2]
    found = items[1]
    assert isinstance(found, Document)
    assert found.record.url == url
    assert named(items) == {"warcinfo": 1, "document": 2} | ({"dns": 1} if version == 1 else {})


def test_what_becomes_of_arc_records(tmp_path: Path) -> None:
    def raw(body: bytes, url: str = "http://a.b/", kind: str = "text/html") -> bytes:
        return f"{url} 192.0.2.1 20260102 {kind} {len(body)}\n".encode() + body + b"\n"

    ok = b"HTTP/1.0 200 OK\r\n"
    records = [
        raw(ok + b"\r\n<html>no type said", kind="no-type"),
        raw(b"HTTP/1.0 404 No\r\nContent-Type: text/html\r\n\r\nx"),
        raw(b"HTTP/1.0 301 Moved\r\n\r\nx"),
        raw(ok + b"Content-Type: image/png\r\n\r\nx"),
        raw(ok + b"Content-Type: text/html\r\n\r\n"),
        raw(b"no http at all"),
        raw(b"file", "ftp://a.b/c", "text/plain"),
        raw(b"log", "crawl:log", "text/plain"),
        raw(ok + b"Content-Type: text/plain\r\n\r\nx", "http://a.b/robots.txt"),
        raw(b""),
    ]
    items = read_bytes(tmp_path, b"".join(records), Kind.ARC, Compression.NONE)
    assert [item.reason if isinstance(item, Skip) else type(item).__name__ for item in items] == [
        "Document",
        "http_error",
        "redirect",
        "content_type",
        "empty",
        "Stub",
        "Document",
        "resource",
        "robots",
        "empty",
    ]


def test_a_length_too_short_takes_its_record_into_the_rest(tmp_path: Path) -> None:
    """In a member of its own the record's end is known: what passes for it would be half a page."""
    parts = [arc_head(), arc_record(PAGES[0], "http://a.b/1"), lying("arc", PAGES[1], 1, -500)]
    items = read_bytes(tmp_path, b"".join(map(gz, parts)), Kind.ARC, Compression.GZIP)
    assert named(items) == {"warcinfo": 1, "document": 1, "unreadable": 1}
    assert isinstance(items[2], Stub)
    assert items[2].record.start == sum(len(gz(part)) for part in parts[:2])


def test_the_last_record_needs_no_line_end(tmp_path: Path) -> None:
    data = arc_head() + arc_record(PAGES[0], "http://a.b/").removesuffix(b"\n")
    assert payloads(read_bytes(tmp_path, data, Kind.ARC, Compression.NONE)) == PAGES[:1]


@pytest.mark.parametrize("pack", [bytes, gz, zstd], ids=["plain", "gz", "zst"])
def test_an_arc_cut_at_any_byte(tmp_path: Path, pack) -> None:
    small = [b"<p>" + b"word " * n for n in (3, 9, 5)]
    parts = [pack(arc_head()), *(pack(arc_record(text, f"http://a.b/{n}")) for n, text in enumerate(small))]
    data = b"".join(parts)
    ends = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    compression = {bytes: Compression.NONE, gz: Compression.GZIP, zstd: Compression.ZSTD}[pack]
    for cut in range(1, len(data)):
        items = read_bytes(tmp_path, data[:cut], Kind.ARC, compression)
        found = payloads(items)
        assert found == small[: len(found)], cut
        line_end = 1 if pack is bytes else 0
        assert len(found) >= sum(end <= cut for end in ends) - 1, cut
        whole = any(end - line_end <= cut <= end for end in ends)
        assert any(isinstance(item, Stub) for item in items) is not whole, cut


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(max_size=12), st.integers(0, 12)), min_size=1, max_size=3
    ),
    layout=st.sampled_from(["plain", "gz", "zst"]),
)
def test_changed_bytes_of_an_arc_never_raise(tmp_path_factory, edits, layout: str) -> None:
    pack, compression = {
        "plain": (bytes, Compression.NONE),
        "gz": (gz, Compression.GZIP),
        "zst": (zstd, Compression.ZSTD),
    }[layout]
    data = b"".join(
        map(pack, [arc_head(), arc_record(b"<p>one", "http://a.b/1"), arc_record(b"<p>two", "http://a.b/2")])
    )
    for place, put, take in edits:
        at = place % len(data)
        data = data[:at] + put + data[at + take :]
    items = read_bytes(tmp_path_factory.getbasetemp(), data, Kind.ARC, compression)
    if layout != "plain":
        assert set(payloads(items)) <= {b"<p>one", b"<p>two"}


def test_a_body_made_to_slow_the_search_for_records_down(tmp_path: Path) -> None:
    import time

    evil = b"\nhttp:" + b" 1.1.1.1 20140216050221 a" * 80 + b"\n"
    body = evil * (900_000 // len(evil))
    path = tmp_path / "a.arc"
    path.write_bytes(arc_head() + arc_record(body, "http://a.b/"))
    began = time.process_time()
    read(path)
    assert time.process_time() - began < 5


# Zstandard


def walk(data: bytes, size: int) -> FrameWalk:
    frames = FrameWalk()
    for at in range(0, len(data), size):
        frames.feed(data[at : at + size])
    return frames


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400_000), min_size=1, max_size=3),
    checksum=st.booleans(),
    streamed=st.booleans(),
    piece=st.integers(1, 100_000),
    cut=st.integers(0, 10**6),
)
def test_the_walk_knows_whether_the_last_frame_is_closed(
    sizes: list[int], checksum: bool, streamed: bool, piece: int, cut: int
) -> None:
    frames = []
    for number, size in enumerate(sizes):
        compressor = zstandard.ZstdCompressor(write_checksum=checksum)
        data = bytes(size) if number % 2 else page(number, 2000) * (size // 2000 + 1)
        one = compressor.compressobj() if streamed else None
        frames.append(one.compress(data) + one.flush() if one else compressor.compress(data))
        frames.append(SKIPPED)
    data, ends = b"".join(frames), {0}
    for frame in frames:
        ends.add(max(ends) + len(frame))
    piece = max(piece, len(data) // 3000 + 1)
    assert walk(data, piece).closed
    cut %= len(data)
    assert walk(data[:cut], piece).closed is (cut in ends)


@pytest.mark.parametrize("kind", [Kind.WARC, Kind.JSONL])
def test_frames_of_any_layout(tmp_path: Path, kind: Kind) -> None:
    if kind is Kind.WARC:
        records = [response(text, f"http://a.b/{n}") for n, text in enumerate(PAGES)]
    else:
        records = [line(n, text) for n, text in enumerate(PAGES)]
    data = b"".join(records)
    streamed = zstandard.ZstdCompressor().compressobj()
    layouts = [
        b"".join(map(zstd, records)),
        zstd(data),
        SKIPPED + b"".join(SKIPPED + zstd(record) for record in records) + SKIPPED,
        b"".join(zstd(data[at : at + 700]) for at in range(0, len(data), 700)),
        streamed.compress(data) + streamed.flush(),
        zstd(b"") + zstd(data) + zstd(b""),
    ]
    for layout in layouts:
        assert payloads(read_bytes(tmp_path, layout, kind)) == PAGES


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [Kind.WARC, Kind.JSONL])
def test_a_dictionary_at_the_begin_is_used(tmp_path: Path, kind: Kind, compressed: bool) -> None:
    trained = zstandard.train_dictionary(4000, [page(n, 1500) for n in range(200)])
    content = zstandard.compress(trained.as_bytes()) if compressed else trained.as_bytes()
    frame = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(content)) + content
    compressor = zstandard.ZstdCompressor(dict_data=trained)
    records = [response(p) if kind is Kind.WARC else line(n, p) for n, p in enumerate(PAGES)]
    data = frame + b"".join(map(compressor.compress, records))
    assert inspect_bytes(tmp_path, data) is Compression.ZSTD
    assert payloads(read_bytes(tmp_path, data, kind)) == PAGES
    without = read_bytes(tmp_path, data.removeprefix(frame), kind)
    assert named(without) == {"unreadable": 1}


def inspect_bytes(folder: Path, data: bytes) -> Compression:
    (folder / "a.warc.zst").write_bytes(data)
    return inspect(str(folder / "a.warc.zst")).compression


def test_bombs_in_zstd_are_bounded_in_memory(tmp_path: Path) -> None:
    """Dictionaries and records that expand to 300 MB, a window of 2 GB; good ones before them are found."""
    good = {"warc": response(b"<p>good"), "jsonl": b'{"text": "good"}\n', "arc": arc_head()}
    big = zstandard.ZstdCompressor().compressobj()
    zeros = b"".join(big.compress(bytes(1_000_000)) for _ in range(300)) + big.flush()
    dictionary = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(zeros)) + zeros
    parameters = zstandard.ZstdCompressionParameters(window_log=31, compression_level=1)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    window = wide.compress(good["warc"]) + wide.flush()
    assert zstandard.get_frame_parameters(window).window_size == 1 << 31
    cases = []
    for kind, record in good.items():
        for number, data in enumerate(
            (dictionary + zstd(record), zstd(record) + dictionary, zstd(record) + zeros)
        ):
            path = tmp_path / f"{number}.{kind}"
            path.write_bytes(data)
            cases.append((str(path), kind))
        (tmp_path / f"wide.{kind}").write_bytes(window)
        cases.append((str(tmp_path / f"wide.{kind}"), kind))
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from kit.reading import read_items
from kit.resident import peak_kilobytes
from streams.ingest.items import Stub
before = peak_kilobytes()
for path, kind in {cases!r}:
    stubs = [item.record.reason for item in read_items(Path(path), kind, "zstd") if isinstance(item, Stub)]
    assert stubs in (["unreadable"], ["over_long"]), (path, kind, stubs)
print(peak_kilobytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60_000


def test_a_dictionary_that_is_too_long_or_cut(tmp_path: Path) -> None:
    for size in (MAX_DICTIONARY_BYTES + 1, 0xFFFFFFF0, 100):
        data = b"\x5d\x2a\x4d\x18" + struct.pack("<I", size) + b"x" * 50
        for kind in (Kind.WARC, Kind.JSONL, Kind.ARC):
            assert set(named(read_bytes(tmp_path, data, kind))) <= {"unreadable", "truncated"}


# Both compressions, for parsers of our own


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=3000) | st.integers(0, 300_000).map(bytes), max_size=5),
    size=st.integers(1, 200_000),
    compression=st.sampled_from([Compression.GZIP, Compression.ZSTD]),
)
def test_members_come_apart_where_they_begin(
    tmp_path_factory, parts, size: int, compression: Compression
) -> None:
    pack = gz if compression is Compression.GZIP else zstd
    packed = [pack(part) for part in parts]
    path = tmp_path_factory.getbasetemp() / "members"
    path.write_bytes(b"".join(packed))
    file = LocalFile(str(path))
    members = Members(file, compression)
    found: dict[int, bytes] = {}
    size = max(size, sum(map(len, parts)) // 500)
    while piece := members.read(size):
        assert len(piece) <= size
        found[members.frame()] = found.get(members.frame(), b"") + piece
    starts = [sum(map(len, packed[:n])) for n in range(len(parts))]
    assert found == {start: part for start, part in zip(starts, parts, strict=True) if part}
    assert members.ends_whole()
    file.close()


def test_a_crawl_reads_the_same_in_every_compression(tmp_path: Path) -> None:
    records = list(crawl(PAGES))
    found = {}
    for compression, pack in ((Compression.NONE, bytes), (Compression.GZIP, gz), (Compression.ZSTD, zstd)):
        items = read_bytes(tmp_path, b"".join(map(pack, records)), Kind.WARC, compression)
        found[compression] = [(named([item]), payloads([item])) for item in items]
    assert found[Compression.GZIP] == found[Compression.ZSTD] == found[Compression.NONE]
