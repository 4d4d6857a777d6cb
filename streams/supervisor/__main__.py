"""Entry of the supervisor's process, `python -m streams.supervisor --plan FILE`; settings by environment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streams import logs
from streams.errors import FinestreamError
from streams.settings import load
from streams.supervisor.loop import Loop
from streams.supervisor.plan import read_plan


def main() -> int:
    """Run one supervisor in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m streams.supervisor", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="which children to run (JSON)")
    arguments = parser.parse_args()
    logs.configure()
    try:
        Loop(load(), read_plan(arguments.plan)).run()
    except FinestreamError as error:
        print(f"finestream supervisor: {error}", file=sys.stderr)  # noqa: T201 - the user's answer
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
