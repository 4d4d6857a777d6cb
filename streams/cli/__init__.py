"""The command line: `finestream COMMAND`. Data on stdout, words on stderr, errors name the fix.

Each command is a module `streams/cli/NAME.py` with a function NAME (or, where it has subcommands, a Typer
called `app`) and EXAMPLES, the lines that end its help; its name goes into COMMANDS. Such a module imports
nothing heavy at its top: `--help` reads them all and has half a second (vLLM's takes ten because torch comes
along). The alternative, a help text kept beside the code, goes stale.

Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 unhealthy, 4 something we depend on can't be reached,
130 interrupted.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Annotated, Final

import typer

from streams.cli.options import HELP, fail, show_version

COMMANDS: Final = (
    "demo",
    "up",
    "down",
    "status",
    "ingest",
    "worker",
    "train",
    "engine",
    "template",
    "topic",
    "lag",
    "config",
)
"""In the order of the help."""

_EXAMPLES: Final = """\b
Examples:
  finestream demo                everything once, on the sample documents; it ends by itself
  finestream up --train          start the broker, a worker a stage and the trainer
  finestream status              what runs, and whether it is well
  finestream down                stop everything; the data stay
"""


def build() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="finestream",
        help="FineInstructions as a stream: crawl documents in, instruction-answer pairs and a model out.",
        epilog=_EXAMPLES,
        context_settings=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,  # plain text: it can be searched and piped, and costs no import
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_root)
    for name in COMMANDS:
        module = import_module(f"streams.cli.{name}")
        epilog = f"\b\nExamples:\n{module.EXAMPLES.rstrip()}"
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, epilog=epilog, context_settings=HELP)
        else:
            app.command(name, epilog=epilog, context_settings=HELP)(getattr(module, name))
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        show_version()


def main() -> None:
    """Run one command: the entry point `finestream`."""
    # Without a handler Python prints the Kafka client's warnings; our errors say what they mean.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    try:
        build()()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last stop: ours are shown as words, others raised again
        fail(error)
