"""Is everything well? Asked of the processes themselves: do they answer, do the workers hold every lane.

A living process is not a working one: a worker that loads its model, or whose lanes are still with a dead
member, lives too. So `up` waits for what this module calls healthy.
"""

from __future__ import annotations

import http.client
import re
import time
from collections import defaultdict
from pathlib import Path

from streams import children
from streams.settings import STAGES
from streams.supervisor.state import BROKER, Process, State

SETTLED_SECONDS = 1.0
"""How long a process that can't be asked must have lived to count as well."""
_SAMPLE = re.compile(r"^(finestream_\w+)(\{[^}]*\})? (\S+)", re.MULTILINE)


def scrape(port: int, timeout_seconds: float = 2.0) -> dict[str, float] | None:
    """Return a process's own metrics, summed over labels; None where it doesn't answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace") if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if text is None:
        return None
    sums: defaultdict[str, float] = defaultdict(float)
    for name, _, value in _SAMPLE.findall(text):
        if not name.endswith("_bucket"):
            sums[name] += float(value)
    return dict(sums)


def scrape_all(state: State) -> dict[str, dict[str, float]]:
    """Return the metrics of every slot that answers."""
    answers = {p.slot: scrape(p.metrics_port) for p in state.processes if p.metrics_port and p.pid}
    return {slot: metrics for slot, metrics in answers.items() if metrics is not None}


def lanes_held(state: State, metrics: dict[str, dict[str, float]]) -> dict[str, int]:
    """Return how many lanes the workers of each supervised stage hold."""
    held: dict[str, int] = {}
    for process in state.processes:
        if process.role in STAGES:
            open_lanes = metrics.get(process.slot, {}).get("finestream_lanes_open", 0)
            held[process.role] = held.get(process.role, 0) + int(open_lanes)
    return held


def problems(state: State, metrics: dict[str, dict[str, float]]) -> list[str]:
    """Return what is not well, a sentence each; nothing where all is."""
    if state.failure is not None:
        return [state.failure.message]
    if state.phase != "running":
        what = {"broker": "the broker is starting", "create": "the topics are being created"}
        return [what.get(state.phase, f"the supervisor is {state.phase}")]
    found = [text for process in state.processes if (text := _problem(process, metrics))]
    if state.lanes:
        for stage, held in lanes_held(state, metrics).items():
            if held < state.lanes:
                found.append(f"{stage} holds {held} of {state.lanes} lanes so far")
    return found


def _problem(process: Process, metrics: dict[str, dict[str, float]]) -> str:
    if process.state == "done":
        return ""
    if process.state != "running":
        return (
            f"{process.slot} died (exit {process.last_exit}) and will be started again: {last_words(process)}"
        )
    if process.pid and children.started(process.pid) is None:
        return f"{process.slot} died and is not back yet"
    if process.metrics_port and process.slot not in metrics:
        return f"{process.slot} does not answer yet"
    if (
        process.slot != BROKER
        and not process.metrics_port
        and time.time() - process.started_at < SETTLED_SECONDS
    ):
        died = f" after exit {process.last_exit}: {last_words(process)}" if process.last_exit else ""
        return f"{process.slot} was started just now{died}"
    return ""


def last_words(process: Process) -> str:
    """Return why a process is not there: what the supervisor knows, or its log's last line."""
    if process.reason:
        return process.reason
    try:
        with Path(process.log).open("rb") as stream:
            stream.seek(max(0, Path(process.log).stat().st_size - 8192))
            lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    said = "".join(c if c.isprintable() else " " for c in lines[-1])[:300] if lines else "it said nothing"
    return f"{said} (log: {process.log})"
