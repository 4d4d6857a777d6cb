"""The JSON lines reader: each line one item, bad ones buried by name."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.reading import read_items

from streams.ingest.items import Document, Item, Skip, Stub
from streams.ingest.source import Compression, Kind
from streams.records import STUB_HEAD_BYTES, encode

MAX_BYTES = 100_000


def read(folder: Path, data: bytes, compressed: bool = False, max_bytes: int = MAX_BYTES) -> list[Item]:
    path = folder / "lines"
    path.write_bytes(gzip.compress(data, mtime=0) if compressed is True else data)
    compression = Compression.GZIP if compressed else Compression.NONE
    items = list(read_items(path, Kind.JSONL, compression, max_bytes))
    assert [item.index for item in items] == list(range(len(items)))
    return items


def words(items: list[Item]) -> list[str]:
    return [
        bytes(item.record.payload).decode()
        if isinstance(item, Document)
        else f"-{item.reason}"
        if isinstance(item, Skip)
        else f"!{item.record.reason}"
        for item in items
    ]


def test_the_fields(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "url": " https://a.b/c ",
        "title": "T" * 1000,
        "text": "plain \u0000 text",
        "html": "<p>not this",
        "date": "2026-01-02",
        "licence": "CC0",
        "score": 0.5,
        "nothing": None,
        "tags": ["a", {"b": 1}],
        "long": "x" * 10_000,
    }
    (item,) = read(tmp_path, json.dumps(row).encode())
    assert isinstance(item, Document)
    record = item.record
    assert (record.id, record.url, record.title) == ("7", "https://a.b/c", "T" * 512)
    assert (record.content_type, record.charset, record.payload) == ("text/plain", "utf-8", b"plain \0 text")
    assert (record.source, record.fetched_at) == ("source", "2026-01-02")
    assert record.metadata == {"licence": "CC0", "score": "0.5", "tags": '["a",{"b":1}]'}
    assert len(encode(record)) < 1500


def test_html_and_content(tmp_path: Path) -> None:
    items = read(tmp_path, b'{"html":"<p>x"}\n{"content":"y"}\n{"text":null,"html":"<p>z"}')
    assert [
        (item.record.content_type, item.record.payload) for item in items if isinstance(item, Document)
    ] == [
        ("text/html", b"<p>x"),
        ("text/plain", b"y"),
        ("text/html", b"<p>z"),
    ]
    assert len({item.record.id for item in items if isinstance(item, Document)}) == 3


@pytest.mark.parametrize("compressed", [False, True])
def test_bad_lines_are_named_and_end_nothing(tmp_path: Path, compressed: bool) -> None:
    lines = [
        b'\xef\xbb\xbf{"text":"first, after a byte order mark"}',
        b"",
        b"not json",
        b'{"text":"cut',
        b"[1,2]",
        b"null",
        b'"text"',
        b'{"body":"no text"}',
        b'{"text":5}',
        b'{"text":" \\n "}',
        b'{"text":"\xff\xfe"}',
        b'{"text":"\\ud800"}',
        b'{"text":"x","n":1e999999}',
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"\0\0\0",
        b'{"text":"' + b"x" * 400_000 + b'"}',
        b'{"text":"' + b"y" * (MAX_BYTES + 1) + b'"}',
        b'{"text":"windows"}\r',
        b'{"text":"last"}',
    ]
    items = read(tmp_path, b"\n".join(lines), compressed)
    got = words(items)
    assert got == [
        "first, after a byte order mark",
        "-empty",
        "!invalid_json",
        "!invalid_json",
        "!not_an_object",
        "!not_an_object",
        "!not_an_object",
        "!no_text",
        "!no_text",
        "-empty",
        "!invalid_utf8",
        "!invalid_json",
        got[12],
        "!invalid_json",
        "!invalid_json",
        "!invalid_json",
        "!over_long",
        "!over_long",
        "windows",
        "last",
    ]
    assert got[12] in {"!invalid_json", "x"}  # a number beyond a double: no matter which, but no crash
    for line, item in zip(lines, items, strict=True):
        if isinstance(item, Stub):
            assert item.record.length == len(line)
            assert item.record.sha256 == hashlib.sha256(line).hexdigest()
            assert item.record.head == line[:STUB_HEAD_BYTES]
    if not compressed:
        starts = [item.record.start for item in items if isinstance(item, Stub)]
        offsets = [sum(len(line) + 1 for line in lines[:n]) for n in range(len(lines))]
        assert starts == [o for o, item in zip(offsets, items, strict=True) if isinstance(item, Stub)]


def test_a_line_of_200_mb_is_bounded_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text":"' + b"x" * 200_000_000 + b'"}\n{"text":"after"}\n', 1))
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from kit.reading import read_items
from kit.resident import peak_kilobytes
before = peak_kilobytes()
for item in read_items(Path({str(path)!r}), "jsonl", "gzip"):
    print(getattr(item.record, "reason", "document"))
print(peak_kilobytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *kinds, kilobytes = done.stdout.split()
    assert kinds == ["over_long", "document"]
    assert int(kilobytes) < 20_000


LINES = b"".join(
    b'{"text":"line %d %s"}\n' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(40)
)


def test_a_gzip_file_cut_anywhere(tmp_path: Path) -> None:
    data = gzip.compress(LINES)
    whole = read(tmp_path, data, compressed=1)  # type: ignore[arg-type] - 1: as it is
    assert len(whole) == 40
    for cut in range(1, len(data), 3):
        items = read(tmp_path, data[:cut], compressed=1)  # type: ignore[arg-type]
        stubs = [item for item in items if isinstance(item, Stub)]
        assert [stub.record.reason for stub in stubs] in (["truncated"], ["unreadable"]), cut
        assert items[:-1] == whole[: len(items) - 1], cut


def test_a_plain_file_cut_anywhere(tmp_path: Path) -> None:
    """A plain file does not say how long it should be: a cut shows where a line is broken by it."""
    whole = read(tmp_path, LINES)
    for cut in range(0, len(LINES), 3):
        items = read(tmp_path, LINES[:cut])
        kept = [item for item in items if isinstance(item, Document)]
        assert kept == whole[: len(kept)]
        assert len(kept) == LINES[:cut].count(b"\n") + (LINES[:cut][-1:] == b"}")
        assert words(items[len(kept) :]) in ([], ["!truncated"])


@settings(max_examples=100, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bytes_in_gzip_never_pass_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(gzip.compress(LINES, mtime=0))
    for at, mask in flips:
        data[10 + at % (len(data) - 10)] ^= mask  # the header's time and system are free to change
    folder = tmp_path_factory.getbasetemp()
    items = read(folder, bytes(data), compressed=1)  # type: ignore[arg-type]
    changed = bytes(data) != gzip.compress(LINES, mtime=0)
    assert any(isinstance(item, Stub) for item in items) == changed


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_at_all(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    items = read(folder, data)
    assert len(items) == len(data.removesuffix(b"\n").split(b"\n") if data else [])
    read(folder, data, compressed=1)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["text", "url", "id", "title", "date", "meta", "x"]) | st.text(max_size=5),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
                lambda inner: (
                    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                ),
                max_leaves=5,
            ),
            max_size=6,
        ),
        max_size=5,
    )
)
def test_any_rows_give_records_that_can_be_sent(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    items = read(tmp_path_factory.getbasetemp(), data)
    assert len(items) == len(rows)
    for item in items:
        if not isinstance(item, Skip):
            assert encode(item.record)
