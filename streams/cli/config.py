"""`finestream config`: the settings as they are read here and now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, read_settings, show

if TYPE_CHECKING:
    from pydantic import BaseModel

EXAMPLES = """\
  finestream config show
  finestream config show > finestream.toml       a file to begin with
  FINESTREAM_CHUNK__MIN_CHARACTERS=50 finestream config show --format json
"""

MASK = "********"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The settings of every process.")


@app.callback()
def _group() -> None:
    """Keep `show` a subcommand of its own."""


@app.command("show", epilog=f"\b\nExamples:\n{EXAMPLES.rstrip()}")
def show_settings(
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show all settings: flags over environment (FINESTREAM_SECTION__KEY) over file over defaults.

    Secrets are masked. The human form is TOML that can be read back.
    """
    settings = read_settings(data_dir, config, sets)
    data = settings.model_dump(mode="json")
    show(_masked(settings, data), output, lambda: toml(settings))


def _masked(model: BaseModel, data: dict[str, Any]) -> dict[str, Any]:
    from pydantic import BaseModel, SecretStr

    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            _masked(value, data[name])
        elif isinstance(value, SecretStr):
            data[name] = MASK if value.get_secret_value() else ""
    return data


def toml(model: BaseModel, section: str = "") -> list[str]:
    """Return the tree as lines of TOML; what is unset or secret is a comment."""
    from pydantic import BaseModel, SecretStr

    lines: list[str] = []
    sections: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            sections += ["", f"[{section}{name}]", *toml(value, f"{section}{name}.")]
        elif value is None:
            lines.append(f"# {name} is not set")
        elif isinstance(value, SecretStr):
            lines.append(f"# {name} is {MASK if value.get_secret_value() else 'not set'}")
        elif isinstance(value, dict):
            entries = (f"{json.dumps(key)} = {json.dumps(entry)}" for key, entry in value.items())
            lines.append(f"{name} = {{{', '.join(entries)}}}")
        else:
            plain = value if isinstance(value, bool | int | float | tuple) else str(value)
            lines.append(f"{name} = {json.dumps(plain)}")
    return lines + sections
