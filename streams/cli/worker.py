"""`finestream worker`: one worker of a stage, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import Config, DataDir, Sets, read_settings

EXAMPLES = """\
  finestream worker match
  finestream worker judge --set kafka.bootstrap_servers=kafka-1:9092,kafka-2:9092
"""


def worker(
    stage: Annotated[str, typer.Argument(help="chunk, match, instantiate or judge.", show_default=False)],
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Run one more worker of a stage until Ctrl-C: it joins the group and is given its share of the lanes.

    Where `finestream up` runs, its workers are started again by themselves; this one is not.
    """
    from streams.cli.programs import become
    from streams.settings import STAGES

    settings = read_settings(data_dir, config, sets)
    if stage not in STAGES:
        raise typer.BadParameter(f"{stage!r} is no stage: {', '.join(STAGES)}", param_hint="STAGE")
    become(settings, "workers", [stage])
