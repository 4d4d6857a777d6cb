"""Is a file whole? Every format, cut at every byte where that can be told, and what cannot be told."""

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from kit.crawl_files import page, response, warc_record

from streams.ingest import complete
from streams.ingest.complete import UNTOLD, name_says_unfinished, why_unfinished
from streams.ingest.source import inspect
from streams.ingest.stored import LocalFile

RECORDS = [
    warc_record("warcinfo", b"x: y\r\n"),
    response(b"<p>a\r\n\r\nb", "http://a.b/1"),
    response(b"<p>c"),
]
LINES = b"".join(json.dumps({"text": f"line {n}"}).encode() + b"\n" for n in range(5))


def why(path: Path) -> str:
    file = LocalFile(str(path))
    try:
        return why_unfinished(file, inspect(str(path)))
    finally:
        file.close()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"]}), out)
    return out.getvalue()


def arrow() -> bytes:
    out = io.BytesIO()
    table = pa.table({"text": ["a", "b"]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


WHOLE = {
    "a.warc": b"".join(RECORDS),
    "a.warc.gz": b"".join(gzip.compress(record) for record in RECORDS),
    "one-member.warc.gz": gzip.compress(b"".join(RECORDS)),
    "a.warc.zst": b"".join(zstandard.compress(record) for record in RECORDS),
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "a.jsonl.zst": zstandard.compress(LINES),
    "a.parquet": parquet(),
    "a.arrow": arrow(),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_whole_and_cut_anywhere_it_is_not(tmp_path: Path, name: str) -> None:
    data, path = WHOLE[name], tmp_path / name
    path.write_bytes(data)
    assert why(path) == ""
    ends = {len(data)}
    if name == "a.jsonl":
        ends |= {n + 1 for n, byte in enumerate(data) if byte == 10} | {
            n for n, byte in enumerate(data) if byte == 10
        }  # a line is whole without its line end too
    elif name.startswith("a.warc"):  # between two records nobody can tell
        parts = {
            "a.warc": RECORDS,
            "a.warc.gz": [gzip.compress(record) for record in RECORDS],
            "a.warc.zst": [zstandard.compress(record) for record in RECORDS],
        }[name]
        ends |= {sum(map(len, parts[:n])) for n in range(1, len(parts))}
    for cut in range(1, len(data)):
        path.write_bytes(data[:cut])
        assert bool(why(path)) == (cut not in ends), f"cut at {cut} of {len(data)}: {why(path)!r}"


def test_an_empty_file_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"")
    assert why(tmp_path / "a.warc.gz") == "it is empty"


def test_a_long_file_of_one_member_cannot_be_told_and_one_of_many_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complete, "TAIL_BYTES", 100_000)
    noise = random.Random(1).randbytes(400_000)
    long = tmp_path / "long.warc.gz"
    long.write_bytes(gzip.compress(b"WARC/1.0" + noise))
    assert why(long) == UNTOLD
    many = tmp_path / "many.warc.gz"
    data = b"".join(gzip.compress(response(page(n, 20_000))) for n in range(60))
    many.write_bytes(data)
    assert why(many) == ""
    many.write_bytes(data[:-50])
    assert why(many) == "its last gzip member is not closed"


def test_what_no_writer_will_mend_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(WHOLE["a.warc.gz"] + b"junk behind the members")
    (tmp_path / "b.warc").write_bytes(b"WARC/1.0\r\nContent-Length: many\r\n\r\n" + b"x" * 100)
    (tmp_path / "c.warc.zst").write_bytes(WHOLE["a.warc.zst"] + b"junk behind the frames")
    assert [why(path) for path in sorted(tmp_path.iterdir())] == ["", "", ""]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("/a/b.warc.gz.open", ".open"),
        ("/a/b.warc.gz.PART", ".part"),
        ("/a/b.tmp", ".tmp"),
        ("/a/b.jsonl~", "~"),
        ("/a.part/b.warc.gz", ""),
        ("/a/part-0001", ""),
        ("/a/open", ""),
    ],
)
def test_names_that_call_themselves_unfinished(name: str, suffix: str) -> None:
    assert name_says_unfinished(name) == suffix
