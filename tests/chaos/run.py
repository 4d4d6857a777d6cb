"""The long chaos run, `run.py --kills 60 --documents 2000`: figures on stdout, words on stderr.

Exit code 1 where anything was lost, repeated or out of order, or where the weights differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from chaos.harness import Report  # noqa: E402 - the path first
from chaos.storm import storm  # noqa: E402


def figure(name: str, value: int) -> str:
    """Return a benchmark's line; the goal is nothing."""
    return json.dumps(
        {"name": name, "value": value, "unit": "records", "goal": 0, "better": "lower", "baseline": None,
         "met": value == 0}
    )  # fmt: skip


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def table(report: Report) -> str:
    """Return kills and recovery by victim and kind."""
    lines = [f"{'':24}{'kills':>6}{'recovered':>11}{'p50 s':>8}{'p99 s':>8}"]
    for name, n in sorted(report.kills.items()):
        seconds = report.recovery.get(name, [])
        line = f"{name:24}{n:6}"
        if seconds:
            line += f"{len(seconds):11}{statistics.median(seconds):8.1f}{quantile(seconds, 0.99):8.1f}"
        lines.append(line)
    every = [s for values in report.recovery.values() for s in values]
    if every:
        times = f"{statistics.median(every):8.1f}{quantile(every, 0.99):8.1f}"
        lines.append(f"{'all':24}{report.killed:6}{len(every):11}{times}")
    return "\n".join(lines)


def main() -> int:
    """Run the storm and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument(
        "--killers", type=int, default=2, help="documents that end the process that matches them"
    )
    parser.add_argument("--gap", type=float, default=4.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a temporary folder)")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = arguments.folder or Path(temporary)
        outcome = storm(
            folder,
            arguments.documents,
            arguments.kills,
            arguments.gap,
            arguments.seed,
            arguments.killers,
            say,
        )
    verdict = outcome.verdict
    say("done\n\n" + table(outcome.report))
    print(
        f"\n{arguments.documents} documents, {verdict.expected} pairs expected, {outcome.steps} steps; "
        f"{outcome.report.late_writes} late writes and {outcome.report.aliens} alien records thrown in\n"
        f"filtered: {verdict.filtered}\nweights equal to those of the obeying run: {outcome.weights_equal}\n"
        f"{verdict.words()}",
        file=sys.stderr,
    )
    print(figure("chaos_lost", verdict.lost))
    print(figure("chaos_repeated", verdict.spurious))
    return 0 if verdict.clean and outcome.weights_equal else 1


if __name__ == "__main__":
    sys.exit(main())
