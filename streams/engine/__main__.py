"""Entry of the engine's process, `python -m streams.engine`; settings by environment."""

from __future__ import annotations

import sys

from streams import logs
from streams.engine.loop import Loop
from streams.errors import FinestreamError
from streams.settings import load


def main() -> int:
    """Keep the servers in the foreground."""
    logs.configure()
    try:
        Loop(load()).run()
    except FinestreamError as error:
        print(f"finestream engine: {error}", file=sys.stderr)  # noqa: T201 - the user's answer
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
