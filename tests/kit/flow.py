"""Putting records into lanes and reading them back, for tests and benchmarks: by code of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streams import clients
from streams.generations import Generation
from streams.positions import (
    HEADER,
    NO_ORIGIN,
    Kind,
    LaneHeader,
    Origin,
    Position,
    RawHeader,
    unpack_lane_header,
    unpack_position,
)
from streams.records import RawDocument, encode
from streams.settings import Settings


class RawWriter:
    """Writes documents into `raw` as an ingester would, lane by lane with unbroken origins."""

    def __init__(self, settings: Settings, generation: Generation, source: int = 1) -> None:
        self.producer = clients.sync_producer(settings)
        self.generation = generation
        self.source = source
        self.record = 0
        self.previous: dict[int, Origin] = {}

    def write(self, lane: int, payload: bytes, content_type: str = "text/plain", url: str = "") -> Origin:
        document = RawDocument(
            id=f"d{self.record}", url=url or f"http://x/{self.record}", source="test",
            content_type=content_type, payload=payload,
        )  # fmt: skip
        return self.write_bytes(lane, encode(document))

    def write_bytes(self, lane: int, value: bytes, kind: Kind = Kind.DOCUMENT, origin: Origin | None = None,
                    previous: Origin | None = None, epoch: int | None = None) -> Origin:  # fmt: skip
        if origin is None:
            origin = Origin(self.source, self.record)
            self.record += 1
        before = self.previous.get(lane, NO_ORIGIN) if previous is None else previous
        header = RawHeader(
            kind, self.generation.epoch if epoch is None else epoch, before, int(time.time() * 1000)
        )
        self.producer.send(
            "raw", key=origin.pack(), value=value, partition=lane, headers=[(HEADER, header.pack())]
        )
        self.previous[lane] = origin
        return origin

    def flush(self) -> None:
        self.producer.flush()

    def close(self) -> None:
        self.producer.close()


def write_lane(
    settings: Settings,
    topic: str,
    lane: int,
    records: Iterable[tuple[Position | None, LaneHeader | None, bytes]],
) -> None:
    """Write records by hand into one lane of a topic; None leaves out the key or the header."""
    producer = clients.sync_producer(settings)
    for position, header, value in records:
        producer.send(
            topic,
            key=None if position is None else position.pack(),
            value=value,
            partition=lane,
            headers=[] if header is None else [(HEADER, header.pack())],
        )
    producer.flush()
    producer.close()


def delete_before(settings: Settings, topic: str, lane: int, offset: int) -> None:
    """Move a lane's log start, as a trimmer (or a mistake) does; -1: delete everything."""
    from kafka import TopicPartition

    admin = clients.admin(settings)
    try:
        admin.delete_records({TopicPartition(topic, lane): offset})
    finally:
        admin.close()


def limit_messages(settings: Settings, topic: str, size: int) -> None:
    """Let the broker refuse what is larger; return once it does."""
    from kafka.admin import ConfigResource

    admin = clients.admin(settings)
    try:
        admin.alter_configs([ConfigResource("topic", topic, configs={"max.message.bytes": str(size)})])
        deadline = time.monotonic() + 30
        while True:
            described = admin.describe_configs([ConfigResource("topic", topic)], config_filter="all")["topic"]
            if described[topic]["max.message.bytes"]["value"] == str(size):
                return
            assert time.monotonic() < deadline, f"{topic} keeps its limit"
            time.sleep(0.05)
    finally:
        admin.close()


@dataclass(frozen=True)
class Seen:
    """One record of a lane as it lies in the log."""

    offset: int
    position: Position
    header: LaneHeader
    value: bytes


def read_raw_log(settings: Settings, topic: str) -> dict[int, list[Any]]:
    """Return every record of a topic, partition by partition, unfiltered."""
    from kafka import TopicPartition

    consumer = clients.sync_consumer(settings, fetch_max_wait_ms=20)
    try:
        tps = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        ends = consumer.end_offsets(tps)
        out: dict[int, list[Any]] = {tp.partition: [] for tp in tps}
        deadline = time.monotonic() + 60
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            for tp, records in consumer.poll(timeout_ms=200).items():
                out[tp.partition].extend(records)
            assert time.monotonic() < deadline, f"{topic} could not be read"
        return out
    finally:
        consumer.close()


def read_lanes(settings: Settings, topic: str) -> dict[int, list[Seen]]:
    """Return every record of a lane topic, unfiltered, less what is nobody's of ours."""
    return {
        p: [
            Seen(r.offset, unpack_position(r.key), unpack_lane_header(r.headers), r.value)
            for r in records
            if any(name == HEADER for name, _ in r.headers)
        ]
        for p, records in read_raw_log(settings, topic).items()
    }


def filtered(records: Iterable[Seen]) -> list[Seen]:
    """Return what a reader that filters sees: positions only ever grow."""
    out: list[Seen] = []
    for record in records:
        if not out or record.position > out[-1].position:
            out.append(record)
    return out


def check_gapless(records: Iterable[Seen]) -> None:
    """Assert that each position has its one successor."""
    expected = Position(0, 0)
    for record in records:
        assert record.position == expected, f"{record.position} came where {expected} must"
        expected = record.position.successor(record.header.segments)


def behind(settings: Settings, topic: str, raw_ends: Mapping[int, int]) -> dict[int, str]:
    """Return how far the lanes are that, to a filtering reader of `topic`, have not reached raw's end."""
    out = {}
    for p, records in read_lanes(settings, topic).items():
        seen = filtered(records)
        at = seen[-1].position.successor(seen[-1].header.segments) if seen else Position(0, 0)
        if at != Position(raw_ends.get(p, 0), 0):
            out[p] = f"{tuple(at)} of {raw_ends.get(p, 0)}"
    return out


def drained(settings: Settings, topic: str, raw_ends: Mapping[int, int]) -> bool:
    """Whether a filtering reader sees each lane of `topic` reach raw's end."""
    return not behind(settings, topic, raw_ends)


def wait_drained(settings: Settings, topic: str, raw_ends: Mapping[int, int], seconds: float = 60,
                 alive: Callable[[], bool] = lambda: True) -> None:  # fmt: skip
    """Wait until every lane of `topic` reached raw's end; give up where what should do it is not alive."""
    deadline = time.monotonic() + seconds
    while left := behind(settings, topic, raw_ends):
        assert time.monotonic() < deadline, f"{topic} was not drained in {seconds} s: {left}"
        assert alive(), f"nobody is left to drain {topic}: {left}"
        time.sleep(0.2)


def raw_ends(settings: Settings) -> dict[int, int]:
    """Return the end offset of each lane of `raw`."""
    from kafka import TopicPartition

    consumer = clients.sync_consumer(settings)
    try:
        tps = [TopicPartition("raw", p) for p in consumer.partitions_for_topic("raw")]
        return {tp.partition: end for tp, end in consumer.end_offsets(tps).items()}
    finally:
        consumer.close()
