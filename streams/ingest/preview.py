"""A dry run: read sources and count what an ingester would send. Needs no broker, and asks no book."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from streams.errors import SourceError
from streams.ingest.booking import DAMAGED, DONE, POSTPONED
from streams.ingest.inputs import Input
from streams.ingest.progress import Progress
from streams.ingest.reader import Opened, open_reader
from streams.ingest.refusal import Refusal, gone_how, look
from streams.ingest.report import SourceReport
from streams.ingest.shard import ALONE, Shard
from streams.ingest.source import printable
from streams.settings import Settings


def preview(
    settings: Settings,
    inputs: Sequence[Input],
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
    shard: Shard = ALONE,
) -> list[SourceReport]:
    """Read `inputs` and count what `run` would send, without a broker."""
    progress, reports = progress or Progress(), []
    for one in inputs:
        if isinstance(one, str) and not shard.owns(one):
            continue
        source = look(one) if isinstance(one, str) else one
        if isinstance(source, Refusal):
            refused = SourceReport(printable(source.location), 0, source.outcome, source.reason)
            reports.append(refused)
            continue
        report = SourceReport(source.name, source.identity.size)
        reports.append(report)
        began = time.monotonic()
        try:
            opened = open_reader(source, settings.ingest)
            if opened is None:
                report.outcome = gone_how(source)
                continue
            progress.begin(source)
            with contextlib.closing(opened):
                stopped = _count(opened, report, progress, settings, stopping)
        except SourceError as error:
            report.outcome, report.reason = POSTPONED, str(error)
            continue
        if stopped:
            return reports
        progress.end()
        report.seconds = time.monotonic() - began
        report.outcome = DAMAGED if report.damaged else DONE
    return reports


def _count(
    opened: Opened,
    report: SourceReport,
    progress: Progress,
    settings: Settings,
    stopping: Callable[[], bool],
) -> bool:
    """Count an open source; return whether it was left before its end."""
    tick = 0.0
    for item in opened:
        report.add(item)
        if (now := time.monotonic()) >= tick:
            tick = now + settings.ingest.progress_seconds
            progress.at(opened.tell(), report.documents)
        if stopping():
            return True
    return False
