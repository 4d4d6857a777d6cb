"""`finestream status`: what runs, and whether it is well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, printable, read_settings, show, table

if TYPE_CHECKING:
    from pathlib import Path

    from streams.supervisor import Process, State

EXAMPLES = """\
  finestream status
  finestream status --format json | jq .healthy
  finestream status >/dev/null || echo "not well"
"""


def status(
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show the processes and the lanes that each stage holds. Exit code 3 where something is not well."""
    from streams.supervisor import Supervisor

    supervisor = Supervisor(read_settings(data_dir, config, sets))
    data = gather(supervisor.data_dir, supervisor.state())
    show(data, output, lambda: _lines(data))
    if not data["healthy"]:
        raise typer.Exit(3)


def gather(data_dir: Path, state: State | None) -> dict[str, Any]:
    """Return everything that can be known without reading a topic."""
    from streams.settings import STAGES
    from streams.supervisor import health

    if state is None:
        return {
            "healthy": False,
            "problems": [f"nothing runs on {data_dir}; `finestream up` starts it"],
            "data_dir": str(data_dir),
            "processes": [],
            "stages": [],
        }
    metrics = health.scrape_all(state)
    found = health.problems(state, metrics)
    held = health.lanes_held(state, metrics)
    stages = []
    for stage in (stage for stage in STAGES if stage in held):
        slots = [process.slot for process in state.processes if process.role == stage]

        def total(name: str, slots: list[str] = slots) -> int:
            return int(sum(metrics.get(slot, {}).get(f"finestream_{name}", 0) for slot in slots))

        stages.append(
            {
                "stage": stage,
                "workers": len(slots),
                "lanes": held[stage],
                "isolated": total("lanes_isolated"),
                "inflight": total("records_inflight"),
                "in": total("records_in_total"),
                "out": total("records_out_total"),
                "dropped": total("records_dropped_total"),
                "marked": total("outputs_marked_total"),
                "dead": total("records_dead_lettered_total"),
            }
        )
    return {
        "healthy": not found,
        "problems": found,
        "data_dir": str(data_dir),
        "bootstrap_servers": state.bootstrap_servers,
        "embedded": state.embedded,
        "generation": state.generation,
        "lanes": state.lanes,
        "phase": state.phase,
        "supervisor_pid": state.pid,
        "processes": [_process(process) for process in state.processes],
        "stages": stages,
    }


def _process(process: Process) -> dict[str, Any]:
    import psutil

    memory = 0
    if process.pid:
        try:
            memory = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            memory = 0  # it died since
    return {
        "slot": process.slot,
        "role": process.role,
        "state": process.state,
        "pid": process.pid,
        "metrics_port": process.metrics_port,
        "uptime_seconds": round(time.time() - process.started_at, 1) if process.pid else 0,
        "restarts": process.restarts,
        "last_exit": process.last_exit,
        "memory_bytes": memory,
        "log": process.log,
    }


def _lines(data: dict[str, Any]) -> list[str]:
    lines = ["well" if data["healthy"] else "not well"]
    lines += [f"  {printable(problem)}" for problem in data["problems"]]
    if not data["processes"]:
        return lines
    lines += [
        "",
        f"bootstrap servers  {data['bootstrap_servers']}",
        f"data directory     {data['data_dir']}",
        "",
    ]
    processes = [
        {
            **process,
            "up": _duration(process["uptime_seconds"]),
            "MB": process["memory_bytes"] >> 20,
            "metrics": process["metrics_port"] or "",
        }
        for process in data["processes"]
    ]
    lines += table(processes, ("slot", "state", "pid", "up", "restarts", "MB", "metrics"))
    if data["stages"]:
        lines += [
            "",
            f"generation {data['generation']}, {data['lanes']} lanes; counts since each worker began",
        ]
        lines += table(data["stages"], tuple(data["stages"][0]))
    return lines


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m"
    return f"{seconds // 3600:.0f}h{seconds % 3600 // 60:02.0f}m"
