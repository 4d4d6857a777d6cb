"""`finestream ingest`: crawl files into the lanes, in the foreground, until all are read or for ever."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import (
    Config,
    DataDir,
    Format,
    Output,
    Sets,
    printable,
    read_settings,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from streams.ingest.inputs import Input
    from streams.ingest.report import SourceReport
    from streams.ingest.shard import Shard
    from streams.settings import Settings

EXAMPLES = """\
  finestream ingest crawl/*.warc.gz
  finestream ingest 'archive/**/*.warc.gz' pages.jsonl html-folder/
  finestream ingest --follow crawl/ 's3://bucket/crawl/'      whatever appears there, until it is stopped
  finestream ingest warc.paths.gz --base https://data.commoncrawl.org/
  finestream ingest --follow --shard 0/2 crawl/               one of two that share the work
  finestream ingest --dry-run --format json crawl/*.warc.gz   count, and send nothing
  finestream ingest                                           only finish what an interrupted one began
"""


def ingest(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="WARC, WET, ARC, JSON lines, Parquet, HTML, text: files, globs, folders, path lists, URLs.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what appears there, until interrupted.")
    ] = False,
    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Be ingester I of N: each has files and lanes of its own."),
    ] = "0/1",
    base: Annotated[
        str, typer.Option(metavar="URL", help="Put before the lines of path lists.", show_default=False)
    ] = "",
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
    read before, in the same size and time, is passed over; one that has grown is another source, read from
    its begin. What is no document is counted by reason; what cannot be read becomes a dead letter.
    """
    from streams.ingest.shard import parse_shard

    settings, place = read_settings(data_dir, config, sets), parse_shard(shard)
    if follow:
        if dry_run:
            raise typer.BadParameter("a dry run ends; leave --follow out", param_hint="--dry-run")
        _follow(settings, paths or list(settings.ingest.follow), place, base, output)
        return
    from streams.ingest.inputs import expand

    files = _finished(expand(paths or [], base), paths or [])
    with _stop_signals() as stopped_by:
        reports = _run(settings, files, dry_run, place, lambda: bool(stopped_by))
    data = {
        "sources": [report.as_dict() for report in reports],
        "documents": sum(report.documents for report in reports),
        "sent": sum(report.sent for report in reports),
        "stopped": bool(stopped_by),
        "dry_run": dry_run,
    }
    show(data, output, lambda: _human(reports))
    _end(reports, stopped_by)


def _finished(files: Sequence[Input], named: Sequence[str]) -> list[Input]:
    """Leave out what a folder or a glob holds that is still being written by its name, and say so."""
    import os

    from streams.ingest.complete import name_says_unfinished

    explicit = {os.path.abspath(os.path.expanduser(name)) for name in named} | set(named)  # noqa: PTH100, PTH111
    kept: list[Input] = []
    for one in files:
        if isinstance(one, str) and one not in explicit and (suffix := name_says_unfinished(one)):
            say(f"finestream ingest: {one} is passed over: its name ends in {suffix}")
        else:
            kept.append(one)
    return kept


def _run(
    settings: Settings, files: Sequence[Input], dry_run: bool, shard: Shard, stopping: Callable[[], bool]
) -> list[SourceReport]:
    from streams.clients import check_reachable
    from streams.ingest.ingester import Ingester
    from streams.ingest.inputs import total_bytes
    from streams.ingest.preview import preview
    from streams.ingest.progress import for_terminal
    from streams.ingest.stored import is_remote

    # What lies in a store is not asked for its size twice.
    untold = any(isinstance(one, str) and is_remote(one) for one in files)
    with for_terminal(None if untold else total_bytes(files)) as progress:
        if dry_run:
            return preview(settings, files, progress, stopping, shard)
        check_reachable(settings)
        metrics = _serve_metrics(settings)
        ingester = Ingester(
            settings, shard=shard, metrics=metrics, progress=progress, stopping=stopping, say=_say
        )
        return ingester.run(files)


def _follow(settings: Settings, paths: list[str], shard: Shard, base: str, output: Format) -> None:
    """Follow `paths` until a signal; a line for each source as it is done with."""
    import signal

    from streams.clients import check_reachable
    from streams.ingest.follow import follow
    from streams.ingest.ingester import Ingester
    from streams.ingest.progress import for_terminal
    from streams.ingest.standing import Standing
    from streams.ingest.watch import Watch

    if not paths:
        raise typer.BadParameter("name what to follow, or set ingest.follow", param_hint="PATH...")
    check_reachable(settings)
    metrics = _serve_metrics(settings)
    watch = Watch(paths, settings.ingest, shard, base)
    standing = Standing(settings.data_dir, shard, paths, for_terminal(None))
    with _stop_signals() as stopped_by, standing:
        ingester = Ingester(
            settings,
            shard=shard,
            metrics=metrics,
            progress=standing,
            stopping=lambda: bool(stopped_by),
            told=lambda report: _told(report, output),
            say=_say,
        )
        follow(ingester, watch, standing)
    if stopped_by and stopped_by[0] == signal.SIGINT:
        sys.exit(130)


def _told(report: SourceReport, output: Format) -> None:
    """Print what became of one source, at once."""
    import json

    if output is Format.json:
        print(json.dumps(report.as_dict()), flush=True)
        return
    counts = [
        f"{report.records} records",
        f"{report.sent} sent",
        *([f"{report.found} were there"] if report.found else []),
        *([f"stubs {_reasons(report.stubs)}"] if report.stubs else []),
        *([f"skipped {_reasons(report.skipped)}"] if report.skipped else []),
    ]
    words = report.reason or ", ".join(counts)
    before = f" (source {report.replaces} had this name)" if report.replaces else ""
    print(f"{report.outcome:9}  {printable(report.url)}{before}: {printable(words)}", flush=True)


def _say(text: str) -> None:
    say(f"finestream ingest: {text}")


def _serve_metrics(settings: Settings) -> Any:
    from importlib.metadata import version

    from prometheus_client import CollectorRegistry

    from monitoring.metrics import BuildMetrics, IngestMetrics, serve
    from streams.ingest.items import SkipReason, StubReason
    from streams.ingest.report import OUTCOMES, STOPPED

    registry = CollectorRegistry()
    BuildMetrics(registry, "ingest", version("finestream"))
    metrics = IngestMetrics(
        registry,
        [reason.value for reason in SkipReason],
        [reason.value for reason in StubReason],
        [outcome for outcome in OUTCOMES if outcome != STOPPED],
    )
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

    from streams.ingest.booking import CHANGED, DAMAGED, POSTPONED, REFUSED, VANISHED

    lost = [report for report in reports if report.outcome in {CHANGED, VANISHED}]
    for report in lost:
        say(
            f"finestream ingest: {report.url} {report.outcome} before it was read to its end; what was sent "
            "of it stays, the rest is missing. Give it again to ingest it as it is now (where it came back "
            "unchanged, `touch` it first)"
        )
    unread = [report for report in reports if report.outcome in {REFUSED, POSTPONED}]
    for report in unread:
        say(f"finestream ingest: {report.reason}")
    if any(report.outcome == POSTPONED for report in unread):
        say("finestream ingest: `finestream ingest` reads on in what was begun, once that can be read")
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
    if lost or unread:
        sys.exit(1)
