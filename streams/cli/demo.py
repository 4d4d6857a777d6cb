"""`finestream demo`: the main job in one command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import (
    Config,
    Format,
    Output,
    Sets,
    download_progress,
    printable,
    read_settings,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from streams.demo import Demo, Outcome
    from streams.demo.examples import Example

EXAMPLES = """\
  finestream demo                                    the sample documents that are shipped
  finestream demo 'crawl/*.warc.gz' --data-dir mine
  finestream demo --format json | jq '{pairs_kept, trainer}'
"""

WIDTH = 100
MOST_CHARACTERS = 600
"""Shown of one text."""
HONEST = """\
The pairs were made and judged by the extractive engine: a floor that copies, fills simple templates and \
abstains unless it is sure, so that everything runs on a laptop without a language model. It shows that \
the system works, not the data quality that the paper reports; the trained model is tiny, and its losses \
are printed as they are."""


def demo(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="WARC or JSONL files, paths or globs [default: the shipped samples].",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            "-d",
            help="Where everything is kept [default: finestream-demo].",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Run everything once: broker, stages, trainer; kill a worker in between; count what became of it all.

    It ends by itself and stops what it started. The data directory stays; with the same one
    again it goes on where it was. Exit code 3 where anything is missing or was trained on twice.
    """
    import sys

    from streams.demo import Demo, report, with_defaults
    from streams.demo.display import Bar, Display
    from streams.ingest.inputs import expand, total_bytes
    from streams.ingest.progress import for_terminal
    from streams.ingest.source import inspect
    from streams.samples import sample_paths

    settings = with_defaults(read_settings(data_dir, config, sets))
    sources = expand(inputs or [str(path) for path in sample_paths()])
    for one in sources:  # a file that is none is said before anything starts
        if isinstance(one, str):
            inspect(one)
    it = Demo(
        settings,
        sources,
        display=lambda: (Bar if sys.stderr.isatty() else Display)(say),
        say=say,
        ingest_progress=for_terminal(total_bytes(sources)),
        fetching=download_progress(),
    )
    outcome = it.run()
    if output is Format.json:
        for line in shown_pairs(it, outcome):
            say(line)
    show(report(outcome), output, lambda: _lines(it, outcome))


def _lines(it: Demo, outcome: Outcome) -> Iterator[str]:
    from streams.demo.report import funnel, losses

    accounts = outcome.accounts
    rows = [
        {**row, "per one before": "" if row["per_one_before"] is None else f"{row['per_one_before']:.2f}"}
        for row in funnel(accounts, outcome.trained)
    ]
    yield from table(rows, ("step", "count", "per one before"))
    lost = list(losses(accounts))
    if lost:
        yield ""
        yield from table(lost, ("stage", "dropped", "reason", "count"))
    yield ""
    scores = ", ".join(f"{score}: {count}" for score, count in accounts.scores.items())
    yield f"scores by the judge   {scores or 'none'}"
    if accounts.contaminated:
        found = ", ".join(f"{printable(name)}: {n}" for name, n in accounts.contaminated.items())
        yield from _wrapped("contaminated          ", f"{found} segments hold a test item")
    if accounts.flagged:
        found = ", ".join(f"{printable(name)}: {n}" for name, n in accounts.flagged.items())
        yield from _wrapped("flagged, not dropped  ", found)
    yield from _trainer(outcome)
    memory = ", ".join(f"{name} {peak >> 20}" for name, peak in outcome.memory.items())
    yield from _wrapped(
        "peak memory, MB       ", f"{memory} (together at most {sum(outcome.memory.values()) >> 20})"
    )
    yield ""
    yield from _wrapped("", outcome.killed)
    repeated = sum(accounts.duplicates.values())
    yield from _wrapped(
        "",
        f"The ledger is whole: each of the {accounts.raw} documents in raw ends exactly once in judged, all "
        f"its segments or a marker; nothing was trained on twice ({repeated} repeated writes were filtered).",
    )
    yield from shown_pairs(it, outcome)
    yield ""
    yield from _wrapped("", HONEST)
    yield ""
    yield f"{outcome.seconds:.0f} s; everything is stopped, the data are in {printable(outcome.data_dir)}"
    yield f"look at them: finestream up --data-dir {printable(outcome.data_dir)}"


def _trainer(outcome: Outcome) -> Iterator[str]:
    trainer = outcome.trainer

    def loss(name: str) -> str:
        return "none" if trainer[name] is None else f"{trainer[name]:.3f}"

    counts = f"{trainer['steps']} steps, {trainer['tokens']} tokens, {trainer['pairs']} pairs"
    yield f"trainer               {counts}"
    yield f"training loss         {loss('loss_first')} in the first step, {loss('loss_last')} in the last"
    yield (
        f"held-out loss         {loss('heldout_loss')}; counting words alone (unigram) "
        f"{loss('unigram_loss')}; all in nats a token"
    )
    yield f"checkpoint            {printable(trainer['checkpoint'] or 'none')}"


def shown_pairs(it: Demo, outcome: Outcome) -> Iterator[str]:
    """Return pairs that were trained on, beside their source, and one that was rejected, with its reason."""
    if it.kept:
        yield ""
        yield f"{len(it.kept)} of the {outcome.trained.pairs} pairs that were trained on, drawn at random:"
    for number, example in enumerate(it.kept, 1):
        yield ""
        yield from _wrapped(f"{number}. Instruction  ", example.pair.instruction)
        yield from _wrapped("   Answer       ", example.pair.answer)
        yield from _wrapped("   Template     ", example.template)
        yield from _wrapped("   Judge        ", f"{example.score} of 5. {example.feedback}")
        before, excerpt, after = example.source()
        yield from _source(example)
        shortened = textwrap.shorten(printable(" ".join(excerpt.split())), 160, placeholder=" … ")
        yield from _wrapped("                ", f"… {before} [[ {shortened} ]] {after} …")
    if it.rejected is not None:
        pair = it.rejected.pair
        yield ""
        yield from _wrapped("One that was rejected: ", pair.rejected.replace("_", " "))
        yield from _wrapped("   Template     ", it.rejected.template)
        if pair.raw_output:
            yield from _wrapped("   It had       ", pair.raw_output)
        yield from _source(it.rejected)


def _source(example: Example) -> Iterator[str]:
    segment = example.segment
    yield from _wrapped(
        "   Source       ", f"{segment.title or 'untitled'}, {segment.url or segment.document_id}"
    )


def _wrapped(label: str, text: str) -> Iterator[str]:
    """Return a text of the web as bounded lines under a label; nothing in it steers a terminal."""
    plain = printable(" ".join(text.split()))
    if len(plain) > MOST_CHARACTERS:
        plain = f"{plain[:MOST_CHARACTERS]}…"
    lines = textwrap.wrap(plain, WIDTH - len(label), break_on_hyphens=False) or ["none"]
    yield label + lines[0]
    for line in lines[1:]:
        yield " " * len(label) + line
