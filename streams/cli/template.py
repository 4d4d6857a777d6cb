"""`finestream template`: banks of instruction templates: build them, look into them, fix how they are used.

The work is done by `python -m workers.match`, which has the models; this module only reads the command line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from streams.cli.options import HELP, Config, Format, Output, Sets, read_settings

EXAMPLES = """\
  finestream template ls
  finestream template build banks/mine templates.jsonl
  finestream template stats banks/mine
  finestream up --set match.bank=banks/mine
"""
_LS = """\
  finestream template ls
  finestream template ls my-banks --format json
"""
_SHOW = """\
  finestream template show seed --limit 3
  finestream template show banks/mine t0001 t0002
  finestream template show banks/mine --verify --limit 0
"""
_STATS = """\
  finestream template stats seed
  finestream template stats banks/mine --format json | jq .complexity
"""
_BUILD = """\
  finestream template build banks/mine mine.jsonl more.parquet
  finestream template build banks/mine mine.jsonl --against mixeval=tests/*.json --skip-faulty
  finestream template build banks/bge all.parquet --encoder BAAI/bge-m3 --recall 0.97 --memory-gb 16
  finestream template build banks/mine mine.jsonl --dry-run
"""
_ADD = """\
  finestream template add banks/mine new.jsonl
  finestream template add banks/mine new.jsonl --dry-run --format json
"""
_IMPORT = """\
  finestream template import banks/fine finetemplates-*.parquet
  finestream template import banks/fine rows.jsonl --column template=prompt --column id=key
"""
_DISABLE = """\
  finestream template disable banks/mine t0001 t0002
"""
_MEASURE = """\
  finestream template measure banks/mine documents.jsonl.gz
  finestream template measure banks/mine documents.jsonl --target real-queries.jsonl --dry-run
"""
_CALIBRATE = """\
  finestream template calibrate banks/mine judged.jsonl --precision 0.9
  finestream template calibrate banks/mine judged.jsonl --dry-run --format json | jq .curve
"""

Bank = Annotated[str, typer.Argument(help="Name of a shipped bank, or a bank's folder.", show_default=False)]
Files = Annotated[
    list[Path], typer.Argument(help="Files of templates: .jsonl[.gz], .parquet.", show_default=False)
]
Documents = Annotated[
    list[Path], typer.Argument(help="JSONL[.gz] with `text`, and `language` if not en.", show_default=False)
]
Pairs = Annotated[
    list[Path],
    typer.Argument(help="JSONL[.gz]: `text`, `label` 0 or 1, `template_id`.", show_default=False),
]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of templates.", show_default=False)]
Encoder = Annotated[str, typer.Option(help="Whose vectors [default: match.encoder].", show_default=False)]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="FIELD=NAME", help="A column's name, if another.", show_default=False),
]
Against = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILES", help="Leave out this benchmark's test items.", show_default=False),
]
SkipFaulty = Annotated[bool, typer.Option("--skip-faulty", help="Leave out, and count, what is no template.")]
Recall = Annotated[float, typer.Option(min=0.01, max=1.0, help="Of the exact best 200, from the index.")]
MemoryGb = Annotated[float, typer.Option(min=0, help="Most that the index takes; 0: half the machine's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be, write nothing.")]
Few = Annotated[bool, typer.Option("--few", help="Take fewer than are needed for a figure to be trusted.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Banks of instruction templates.")


def _run(
    command: str, output: Format, sets: Sequence[str] | None, config: Path | None, **request: Any
) -> NoReturn:
    from streams.cli.programs import become

    settings = read_settings(None, config, sets)
    asked = {"command": command, "output": output.value, **request}
    become(settings, "workers.match", [json.dumps(asked, default=str)])


def _named(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read NAME=VALUE options; raise a usage error."""
    out: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"NAME=VALUE is wanted, not {text!r}", param_hint=option)
        out[name] = value
    return out


@app.command("ls", epilog=f"\b\nExamples:\n{_LS.rstrip()}", context_settings=HELP)
def list_banks(
    folder: Annotated[str, typer.Argument(help="Where banks of your own lie.")] = "banks",
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """List the shipped banks and those in a folder."""
    _run("ls", output, sets, config, bank=folder)


@app.command("show", epilog=f"\b\nExamples:\n{_SHOW.rstrip()}", context_settings=HELP)
def show_bank(
    bank: Bank,
    ids: Ids = None,
    limit: Annotated[int, typer.Option(min=0, help="How many templates, where none is named.")] = 5,
    verify: Annotated[bool, typer.Option("--verify", help="Compare all files with their digests.")] = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show a bank's manifest and some of its templates."""
    _run("show", output, sets, config, bank=bank, ids=ids or [], limit=limit, verify=verify)


@app.command("stats", epilog=f"\b\nExamples:\n{_STATS.rstrip()}", context_settings=HELP)
def stats(bank: Bank, config: Config = None, sets: Sets = None, output: Output = Format.human) -> None:
    """Show complexity, mix of domains, evenness, languages and sampling."""
    _run("stats", output, sets, config, bank=bank)


@app.command("build", epilog=f"\b\nExamples:\n{_BUILD.rstrip()}", context_settings=HELP)
def build(
    bank: Bank,
    files: Files,
    encoder: Encoder = "",
    columns: Columns = None,
    against: Against = None,
    skip_faulty: SkipFaulty = False,
    recall: Recall = 0.95,
    memory_gb: MemoryGb = 0.0,
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Build a bank from files of templates: checked, without repeats, embedded, indexed.

    It is written whole or not at all. A faulty row ends it by file and line, unless --skip-faulty.
    """
    _run("build", output, sets, config, bank=bank, files=files, encoder=encoder,
         columns=_named(columns, "--column"), against=_named(against, "--against"), skip_faulty=skip_faulty,
         recall=recall, memory_gb=memory_gb, dry_run=dry_run)  # fmt: skip


@app.command("add", epilog=f"\b\nExamples:\n{_ADD.rstrip()}", context_settings=HELP)
def add(
    bank: Bank,
    files: Files,
    columns: Columns = None,
    against: Against = None,
    skip_faulty: SkipFaulty = False,
    recall: Recall = 0.95,
    memory_gb: MemoryGb = 0.0,
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Make a version of a bank with more templates; the old one stays, and stays in use until this is whole.

    A generation can end with the version that it began with: let match.bank name that version's folder.
    """
    _run("add", output, sets, config, bank=bank, files=files, columns=_named(columns, "--column"),
         against=_named(against, "--against"), skip_faulty=skip_faulty, recall=recall, memory_gb=memory_gb,
         dry_run=dry_run)  # fmt: skip


@app.command("import", epilog=f"\b\nExamples:\n{_IMPORT.rstrip()}", context_settings=HELP)
def import_templates(
    bank: Bank,
    files: Files,
    encoder: Encoder = "",
    columns: Columns = None,
    against: Against = None,
    recall: Recall = 0.95,
    memory_gb: MemoryGb = 0.0,
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Take other people's templates into a bank, new or not: faulty rows are left out and counted.

    Known columns: template or instruction_template; compatible_document_description, document_description or
    description; id or template_id (else one is made of the contents); domain, language, source.
    """
    _run("import", output, sets, config, bank=bank, files=files, encoder=encoder,
         columns=_named(columns, "--column"), against=_named(against, "--against"), skip_faulty=True,
         recall=recall, memory_gb=memory_gb, dry_run=dry_run)  # fmt: skip


@app.command("disable", epilog=f"\b\nExamples:\n{_DISABLE.rstrip()}", context_settings=HELP)
def disable(
    bank: Bank,
    ids: Annotated[list[str], typer.Argument(help="Ids of templates.", show_default=False)],
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Make a version of a bank in which some templates are never drawn."""
    _run("disable", output, sets, config, bank=bank, ids=ids, dry_run=dry_run)


@app.command("measure", epilog=f"\b\nExamples:\n{_MEASURE.rstrip()}", context_settings=HELP)
def measure(
    bank: Bank,
    documents: Documents,
    segments: Annotated[int, typer.Option(min=1, help="Most segments that are taken.")] = 5000,
    target: Annotated[
        str, typer.Option(metavar="FILE", help="Templates of real queries, whose complexity is wanted.")
    ] = "",
    few: Few = False,
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Fix with a bank how it is sampled: complexity among the candidates of documents, and the usage cap.

    match.choice=sampled then draws by it. Without a target it is the project's own choice, not real queries'.
    """
    _run("measure", output, sets, config, bank=bank, files=documents, segments=segments, target=target,
         few=few, dry_run=dry_run)  # fmt: skip


@app.command("calibrate", epilog=f"\b\nExamples:\n{_CALIBRATE.rstrip()}", context_settings=HELP)
def calibrate(
    bank: Bank,
    pairs: Pairs,
    precision: Annotated[float, typer.Option(min=0.0, max=1.0, help="Wanted of what matches.")] = 0.9,
    few: Few = False,
    dry_run: DryRun = False,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Find the threshold for a wanted precision from judged pairs, and keep it with the bank.

    The precision holds at the lower end of its 95 % interval. Out of reach: exit code 1 and the best.
    """
    _run("calibrate", output, sets, config, bank=bank, files=pairs, precision=precision, few=few,
         dry_run=dry_run)  # fmt: skip
