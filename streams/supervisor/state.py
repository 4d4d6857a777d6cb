"""`processes.json`: what runs under a data directory, written whole by the supervisor, read by everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from streams import children

FILE = "processes.json"
LOCK = "supervisor.lock"
BROKER = "broker"

Phase = Literal["broker", "create", "running", "stopping", "stopped", "failed"]
"""What the supervisor is at: starting the broker, creating topics, keeping everything running, …"""


class Process(msgspec.Struct, kw_only=True):
    """One slot as it stands; the broker is a slot too."""

    role: str
    slot: str
    state: Literal["starting", "running", "waiting", "done", "stopped"] = "starting"
    """`waiting`: dead, to be started again after a pause; `done`: ended well and for good."""
    pid: int = 0
    metrics_port: int = 0
    """0: it serves no metrics."""
    started_at: float = 0.0
    """Unix seconds; of the present process."""
    restarts: int = 0
    last_exit: int | None = None
    """Of the process before: exit code, or minus the signal."""
    reason: str = ""
    """Why it can't be started, where its log can't say."""
    log: str = ""


class Failure(msgspec.Struct, frozen=True):
    """Why the supervisor gave up."""

    message: str
    exit_code: int


class State(msgspec.Struct, kw_only=True):
    """The whole file."""

    pid: int
    """Of the supervisor."""
    started_at: float
    phase: Phase = "broker"
    bootstrap_servers: str = ""
    embedded: bool = True
    generation: str = ""
    lanes: int = 0
    """0: it created no pipeline."""
    metrics_port: int = 0
    failure: Failure | None = None
    processes: list[Process] = []

    def process(self, slot: str) -> Process:
        """Return the slot of that name; raise `KeyError`."""
        for process in self.processes:
            if process.slot == slot:
                return process
        raise KeyError(slot)


def write_state(data_dir: Path, state: State) -> None:
    """Replace the file."""
    text = msgspec.json.format(msgspec.json.encode(state), indent=2).decode()
    children.write_atomically(data_dir / FILE, text + "\n")


def read_state(data_dir: Path) -> State | None:
    """Return what the supervisor that runs, or ran last, wrote; None where none ever did."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def running_state(data_dir: Path) -> State | None:
    """Return the state of the supervisor that runs on `data_dir`; None where none does."""
    pid = children.lock_holder(data_dir / LOCK)
    if pid is None:
        return None
    state = read_state(data_dir)
    if state is None or state.pid != pid:  # it has only just begun
        return State(pid=pid, started_at=children.started(pid) or 0.0)
    return state
