"""The ingester: books each source, sends its records to the lanes of `raw`, and goes on after any crash.

Steps, in this order and no other:
1. fence: `init_transactions` as `ingest.PIPELINE.0`; from now on no zombie can book or finish a source;
2. read the book `sources`, then the last origin of every lane of `raw`;
3. finish the first source that was begun and not finished, skipping in each lane what is at or below its
   last origin: origins may only grow in a lane, so nothing else may be sent before;
4. each input: skip it where it is known; book it; read, send, wait for every acknowledgement; book it done.

A zombie may still send records of the source it had begun. They are the same records with the same origins
in the same lanes, so `chunk` drops what is not above the highest origin it accepted.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence

from monitoring.metrics import IngestMetrics
from streams import books, generations
from streams.errors import LaneRecreated, SourceError
from streams.ingest.booking import (
    CHANGED,
    DAMAGED,
    DONE,
    VANISHED,
    Booked,
    SourceBook,
    transactional_id,
)
from streams.ingest.inputs import Input
from streams.ingest.items import READER_VERSION, Document, Skip, Stub
from streams.ingest.lanes import LANE_HASH_VERSION, canonical_url, lane_of
from streams.ingest.progress import Progress
from streams.ingest.raw_sender import NO_PAYLOAD, RawSender
from streams.ingest.raw_tails import read_tails
from streams.ingest.reader import Opened, open_reader
from streams.ingest.report import KNOWN, STOPPED, SourceReport
from streams.ingest.source import Source, identify, inspect, printable
from streams.positions import Kind as RecordKind
from streams.positions import Origin
from streams.settings import Settings


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Let the garbage collector look seldom: some 30 objects a record live until it is acknowledged, which
    sets it off every few records (3 % of all CPU), and nothing here leaves cycles behind.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Ingester:
    """One ingester of a pipeline. `run` may be called once.

    `stopping` is asked between records: once it says yes, what was sent is acknowledged and `run` returns.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        metrics: IngestMetrics | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._progress = progress or Progress()
        self._stopping = stopping

    def run(self, inputs: Sequence[Input]) -> list[SourceReport]:
        """Finish what was begun, then ingest `inputs` in their order; return what became of each.

        Raises `SourceError` for a file of unknown format before anything is sent, `Fenced` where another
        ingester has taken over.
        """
        for one in inputs:
            _look(one)
        settings = self._settings
        generation = generations.load(settings)
        with books.BookWriter(settings, transactional_id()) as writer:
            book = SourceBook(settings, writer)
            tails = read_tails(settings, generation.lanes)
            sender = RawSender(settings, generation.epoch, tails, self._acknowledged, self._stopping)
            try:
                with _few_collections():
                    return self._sources(inputs, book, sender, tails)
            finally:
                sender.close()

    def _sources(
        self, inputs: Sequence[Input], book: SourceBook, sender: RawSender, tails: Sequence[Origin]
    ) -> list[SourceReport]:
        reports: list[SourceReport] = []
        for booked in book.unfinished():
            if self._stopping():
                return reports
            reports.append(self._read(booked, book, sender, len(tails)))
        for one in inputs:
            if self._stopping():
                break
            reports.append(self._input(one, book, sender, tails))
        return reports

    def _input(
        self, one: Input, book: SourceBook, sender: RawSender, tails: Sequence[Origin]
    ) -> SourceReport:
        try:
            source = _look(one)  # again: hours may have passed since the first look
        except SourceError:
            report = SourceReport(printable(one if isinstance(one, str) else one.location), 0, VANISHED)
            self._count_source(report)
            return report
        known = book.get(source)
        if known is not None:
            self._progress.begin(source)
            self._progress.end()
            report = SourceReport(source.name, source.identity.size, KNOWN, known.sequence)
            self._count_source(report)
            return report
        booked = book.begin(source)
        highest = max(tails)
        if booked.sequence <= highest.source:
            raise LaneRecreated(
                f"the book of sources gave out number {booked.sequence}, but raw already holds records of "
                f"number {highest.source}: the book was deleted or belongs to other topics. Restore it, or "
                "begin a new pipeline (another data_dir or cluster)"
            )
        return self._read(booked, book, sender, len(tails))

    def _read(self, booked: Booked, book: SourceBook, sender: RawSender, lanes: int) -> SourceReport:
        """Send what is not yet sent of a booked source, and book it done."""
        booking, source = booked.booking, booked.booking.source
        if (booking.reader, booking.lane_hash) != (READER_VERSION, LANE_HASH_VERSION):
            raise SourceError(
                f"{source.name} was begun by reader version {booking.reader} and lane hash "
                f"{booking.lane_hash}; this is {READER_VERSION} and {LANE_HASH_VERSION}. Finish it with the "
                "finestream that began it"
            )
        if booking.fields != book.fields:
            raise SourceError(
                f"{source.name} was begun with another mapping of fields; set `ingest.fields` as it was "
                "until `finestream ingest` has finished it"
            )
        report = SourceReport(source.name, source.identity.size, sequence=booked.sequence)
        began = time.monotonic()
        opened = open_reader(source, self._settings.ingest)
        if opened is None:
            report.outcome = VANISHED if identify(source.location) is None else CHANGED
        else:
            self._progress.begin(source)
            with contextlib.closing(opened):
                self._send(opened, source, booked.sequence, sender, lanes, report)
            self._progress.end()
        report.seconds = time.monotonic() - began
        if report.outcome != STOPPED:
            book.finish(booked, report.outcome, report.counts())
        self._count_source(report)
        return report

    def _send(
        self,
        opened: Opened,
        source: Source,
        sequence: int,
        sender: RawSender,
        lanes: int,
        report: SourceReport,
    ) -> None:
        """Read a source to its end, or to a stop; return once all of it is acknowledged."""
        every, tick = self._settings.ingest.progress_seconds, 0.0
        stopping, stopped = self._stopping, False
        for item in opened:
            report.add(item)
            if not isinstance(item, Skip):
                self._send_item(item, Origin(sequence, item.index), sender, lanes, report)
            if (now := time.monotonic()) >= tick:
                tick = now + every
                self._progress.at(opened.tell(), report.documents)
                self._count_skipped(report)
                if opened.tell() > source.identity.size:
                    break  # somebody writes to it: it is not followed for ever
            if stopping():
                stopped = True
                break
        sender.flush()
        if stopped:
            return
        if opened.identity() != source.identity:
            report.outcome = CHANGED  # written to while it was read: its records may be of no single state
        else:
            report.outcome = DAMAGED if report.damaged else DONE

    def _send_item(
        self, item: Document | Stub, origin: Origin, sender: RawSender, lanes: int, report: SourceReport
    ) -> None:
        record = item.record
        if isinstance(item, Document):
            lane = lane_of(canonical_url(record.url) or item.record.id, lanes)
        else:
            lane = lane_of(canonical_url(record.url) or f"{record.source}#{item.index}", lanes)
        if origin <= sender.tail(lane):
            report.found += 1
            return
        if isinstance(item, Document):
            sender.send(lane, RecordKind.DOCUMENT, origin, record, len(item.record.payload))
        else:
            sender.send(lane, RecordKind.STUB, origin, record, NO_PAYLOAD)
            if self._metrics is not None:
                self._metrics.stubs.labels(item.record.reason).inc()
        report.sent += 1

    def _acknowledged(self, payload_bytes: int) -> None:
        if self._metrics is not None and payload_bytes != NO_PAYLOAD:
            self._metrics.documents.inc()
            self._metrics.bytes.inc(payload_bytes)

    def _count_source(self, report: SourceReport) -> None:
        self._count_skipped(report)
        if self._metrics is not None and report.outcome != STOPPED:
            self._metrics.sources.labels(report.outcome).inc()

    def _count_skipped(self, report: SourceReport) -> None:
        if self._metrics is not None:
            for reason, n in report.uncounted().items():
                self._metrics.skipped.labels(reason).inc(n)


def _look(one: Input) -> Source:
    return inspect(one) if isinstance(one, str) else one


def preview(
    settings: Settings,
    inputs: Sequence[Input],
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[SourceReport]:
    """Read `inputs` and count what `run` would send, without a broker."""
    progress, reports = progress or Progress(), []
    for source in [_look(one) for one in inputs]:
        report = SourceReport(source.name, source.identity.size)
        reports.append(report)
        began, tick = time.monotonic(), 0.0
        opened = open_reader(source, settings.ingest)
        if opened is None:
            report.outcome = VANISHED if identify(source.location) is None else CHANGED
            continue
        progress.begin(source)
        with contextlib.closing(opened):
            for item in opened:
                report.add(item)
                if (now := time.monotonic()) >= tick:
                    tick = now + settings.ingest.progress_seconds
                    progress.at(opened.tell(), report.documents)
                if stopping():
                    return reports
        progress.end()
        report.seconds = time.monotonic() - began
        report.outcome = DAMAGED if report.damaged else DONE
    return reports
