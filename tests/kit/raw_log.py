"""Reading `raw` back by this code's own rules, and files whose documents say where they stand."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from kafka import TopicPartition
from kit.crawl_files import write_jsonl
from kit.processes import Worker

from streams import books, clients, generations
from streams.ingest.booking import Booking, read_bookings
from streams.positions import NO_ORIGIN, Kind, Origin, unpack_origin, unpack_raw_header
from streams.records import RawDocument, RawStub, decode
from streams.settings import Settings

COMMAND = [sys.executable, "-c", "from streams.cli import main; main()", "ingest"]


def lines(path: Path, n: int, first: int = 0, times: int = 20) -> Path:
    """A file of documents whose texts say, so many times, where they stand."""
    rows = (
        {"url": f"https://h{i % 91}.org/{path.stem}/{i}", "text": f"{path.stem} {i} " * times}
        for i in range(first, n)
    )
    return write_jsonl(path, rows)


class Raw:
    """What lies in `raw`: read and filtered by this test's own code."""

    def __init__(self, settings: Settings) -> None:
        self.booked: dict[str, list[Booking]] = {}
        for _, booking in read_bookings(settings).values():
            self.booked.setdefault(booking.url, []).append(booking)
        self.records = 0
        self.repeated = 0
        self.overtaken = 0  # records that follow what their writer did not know of
        self.lanes: list[list[tuple[Origin, Kind, RawDocument | RawStub]]] = []
        epoch = generations.load(settings).epoch
        for lane in range(settings.pipeline.lanes):
            highest, kept = NO_ORIGIN, []
            for offset, record in enumerate(books.read_log(settings, "raw", lane)):
                assert record.offset == offset  # no transaction, no compaction: every offset is a record
                origin, header = unpack_origin(record.key), unpack_raw_header(record.headers)
                assert header.epoch == epoch
                assert abs(time.time() * 1000 - header.ingested_at_ms) < 600_000
                self.records += 1
                if origin <= highest:
                    self.repeated += 1
                    continue
                assert header.previous <= highest, f"lane {lane}: a hole before {origin}"
                self.overtaken += header.previous < highest
                highest = origin
                value = decode(record.value, RawDocument if header.kind is Kind.DOCUMENT else RawStub)
                kept.append((origin, header.kind, value))
            self.lanes.append(kept)

    def of(self, path: Path) -> dict[int, str]:
        """The texts of a JSON lines file as they arrived, by record index."""
        (booking,) = self.booked[str(path)]
        found = {
            origin.record: value.payload.decode()
            for lane in self.lanes
            for origin, kind, value in lane
            if origin.source == booking.sequence and kind is Kind.DOCUMENT
        }
        assert sum(o.source == booking.sequence for lane in self.lanes for o, _, _ in lane) == len(found)
        return found


def expected(path: Path) -> dict[int, str]:
    """The same from the file itself."""
    return {i: json.loads(line)["text"] for i, line in enumerate(path.read_text().splitlines())}


def ends(settings: Settings) -> int:
    """How many records `raw` holds."""
    consumer = clients.sync_consumer(settings)
    try:
        tps = [TopicPartition("raw", lane) for lane in range(settings.pipeline.lanes)]
        return sum(clients.end_offsets(consumer, tps).values())
    finally:
        consumer.close()


def grown(settings: Settings, worker: Worker, least: int) -> None:
    """Wait until `raw` holds so many records, or the process is over."""
    consumer = clients.sync_consumer(settings)
    tps = [TopicPartition("raw", lane) for lane in range(settings.pipeline.lanes)]
    deadline = time.monotonic() + 60
    try:
        while worker.alive and sum(clients.end_offsets(consumer, tps).values()) < least:
            assert time.monotonic() < deadline, worker.said()
    finally:
        consumer.close()
