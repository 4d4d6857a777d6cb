"""`finestream train`: the trainer, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, read_settings

EXAMPLES = """\
  finestream train                                   the run `main`, until Ctrl-C; goes on where it stopped
  finestream train --run small --until-drained       end when every lane is read to its end
  finestream train --run again --obey main           the same steps as another run's ledger names
"""


def train(
    run: Annotated[
        str | None,
        typer.Option(help="Names the ledger and the checkpoints [default: trainer.run].", show_default=False),
    ] = None,
    until_drained: Annotated[
        bool, typer.Option("--until-drained", help="End when every lane is read to its end.")
    ] = False,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="End after this step.", show_default=False)
    ] = None,
    obey: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Take the pairs that this run's ledger names.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Train on the pairs as they come. A run that was stopped, or killed, goes on where its ledger says."""
    from streams.cli.programs import become

    settings = read_settings(data_dir, config, sets)
    arguments = ["--run", run or settings.trainer.run]
    if until_drained:
        arguments.append("--until-drained")
    if max_steps is not None:
        arguments += ["--max-steps", str(max_steps)]
    if obey is not None:
        arguments += ["--obey", obey]
    arguments += ["--format", output.value]
    become(settings, "trainer", arguments)
