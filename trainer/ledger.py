"""A run's ledger in Kafka: written by one fenced process, read by anybody.

What is written here is what happened: a step is taken only after its entry is committed, and a checkpoint
exists only once an entry names it. The transactional identity is the topic's own name; opening the writer
fences every older process of the run, and only then is the ledger read to its end, so nothing can be added
behind the reader's back. One transaction may hold many entries: they are committed together, all before the
first of their steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from streams import clients, pipeline, topics
from streams.books import BookWriter
from streams.errors import RecordError, TopicError
from streams.settings import Settings
from trainer import entries
from trainer.entries import Checkpoint, Entry, Start, Step

_PREFIX: Final = "ledger."
_SCAN_ENTRIES: Final = 512
"""Offsets read at a time when looking backwards from the end."""


class Logged(NamedTuple):
    """An entry and where it stands in the ledger."""

    offset: int
    entry: Entry


class LedgerReader:
    """Reads committed entries of a ledger. For one thread; raises `TopicError` where there is none."""

    def __init__(self, settings: Settings, run: str) -> None:
        from kafka import TopicPartition  # noqa: PLC0415

        self.topic = topic_of(run)
        self._settings = settings
        self._tp = TopicPartition(self.topic, 0)
        self._consumer = clients.sync_consumer(
            settings, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        if self.topic not in self._consumer.topics():
            self._consumer.close()
            raise TopicError(f"there is no ledger {self.topic}; `finestream train --run` writes one")
        self._consumer.assign([self._tp])

    def bounds(self) -> tuple[int, int]:
        """Return the first offset and the one behind the last that is decided (committed or aborted)."""
        from kafka.errors import KafkaError  # noqa: PLC0415

        try:
            begin: int = clients.beginning_offsets(self._consumer, [self._tp])[self._tp]
            end: int = clients.end_offsets(self._consumer, [self._tp])[self._tp]
        except KafkaError as error:
            raise clients.unreachable(self._settings, error) from error
        return begin, end

    def read(self, begin: int = 0, end: int | None = None) -> Iterator[Logged]:
        """Yield the entries of offsets `begin` to `end` (default: the end as it is now), in order."""
        first, last = self.bounds()
        end = last if end is None else end
        self._consumer.seek(self._tp, max(begin, first))
        # The end may be a transaction's control record, which is never delivered: ask for the position.
        while self._consumer.position(self._tp) < end:
            polled: dict[Any, list[Any]] = self._consumer.poll(timeout_ms=200, max_records=500)
            for record in polled.get(self._tp, ()):
                if record.offset >= end:
                    return
                yield Logged(record.offset, entries.decode(record.value))

    def backwards(self) -> Iterator[Logged]:
        """Yield the entries from the newest to the oldest, reading no more than is asked for."""
        first, end = self.bounds()
        while end > first:
            begin = max(first, end - _SCAN_ENTRIES)
            yield from reversed(list(self.read(begin, end)))
            end = begin

    def newest(self) -> Start | Step | None:
        """Return the last entry that says under which settings the run goes; None in an empty ledger."""
        found = (e.entry for e in self.backwards() if not isinstance(e.entry, Checkpoint))
        return next(found, None)

    def first_start(self) -> Start | None:
        """Return the START that the run began with; None in an empty ledger."""
        found = (e.entry for e in self.read() if isinstance(e.entry, Start))
        return next(found, None)

    def newest_step(self) -> int:
        """Return the last step that was committed; 0 where none was."""
        return next((e.entry.step for e in self.backwards() if isinstance(e.entry, Step)), 0)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints that committed entries name, newest first."""
        for logged in self.backwards():
            if isinstance(logged.entry, Checkpoint):
                yield logged.entry

    def steps(self, begin: int = 0, after: int = 0) -> Iterator[tuple[int, Step]]:
        """Yield (offset, entry) of the steps beyond step `after`, from ledger offset `begin` on.

        Raises `RecordError` where the steps do not follow each other without a gap.
        """
        expected = after + 1
        for offset, entry in self.read(begin):
            if not isinstance(entry, Step) or entry.step < expected:
                continue
            if entry.step != expected:
                raise RecordError(
                    f"{self.topic}, offset {offset}: step {entry.step} where {expected} must follow; the "
                    "ledger is damaged and this run cannot go on from it: begin a new run (--run NAME)"
                )
            yield offset, entry
            expected += 1

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close(autocommit=False, timeout_ms=1000)


class LedgerWriter:
    """The one writer of a run's ledger. Safe to call from several threads; raises `Fenced` once it is not."""

    def __init__(self, settings: Settings, run: str) -> None:
        topics.create_ledger(settings, run)
        self.topic = topic_of(run)
        self._writer = BookWriter(settings, self.topic)
        self._lock = threading.Lock()

    def append(self, added: Sequence[Entry]) -> list[int]:
        """Commit entries, all or none; return their offsets."""
        with self._lock:
            return self._writer.append(self.topic, [(entries.key(e), entries.encode(e)) for e in added])

    def close(self) -> None:
        """Let go of the connection."""
        self._writer.close()


def topic_of(run: str) -> str:
    """Return the ledger's topic for a run's name (or for a topic's name, as it is)."""
    return run if run.startswith(_PREFIX) else pipeline.ledger_topic(run)
