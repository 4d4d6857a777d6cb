"""How much memory a process has held at most since its program began.

Not `ru_maxrss`: a child starts with that of its parent, so that a large test process would hide any growth.
"""

from __future__ import annotations

import re
from pathlib import Path


def peak_kilobytes() -> int:
    """Return the peak of this process's resident memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])
