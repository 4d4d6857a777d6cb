"""`demo_s`: the whole of `finestream demo` on the shipped documents, start and stop included, by the clock.

In a process of its own, in an empty data directory. Beside it: how many pairs were trained on, in how many
steps, and the held-out loss beside that of counting words, as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ENTRY = [sys.executable, "-c", "from streams.cli import main; main()"]
GOALS = {"demo_s": 240, "demo_pairs_kept": 100, "demo_steps": 40, "demo_documents": 300}


def figure(name: str, value: float, unit: str, better: str, baseline: str | None = None, **more: Any) -> None:
    goal = GOALS.get(name)
    met = None if goal is None else value <= goal if better == "lower" else value >= goal
    figure = {
        "name": name, "value": value, "unit": unit, "goal": goal, "better": better, "baseline": baseline,
        "met": met,
    }  # fmt: skip
    print(json.dumps(figure | more), flush=True)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="finestream-bench-"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FINESTREAM_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    try:
        demo = subprocess.run(
            [*ENTRY, "demo", "--format", "json", "--data-dir", str(folder / "data")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        seconds = time.monotonic() - began
        shutil.rmtree(folder, ignore_errors=True)
    if demo.returncode:
        return demo.returncode
    data: dict[str, Any] = json.loads(demo.stdout)
    trainer, cores = data["trainer"], len(os.sched_getaffinity(0))
    figure(
        "demo_s",
        round(seconds, 1),
        "s",
        "lower",
        f"none; {cores} cores, load average {os.getloadavg()[0]:.1f} at the end",
        pairs_kept=data["pairs_kept"],
        steps=trainer["steps"],
        heldout_loss=trainer["heldout_loss"],
        unigram_loss=trainer["unigram_loss"],
        memory_mb=round(sum(data["memory"].values()) / 1e6),
    )
    figure("demo_documents", data["documents"], "documents", "higher")
    figure("demo_pairs_kept", data["pairs_kept"], "pairs", "higher", f"{data['pairs']} pairs were judged")
    figure("demo_steps", trainer["steps"], "steps", "higher", f"{trainer['tokens']} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
