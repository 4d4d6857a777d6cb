"""Child processes that never outlive their parent: the kernel ends them when it dies, however it dies.

The alternative, a pid file and a sweep at the next start, leaves orphans that hold ports, GPUs and group
memberships until somebody starts again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_FLOCK = "hhqqi"  # struct flock on 64-bit Linux, native alignment
_held: set[Path] = set()
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: nothing is looked up in the child


def die_with_parent(how: signal.Signals = signal.SIGKILL, parent: int | None = None) -> Callable[[], None]:
    """Return a `preexec_fn` that makes the child receive `how` when its parent dies.

    A child that runs it itself, later, names its `parent`. The kernel means the *thread* that forks: start
    children from a thread that lives as long as they do.
    """
    parent = os.getpid() if parent is None else parent

    def prepare() -> None:
        if _libc.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(71)  # the parent died before we asked, or we can't ask: don't run unguarded

    return prepare


def clean_environment() -> dict[str, str]:
    """Return our environment for Python children, less what makes each of them compile torch anew."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def started(pid: int) -> float | None:
    """Return when process `pid` began (seconds since the epoch); None if gone. Both together name it."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def same(pid: int, create_time: float) -> bool:
    """Whether the process that had `pid` at `create_time` still lives: pids are given out again."""
    now = started(pid)
    return now is not None and abs(now - create_time) < 1.0


def hold_lock(path: Path) -> int | None:
    """Lock `path` until this process ends; return the descriptor to keep open, or None where it is taken.

    The lock is the kernel's: it goes with the process, however that ends, and is not inherited by children.
    """
    if path in _held:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    _held.add(path)
    return descriptor


def lock_holder(path: Path) -> int | None:
    """Return the pid of the process that holds the lock on `path` (ours or Kafka's), if any."""
    if path in _held:  # to open and close the file here would give our own lock away
        return os.getpid()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None


def signal_group(pid: int, how: signal.Signals) -> None:
    """Signal a child that leads its own session, and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, how)


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file whole, so that a reader sees the old or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, "utf-8")
    part.replace(path)
