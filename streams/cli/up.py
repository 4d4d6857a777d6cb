"""`finestream up`: start the broker, the workers and, where asked, the trainer, in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import (
    Config,
    DataDir,
    Format,
    Output,
    Sets,
    download_progress,
    read_settings,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.supervisor import State

EXAMPLES = """\
  finestream up                                      one worker a stage, on 127.0.0.1:19092
  finestream up --train --workers instantiate=2      two of one stage, and the trainer
  finestream up --set 'ingest.follow=["crawl/"]'     and an ingester of whatever appears in a folder
  finestream up --broker-only --set broker.port=0    a Kafka and nothing else, on any free port
  finestream up --set kafka.bootstrap_servers=kafka:9092   the workers, on an outside cluster
"""


def up(
    workers: Annotated[
        str, typer.Option(metavar="N|STAGE=N,…", help="Workers of each stage, or by stage (others: one).")
    ] = "1",
    train: Annotated[bool, typer.Option("--train/--no-train", help="Run the trainer too.")] = False,
    broker_only: Annotated[
        bool, typer.Option("--broker-only", help="The broker and the topics, no workers.")
    ] = False,
    wait_seconds: Annotated[
        float, typer.Option(min=0, help="How long to wait until all is well; 0: not at all.")
    ] = 180.0,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Start everything in the background and wait until it is well. Where it runs already, say so.

    Whatever dies is started again. `finestream down` stops it; the data stay in the data directory.
    """
    from streams.engine.command import with_our_urls
    from streams.supervisor import Plan, Supervisor, engine_slots, ingest_slots, stage_slots, trainer_slot

    settings = with_our_urls(read_settings(data_dir, config, sets))
    slots = [] if broker_only else stage_slots(settings, workers_asked(workers))
    if not broker_only:
        slots = engine_slots(settings) + slots + ingest_slots(settings)
    if train and not broker_only:
        slots.append(trainer_slot(["--run", settings.trainer.run]))
    supervisor = Supervisor(settings, Plan(slots=slots))
    began = supervisor.start(progress=download_progress(), say=say)
    if not began:
        say(f"already running on {supervisor.data_dir}")
    try:
        if wait_seconds:
            supervisor.wait_healthy(wait_seconds, say=say)
    except KeyboardInterrupt:
        if began:
            say("stopping what was begun")
            supervisor.stop()
        raise
    state = supervisor.state()
    if state is None:
        from streams.errors import FinestreamError

        raise FinestreamError(f"the supervisor is gone; its log is {supervisor.log_file}")
    running = {p.slot for p in state.processes} - {"broker"}
    if not began and running != {slot.name for slot in slots}:
        say("it runs other processes than asked for: `finestream down`, then `up`, changes that")
    data = addresses(supervisor.settings, state, began=began)
    show(data, output, lambda: _lines(data))


def workers_asked(text: str) -> int | dict[str, int]:
    """Read `2` or `chunk=1,match=2`. Raises a usage error."""
    try:
        if "=" not in text:
            return int(text)
        pairs = (part.split("=") for part in text.split(","))
        return {stage.strip(): int(count) for stage, count in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a number nor STAGE=N,…", param_hint="--workers"
        ) from None


def addresses(settings: Settings, state: State, *, began: bool) -> dict[str, Any]:
    """Return where everything is to be reached."""
    host = settings.metrics.host
    return {
        "started": began,
        "data_dir": str(settings.data_dir.absolute()),
        "bootstrap_servers": state.bootstrap_servers or settings.bootstrap_servers,
        "embedded": state.embedded,
        "supervisor_pid": state.pid,
        "processes": [
            {
                "slot": process.slot,
                "pid": process.pid,
                "metrics": f"http://{host}:{process.metrics_port}/metrics" if process.metrics_port else "",
            }
            for process in state.processes
        ],
    }


def _lines(data: dict[str, Any]) -> list[str]:
    return [
        f"bootstrap servers  {data['bootstrap_servers']}",
        f"data directory     {data['data_dir']}",
        "",
        *table(data["processes"], ("slot", "pid", "metrics")),
    ]
