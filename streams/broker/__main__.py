"""`python -m streams.broker`: fetch and prepare the embedded broker, so that later starts need no network."""

from __future__ import annotations

import sys

from streams.broker import jars_folder, prepare
from streams.errors import FinestreamError
from streams.settings import load


def main() -> int:
    """Do it once on this machine; the installation calls it."""
    try:
        folder = jars_folder(load().broker.jars_dir)
        prepare(folder, say=lambda text: print(text, file=sys.stderr))  # noqa: T201 - a program of its own
    except FinestreamError as error:
        print(f"finestream broker: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(folder)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
