"""Books: small compacted topics that say what exists (sources, generations, controls).

A book is read from its beginning to its end at start, and written by one fenced writer: opening a
`BookWriter` with the same identity elsewhere makes every later write of this one fail. Each write is one
committed transaction, so a reader sees it whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from streams import clients
from streams.errors import BrokerUnreachable, Fenced, TopicError
from streams.settings import Settings


class Entry(NamedTuple):
    """The newest value of a key, and where in the book it stands."""

    value: bytes
    offset: int


def read_log(settings: Settings, topic: str, partition: int = 0, seconds: float = 60.0) -> list[Any]:
    """Return all committed records of one partition, in order, as kafka-python gives them.

    Raises `TopicError` where the topic is missing, `BrokerUnreachable` where reading takes too long.
    """
    return list(each(settings, topic, partition, seconds))


def each(
    settings: Settings, topic: str, partition: int = 0, seconds: float = 60.0, *, first: int = 0
) -> Iterator[Any]:
    """Yield the committed records of one partition from an offset on, up to what is its end now.

    Holds no more than what was fetched. Raises like `read_log`; `seconds` may pass without any record.
    """
    from kafka import TopicPartition  # noqa: PLC0415

    consumer = clients.sync_consumer(settings, isolation_level="read_committed", fetch_max_wait_ms=20)
    try:
        if topic not in consumer.topics():
            raise TopicError(f"topic {topic} is missing; `finestream up` creates it")
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        end = clients.end_offsets(consumer, [tp])[tp]
        if first:
            consumer.seek(tp, first)
        else:
            consumer.seek_to_beginning(tp)
        deadline = time.monotonic() + seconds
        # The end may be a transaction's control record, which is never delivered: ask for the position.
        while first < end and consumer.position(tp) < end:
            for record in consumer.poll(timeout_ms=200).get(tp, ()):
                deadline = time.monotonic() + seconds
                yield record
            if time.monotonic() > deadline:
                raise BrokerUnreachable(f"topic {topic} could not be read to its end in {seconds:.0f} s")
    finally:
        consumer.close()


def end(settings: Settings, topic: str, partition: int = 0) -> int:
    """Return the offset behind the last committed record. Raises `TopicError` where the topic is missing."""
    from kafka import TopicPartition  # noqa: PLC0415

    consumer = clients.sync_consumer(settings, isolation_level="read_committed")
    try:
        if topic not in consumer.topics():
            raise TopicError(f"topic {topic} is missing; `finestream up` creates it")
        tp = TopicPartition(topic, partition)
        return clients.end_offsets(consumer, [tp])[tp]
    finally:
        consumer.close()


def read_book(settings: Settings, topic: str) -> dict[bytes, Entry]:
    """Return a book as it stands: the newest value of each key, in the order of their last writing."""
    entries: dict[bytes, Entry] = {}
    for record in each(settings, topic):
        entries.pop(record.key, None)
        if record.value is not None:
            entries[record.key] = Entry(record.value, record.offset)
    return entries


class BookWriter:
    """The one writer of a book (or a ledger) under an identity; a newer one fences it.

    Open it *before* reading what it will continue: from then on no zombie can add to it.
    """

    def __init__(self, settings: Settings, identity: str) -> None:
        from kafka.errors import KafkaError  # noqa: PLC0415

        self._identity = identity
        self._lost = False
        self._producer = clients.sync_producer(
            settings, transactional_id=identity, linger_ms=0, transaction_timeout_ms=60_000
        )
        try:
            self._producer.init_transactions()
        except KafkaError as error:
            self._producer.close(timeout=0)
            raise clients.unreachable(settings, error) from error

    def append(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> list[int]:
        """Commit records (key, value) in one transaction; return their offsets. Raises `Fenced`."""
        from kafka.errors import KafkaError  # noqa: PLC0415

        def write() -> list[int]:
            self._producer.begin_transaction()
            sent = [self._producer.send(topic, key=key, value=value, partition=0) for key, value in records]
            self._producer.flush()
            offsets = [future.get(timeout=60).offset for future in sent]
            self._producer.commit_transaction()
            return offsets

        return self._fenced(write, KafkaError)

    def _fenced(self, write: Callable[[], list[int]], kafka_error: type[Exception]) -> list[int]:
        try:
            return write()
        except kafka_error as error:
            name = type(error).__name__
            # Once fenced, the library only says that it is in an error state.
            self._lost = self._lost or "Fenced" in name or "InvalidProducerEpoch" in name
            if self._lost:
                raise Fenced(
                    f"another process has taken over {self._identity!r}; this one stops without writing"
                ) from error
            raise BrokerUnreachable(f"a write as {self._identity!r} failed: {error!r}") from error

    def close(self) -> None:
        """Let go without waiting; nothing is ever pending between two calls of `append`."""
        self._producer.close(timeout=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
