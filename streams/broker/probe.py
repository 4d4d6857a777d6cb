"""Questions about a broker: is its port free, does it answer, why did it die.

All of them ask the thing itself (a bind, real requests, its log), never a flag that somebody left behind.
"""

from __future__ import annotations

import random
import re
import socket
from pathlib import Path
from typing import Final

_PROBE_GROUP: Final = "finestream.ready"


def port_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` (left-overs of closed connections don't count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """Return a free port *below* the kernel's range for outgoing connections.

    In that range a client that reconnects to a broker that is down may be given the broker's own port, and
    then talks to itself and keeps the broker from coming back.
    """
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except OSError:
        low = 32768
    floor = 15000 if low > 16000 else 1024
    for _ in range(1000):
        port = random.randrange(floor, max(low, floor + 1000))  # noqa: S311 - no secret
        if port not in taken and port_free(port):
            return port
    raise OSError(f"no free port between {floor} and {low}")


def answers(port: int, timeout_seconds: float = 3.0) -> bool:
    """Whether the broker serves metadata and a group coordinator: an open port comes seconds before that."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout_seconds).close()
    except OSError:
        return False
    from kafka.admin import KafkaAdminClient  # noqa: PLC0415 - 0.15 s that only a start pays
    from kafka.errors import KafkaError  # noqa: PLC0415

    milliseconds = int(timeout_seconds * 1000)
    try:
        client = KafkaAdminClient(
            bootstrap_servers=[f"127.0.0.1:{port}"],
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
        )
        try:
            client.list_group_offsets(_PROBE_GROUP)
        finally:
            client.close()
    except KafkaError:
        return False
    return True


def reason_of_death(log_tail: str, log_file: Path) -> str:
    """Return why the broker went down, from the end of its log, with what to do."""
    for pattern, text in _DEATHS:
        if re.search(pattern, log_tail):
            return text
    errors = [
        line for line in log_tail.splitlines() if re.search(r"\b(ERROR|FATAL|Error:|Exception)\b", line)
    ]
    said = f": {errors[-1].strip()[:300]}" if errors else ""
    return f"it went down{said}; its log is {log_file}"


_DEATHS: Final = (
    (
        r"Failed to acquire lock on file",
        "another broker process uses this data directory; stop that one first",
    ),
    (r"No space left on device|Disk quota exceeded", "the disk is full; free some space and start it again"),
    (r"Address already in use", "its port was taken meanwhile; set broker.port=0 to have a free one chosen"),
    (r"OutOfMemoryError", "it ran out of memory; raise broker.heap_megabytes"),
    (
        r"AccessDeniedException|Permission denied|Read-only file system",
        "it may not write to the data directory; make that writable or choose another with --data-dir",
    ),
    (
        r"insufficient memory for the Java Runtime|Could not reserve enough space",
        "the machine has not enough free memory; lower broker.heap_megabytes or close something",
    ),
)
