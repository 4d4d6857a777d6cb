"""`finestream down`: stop everything under a data directory, in order."""

from __future__ import annotations

from streams.cli.options import Config, DataDir, Format, Output, Sets, read_settings, say, show

EXAMPLES = """\
  finestream down
  finestream down --data-dir /srv/finestream
"""


def down(
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Stop the trainer and the workers, which finish what is in flight, then the broker. The data stay."""
    from streams.broker import Broker, find
    from streams.supervisor import Supervisor

    settings = read_settings(data_dir, config, sets)
    supervisor = Supervisor(settings)
    stopped = supervisor.stop()
    if settings.embedded and find(supervisor.data_dir) is not None:  # one that lost its supervisor
        Broker.from_settings(settings).stop()
        stopped = True
    if not stopped:
        say(f"nothing was running on {supervisor.data_dir}")
    data = {"stopped": stopped, "data_dir": str(supervisor.data_dir)}
    show(data, output, lambda: [f"stopped; the data are in {supervisor.data_dir}"] if stopped else [])
