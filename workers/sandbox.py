"""A stage in a child process, one record at a time: where a lane goes after its worker died too often.

What kills the child is known to be the record's own fault, and costs only the child. Slower by the hand-over
and by a second copy of the model, hence only for lanes that made no progress.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import msgspec

from streams import children
from streams.errors import FinestreamError, Misconfigured, Unavailable
from streams.positions import Kind
from streams.settings import Settings, load, to_environment
from workers.duplicates import NOBODY, Identity
from workers.stage import Drop, Mark, Stage
from workers.work import Failure, Outputs, Result, failure, run

OPEN_SECONDS = 300.0


class ChildDied(Exception):
    """The record took its process with it, or did not return in time."""


class SandboxError(FinestreamError):
    """The child could not be made: no record's fault, so nothing is buried for it and the worker ends."""


class _Answer(msgspec.Struct):
    values: list[bytes] = []
    identity: Identity = NOBODY
    marks: tuple[Mark, ...] = ()
    drop: tuple[str, str] | None = None
    failure: tuple[str, str] | None = None
    nobody: tuple[str, str] | None = None  # an error that is not the record's: which, and its words


_NOBODYS: dict[str, type[FinestreamError]] = {it.__name__: it for it in (Misconfigured, Unavailable)}


def limit_memory(limit_bytes: int) -> None:
    """Bound this process's private memory, so that a record that wants more raises instead of swapping."""
    if limit_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit_bytes <= hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


class Sandbox:
    """Starts the child on first use, replaces it when it died."""

    def __init__(self, stage_class: type[Stage[Any, Any]], settings: Settings) -> None:
        self._stage_class = stage_class
        self._settings = settings
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def call(self, kind: Kind, value: bytes, deadline_seconds: float) -> Result:
        """Process one record, blocking; raise `ChildDied` where the child dies of it or is too slow.

        Raises `Unavailable` and `Misconfigured` as the stage did: no record's fault.
        """
        connection = self._started()
        try:
            connection.send_bytes(bytes([kind]) + value)
            answered = connection.poll(deadline_seconds)
            answer = msgspec.msgpack.decode(connection.recv_bytes(), type=_Answer) if answered else None
        except (EOFError, OSError) as error:
            assert self._process is not None
            self._process.join(5)
            code = self._process.exitcode
            self.close()
            raise ChildDied(f"the process ended with code {code}") from error
        if answer is None:
            self.close()
            raise ChildDied(f"no answer within {deadline_seconds:.0f} s")
        if answer.nobody:
            name, words = answer.nobody
            raise _NOBODYS[name](words)
        if answer.failure:
            return Failure(*answer.failure)
        if answer.drop:
            return Drop(*answer.drop)
        return Outputs(answer.values, answer.identity, answer.marks)

    def _started(self) -> Connection:
        if self._connection is not None:
            return self._connection
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._stage_class, to_environment(self._settings))
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = ours.poll(OPEN_SECONDS) and ours.recv_bytes() == b"ready"
        except (EOFError, OSError):
            ready = False
        if not ready:
            self.close()
            raise SandboxError(
                f"the child process that should try {self._stage_class.name}'s records one by one could not "
                "open the stage; that is a second copy of it, so this machine may lack the memory"
            )
        self._connection = ours
        return ours

    def close(self) -> None:
        """Kill the child."""
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection, stage_class: type[Stage[Any, Any]], environment: dict[str, str]) -> None:
    worker = multiprocessing.parent_process()
    assert worker is not None
    # A record that never returns would keep the child for ever, long after its worker was killed.
    children.die_with_parent(parent=worker.pid)()
    os.environ.update(environment)
    settings = load()
    limit_memory(settings.runner.memory_bytes)
    stage = stage_class(settings)
    stage.open()
    connection.send_bytes(b"ready")
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        answer = _Answer()
        try:
            (result,) = run(stage, [(Kind(message[0]), message[1:])])
        except (Misconfigured, Unavailable) as error:
            answer.nobody = (type(error).__name__, str(error))
            connection.send_bytes(msgspec.msgpack.encode(answer))
            continue
        except Exception as error:  # noqa: BLE001 - the boundary to stage code; named in the dead letter
            result = failure(error)
        match result:
            case Outputs():
                answer.values, answer.identity = result.values, result.identity
                answer.marks = result.marks
            case Drop():
                answer.drop = (result.reason, result.detail)
            case Failure():
                answer.failure = (result.error, result.detail)
        connection.send_bytes(msgspec.msgpack.encode(answer))
