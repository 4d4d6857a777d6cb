"""Runs benchmarks and holds their figures against the goals: `run.py [NAME…]`, all where none is named.

Each benchmark is a module of this folder in a process of its own, so that one's imports, threads and crash
are not another's; the price is a second or two of start-up each. It prints its figures as JSON lines on
stdout and its words on stderr. The lines come out on stdout as they are, the table of goals on stderr.

Exit code 1 where a benchmark crashes, takes too long or prints no figure: then something is broken. A goal
that is missed is a result, and told, but no failure: on a loaded machine it would be chance.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = FOLDER.parents[1]
KEYS: Final = ("name", "value", "unit", "goal", "better", "baseline", "met")


class Broken(Exception):
    """A benchmark gave no figures; the message says why."""


def benchmarks(folder: Path) -> dict[str, Path]:
    """Return the modules of a folder by name; this one and tests are none."""
    return {
        path.stem: path
        for path in sorted(folder.glob("*.py"))
        if path.stem != "run" and not path.stem.startswith(("_", "test_", "conftest"))
    }


def read_figure(line: str) -> dict[str, Any]:
    """Read one figure; raise `Broken` where it is not what this folder's README says."""
    try:
        figure = json.loads(line)
    except ValueError:
        raise Broken(f"stdout is for JSON lines, not {line[:80]!r}") from None
    if not isinstance(figure, dict) or not set(KEYS) <= set(figure):
        raise Broken(f"a figure has the keys {', '.join(KEYS)}: {line[:200]}")
    value, goal, better = figure["value"], figure["goal"], figure["better"]
    if not isinstance(value, (int, float)) or value != value or better not in {"lower", "higher"}:  # noqa: PLR0124
        raise Broken(f"value is a number, better is lower or higher: {line[:200]}")
    met = None if goal is None else value <= goal if better == "lower" else value >= goal
    if figure["met"] is not met:
        raise Broken(f"met is {figure['met']}, but value against goal says {met}: {line[:200]}")
    return figure


def run(path: Path, seconds: float) -> list[dict[str, Any]]:
    """Run one benchmark, pass its words on, and return its figures; raise `Broken`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    # A session of its own: what it started dies with it when the time is over.
    child = subprocess.Popen(
        [sys.executable, str(path)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Broken(f"not done within {seconds:.0f} s") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    figures = [read_figure(line) for line in out.splitlines() if line.strip()]
    for figure in figures:
        print(json.dumps(figure), flush=True)
    if child.returncode:
        raise Broken(f"exit code {child.returncode}")
    if not figures:
        raise Broken("it printed no figure")
    return figures


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def words(figure: dict[str, Any]) -> tuple[str, ...]:
    """Return a figure as a row of the table."""
    sign = "≤" if figure["better"] == "lower" else "≥"
    goal = "-" if figure["goal"] is None else f"{sign} {figure['goal']:g}"
    verdict = {True: "met", False: "MISSED", None: ""}[figure["met"]]
    return (
        figure["name"],
        f"{figure['value']:g}",
        goal,
        verdict,
        figure["unit"],
        str(figure["baseline"] or ""),
    )


def main() -> int:
    """Run what was named; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="modules of this folder; default: all")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--seconds", type=float, default=900, help="most that one may take (default 900)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = benchmarks(arguments.folder)
    if arguments.list:
        print("\n".join(known))
        return 0
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    rows = [("figure", "value", "goal", "", "unit", "baseline")]
    broken: dict[str, str] = {}
    for name in arguments.names or known:
        print(f"== {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            rows += map(words, run(known[name], arguments.seconds))
        except Broken as error:
            broken[name] = str(error)
            print(f"== {name} is broken: {error}", file=sys.stderr, flush=True)
        else:
            print(f"== {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n" + table(rows), file=sys.stderr)
    missed = sum(row[3] == "MISSED" for row in rows)
    print(
        f"\n{len(rows) - 1} figures, {missed} goals missed, {len(broken)} benchmarks broken", file=sys.stderr
    )
    for name, why in broken.items():
        print(f"broken: {name}: {why}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
