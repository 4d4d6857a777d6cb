"""The broker's jars: a pinned list, fetched once in parallel, verified, moved into place whole.

Trade-off: a flat list with a hash a line instead of a dependency resolution at every start: 4 s instead of
33 s, the same bytes for everybody, and no network once the folder is complete. The price is that a new
Kafka means a new list. Transport is jgo's, because it knows where coordinates live; its own store is not
used, since it writes in place and only warns about a bad checksum.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from streams.errors import BrokerError

LOCK: Final = "kafka-jars.lock"
THREADS: Final = 8
TRIES: Final = 3
TIMEOUT_SECONDS: Final = 30

Progress = Callable[[int, int], None]
"""Called on the caller's thread with (bytes in place, bytes in all) after each jar."""


class Jar(NamedTuple):
    """One line of the lock file: `group:artifact:version sha256 bytes`."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file(self) -> str:
        """Its name in the folder."""
        return f"{self.artifact}-{self.version}.jar"


@cache
def pinned() -> tuple[Jar, ...]:
    """Return the list that this version of finestream runs on, in class-path order."""

    def lines() -> Iterator[Jar]:
        for line in resources.files(__package__).joinpath(LOCK).read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                coordinates, sha256, size = line.split()
                group, artifact, version = coordinates.split(":")
                yield Jar(group, artifact, version, sha256, int(size))

    return tuple(lines())


def jars_folder(chosen: Path | None = None) -> Path:
    """Return `chosen`, or the user's cache folder: the jars belong to a machine, not to a pipeline."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home).absolute() / "finestream" / "jars"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def missing(folder: Path) -> list[Jar]:
    """Return the jars that `folder` lacks or holds damaged. Reads them all (44 MB, 0.05 s)."""

    def whole(jar: Jar) -> bool:
        path = folder / jar.file
        try:
            return path.stat().st_size == jar.size_bytes and _sha256(path) == jar.sha256
        except OSError:
            return False

    return [jar for jar in pinned() if not whole(jar)]


def ensure(folder: Path, *, progress: Progress | None = None, offline: bool = False) -> list[Path]:
    """Return the paths of all jars, fetching those that are not in `folder` yet.

    Any number of processes may do this at once: each writes to a scratch folder of its own and a jar is
    renamed into place only when its hash is right, so a killed download leaves nothing half done.

    Raises `BrokerError` where a jar cannot be had, naming what to do.
    """
    wanted = missing(folder)
    if wanted:
        if offline:
            raise _unobtainable(folder, len(wanted), "offline")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            scratch = Path(tempfile.mkdtemp(prefix=f".fetch-{os.getpid()}-", dir=folder))
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            _fetch_all(wanted, folder, scratch, progress)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return [folder / jar.file for jar in pinned()]


def _fetch_all(wanted: list[Jar], folder: Path, scratch: Path, progress: Progress | None) -> None:
    total = sum(jar.size_bytes for jar in pinned())
    done = total - sum(jar.size_bytes for jar in wanted)
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="jars") as pool:
        left: set[Future[int]] = {pool.submit(_fetch, jar, folder, scratch, stop) for jar in wanted}
        try:
            while left:
                finished, left = wait(left, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += future.result()
                    if progress is not None:
                        progress(done, total)
        except _FetchFailed as failure:
            raise _unobtainable(folder, len(missing(folder)), str(failure)) from None
        except OSError as error:
            raise _unwritable(folder, error) from error
        finally:
            stop.set()  # also on Ctrl-C: what has not begun is given up, what runs is bounded by its time-out
            for future in left:
                future.cancel()


class _FetchFailed(Exception):
    """Why one jar could not be had, in words without an address."""


def _fetch(jar: Jar, folder: Path, scratch: Path, stop: threading.Event) -> int:
    """Bring one jar into `folder`; return its bytes. Raises `_FetchFailed`, or `OSError` from the disk."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - 0.2 s that only a first start pays
    from requests import RequestException  # noqa: PLC0415 - what jgo lets through

    reason = "given up"
    for attempt in range(TRIES):
        if stop.wait(0.5 * 2**attempt if attempt else 0):
            break
        home = scratch / f"{jar.artifact}-{attempt}"
        try:
            context = MavenContext(repo_cache=home, timeout=TIMEOUT_SECONDS)
            got = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            if got.stat().st_size == jar.size_bytes and _sha256(got) == jar.sha256:
                got.replace(folder / jar.file)
                return jar.size_bytes
            reason = "wrong checksum"
        except (RequestException, RuntimeError) as error:
            # Only the kind of error is said: its text holds addresses that are none of the user's business.
            reason = type(error).__name__
        finally:
            shutil.rmtree(home, ignore_errors=True)
    raise _FetchFailed(f"{jar.group}:{jar.artifact}:{jar.version}: {reason}")


def _sweep(folder: Path) -> None:
    """Remove the scratch folders of fetches that were killed."""
    for scratch in folder.glob(".fetch-*"):
        pid = scratch.name.split("-")[1]
        if not (pid.isdigit() and Path("/proc", pid).exists()):
            shutil.rmtree(scratch, ignore_errors=True)


def _unobtainable(folder: Path, count: int, why: str) -> BrokerError:
    return BrokerError(
        f"the embedded broker needs {count} more of its {len(pinned())} jars and they cannot be downloaded "
        f"({why}). Connect to the network once and try again; or copy the folder of a machine that has them "
        f"to {folder} (or set broker.jars_dir to it); or name a running Kafka in kafka.bootstrap_servers"
    )


def _unwritable(folder: Path, error: OSError) -> BrokerError:
    return BrokerError(
        f"the broker's jars cannot be kept in {folder} ({error.strerror or error}); free some space there "
        "(they take 44 MB) or set broker.jars_dir to a folder that can be written"
    )
