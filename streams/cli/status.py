"""`finestream status`: what runs, whether it is well, and what became of each source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, printable, read_settings, show, table

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings
    from streams.supervisor import Process, State

EXAMPLES = """\
  finestream status
  finestream status --sources 100                    what became of the last hundred sources
  finestream status --format json | jq .healthy
  finestream status --format json | jq '.sources.refused'
  finestream status >/dev/null || echo "not well"
"""


def status(
    sources: Annotated[
        int, typer.Option("--sources", min=0, help="How many of the last sources to show; 0: none.")
    ] = 10,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show the processes, the lanes of each stage, and the sources. Exit code 3 where something is not well.

    Of the sources: what became of them, what is read now, what is waited for and why.
    """
    from streams.supervisor import Supervisor

    supervisor = Supervisor(read_settings(data_dir, config, sets))
    state = supervisor.state()
    data = gather(supervisor.data_dir, state)
    if engine := of_engine(supervisor.data_dir):
        data["engine"] = engine
        data["problems"] += engine["problems"]
        data["healthy"] = data["healthy"] and not engine["problems"]
    if state is not None or not supervisor.settings.embedded:
        data["sources"] = of_sources(supervisor.settings, sources) if sources else None
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


def of_engine(data_dir: Path) -> dict[str, Any] | None:
    """Return how the model's servers stand; None where `finestream engine` does not run here."""
    from streams.engine.state import problems, running_state

    state = running_state(data_dir)
    if state is None:
        return None
    servers = [
        {
            "server": server.name,
            "state": server.state,
            "url": server.url,
            "pid": server.pid,
            "uptime_seconds": round(time.time() - server.started_at, 1) if server.pid else 0,
            "restarts": server.restarts,
            "ready_seconds": server.ready_seconds,
            "reason": server.reason,
            "log": server.log,
        }
        for server in state.servers
    ]
    return {
        "pid": state.pid,
        "model": state.model,
        "name": state.name,
        "metrics_port": state.metrics_port,
        "problems": problems(state),
        "servers": servers,
    }


def of_sources(settings: Settings, most: int) -> dict[str, Any] | None:
    """Return what became of the sources; None where the book cannot be read now."""
    from streams.clients import check_reachable
    from streams.errors import BrokerError, TopicError
    from streams.ingest import standing, summary

    try:
        check_reachable(settings, 2.0)
        found = summary.take(settings, most)
    except (BrokerError, TopicError):
        return None
    return {**found, "following": list(standing.read_all(settings.data_dir.expanduser().absolute()))}


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
    if data["processes"]:
        lines += _of_processes(data)
    if data.get("engine"):
        lines += _of_engine(data["engine"])
    if data.get("sources"):
        lines += _of_sources(data["sources"])
    return lines


def _of_processes(data: dict[str, Any]) -> list[str]:
    lines = [
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


def _of_engine(engine: dict[str, Any]) -> list[str]:
    name, model = printable(engine["name"]), printable(engine["model"])
    lines = ["", f"engine: {model}, asked for as {name} (metrics on port {engine['metrics_port']})"]
    rows = [{**server, "up": _duration(server["uptime_seconds"])} for server in engine["servers"]]
    return lines + table(rows, ("server", "state", "url", "pid", "up", "restarts", "ready_seconds"))


def _of_sources(sources: dict[str, Any]) -> list[str]:
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sources["outcomes"].items()) or "none yet"
    since = "" if sources["complete"] else f", of the last {sources['read']} entries of their book"
    lines = ["", f"sources: {outcomes}{since}"]
    if sources["last"]:
        rows = [
            {
                **row,
                "source": row["source"] if len(row["source"]) <= 70 else f"…{row['source'][-69:]}",
                "stubs": _reasons(row["stubs"]),
                "skipped": _reasons(row["skipped"]),
            }
            for row in sources["last"]
        ]
        lines += table(rows, ("number", "outcome", "records", "documents", "stubs", "skipped", "source"))
    for name in ("refused", "postponed"):
        lines += [f"{name}: {printable(row['reason'] or row['source'])}" for row in sources[name]]
    for one in sources["following"]:
        lines += _of_following(one)
    return lines


def _of_following(one: dict[str, Any]) -> list[str]:
    where = ", ".join(printable(path) for path in one["following"])
    lines = ["", f"ingester {printable(one['shard'])} (process {one['pid']}) follows {where}"]
    if reading := one.get("reading"):
        share = 100 * reading["at"] // max(reading["bytes"], 1)
        lines.append(
            f"  reads {printable(reading['source'])}: {min(share, 100)} % of "
            f"{reading['bytes'] / 1e6:.1f} MB, {reading['documents']} documents"
        )
    lines += [f"  {printable(path)}: {printable(why)}" for path, why in one.get("problems", {}).items()]
    waiting = one.get("waiting_for", [])
    lines += [
        f"  waits for {printable(row['source'])}: {printable(row['why'])} "
        f"(not changed for {_duration(row['seconds'])})"
        for row in waiting[:10]
    ]
    if one.get("waiting", 0) > min(len(waiting), 10):
        lines.append(f"  waits for {one['waiting']} files in all")
    return lines


def _reasons(counts: dict[str, int]) -> str:
    return " ".join(f"{reason}={n}" for reason, n in sorted(counts.items(), key=lambda pair: -pair[1]))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m"
    return f"{seconds // 3600:.0f}h{seconds % 3600 // 60:02.0f}m"
