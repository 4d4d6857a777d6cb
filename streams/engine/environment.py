"""vLLM's own environment: made on first use from a pinned list, whole or not there at all.

It is some 6 GB and belongs to a machine, so it is kept in the user's cache folder under a hash of everything
that it was made from: another list is another folder, and an upgrade never changes what a server runs on. It
is made under a name that nothing looks for, gets its marker last, and is renamed into place: killed half way
it leaves a folder that the next one who comes by removes. The alternative, vLLM beside our own packages, is
not to be had: it wants click >= 8.4.2, Faust < 8.4.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, Final, Literal

from streams import children
from streams.errors import ServeError

MARKER: Final = "finestream.json"
MAKING: Final = ".making-"
POLL_SECONDS: Final = 0.1
QUOTED_LINES: Final = 6

Device = Literal["cpu", "gpu"]
Say = Callable[[str], None]


def environments_folder(chosen: Path | None = None) -> Path:
    """Return `chosen`, or the place in the user's cache folder."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home).absolute() / "finestream" / "serve"


class Environment:
    """The environment of one device and list of requirements; made by `ensure`."""

    def __init__(self, device: Device, packages: Sequence[str] = (), folder: Path | None = None) -> None:
        """Say which; touch nothing. `packages` are further requirements, `folder` where environments are."""
        self.device = device
        self._packages = tuple(packages)
        self._folder = environments_folder(folder)
        self.digest = self._digest()
        self.path = self._folder / f"{device}-{self.digest}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def whole(self) -> bool:
        """Whether it is there, made to its end from this list, and its Python still runs from somewhere."""
        try:
            made = json.loads((self.path / MARKER).read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(made, dict) and made.get("digest") == self.digest and self.python.exists()

    def ensure(self, say: Say, out: IO[bytes] | None = None, cancelled: Callable[[], bool] = bool) -> Path:
        """Return its interpreter, making it first where it is not whole. `out` gets the installer's words.

        One process makes it, others wait for that one. `cancelled` is asked while waiting.
        Raises `ServeError` with the installer's last words, or where it is cancelled.
        """
        if self.whole():
            return self.python
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone(say, cancelled):
                if not self.whole():  # another process may have made it meanwhile
                    self._make(say, out, cancelled)
        except OSError as error:
            raise ServeError(
                f"vLLM's environment can't be made in {self._folder} ({error.strerror or error}); make room, "
                "or choose another place with serve.environments_dir"
            ) from error
        return self.python

    def _digest(self) -> str:
        said = [
            self.device, platform.machine(), ".".join(map(str, sys.version_info[:2])),
            *self._packages, *(line for name in self._files() for line in _requirements(name)),
        ]  # fmt: skip
        return hashlib.blake2b("\0".join(said).encode(), digest_size=6).hexdigest()

    def _files(self) -> tuple[str, ...]:
        if self.device == "cpu":
            return "serve-cpu.txt", "serve-cpu.override.txt"
        return ("serve-gpu.txt",)

    @contextlib.contextmanager
    def _alone(self, say: Say, cancelled: Callable[[], bool]) -> Iterator[None]:
        with (self._folder / f".{self.path.name}.lock").open("ab") as lock:
            said = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not said:
                        say(f"another process makes {self.path}; waiting for it")
                        said = True
                    if cancelled():
                        raise ServeError("waiting for vLLM's environment was cancelled") from None
                    time.sleep(POLL_SECONDS)
            yield

    def _make(self, say: Say, out: IO[bytes] | None, cancelled: Callable[[], bool]) -> None:
        prefix = f"{MAKING}{self.path.name}-"
        for left in self._folder.glob(f"{prefix}*"):  # by one who was killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        began = time.monotonic()
        making = Path(tempfile.mkdtemp(prefix=prefix, dir=self._folder))
        try:
            run = _Installer(making / "said.log", out, cancelled)
            uv = _uv(run, making, say)
            say(f"installing vLLM into {self.path} (some 6 GB, once on this machine)")
            target = making / "environment"
            run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(target)])
            arguments = [uv, "pip", "install", "--python", str(target / "bin" / "python")]
            for name in self._files():
                (making / name).write_text(_text(name), "utf-8")
                arguments += ["--override" if name.endswith(".override.txt") else "-r", str(making / name)]
            run([*arguments, *self._packages])
            _finish(target, {"digest": self.digest, "made": int(time.time())})
            if self.path.exists():  # not whole, or we would not be here
                self.path.rename(making / "broken")
            target.rename(self.path)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        say(f"vLLM is installed ({time.monotonic() - began:.0f} s)")
        for other in sorted(self._folder.glob(f"{self.device}-*")):  # 6 GB each; one may be in use, or not
            if other != self.path:
                say(f"{other} is another version's: remove it where that is not used any more")


class _Installer:
    """Runs the installer's commands, bounded by `cancelled`, and keeps what they say."""

    def __init__(self, log: Path, out: IO[bytes] | None, cancelled: Callable[[], bool]) -> None:
        self._log = log
        self._out = out
        self._cancelled = cancelled

    def __call__(self, command: list[str]) -> None:
        # On a terminal the installer draws its own bars; what fails then is on the screen already.
        with self._log.open("wb") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._out or log,
                stderr=None if self._out is None and sys.stderr.isatty() else self._out or log,
                env=children.clean_environment() | {"UV_HTTP_TIMEOUT": "300"},
                start_new_session=True,
                preexec_fn=children.die_with_parent(),  # noqa: PLW1509 - the thread waits below
            )
        try:
            while (code := child.poll()) is None:
                if self._cancelled():
                    raise ServeError("the installation of vLLM was cancelled")
                time.sleep(POLL_SECONDS)
        finally:
            children.signal_group(child.pid, signal.SIGKILL)
            child.wait()
        if code:
            raise ServeError(
                f"vLLM can't be installed ({Path(command[0]).name} ended with {code}): {self._last_words()}; "
                "it needs the package registry once, and some 6 GB of disk"
            )

    def _last_words(self) -> str:
        path = Path(self._out.name) if self._out is not None else self._log
        try:
            lines = path.read_bytes()[-8192:].decode("utf-8", "replace").split("\n")
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip()][-QUOTED_LINES:]
        # Its own words may name the registry's host, which may hold credentials.
        return without_addresses(" / ".join(said)) or "its words are above"


def without_addresses(text: str) -> str:
    """Return a text on one line, its URLs taken out."""
    words = ("(an address)" if "://" in word else word for word in text.split())
    return "".join(c if c.isprintable() else " " for c in " ".join(words))[:1500]


def _uv(run: _Installer, making: Path, say: Say) -> str:
    """Return a uv: beside our Python, on the path, or one that pip brings for this once."""
    beside = Path(sys.executable).parent / "uv"
    if os.access(beside, os.X_OK):
        return str(beside)
    if found := shutil.which("uv"):
        return found
    say("fetching the installer (uv) with pip")
    place = making / "uv"
    run([sys.executable, "-m", "venv", str(place)])
    run([str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "uv"])
    return str(place / "bin" / "uv")


def _finish(target: Path, marker: dict[str, object]) -> None:
    """Write the marker, last and durable."""
    with (target / MARKER).open("w", encoding="utf-8") as stream:
        json.dump(marker, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _requirements(name: str) -> list[str]:
    """Return the lines of a list without comments: those change no environment."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in _text(name).splitlines())
    return [line for line in lines if line]


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("requirements", name).read_text("utf-8")
