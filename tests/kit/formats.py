"""The same documents in every format that ingest reads, in parts that can be damaged one by one."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from kit.crawl_files import page, page_url, response

from streams.ingest.arrow_messages import BATCH, Message, next_message
from streams.ingest.parquet_layout import pages

ROWS = 3
"""Of a row group or batch."""


@dataclass
class Built:
    """A file: its bytes in parts, and which document each part holds the end of."""

    name: str
    head: bytes  # before the first document
    parts: list[bytes]  # one a document (a row group or batch of them in tables)
    tail: bytes = b""  # behind the last

    @property
    def data(self) -> bytes:
        return self.head + b"".join(self.parts) + self.tail

    def start(self, part: int) -> int:
        return len(self.head) + sum(map(len, self.parts[:part]))


def arc_record(
    payload: bytes, url: str, length: int | None = None, content_type: str = "text/html", version: int = 1
) -> bytes:
    """One ARC record with its HTTP response; `length` lies about it."""
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + payload
    more = "" if version == 1 else " 200 - - 1234 a.arc.gz"
    size = len(body) if length is None else length
    return f"{url} 192.0.2.1 20260102030405 {content_type}{more} {size}\n".encode() + body + b"\n"


def arc_head(version: int = 1) -> bytes:
    """The version block of an ARC file."""
    body = f"{version} 0 Test\nURL IP-address Archive-date Content-type Archive-length\n".encode()
    return b"filedesc://a.arc 0.0.0.0 20260102030405 text/plain %d\n" % len(body) + body + b"\n"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _as_is(data: bytes) -> bytes:
    return data


def row(number: int, payload: bytes) -> dict[str, str]:
    return {"url": page_url(number), "html": payload.decode(), "title": f"Page {number}"}


def line(number: int, payload: bytes) -> bytes:
    return json.dumps(row(number, payload)).encode() + b"\n"


def table(payloads: Sequence[bytes]) -> pa.Table:
    return pa.Table.from_pylist([row(n, payload) for n, payload in enumerate(payloads)])


def _records(name: str, pack: Callable[[bytes], bytes], head: bytes, records: Sequence[bytes]) -> Built:
    return Built(name, pack(head) if head else b"", [pack(record) for record in records])


def parquet(payloads: Sequence[bytes], checksums: bool = True) -> Built:
    file = io.BytesIO()
    pq.write_table(
        table(payloads),
        file,
        row_group_size=ROWS,
        write_page_checksum=checksums,
        compression="zstd",
        write_statistics=False,
    )
    data = file.getvalue()
    metadata = pq.ParquetFile(file).metadata
    starts = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(n) for n in range(group.num_columns)]
        starts.append(min(c.dictionary_page_offset or c.data_page_offset for c in columns))
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    ends = [*starts[1:], footer]
    parts = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    return Built("a.parquet", data[: starts[0]], parts, data[footer:])


def arrow(payloads: Sequence[bytes]) -> Built:
    whole = table(payloads)
    file = io.BytesIO()
    with pa.ipc.new_stream(file, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=ROWS)
    data = file.getvalue()
    at, head, parts = 0, b"", []
    while isinstance(
        message := next_message(lambda start, length: data[start : start + length], at), Message
    ):
        if message.kind == BATCH:
            parts.append(data[at : message.end])
        else:
            head += data[at : message.end]
        at = message.end
    return Built("a.arrow", head, parts, data[at:])


def build(name: str, payloads: Sequence[bytes]) -> Built:
    """Return a file of a format, named by its suffix."""
    numbered = list(enumerate(payloads))
    pack = gz if name.endswith(".gz") else zstd if name.endswith(".zst") else _as_is
    kind = name.removesuffix(".gz").removesuffix(".zst")
    if kind == "warc":
        return _records(f"a.{name}", pack, b"", [response(p, page_url(n)) for n, p in numbered])
    if kind == "arc":
        return _records(f"a.{name}", pack, arc_head(), [arc_record(p, page_url(n)) for n, p in numbered])
    if kind == "jsonl":
        return _records(f"a.{name}", pack, b"", [line(n, p) for n, p in numbered])
    return {"parquet": parquet, "arrow": arrow}[kind](payloads)


def lying(name: str, payload: bytes, number: int, more: int) -> bytes:
    """One record of a WARC or ARC whose length is so many bytes too much."""
    pack = gz if name.endswith(".gz") else zstd if name.endswith(".zst") else _as_is
    url = page_url(number)
    if name.startswith("warc"):
        right = len(response(payload, url).partition(b"\r\n\r\n")[2]) - 4
        return pack(response(payload, url, length=right + more))
    right = len(arc_record(payload, url).partition(b"\n")[2]) - 1
    return pack(arc_record(payload, url, length=right + more))


def page_length_off_by_one(part: bytes) -> bytes:
    """A row group whose first page says that it is stored in another number of bytes."""
    next(iter(pages(lambda start, length: part[start : start + length], 0, len(part))))  # there is one
    at = 3  # behind type and the expanded size's field header
    while part[at] & 128:
        at += 1
    at += 2  # the first byte of the stored size
    return part[:at] + bytes([part[at] ^ 2]) + part[at + 1 :]


def body_length_off(part: bytes) -> bytes:
    """A record batch whose message says that it is 64 bytes longer."""
    message = next_message(lambda start, length: part[start : start + length], 0)
    assert isinstance(message, Message)
    length = struct.pack("<q", message.end - message.body)
    assert part[: message.body].count(length) == 1
    return part.replace(length, struct.pack("<q", message.end - message.body + 64), 1)


def documents(count: int, size: int = 3000) -> list[bytes]:
    return [page(n, size) for n in range(count)]


def write_folder(folder: Path, payloads: Sequence[bytes]) -> Path:
    """A folder of HTML files."""
    folder.mkdir()
    for n, payload in enumerate(payloads):
        (folder / f"{n:04}.html").write_bytes(payload)
    return folder
