"""Peak memory of each process, as the kernel keeps it: the high-water mark of its resident set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held so far, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has no memory any more


class PeakMemory:
    """Peaks by name; a name keeps its highest over all processes that had it."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    def sample(self, pids: Mapping[str, int]) -> None:
        """Look at processes while they live. A peak after the last look is missed."""
        for name, pid in pids.items():
            if pid:
                self.peaks[name] = max(self.peaks.get(name, 0), peak_bytes(pid))
