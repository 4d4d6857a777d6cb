"""The ingester: books each source, sends its records to the lanes of `raw`, and goes on after any crash.

Steps, in this order and no other:
1. fence: `init_transactions` as `ingest.PIPELINE.i`; from now on no zombie can book or finish a source;
2. read the book `sources`, then the last origin of every lane that is this ingester's;
3. finish the source that was begun and not finished, skipping in each lane what is at or below its last
   origin: origins may only grow in a lane, so nothing else may be sent before;
4. each input: skip it where it is known; book it; read, send, wait for every acknowledgement; book it done.

A zombie may still send records of the source it had begun. They are the same records with the same origins
in the same lanes, so `chunk` drops what is not above the highest origin it accepted.

A source that cannot be read further (a store is down) is booked as postponed at the record it came to, all
before it acknowledged; its rest becomes another source later, so the others need not wait. That is only safe
for what this process itself began: of a source that it found open, a zombie may still send records, under
the old number, that would then come twice. Such a one is waited for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from monitoring.metrics import IngestMetrics
from streams import generations
from streams.errors import LaneRecreated, SourceError, SourceUnavailable
from streams.garbage import collect_seldom
from streams.ingest.booking import (
    CHANGED,
    DAMAGED,
    DONE,
    POSTPONED,
    REFUSED,
    Booked,
    Booking,
    files_of,
)
from streams.ingest.inputs import Input
from streams.ingest.items import READER_VERSION, Document, Skip, Stub
from streams.ingest.lanes import LANE_HASH_VERSION, canonical_url, lane_of
from streams.ingest.progress import Progress
from streams.ingest.raw_sender import NO_PAYLOAD, RawSender
from streams.ingest.raw_tails import read_tails
from streams.ingest.reader import Opened, open_reader
from streams.ingest.refusal import Refusal, gone_how, look
from streams.ingest.report import KNOWN, STOPPED, SourceReport
from streams.ingest.shard import ALONE, Shard
from streams.ingest.shards import join
from streams.ingest.source import Kind, Source, printable
from streams.ingest.source_book import SourceBook
from streams.positions import Kind as RecordKind
from streams.positions import Origin
from streams.settings import Settings


class Ingester:
    """One ingester of a pipeline, alone or `shard` of several.

    `stopping` is asked between records: once it says yes, what was sent is acknowledged and all return.
    `told` hears what became of each source, `say` what is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        shard: Shard = ALONE,
        metrics: IngestMetrics | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
        told: Callable[[SourceReport], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.shard = shard
        self.metrics = metrics
        self.progress = progress or Progress()
        self.stopping = stopping
        self.told = told
        self.say = say

    def run(self, inputs: Sequence[Input]) -> list[SourceReport]:
        """Finish what was begun, then ingest `inputs` in their order; return what became of each.

        A file that cannot be read stops no other: its report says why. Raises `SourceError` where what was
        begun cannot be finished now, `ShardMismatch`, and `Fenced` where another ingester has taken over.
        """
        reports: list[SourceReport] = []
        with self.open() as session:
            for report in () if session is None else self._all(session, inputs):
                reports.append(report)
                self.told(report)
        return reports

    def _all(self, session: Session, inputs: Sequence[Input]) -> Iterator[SourceReport]:
        for booked in session.book.unfinished():
            if not self.stopping():
                yield session.finish(booked)
        for booked in session.book.postponed():
            if not self.stopping():
                yield session.resume(booked)
        for one in inputs:
            if self.stopping():
                return
            if isinstance(one, Source) or self.shard.owns(one):
                report = session.ingest(one)
                if report is not None:
                    yield report

    @contextlib.contextmanager
    def open(self) -> Iterator[Session | None]:
        """Take the ingester's place; None where it should stop before it has it."""
        generation = generations.load(self.settings)
        lanes = self.shard.lanes(generation.lanes)
        book = SourceBook(self.settings, self.shard)
        book.writer = join(self.settings, book, self.shard, self.stopping, self.say)
        if book.writer is None:
            yield None
            return
        with book.writer:
            tails = read_tails(self.settings, lanes)
            session = Session(self, book, tails, generation.epoch)
            try:
                with contextlib.ExitStack() as stack:
                    stack.callback(collect_seldom())
                    yield session
            finally:
                session.sender.close()


class Session:
    """An ingester at its place: what it knows, and the lanes it writes. One source at a time."""

    def __init__(self, ingester: Ingester, book: SourceBook, tails: dict[int, Origin], epoch: int) -> None:
        self.book = book
        self._settings = ingester.settings
        self._metrics = ingester.metrics
        self._progress = ingester.progress
        self._stopping = ingester.stopping
        self._shard = ingester.shard
        self._lanes = list(tails)
        self._highest = max(tails.values())
        self._next = 0  # record index behind the last one that was handled
        self.sender = RawSender(ingester.settings, epoch, tails, self._acknowledged, self._stopping)

    # -- the three ways into a source --------------------------------------------------------------------

    def finish(self, booked: Booked) -> SourceReport:
        """Finish what a process before this one began.

        Raises `SourceUnavailable` where it cannot be read now; nothing else may be sent before.
        """
        booking = booked.booking
        if why := self._why_not_continued(booking):
            raise SourceError(f"{booking.url} {why}")
        try:
            opened = open_reader(booking.source, self._settings.ingest)
            if opened is None:
                return self._gone(booked)
            return self._read(booked, opened, ours=False)
        except SourceError as error:
            raise SourceUnavailable(
                f"{error}; it was begun, so nothing else can be sent before it"
            ) from error

    def resume(self, booked: Booked) -> SourceReport:
        """Read on, as another source, in one that was postponed."""
        booking = booked.booking
        report = SourceReport(booking.url, booking.size, POSTPONED, sequence=booked.sequence)
        report.reason = self._why_not_continued(booking) if booking.resume_at else ""
        if not report.reason:
            try:
                opened = open_reader(booking.source, self._settings.ingest)
            except SourceError as error:
                report.reason = str(error)
            else:
                if opened is None:
                    return self._gone(booked)
                return self._begin(booking.source, opened, booking.resume_at)
        return self._counted(report)

    def ingest(self, one: Input) -> SourceReport | None:
        """Ingest an input, unless it is known. None: a bundle without a file of this ingester's."""
        source: Source | Refusal | None = look(one) if isinstance(one, str) else one
        if isinstance(source, Refusal):
            return self._refuse(source)
        assert isinstance(source, Source)
        if source.kind is Kind.FILES:
            given = source
            source = self.book.new_of(given)
            if source is None:
                mine = any(self._shard.owns(location) for location, _ in files_of(given))
                return self._known(given, 0) if mine else None
        elif (number := self.book.number(source.location, source.identity)) is not None:
            return self._known(source, number)
        report = SourceReport(source.name, source.identity.size)
        try:
            opened = open_reader(source, self._settings.ingest)
        except SourceError as error:
            report.outcome, report.reason = POSTPONED, str(error)
            return self._counted(report)
        if opened is None:
            report.outcome = gone_how(source)
            return self._counted(report)
        return self._begin(source, opened)

    # -- what becomes of it ------------------------------------------------------------------------------

    def _why_not_continued(self, booking: Booking) -> str:
        if (booking.reader, booking.lane_hash) != (READER_VERSION, LANE_HASH_VERSION):
            return (
                f"was begun by reader version {booking.reader} and lane hash {booking.lane_hash}; this is "
                f"{READER_VERSION} and {LANE_HASH_VERSION}. Finish it with the finestream that began it"
            )
        if booking.fields != self.book.fields:
            return (
                "was begun with another mapping of fields; set `ingest.fields` as it was until "
                "`finestream ingest` has finished it"
            )
        return ""

    def _refuse(self, refusal: Refusal) -> SourceReport:
        size = refusal.identity.size if refusal.identity else 0
        report = SourceReport(printable(refusal.location), size, refusal.outcome, refusal.reason)
        if refusal.outcome == REFUSED and refusal.identity is not None:
            self.book.refuse(refusal.location, refusal.identity, refusal.reason)
        return self._counted(report)

    def _known(self, source: Source, number: int) -> SourceReport:
        self._progress.begin(source)
        self._progress.end()
        return self._counted(SourceReport(source.name, source.identity.size, KNOWN, sequence=number))

    def _gone(self, booked: Booked) -> SourceReport:
        source = booked.booking.source
        report = SourceReport(source.name, source.identity.size, gone_how(source), sequence=booked.sequence)
        self.book.finish(booked, report.outcome, booked.booking.counts or report.counts())
        return self._counted(report)

    def _begin(self, source: Source, opened: Opened, resume_at: int = 0) -> SourceReport:
        try:
            booked = self.book.begin(source, resume_at)
            self._check_number(booked.sequence)
        except BaseException:
            opened.close()
            raise
        return self._read(booked, opened, ours=True)

    def _check_number(self, number: int) -> None:
        if number <= self._highest.source:
            raise LaneRecreated(
                f"the book of sources gave out number {number}, but raw already holds records of number "
                f"{self._highest.source}: the book was deleted or belongs to other topics. Restore it, or "
                "begin a new pipeline (another data_dir or cluster)"
            )

    def _read(self, booked: Booked, opened: Opened, *, ours: bool) -> SourceReport:
        """Send what is not yet sent of a booked source, and book what became of it."""
        source, resume_at = booked.booking.source, booked.booking.resume_at
        report = SourceReport(source.name, source.identity.size, sequence=booked.sequence)
        report.replaces = booked.booking.replaces
        began = time.monotonic()
        self._progress.begin(source)
        self._next = 0
        try:
            with contextlib.closing(opened):
                self._send(opened, source, booked, report)
        except SourceError as error:
            self.sender.flush()
            if not ours:
                raise
            report.outcome, report.reason = POSTPONED, str(error)
            resume_at = max(self._next, resume_at)
        finally:
            self._progress.end()
        report.seconds = time.monotonic() - began
        if report.outcome != STOPPED:
            left = resume_at if report.outcome == POSTPONED else 0
            self.book.finish(booked, report.outcome, report.counts(), reason=report.reason, resume_at=left)
        return self._counted(report)

    # -- its records -------------------------------------------------------------------------------------

    def _send(self, opened: Opened, source: Source, booked: Booked, report: SourceReport) -> None:
        """Read a source to its end, or to a stop; return once all of it is acknowledged."""
        every, tick = self._settings.ingest.progress_seconds, 0.0
        stopping, stopped = self._stopping, False
        sequence, resume_at = booked.sequence, booked.booking.resume_at
        for item in opened:
            report.add(item, again=item.index < resume_at)
            if not isinstance(item, Skip):
                if item.index < resume_at:
                    report.found += 1
                else:
                    self._send_item(item, Origin(sequence, item.index), report)
            self._next = item.index + 1
            if (now := time.monotonic()) >= tick:
                tick = now + every
                self._progress.at(opened.tell(), report.documents)
                self._count_skipped(report)
                if opened.tell() > source.identity.size:
                    break  # somebody writes to it: it is not followed for ever
            if stopping():
                stopped = True
                break
        self.sender.flush()
        if stopped:
            return
        if opened.identity() != source.identity:
            report.outcome = CHANGED  # written to while it was read: its records may be of no single state
        else:
            report.outcome = DAMAGED if report.damaged else DONE

    def _send_item(self, item: Document | Stub, origin: Origin, report: SourceReport) -> None:
        record = item.record
        if isinstance(item, Document):
            key = canonical_url(record.url) or item.record.id
        else:
            key = canonical_url(record.url) or f"{record.source}#{item.index}"
        lane = self._lanes[lane_of(key, len(self._lanes))]
        if origin <= self.sender.tail(lane):
            report.found += 1
            return
        if isinstance(item, Document):
            self.sender.send(lane, RecordKind.DOCUMENT, origin, record, len(item.record.payload))
        else:
            self.sender.send(lane, RecordKind.STUB, origin, record, NO_PAYLOAD)
            if self._metrics is not None:
                self._metrics.stubs.labels(item.record.reason).inc()
        report.sent += 1

    # -- counting ----------------------------------------------------------------------------------------

    def _acknowledged(self, payload_bytes: int) -> None:
        if self._metrics is not None and payload_bytes != NO_PAYLOAD:
            self._metrics.documents.inc()
            self._metrics.bytes.inc(payload_bytes)

    def _counted(self, report: SourceReport) -> SourceReport:
        self._count_skipped(report)
        if self._metrics is not None and report.outcome != STOPPED:
            self._metrics.sources.labels(report.outcome).inc()
        return report

    def _count_skipped(self, report: SourceReport) -> None:
        if self._metrics is not None:
            for reason, n in report.uncounted().items():
                self._metrics.skipped.labels(reason).inc(n)
