"""The last origin in each lane of `raw`: where a restarted ingester goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams import clients
from streams.errors import BrokerUnreachable, LaneError, LaneTrimmed, RecordError
from streams.pipeline import RAW
from streams.positions import NO_ORIGIN, Origin, unpack_origin, unpack_raw_header
from streams.settings import Settings

FOREIGN_RECORDS: Final = 64
"""How many records of somebody else are stepped over to find our last one."""
READ_SECONDS: Final = 60.0


def read_tails(settings: Settings, lanes: Iterable[int]) -> dict[int, Origin]:
    """Return the last origin of each of these lanes, `NO_ORIGIN` where it is empty.

    Raises `LaneTrimmed` where the last record was deleted, so that what was sent cannot be known.
    """
    from kafka import TopicPartition  # noqa: PLC0415

    consumer = clients.sync_consumer(settings, fetch_max_wait_ms=10)
    try:
        tps = [TopicPartition(RAW, lane) for lane in lanes]
        begins, ends = clients.beginning_offsets(consumer, tps), clients.end_offsets(consumer, tps)
        tails = dict.fromkeys((tp.partition for tp in tps), NO_ORIGIN)
        wanted = {tp: ends[tp] - 1 for tp in tps if ends[tp]}  # where the next look at a lane is
        for tp in wanted:
            if begins[tp] == ends[tp]:
                raise LaneTrimmed(
                    f"lane {tp.partition} of {RAW} is empty though {ends[tp]} records were written: its last "
                    "origin is lost, and ingest could repeat or skip records. Begin a new pipeline"
                )
        deadline = time.monotonic() + READ_SECONDS
        while wanted:
            for tp, record in _read_at(consumer, wanted, deadline).items():
                try:
                    unpack_raw_header(record.headers)
                    tails[tp.partition] = unpack_origin(record.key)
                    del wanted[tp]
                except RecordError as error:
                    wanted[tp] = record.offset - 1
                    if wanted[tp] < max(begins[tp], ends[tp] - FOREIGN_RECORDS):
                        raise LaneError(
                            f"lane {tp.partition} of {RAW} ends in records that are not ours ({error}); "
                            "stop who writes them, and begin a new pipeline"
                        ) from error
        return tails
    finally:
        consumer.close()


def _read_at(consumer: Any, wanted: Mapping[Any, int], deadline: float) -> dict[Any, Any]:
    """Return, for each partition, the record at an offset (or the first after it)."""
    consumer.assign(list(wanted))
    for tp, offset in wanted.items():
        consumer.seek(tp, offset)
    found: dict[Any, Any] = {}
    while len(found) < len(wanted):
        for tp, records in consumer.poll(timeout_ms=200).items():
            found.setdefault(tp, records[0])
        if time.monotonic() > deadline:
            raise BrokerUnreachable(f"the ends of {RAW} could not be read in {READ_SECONDS:.0f} s")
    return found
