"""`finestream ingest`: crawl files into the lanes, in the foreground, until all are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, read_settings, say, show, table

if TYPE_CHECKING:
    from streams.ingest.inputs import Input
    from streams.ingest.report import SourceReport
    from streams.settings import Settings

EXAMPLES = """\
  finestream ingest crawl/*.warc.gz
  finestream ingest 'archive/**/*.warc.gz' pages.jsonl
  finestream ingest --dry-run --format json crawl/*.warc.gz   count, and send nothing
  finestream ingest                                           only finish what an interrupted one began
"""


def ingest(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="WARC or JSON lines, plain or gzip; globs too.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and count; send nothing. Needs no broker.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Send the documents of crawl files into the stream, each exactly once.

    Interrupt or kill it at any time: started again, it first finishes what it had begun. A file that was
    read before, in the same size and time, is passed over. What is no document is counted by reason; what
    cannot be read becomes a dead letter.
    """
    from streams.ingest.inputs import expand

    settings = read_settings(data_dir, config, sets)
    files = expand(paths or [])
    with _stop_signals() as stopped_by:
        reports = _run(settings, files, dry_run, lambda: bool(stopped_by))
    data = {
        "sources": [report.as_dict() for report in reports],
        "documents": sum(report.documents for report in reports),
        "sent": sum(report.sent for report in reports),
        "stopped": bool(stopped_by),
        "dry_run": dry_run,
    }
    show(data, output, lambda: _human(reports))
    _end(reports, stopped_by)


def _run(
    settings: Settings, files: Sequence[Input], dry_run: bool, stopping: Callable[[], bool]
) -> list[SourceReport]:
    from streams.clients import check_reachable
    from streams.ingest.ingester import Ingester, preview
    from streams.ingest.inputs import total_bytes
    from streams.ingest.progress import for_terminal

    with for_terminal(total_bytes(files)) as progress:
        if dry_run:
            return preview(settings, files, progress, stopping)
        check_reachable(settings)
        metrics = _serve_metrics(settings)
        return Ingester(settings, metrics=metrics, progress=progress, stopping=stopping).run(files)


def _serve_metrics(settings: Settings) -> Any:
    from importlib.metadata import version

    from prometheus_client import CollectorRegistry

    from monitoring.metrics import BuildMetrics, IngestMetrics, serve
    from streams.ingest.items import SkipReason

    registry = CollectorRegistry()
    BuildMetrics(registry, "ingest", version("finestream"))
    metrics = IngestMetrics(registry, [reason.value for reason in SkipReason])
    serve(settings.metrics.host, settings.metrics.port, registry)
    return metrics


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the first asks for an orderly stop, a second one ends at once."""
    import os
    import signal

    caught: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if caught:
            os._exit(130)  # as safe as any kill
        caught.append(number)
        say("finestream ingest: stopping once the broker has what was sent; again to stop at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _human(reports: Sequence[SourceReport]) -> Iterator[str]:
    rows = [
        {
            "source": report.url,
            "outcome": report.outcome,
            "records": str(report.records),
            "documents": str(report.documents),
            "sent": str(report.sent),
            "stubs": _reasons(report.stubs),
            "skipped": _reasons(report.skipped),
        }
        for report in reports
    ]
    if rows:
        yield from table(rows, ["source", "outcome", "records", "documents", "sent", "stubs", "skipped"])


def _reasons(counts: dict[str, int]) -> str:
    return " ".join(f"{reason}={n}" for reason, n in sorted(counts.items(), key=lambda pair: -pair[1]))


def _end(reports: Sequence[SourceReport], stopped_by: Sequence[int]) -> None:
    """Say what needs words, and leave with the exit code that fits."""
    import signal

    from streams.ingest.booking import CHANGED, DAMAGED, VANISHED

    lost = [report for report in reports if report.outcome in {CHANGED, VANISHED}]
    for report in lost:
        say(
            f"finestream ingest: {report.url} {report.outcome} before it was read to its end; "
            "what was sent of it stays, the rest is missing. Give it again to ingest it as it is now"
        )
    for report in reports:
        if report.outcome == DAMAGED:
            say(
                f"finestream ingest: {report.url} is damaged; what could be read was sent, "
                "the rest is a dead letter"
            )
    if not reports and not stopped_by:
        say("finestream ingest: nothing to do; name files to ingest")
    if stopped_by:
        sys.exit(130 if stopped_by[0] == signal.SIGINT else 0)
    if lost:
        sys.exit(1)
