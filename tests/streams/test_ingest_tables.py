"""Parquet and Arrow: every row one item, whatever types, pages and batches are; the mapping of fields."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.formats import arrow, documents, parquet
from kit.reading import read_items

from streams.errors import SourceError
from streams.ingest.inputs import expand
from streams.ingest.items import Document, Item, Skip, Stub
from streams.ingest.parquet_layout import BadLayout, pages
from streams.ingest.reader import READERS
from streams.ingest.source import Compression, Kind, Source, inspect
from streams.ingest.stored import LocalFile
from streams.records import RawDocument, encode
from streams.settings import FieldSettings, IngestSettings

PAGES = documents(9)


def write(folder: Path, table: pa.Table, kind: Kind, **options: Any) -> Path:
    path = folder / f"table.{kind}"
    if kind is Kind.PARQUET:
        pq.write_table(table, path, **options)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=options.get("row_group_size"))
    return path


def read(path: Path, kind: Kind, fields: FieldSettings | None = None, max_bytes: int = 100_000) -> list[Item]:
    return list(read_items(path, kind, Compression.NONE, max_bytes, fields))


def records(items: list[Item]) -> list[RawDocument]:
    for item in items:
        assert isinstance(item, Document), item
        encode(item.record)
    return [item.record for item in items if isinstance(item, Document)]


def words(items: list[Item]) -> list[str]:
    return [
        bytes(item.record.payload).decode()
        if isinstance(item, Document)
        else f"-{item.reason}"
        if isinstance(item, Skip)
        else f"!{item.record.reason}"
        for item in items
    ]


BOTH = pytest.mark.parametrize("kind", [Kind.PARQUET, Kind.ARROW])


@BOTH
def test_the_columns(tmp_path: Path, kind: Kind) -> None:
    row = {
        "id": 7,
        "url": " https://a.b/c ",
        "title": "T" * 1000,
        "text": "plain text é",
        "html": "<p>not this",
        "date": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "day": dt.date(2026, 1, 2),
        "score": 0.5,
        "good": True,
        "nothing": None,
        "meta": {"licence": "CC0", "tags": ["a", "b"]},
        "long": "x" * 10_000,
        "vector": [0.5] * 100,
        "raw": b"\xff\x00",
    }
    (record,) = records(read(write(tmp_path, pa.Table.from_pylist([row]), kind), kind))
    assert (record.id, record.url, record.title) == ("7", "https://a.b/c", "T" * 512)
    assert (record.content_type, record.charset) == ("text/plain", "utf-8")
    assert record.payload == "plain text é".encode()
    assert (record.source, record.fetched_at) == ("source", "2026-01-02T03:04:05Z")
    assert record.metadata == {
        "day": "2026-01-02",
        "score": "0.5",
        "good": "True",
        "meta": '{"licence":"CC0","tags":["a","b"]}',
    }


@BOTH
def test_rows_that_are_no_documents(tmp_path: Path, kind: Kind) -> None:
    rows = [
        {"text": "first", "html": None},
        {"text": None, "html": "<p>second"},
        {"text": None, "html": None},
        {"text": "", "html": None},
        {"text": " \n", "html": None},
        {"text": "x" * 100_001, "html": None},
        {"text": "last", "html": "<p>"},
    ]
    items = read(write(tmp_path, pa.Table.from_pylist(rows), kind, row_group_size=3), kind)
    assert words(items) == ["first", "<p>second", "!no_text", "-empty", "-empty", "!over_long", "last"]
    assert [item.index for item in items] == list(range(7))


@BOTH
def test_text_that_is_no_utf8_and_text_in_binary_columns(tmp_path: Path, kind: Kind) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, [None, *pa.array([b"\xff\xfe", b"good"]).buffers()[1:]])
    table = pa.table({"text": bad, "url": bad})
    items = read(write(tmp_path, table, kind, write_statistics=False), kind)
    assert words(items) == ["!invalid_utf8", "good"]
    (record,) = records(read(write(tmp_path, pa.table({"html": [b"<p>\xe9"]}), kind), kind))
    assert (record.payload, record.charset, record.content_type) == (b"<p>\xe9", "", "text/html")


@BOTH
def test_types_that_python_has_no_form_for(tmp_path: Path, kind: Kind) -> None:
    table = pa.table(
        {
            "text": pa.array(["x", "y"], pa.large_string()),
            "date": pa.array([2**62, 0], pa.timestamp("us", "No/Where")),
            "ns": pa.array([1, None], pa.timestamp("ns")),
            "when": pa.array([2**31 - 1, 0], pa.date32()),
            "label": pa.array(["a", "b"]).dictionary_encode(),
            "price": pa.array([1, 2], pa.decimal128(10, 2)),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
        }
    )
    found = records(read(write(tmp_path, table, kind), kind))
    assert [record.payload for record in found] == [b"x", b"y"]
    assert [record.fetched_at for record in found] == ["", "1970-01-01T00:00:00Z"]
    assert found[1].metadata["when"] == "1970-01-01"
    assert found[1].metadata["label"] == "b"
    assert found[1].metadata["price"] == "2.00"


@BOTH
def test_large_row_groups_come_in_parts(tmp_path: Path, kind: Kind) -> None:
    table = pa.table(
        {"text": [f"{n} " * 50 for n in range(3000)], "url": [f"http://a.b/{n}" for n in range(3000)]}
    )
    found = records(read(write(tmp_path, table, kind, row_group_size=2000), kind))
    assert [record.url for record in found] == [f"http://a.b/{n}" for n in range(3000)]


FIELDS = FieldSettings(
    text=("page.body", "content"),
    html=("raw_content",),
    url=("meta.url", "uri"),
    id=("a.b",),
    title=("page.title",),
    fetched_at=("meta.at",),
    metadata=("meta.licence", "score"),
)
ROW = {
    "page": {"body": "inner text", "title": "Inner"},
    "content": "not this",
    "raw_content": "<p>nor this",
    "meta": {"url": "http://a.b/", "at": "2026", "licence": "CC0", "other": 1},
    "uri": "http://c.d/",
    "a.b": "literal name",
    "score": 1,
    "more": "left out",
}


@pytest.mark.parametrize("kind", [Kind.PARQUET, Kind.ARROW, Kind.JSONL])
def test_the_mapping_of_fields(tmp_path: Path, kind: Kind) -> None:
    other = dict(ROW, page=None, content=None, meta=None)
    if kind is Kind.JSONL:
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, other)))
    else:
        path = write(tmp_path, pa.Table.from_pylist([ROW, other]), kind)
    first, second = records(read(path, kind, FIELDS))
    assert (first.payload, first.content_type, first.title) == (b"inner text", "text/plain", "Inner")
    assert (first.url, first.id, first.fetched_at) == ("http://a.b/", "literal name", "2026")
    assert first.metadata == {"meta.licence": "CC0", "score": "1"}
    assert (second.payload, second.content_type) == (b"<p>nor this", "text/html")
    assert (second.url, second.metadata) == ("http://c.d/", {"score": "1"})
    everything = FIELDS.model_copy(update={"metadata": ("*", "meta.licence")})
    first = records(read(path, kind, everything))[0]
    assert first.metadata["more"] == "left out"
    assert first.metadata["meta.licence"] == "CC0"
    assert "content" not in first.metadata


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    """A broken column that nobody asked for costs nothing."""
    rows = [{"text": f"text {n}", "junk": "j" * 100 + str(n)} for n in range(50)]
    path = write(tmp_path, pa.Table.from_pylist(rows), Kind.PARQUET, use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    for at in range(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size):
        data[at] = 0xFF
    path.write_bytes(data)
    assert words(read(path, Kind.PARQUET)) == ["!unreadable"]
    assert len(records(read(path, Kind.PARQUET, FieldSettings(metadata=())))) == 50


def test_a_table_without_any_column_that_is_asked_for(tmp_path: Path) -> None:
    for kind in (Kind.PARQUET, Kind.ARROW):
        items = read(write(tmp_path, pa.table({"n": [1, 2, 3]}), kind), kind, FieldSettings(metadata=()))
        assert words(items) == ["!no_text"] * 3


def test_broken_groups_and_batches_leave_the_others(tmp_path: Path) -> None:
    for built, kind in ((parquet(PAGES), Kind.PARQUET), (arrow(PAGES), Kind.ARROW)):
        path = tmp_path / built.name
        part = bytes(len(built.parts[1]))
        path.write_bytes(b"".join((built.head, built.parts[0], part, built.parts[2], built.tail)))
        items = read(path, kind)
        found = [item.index for item in items if isinstance(item, Document)]
        stubs = [item for item in items if isinstance(item, Stub)]
        assert len(stubs) == 1
        # Without its message header a batch hides where the next one is.
        assert found == ([0, 1, 2, 6, 7, 8] if kind is Kind.PARQUET else [0, 1, 2])
        assert stubs[0].index == 3
        assert 0 <= stubs[0].record.start - built.start(1) < 8  # columns may begin behind padding


def test_datasets_of_hugging_face(tmp_path: Path) -> None:
    """A folder as `save_to_disk` writes it: its tables only, in their order; and a hub folder of shards."""
    saved = tmp_path / "saved" / "train"
    saved.mkdir(parents=True)
    for n in range(2):
        table = pa.table({"text": [f"shard {n} row {m}" for m in range(3)]})
        path = saved / f"data-0000{n}-of-00002.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    (saved / "cache-1234.arrow").write_bytes(b"not listed")
    names = [f"data-0000{n}-of-00002.arrow" for n in range(2)]
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (saved / "dataset_info.json").write_text("{}")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    files = [name for name in expand([str(tmp_path / "saved")]) if str(name).endswith(".arrow")]
    assert files == [str(saved / name) for name in names]
    got = [word for file in files for word in words(read(Path(str(file)), inspect(str(file)).kind))]
    assert got == [f"shard {n} row {m}" for n in range(2) for m in range(3)]


# Hostile tables


def test_every_flipped_byte_of_a_small_table(tmp_path: Path) -> None:
    """Never an exception, never another row's number; what is gone is told."""
    texts = [f"text number {n}" for n in range(4)]
    table = pa.table({"text": texts})
    for kind in (Kind.PARQUET, Kind.ARROW):
        options = {"write_page_checksum": True} if kind is Kind.PARQUET else {}
        path = write(tmp_path, table, kind, row_group_size=2, **options)
        data = path.read_bytes()
        for at in range(len(data)):
            for mask in (0x01 << at % 8,):
                path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
                items = read(path, kind)
                indexes = [item.index for item in items]
                assert indexes == sorted(set(indexes)), at
                if len([item for item in items if isinstance(item, Document)]) < 4:
                    told = [item for item in items if not isinstance(item, Document)]
                    assert told, (kind, at)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from([Kind.PARQUET, Kind.ARROW]),
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.binary(max_size=8), st.integers(0, 8)), min_size=1, max_size=4
    ),
)
def test_changed_tables_never_raise(tmp_path_factory, kind: Kind, edits) -> None:
    data = WHOLE[kind]
    for place, put, take in edits:
        at = place % len(data)
        data = data[:at] + put + data[at + take :]
    path = tmp_path_factory.getbasetemp() / f"a.{kind}"
    path.write_bytes(data)
    items = read(path, kind)
    indexes = [item.index for item in items]
    assert indexes == sorted(set(indexes))


MIXED = pa.table(
    {
        "text": [f"text {n}" for n in range(6)],
        "meta": [{"a": n, "b": ["x"] * n} for n in range(6)],
        "label": pa.array(["a", "b"] * 3).dictionary_encode(),
        "at": pa.array(range(6), pa.timestamp("us")),
    }
)


def _whole(kind: Kind) -> bytes:
    file = io.BytesIO()
    if kind is Kind.PARQUET:
        pq.write_table(MIXED, file, row_group_size=2)
    else:
        with pa.ipc.new_stream(file, MIXED.schema) as writer:
            writer.write_table(MIXED, max_chunksize=2)
    return file.getvalue()


WHOLE = {kind: _whole(kind) for kind in (Kind.PARQUET, Kind.ARROW)}


def test_pages_and_buffers_that_expand_without_end(tmp_path: Path) -> None:
    """Refused by what they declare, before anything is allocated for them."""
    big = pa.table({"text": ["x" * 300_000_000, "y"]})
    pages_path = tmp_path / "page.parquet"
    pq.write_table(big, pages_path, compression="zstd", use_dictionary=False, row_group_size=2)
    batch_path = tmp_path / "batch.arrow"
    table = pa.table({"text": ["x" * 300_000_000] * 2})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(batch_path), "wb") as file,
        pa.ipc.new_stream(file, table.schema, options=options) as writer,
    ):
        writer.write_table(table)
    # One value of 900 KB in a dictionary, and in all of 400 rows.
    repeated = tmp_path / "repeated.parquet"
    pq.write_table(pa.table({"text": ["z" * 900_000] * 400}), repeated, compression="zstd")
    del big, table
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from kit.reading import read_items
from kit.resident import peak_kilobytes
from streams.ingest.items import Stub
import pyarrow.parquet, pyarrow.compute
before = peak_kilobytes()
for name, kind in (("page.parquet", "parquet"), ("batch.arrow", "arrow")):
    (item,) = read_items(Path({str(tmp_path)!r}) / name, kind)
    assert item.record.reason == "inflates", item.record.reason
items = read_items(Path({str(tmp_path)!r}) / "repeated.parquet", "parquet")
count = sum(not isinstance(item, Stub) for item in items)
assert count == 400, count
print(peak_kilobytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 250_000


def test_the_walk_over_pages_agrees_with_the_footer(tmp_path: Path) -> None:
    table = pa.table({"text": [f"text {n}" * 20 for n in range(20_000)], "n": range(20_000)})
    path = write(tmp_path, table, Kind.PARQUET, data_page_size=10_000, compression="snappy")
    data = path.read_bytes()
    group = pq.ParquetFile(path).metadata.row_group(0)
    for number in range(group.num_columns):
        chunk = group.column(number)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        found = list(pages(lambda at, length: data[at : at + length], start, chunk.total_compressed_size))
        assert len(found) >= 5
        assert sum(page.expanded_bytes for page in found) <= chunk.total_uncompressed_size
        assert [page.dictionary for page in found] == [True] + [False] * (len(found) - 1)
        with pytest.raises(BadLayout):
            list(pages(lambda at, length: data[at : at + length], start + 1, chunk.total_compressed_size))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_as_page_headers(data: bytes) -> None:
    with contextlib.suppress(BadLayout):
        list(pages(lambda at, length: data[at : at + length], 0, len(data)))


@BOTH
def test_any_bytes_as_a_table(tmp_path: Path, kind: Kind) -> None:
    samples = [
        b"x",
        b"PAR1",
        b"PAR1" * 3,
        b"ARROW1\0\0",
        b"\xff" * 100,
        bytes(100),
        struct.pack("<II", 0xFFFFFFFF, 2**31),
    ]
    for data in samples:
        path = tmp_path / "a"
        path.write_bytes(data)
        assert [type(item) for item in read(path, kind)] == [Stub], data


@BOTH
def test_a_disk_that_fails_is_no_damage(tmp_path: Path, kind: Kind) -> None:
    path = (
        write(
            tmp_path, pa.table({"text": ["x" * 50_000] * 50}), kind, use_dictionary=False, compression="none"
        )
        if kind is Kind.PARQUET
        else write(tmp_path, pa.table({"text": ["x" * 50_000] * 50}), kind)
    )

    class Failing(LocalFile):
        def stored(self, start: int, length: int):
            if start < 1_000_000 < start + length:
                raise OSError(5, "Input/output error")
            return super().stored(start, length)

    file = Failing(str(path))
    source = Source("source", file.identity(), kind)
    with pytest.raises(SourceError, match="cannot be read now: Input/output error"):
        list(READERS[kind](file, source, IngestSettings()))
    file.close()
