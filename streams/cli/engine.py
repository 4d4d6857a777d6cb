"""`finestream engine`: a model's server, kept generating, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, read_settings, show

if TYPE_CHECKING:
    from streams.settings import Settings

EXAMPLES = """\
  finestream engine --model models/instantiator      serve a folder on 127.0.0.1:8000 until Ctrl-C
  finestream engine --model NAME --dry-run           show the command and its environment, start nothing
  finestream engine --model NAME --servers 0 --set serve.speculative=ngram   one a GPU, drafts from the text
  finestream up --set serve.model=NAME --set instantiate.engine=openai       together with everything else
"""


def engine(
    model: Annotated[
        str | None,
        typer.Option(help="A folder, or a name that vLLM knows [default: serve.model].", show_default=False),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, gpu or auto [default: serve.device].", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Of the first server [default: serve.port].", show_default=False)
    ] = None,
    servers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes; 0: as the GPUs allow [default: serve.servers].",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be started and where, and end.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Serve a model with vLLM, in an environment of its own that is made on first use (some 6 GB).

    What dies, or hangs (no token for a set time with work waiting), is started again. `finestream status`
    shows it; the server's own words are in the data directory's logs. Where serve.model is set, `finestream
    up` does the same in the background.
    """
    from streams.cli.programs import become

    asked = {"model": model, "device": device, "port": port, "servers": servers}
    flags = [f"serve.{name}={value}" for name, value in asked.items() if value is not None]
    settings = read_settings(data_dir, config, [*(sets or ()), *flags])
    if dry_run:
        data = plan(settings)
        show(data, output, lambda: _lines(data))
        return
    become(settings, "streams.engine", [])


def plan(settings: Settings) -> dict[str, Any]:
    """Return what would be started; the key is not among it. Raises `SettingsError`."""
    from streams.engine.command import command_line, environment_of, servers, variables

    serve = settings.serve
    environment = environment_of(serve)
    return {
        "environment": None
        if environment is None
        else {"path": str(environment.path), "installed": environment.whole()},
        "servers": [
            {
                "url": f"http://127.0.0.1:{serve.port + number}/v1",
                "command": command_line(serve, number),
                "variables": variables(serve, number),
            }
            for number in range(servers(serve))
        ],
    }


def _lines(data: dict[str, Any]) -> list[str]:
    import os
    import shlex

    lines = []
    if (environment := data["environment"]) is not None:
        there = "installed" if environment["installed"] else "made when first started, some 6 GB"
        lines += [f"environment  {environment['path']} ({there})"]
    for server in data["servers"]:
        path = os.environ.get("PATH", os.defpath)
        said = " ".join(
            f"{name}={shlex.quote(value.removesuffix(path))}{'$PATH' if name == 'PATH' else ''}"
            for name, value in server["variables"].items()
        )
        lines += ["", server["url"], f"  {said} \\", f"  {shlex.join(server['command'])}"]
    return lines
