"""The process between us and a server: when either ends, however, nothing that the server started is left.

vLLM's front end starts engine cores, and those workers; each would live on, holding a GPU's memory, when what
started it is killed. So this one stands between: it leads the process group, adopts orphans
(`PR_SET_CHILD_SUBREAPER`), ends everything when the server ends, and learns of our death because its standard
input, a pipe that only we hold, ends. Only the standard library: it starts in 20 ms and is run as a file,
`python -I -S guard.py COMMAND …`, in whatever environment. The alternative, the kernel's parent-death signal,
reaches children only, and is lost across vLLM's own forks. Its limit: killed itself, it takes its group along
(the kernel and its parent see to that), but not what has left the group.

Exit code: the server's; 128 + N where signal N ended it; 127 where it can't be started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def descendants(pid: int) -> list[int]:
    """Return every process below `pid`, also those in sessions of their own."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs 5 ms
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as stream:  # noqa: PTH123
                    fields = stream.read().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    parents.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def end_all() -> None:
    """Kill every descendant until none is left; bounded, for one in a driver's call may take its time."""
    for _ in range(500):
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


class Guard:
    """Runs one server until it or our parent ends."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self._me = os.getpid()
        self._awake, waker = os.pipe()  # a signal, also a child's death, ends the wait
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(name, self._on_signal)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != signal.SIGCHLD and self.server is not None:
            self.server.send_signal(number)

    def _follow(self) -> None:
        if _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != self._me:
            os._exit(71)

    def run(self, command: list[str]) -> int:
        """Return the exit code."""
        try:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=self._follow)  # noqa: PLW1509
        except OSError as error:
            print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            return 127
        while True:
            readable, _, _ = select.select([0, self._awake], [], [], 1.0)
            if 0 in readable and not os.read(0, 1):  # whoever started us is gone
                end_all()
                return 70
            if self._awake in readable:
                os.read(self._awake, 512)
            if (code := self.server.poll()) is not None:
                end_all()
                return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(Guard().run(sys.argv[1:]))
