"""The broker's `server.properties`: what a single node on a laptop needs, and nothing that expires by itself.

Durability, stated: Kafka acknowledges a record when it is in the operating system's page cache. A process
that is killed, ours or the broker, therefore loses nothing. A *power cut* (or a kernel crash) can take what
was not written out yet, on Linux by default about the last 30 seconds, from each topic separately; a lane
whose output then reaches further than its input stops with `LaneRecreated` instead of going on wrongly.
Forcing every write to disk (`log.flush.interval.messages=1`) would close that and cost about a factor of
ten in throughput on one disk; a cluster with replication 3 closes it without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MESSAGE_BYTES: Final = 9 * 1024 * 1024
"""Above `clients.MAX_REQUEST_BYTES`: the broker is never the one that refuses a record."""
YEAR_MINUTES: Final = 365 * 24 * 60

FIXED: Final[dict[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,"
    "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
    # A topic that nobody created is a mistyped name, never a new lane.
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "message.max.bytes": str(MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES),
    # Nothing goes by time: the trimmer alone decides what no reader needs any more.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "log.message.timestamp.type": "LogAppendTime",
    # Committed offsets are a hint for us, but lag tools should still see a group that slept for months.
    "offsets.retention.minutes": str(YEAR_MINUTES),
    # A single member need not wait for others that might come.
    "group.initial.rebalance.delay.ms": "0",
    # A broker that comes back after kill -9 is let in when its former self has expired, and a single node has
    # no network to fear: 3 s instead of 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Deleted segments give their disk back at once.
    "log.segment.delete.delay.ms": "1000",
    # One node: one copy of everything internal, and few partitions of it.
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A small heap: bounded requests in memory, a cleaner sized for books instead of for databases (128 MiB).
    "queued.max.request.bytes": str(100 * 1024 * 1024),
    "socket.request.max.bytes": str(100 * 1024 * 1024),
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    # An index for a full 1 GiB segment, instead of five times that set aside per partition.
    "log.index.size.max.bytes": str(2 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
}


def server_properties(
    log_dir: Path,
    port: int,
    controller_port: int,
    more_listeners: Mapping[str, int],
    overrides: Mapping[str, str],
) -> dict[str, str]:
    """Return every property; the listeners are on 127.0.0.1 only, `overrides` win."""
    listeners = {"PLAINTEXT": port, **more_listeners}
    addresses = [f"{name}://127.0.0.1:{number}" for name, number in listeners.items()]
    return {
        **FIXED,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controller_port}"]),
        "advertised.listeners": ",".join(addresses),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(log_dir),
        **overrides,
    }


def render(values: Mapping[str, str]) -> str:
    """Return the text of a Java properties file: ASCII, everything else escaped."""
    return "".join(f"{_escape(key, ' :=')}={_escape(value, '')}\n" for key, value in values.items())


def parse(text: str) -> dict[str, str]:
    """Read back what `render` wrote."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: _unescape(value) for key, _, value in pairs}


def _escape(text: str, separators: str) -> str:
    out = []
    for i, char in enumerate(text):
        if char == "\\" or char in separators or (i == 0 and char in " #!"):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be")
            out.extend(f"\\u{units[j] << 8 | units[j + 1]:04x}" for j in range(0, len(units), 2))
    return "".join(out)


def _unescape(text: str) -> str:
    plain = re.sub(r"\\u([0-9a-f]{4})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16")
