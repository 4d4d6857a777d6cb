"""`engine.json`: the servers of a data directory as they stand, written whole by `finestream engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from streams import children

FILE: Final = "engine.json"
LOCK: Final = "engine.lock"

Standing = Literal["installing", "starting", "ready", "hung", "restarting", "stopped", "failed"]
"""`restarting`: gone, to be started again after a pause; `failed`: given up."""


class Server(msgspec.Struct, kw_only=True):
    """One process that serves the model."""

    name: str
    state: Standing = "starting"
    url: str = ""
    pid: int = 0
    restarts: int = 0
    reason: str = ""
    """Why it is not ready, or was started again the last time, with its own last words."""
    started_at: float = 0.0
    """Unix seconds; of the present process."""
    ready_seconds: float = 0.0
    """From its start to its first token, the last time; 0: never yet."""
    log: str = ""


class EngineState(msgspec.Struct, kw_only=True):
    """The whole file."""

    pid: int
    """Of `finestream engine`."""
    model: str
    name: str
    metrics_port: int = 0
    servers: list[Server] = []


def write_state(data_dir: Path, state: EngineState) -> None:
    """Replace the file. Raises `OSError`."""
    text = msgspec.json.format(msgspec.json.encode(state), indent=2).decode()
    children.write_atomically(data_dir / FILE, text + "\n")


def read_state(data_dir: Path) -> EngineState | None:
    """Return what the engine that runs, or ran last, wrote; None where none ever did."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=EngineState)
    except (OSError, msgspec.MsgspecError):
        return None


def running_state(data_dir: Path) -> EngineState | None:
    """Return the state of the engine that runs on `data_dir`; None where none does."""
    pid = children.lock_holder(data_dir / LOCK)
    state = read_state(data_dir) if pid is not None else None
    return state if state is not None and state.pid == pid else None


def problems(state: EngineState) -> list[str]:
    """Return what keeps servers from generating, a sentence each."""
    return [
        f"{server.name} is {server.state}" + (f": {server.reason}" if server.reason else "")
        for server in state.servers
        if server.state != "ready"
    ]
