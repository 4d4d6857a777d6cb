"""`python -m trainer`: one process of one run. Its report goes to stdout, all words to stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import threading
from typing import Any, Final

from streams import logs
from streams import settings as tree
from streams.errors import FinestreamError

EXAMPLES: Final = """examples:
  python -m trainer                                  train without end, resuming by itself
  python -m trainer --until-drained --format json    train on what is there, then print a report
  python -m trainer --run again --obey main          repeat the run `main` step by step, bit by bit
"""


def main(arguments: list[str] | None = None) -> int:
    """Train; return the exit code (0 ok, 1 failed, 2 usage, 3 unhealthy, 4 unreachable, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    logs.configure()
    flags: dict[str, Any] = {}
    if options.run is not None:
        flags["run"] = options.run
    if options.max_steps is not None:
        flags["max_steps"] = options.max_steps
    stop = threading.Event()
    caught: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        caught.append(number)
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        settings = tree.load(**({"trainer": flags} if flags else {}))
        from trainer.run import train  # noqa: PLC0415 - imports torch, which --help does not need

        report = train(settings, until_drained=options.until_drained, obey=options.obey, stop=stop)
    except FinestreamError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    if options.format == "json":
        print(json.dumps(dataclasses.asdict(report)))  # noqa: T201
    else:
        for name, value in dataclasses.asdict(report).items():
            print(f"{name:14} {value}")  # noqa: T201
    return 130 if signal.SIGINT in caught else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train on the pairs of `judged` as they come; resumes exactly where the run stood.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", help="name of the run (default: trainer.run)")
    parser.add_argument(
        "--until-drained",
        action="store_true",
        help="end once judged has reached the end of raw in every lane",
    )
    parser.add_argument(
        "--max-steps", type=int, help="end at this step of the run (default: trainer.max_steps)"
    )
    parser.add_argument("--obey", default="", metavar="RUN", help="repeat another run's ledger, then end")
    parser.add_argument("--format", choices=("human", "json"), default="human")
    return parser


if __name__ == "__main__":
    sys.exit(main())
