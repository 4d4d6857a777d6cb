"""What a machine needs once before its first broker: the jars, and a start-up cache made by a trial run.

Trade-off: the trial run costs 5-10 s once and makes every later start 1.5-4 s faster; recording during the
first real run instead would cost the same at its stop, when somebody waits, and nothing if it is killed.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from streams.broker import jars, java
from streams.broker.process import Broker
from streams.errors import BrokerError


def prepare(
    folder: Path, *, progress: jars.Progress | None = None, say: Callable[[str], None] | None = None
) -> None:
    """Fetch the jars into `folder` and make their start-up cache, where missing. Cheap when done already.

    One process at a time does it, others wait. Raises `BrokerError` where the jars can't be had; a cache that
    can't be made is no error, starts are then slower.
    """
    if not jars.missing(folder) and java.start_cache(_paths(folder)).exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".prepare.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        jars.ensure(folder, progress=progress)  # a folder that may only be read serves if it is complete
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        paths = jars.ensure(folder, progress=progress)
        cache = java.start_cache(paths)
        if not cache.exists():
            if say is not None:
                say("preparing the broker, once on this machine")
            _record(folder, cache)
    finally:
        os.close(lock)


def _paths(folder: Path) -> list[Path]:
    return [folder / jar.file for jar in jars.pinned()]


def _record(folder: Path, cache: Path) -> None:
    for old in [*folder.glob("start-*.aot"), *folder.glob(".start-*")]:
        old.unlink(missing_ok=True)  # of another version, or of a trial run that was killed
    part = folder / f".start-{os.getpid()}.aot"
    with tempfile.TemporaryDirectory(prefix="finestream-trial-") as trial:
        broker = Broker(Path(trial), jars_dir=folder, java_flags=[f"-XX:AOTCacheOutput={part}"])
        try:
            broker.start()
        except BrokerError:
            return  # the real start will say what is wrong, about the real place
        finally:
            broker.stop(seconds=60)
    if part.exists():
        part.replace(cache)
