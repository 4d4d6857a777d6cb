"""One embedded broker process: format, start, wait until it is really usable, find it again, stop it.

Trade-off: the broker is a plain child process with its state in a folder, not a service of the system: it
needs no rights, several can run side by side, and whoever starts it is responsible for starting it again
(the supervisor). What is running is asked of the kernel (the lock on the data), so a stale file can't lie.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams import children
from streams.broker import jars, java, probe, properties
from streams.errors import BrokerError
from streams.settings import Settings

LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
STOP_SECONDS: Final = 30.0
FORMAT_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05


class Running(NamedTuple):
    """A broker that holds a data directory."""

    pid: int
    port: int


def find(data_dir: Path) -> Running | None:
    """Return the broker that runs on `data_dir`, whoever started it."""
    home = data_dir / "broker"
    pid = children.lock_holder(home / "data" / ".lock")
    if pid is None:
        return None
    try:
        state = json.loads((home / "broker.json").read_text("utf-8"))
        return Running(pid, int(state["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:  # the process was killed between its start and our note of it
        text = (home / "server.properties").read_text("ascii")
        first = properties.parse(text)["listeners"].split(",")[0]
        return Running(pid, int(first.rpartition(":")[2]))
    except (OSError, ValueError, KeyError):
        return None


def located(settings: Settings) -> Settings:
    """Return settings whose broker port is that of the broker running on their data directory, if one does.

    So a command needs no port where the broker was given another one than the settings say (or any: 0).
    """
    if not settings.embedded or (running := find(settings.data_dir.absolute())) is None:
        return settings
    broker = settings.broker.model_copy(update={"port": running.port})
    return settings.model_copy(update={"broker": broker})


class Broker:
    """A single-node Apache Kafka on 127.0.0.1, its data in `data_dir/broker`, its log in `data_dir/logs`.

    `port` 0 chooses a free one at the first start and keeps it as long as it stays free. `more_listeners`
    (name to port) and `overrides` (server properties) serve tests of security and limits.
    The process dies with the thread that started it (see `streams.children`) unless `detached`.
    Not thread-safe: one owner.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        heap_megabytes: int = 256,
        jars_dir: Path | None = None,
        start_seconds: float = 60.0,
        overrides: Mapping[str, str] | None = None,
        more_listeners: Mapping[str, int] | None = None,
        format_arguments: Sequence[str] = (),
        java_flags: Sequence[str] = (),
        least_free_bytes: int = LEAST_FREE_BYTES,
        detached: bool = False,
        progress: jars.Progress | None = None,
        offline: bool = False,
    ) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.home = self.data_dir / "broker"
        self.logs = self.data_dir / "logs"
        self.port = port
        self.jars_folder = jars.jars_folder(jars_dir)
        self._heap_megabytes = heap_megabytes
        self._start_seconds = start_seconds
        self._overrides = dict(overrides or {})
        self._more_listeners = dict(more_listeners or {})
        self._format_arguments = list(format_arguments)
        self._java_flags = list(java_flags)
        self._least_free_bytes = least_free_bytes
        self._detached = detached
        self._progress = progress
        self._offline = offline
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._create_time = 0.0

    @classmethod
    def from_settings(cls, settings: Settings, **more: Any) -> Broker:
        """Return the broker that `settings` mean."""
        broker = settings.broker
        return cls(
            settings.data_dir,
            port=broker.port,
            heap_megabytes=broker.heap_megabytes,
            jars_dir=broker.jars_dir,
            start_seconds=broker.start_seconds,
            **more,
        )

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients, once started."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._pid if self.running() else None

    @property
    def exit_code(self) -> int | None:
        """Of the process that we started, once it is gone; None for one that we only found."""
        return None if self._child is None else self._child.poll()

    @property
    def log_file(self) -> Path:
        """What Kafka itself writes."""
        return self.logs / "broker.log"

    def running(self) -> bool:
        """Whether the process that we started or found still lives (asks the kernel)."""
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and children.same(self._pid, self._create_time)

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Start it, or find it running; return whether it was started. Blocks until it is really usable.

        `cancelled` is asked while waiting, so that a signal can end it. Raises `BrokerError` naming the fix.
        """
        if self.running() or self._attach():
            try:
                self._wait_usable(cancelled)
            except BrokerError:
                if self.running() or cancelled():
                    raise
            else:
                return False  # otherwise it was on its way down when we found it
        try:
            self._start(cancelled)
        except OSError as error:
            raise BrokerError(
                f"the broker can't be started in {self.data_dir}: {error.strerror or error}; "
                "free what it says, or choose another place with --data-dir"
            ) from error
        return True

    def _start(self, cancelled: Callable[[], bool]) -> None:
        paths = jars.ensure(self.jars_folder, progress=self._progress, offline=self._offline)
        self._check_place()
        self._choose_port()
        for attempt in (1, 2):  # the second one without the start-up cache, and on another controller port
            self._write_configuration()
            self._format(paths)
            cache = java.start_cache(paths)
            self._spawn(paths, [f"-XX:AOTCache={cache}"] if attempt == 1 and cache.exists() else [])
            try:
                self._wait_usable(cancelled)
            except BrokerError:
                crashed = self._child is not None and (self._child.poll() or 0) < 0
                collided = "Address already in use" in self._said()
                if attempt == 1 and (crashed or collided) and not self.running() and not cancelled():
                    cache.unlink(missing_ok=True)
                    continue
                self.stop()
                raise
            return

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL where that takes longer than `seconds`. Data survive either."""
        self.kill(signal.SIGTERM)
        if not self._wait_gone(seconds):
            self.kill(signal.SIGKILL)
            self._wait_gone(STOP_SECONDS)
        self._child, self._pid = None, None

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, if it runs."""
        if self.running():
            assert self._pid is not None
            os.kill(self._pid, how)

    def wait(self, seconds: float) -> bool:
        """Wait until the process is gone; return whether it is."""
        return self._wait_gone(seconds)

    def reason_of_death(self) -> str:
        """Return why it went down, with what to do."""
        code = self.exit_code
        if code is not None and code < 0:
            return f"it was killed by {signal.Signals(-code).name}; its log is {self.log_file}"
        return probe.reason_of_death(self._said(), self.log_file)

    def _said(self) -> str:
        return _tail(self.logs / "broker.out") + _tail(self.log_file)

    # ---- steps

    def _attach(self) -> bool:
        running = find(self.data_dir)
        begun = children.started(running.pid) if running else None
        if running is None or begun is None:
            return False
        self._child, self._pid, self._create_time, self.port = None, running.pid, begun, running.port
        return True

    def _check_place(self) -> None:
        if "," in str(self.home):
            raise BrokerError(f"Kafka can't keep data under a path with a comma ({self.data_dir}): move it")
        try:
            for folder in (self.home, self.logs, self.home / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            for left in (self.home / "tmp").iterdir():  # native libraries that a killed broker unpacked
                left.unlink(missing_ok=True)
            free = shutil.disk_usage(self.home).free
        except OSError as error:
            raise BrokerError(
                f"the broker can't use {self.data_dir} ({error.strerror}); "
                "make it writable or choose another with --data-dir"
            ) from error
        if free < self._least_free_bytes:
            raise BrokerError(
                f"the disk that holds {self.data_dir} is full: {free >> 20} MiB free, the broker wants "
                f"{self._least_free_bytes >> 20} MiB or more; free space or use another disk (--data-dir)"
            )

    def _choose_port(self) -> None:
        if self.port == 0:
            last = _read_json(self.home / "broker.json").get("port")
            kept = isinstance(last, int) and last > 0 and probe.port_free(last)
            self.port = last if kept and isinstance(last, int) else probe.free_port()
        elif not probe.port_free(self.port):
            raise BrokerError(
                f"port {self.port} is taken by another program; stop that (`ss -ltnp 'sport = :{self.port}'` "
                "shows it), or choose another port with --set broker.port=PORT (0: any free one)"
            )

    def _write_configuration(self) -> None:
        taken = frozenset({self.port, *self._more_listeners.values()})
        values = properties.server_properties(
            self.home / "data", self.port, probe.free_port(taken), self._more_listeners, self._overrides
        )
        children.write_atomically(self.home / "server.properties", properties.render(values))
        log4j = resources.files(__package__).joinpath("log4j2.yaml").read_text("utf-8")
        children.write_atomically(self.home / "log4j2.yaml", log4j)

    def _command(
        self, paths: Sequence[Path], main: str, *arguments: str, flags: Sequence[str] = ()
    ) -> list[str]:
        return java.command(
            paths,
            main,
            arguments,
            heap_megabytes=self._heap_megabytes,
            properties={
                "log4j2.configurationFile": (self.home / "log4j2.yaml").as_uri(),
                "java.io.tmpdir": str(self.home / "tmp"),
            },
            flags=flags,
        )

    def _format(self, paths: Sequence[Path]) -> None:
        if (self.home / "data" / "meta.properties").exists():
            return
        cache = java.start_cache(paths)
        arguments = [
            "format",
            "--ignore-formatted",
            "-t",
            _cluster_id(),
            "-c",
            str(self.home / "server.properties"),
        ]
        try:
            done = subprocess.run(
                self._command(
                    paths,
                    "kafka.tools.StorageTool",
                    *arguments,
                    *self._format_arguments,
                    flags=[f"-XX:AOTCache={cache}"] if cache.exists() else [],
                ),
                cwd=self.logs,
                env=java.environment(),
                capture_output=True,
                text=True,
                timeout=FORMAT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(
                "the broker's storage took over two minutes to format; is the disk hung?"
            ) from error
        if done.returncode != 0:
            raise BrokerError(
                "the broker's storage can't be formatted: "
                + probe.reason_of_death(done.stdout[-4000:] + done.stderr[-4000:], self.log_file)
            )

    def _spawn(self, paths: Sequence[Path], flags: Sequence[str]) -> None:
        command = self._command(
            paths,
            "kafka.Kafka",
            str(self.home / "server.properties"),
            flags=[*flags, *self._java_flags],
        )
        # What is older than this start must not explain its death.
        if self.log_file.exists():
            self.log_file.replace(self.logs / "broker.log.0")
        with (self.logs / "broker.out").open("wb") as out:
            self._child = subprocess.Popen(
                command,
                cwd=self.logs,
                env=java.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # SIGTERM: with us gone it closes its files, which spares the next start the recovery.
                preexec_fn=None if self._detached else children.die_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )
        self._pid = self._child.pid
        self._create_time = children.started(self._pid) or time.time()
        note = {"pid": self._pid, "port": self.port, "started_at": self._create_time}
        children.write_atomically(self.home / "broker.json", json.dumps(note) + "\n")

    def _wait_usable(self, cancelled: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._start_seconds
        while not probe.answers(self.port):
            if not self.running():
                raise BrokerError(f"the broker did not start: {self.reason_of_death()}")
            if cancelled():
                raise BrokerError("the broker's start was cancelled")
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the broker did not answer within {self._start_seconds:.0f} s; where the machine is "
                    f"that slow, raise broker.start_seconds; its log is {self.log_file}"
                )
            time.sleep(POLL_SECONDS)

    def _wait_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS / 2)
        return True


def _cluster_id() -> str:
    """Draw an id: one that begins with `-` would be read as an option by the format tool."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not drawn.startswith("-"):
            return drawn


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _tail(path: Path, limit_bytes: int = 65536) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - limit_bytes))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
