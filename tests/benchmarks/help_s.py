"""How long `finestream --help` takes, as a user waits for it: a new process, nothing warm but the disk."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Final

RUNS: Final = 9
GOAL_SECONDS: Final = 0.5
HELP: Final = (sys.executable, "-c", "from streams.cli import main; main()", "--help")
BARE: Final = (sys.executable, "-c", "pass")


def seconds(command: tuple[str, ...]) -> float:
    """Return the wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the figure: the median, beside a Python that does nothing, run in turns."""
    seconds(HELP)  # byte code
    pairs = [(seconds(HELP), seconds(BARE)) for _ in range(RUNS)]
    value = statistics.median(pair[0] for pair in pairs)
    bare = statistics.median(pair[1] for pair in pairs)
    figure = {
        "name": "help_s",
        "value": round(value, 3),
        "unit": "s",
        "goal": GOAL_SECONDS,
        "better": "lower",
        "baseline": f"a Python that does nothing: {bare:.3f} s",
        "met": round(value, 3) <= GOAL_SECONDS,
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
