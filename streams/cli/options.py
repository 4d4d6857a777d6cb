"""What all commands share: the common options, reading the settings, and how answers and errors are shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from streams.settings import Settings

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Format(StrEnum):
    """How data are shown."""

    human = "human"
    json = "json"


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", "-d", help="Where everything is kept [default: finestream-data].", show_default=False
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings as TOML [default: finestream.toml, if there is one].", show_default=False
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting by its dotted name; any number. `finestream config show` lists them.",
        show_default=False,
    ),
]
Output = Annotated[Format, typer.Option("--format", help="How data on stdout are shown.")]


def read_settings(data_dir: Path | None, config: Path | None, sets: Sequence[str] | None) -> Settings:
    """Return the settings that a command means: flags over environment over file over defaults.

    Where a broker runs on the data directory, its port is taken, whatever the settings say.
    Raises `SettingsError`.
    """
    from streams.broker import located
    from streams.errors import SettingsError
    from streams.settings import load

    if config is not None:
        if not config.is_file():
            raise SettingsError(f"--config names {config}, which is no file")
        os.environ["FINESTREAM_CONFIG"] = str(config.absolute())
    flags: dict[str, Any] = {}
    for text in sets or ():
        _put(flags, text)
    if data_dir is not None:
        flags["data_dir"] = data_dir
    return located(load(**flags))


def _put(flags: dict[str, Any], text: str) -> None:
    from streams.errors import SettingsError

    key, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in key.split(".")):
        raise SettingsError(f"--set wants KEY=VALUE such as broker.port=0, not {text!r}")
    *sections, last = key.split(".")
    for section in sections:
        flags = flags.setdefault(section, {})
        if not isinstance(flags, dict):
            raise SettingsError(f"--set {text}: {section} is no section")
    try:  # lists are written as JSON, everything else as it is: pydantic knows what it wants
        flags[last] = json.loads(value) if value[:1] in {"[", "{"} else value
    except ValueError as error:
        raise SettingsError(f"--set {text}: {error}") from None


def show(data: Any, output: Format, human: Callable[[], Iterable[str]]) -> None:
    """Write an answer to stdout: `data` as JSON, or the lines that `human` makes of it."""
    if output is Format.json:
        text = json.dumps(data, indent=2, ensure_ascii=not sys.stdout.isatty(), default=str)
        # JSON leaves C1 and direction controls as they are; on a terminal those steer it.
        print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
    else:
        for line in human():
            print(line)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return rows as aligned columns under their names; numbers to the right."""
    cells = [[printable(row.get(column, "")) for column in columns] for row in rows]
    numeric = [
        all(line[i].replace(".", "", 1).isdigit() or not line[i] for line in cells)
        for i in range(len(columns))
    ]
    widths = [max(map(len, [name, *(line[i] for line in cells)])) for i, name in enumerate(columns)]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return [line(columns), *map(line, cells)]


def printable(value: object) -> str:
    """Return a value as one line of text that can't steer a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def say(text: str) -> None:
    """Say something that is no data: to stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def download_progress() -> Callable[[int, int], None] | None:
    """Return a progress line for the broker's jars, on a terminal only."""
    if not sys.stderr.isatty():
        return None

    def progress(done: int, total: int) -> None:
        end = "\n" if done >= total else ""
        sys.stderr.write(
            f"\rfetching the broker, once on this machine: {done >> 20} of {total >> 20} MB{end}"
        )
        sys.stderr.flush()

    return progress


def fail(error: Exception) -> NoReturn:
    """End with an error of ours as a sentence and its exit code; raise any other, it is a defect."""
    from streams.errors import FinestreamError

    if not isinstance(error, FinestreamError):
        raise error
    say(f"finestream: {error}")
    sys.exit(error.exit_code)


def show_version() -> NoReturn:
    """Print the version and exit."""
    from importlib.metadata import version

    print(f"finestream {version('finestream')}")
    raise typer.Exit
