"""Sending to `raw`: in order in every lane, bounded in flight, and dead at the first error.

kafka-python (3.0) bounds nothing by itself: what is sent piles up in memory as fast as files are read. Here a
send waits while more than `ingest.inflight_bytes` are unacknowledged. A failed send ends the process at once
(`os._exit`): the library would go on with what is queued behind it, which would be a hole in a lane.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from streams import clients
from streams.pipeline import RAW
from streams.positions import HEADER, Kind, Origin, RawHeader
from streams.records import Record, encode_into
from streams.settings import Settings

WAIT_SECONDS: Final = 0.5
"""How often a wait for the broker looks whether it should stop."""
BATCHES: Final = {"linger_ms": 100, "batch_size": 1024 * 1024}
"""A lane's batch waits for more: nobody waits for a single record of a crawl file, and with 50 kB pages the
quarter megabyte of our other producers costs 14 % more CPU (a record that no longer fits is copied twice)."""
SILENCE_SECONDS: Final = 20.0
"""Without an acknowledgement for so long, it says what it is waiting for."""

Acknowledged = Callable[[int], None]
NO_PAYLOAD: Final = -1
"""Payload size of what is no document."""


def die(text: str, code: int = 1) -> NoReturn:
    """End the process now, without letting the producer send what it holds."""
    sys.stdout.flush()
    os.write(2, f"finestream ingest: {text}\n".encode("utf-8", "backslashreplace"))
    os._exit(code)


def _failed(error: BaseException) -> None:
    die(f"sending to {RAW} failed ({type(error).__name__}: {error}); start it again, nothing is lost")


class RawSender:
    """One producer, and what was last sent in each lane.

    `tails` are the last origins of the lanes it may write; `acknowledged` is called with the payload size of
    each record that the broker has taken; `stopping` says whether a wait should be given up.
    """

    def __init__(
        self,
        settings: Settings,
        epoch: int,
        tails: Mapping[int, Origin],
        acknowledged: Acknowledged,
        stopping: Callable[[], bool],
    ) -> None:
        from kafka.errors import KafkaTimeoutError  # noqa: PLC0415 - `finestream --help` does not pay for it

        self._previous = dict(tails)
        self._epoch = epoch
        self._limit_bytes = settings.ingest.inflight_bytes
        self._drain_seconds = settings.runner.drain_seconds
        self._acknowledged = acknowledged
        self._stopping = stopping
        self._inflight: deque[tuple[Any, int, int]] = deque()  # (future, value bytes, payload bytes)
        self._inflight_bytes = 0
        self._buffer = bytearray()
        self._too_long: type[Exception] = KafkaTimeoutError
        # Aborts of a connection are the library's to repeat; only it knows what the broker has taken.
        self._producer = clients.sync_producer(settings, max_block_ms=clients.NEVER_MS, **BATCHES)

    def tail(self, lane: int) -> Origin:
        """Return the last origin sent in a lane, or found there at the start."""
        return self._previous[lane]

    def send(self, lane: int, kind: Kind, origin: Origin, record: Record, payload_bytes: int) -> None:
        """Queue a record. Origins must grow in a lane. Blocks while too much is in flight."""
        previous = self._previous[lane]
        assert origin > previous, f"lane {lane}: {origin} after {previous}"
        value = self._buffer  # one for all: the library copies it into its batch before `send` returns
        encode_into(record, value)
        header = RawHeader(kind, self._epoch, previous, time.time_ns() // 1_000_000)
        future = self._producer.send(
            RAW, value, key=origin.pack(), headers=[(HEADER, header.pack())], partition=lane
        )
        future.add_errback(_failed)
        self._previous[lane] = origin
        self._inflight.append((future, len(value), payload_bytes))
        self._inflight_bytes += len(value)
        if self._inflight_bytes > self._limit_bytes:
            self._wait(self._limit_bytes // 2)

    def flush(self) -> None:
        """Return once the broker has acknowledged everything."""
        if self._inflight:
            with contextlib.suppress(self._too_long):
                self._producer.flush(timeout=WAIT_SECONDS)  # also what lingers
            self._wait(0)

    def close(self) -> None:
        """Let the producer go; everything must have been flushed."""
        self._producer.close(timeout=5)

    def _wait(self, until_bytes: int) -> None:
        """Wait for acknowledgements, oldest first, until no more than so many bytes are in flight."""
        began = silent_since = time.monotonic()
        while self._inflight and self._inflight_bytes > until_bytes:
            future, value_bytes, payload_bytes = self._inflight[0]
            try:
                if not future.is_done:
                    future.get(timeout=WAIT_SECONDS)
            except self._too_long:
                now = time.monotonic()
                if self._stopping() and now - began > self._drain_seconds:
                    die("the broker does not acknowledge; stopped anyway, start it again later", 130)
                if now - silent_since > SILENCE_SECONDS:
                    silent_since = now
                    os.write(2, b"finestream ingest: waiting for the broker to acknowledge ...\n")
                continue
            self._inflight.popleft()
            self._inflight_bytes -= value_bytes
            self._acknowledged(payload_bytes)
            silent_since = time.monotonic()
