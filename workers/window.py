"""The window: inputs held by a worker, given to `process` in batches with retries, deadlines, isolation.

Window (records and bytes held) and calls (batches at once) are two numbers: with slow calls of varying length
a window of several batches keeps all calls busy while each lane still sends in order.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import structlog

from monitoring.metrics import StageMetrics
from streams.errors import EngineError, Misconfigured, Unavailable
from streams.settings import Settings
from workers.lane import Slot
from workers.sandbox import ChildDied, Sandbox
from workers.stage import AsyncStage, Stage
from workers.work import Failure, Result, answer, failure, run

log = structlog.get_logger(__name__)

EXIT_DEADLINE: Final = 75
_WATCHDOG_FACTOR: Final = 1.5
"""The event loop sees a deadline first; a thread of faulthandler ends a process whose loop is blocked too."""


class Window:
    """Takes slots in, processes them, wakes their lanes."""

    def __init__(self, stage: Stage[Any, Any], settings: Settings, metrics: StageMetrics) -> None:
        self._stage = stage
        self._runner = settings.runner
        self._config = settings.stage(stage.name)
        self._metrics = metrics
        self._todo: deque[Slot] = deque()
        self._alone: deque[Slot] = deque()  # of isolated lanes
        self._wake = asyncio.Event()
        self._wake_alone = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._records = 0
        self._bytes = 0
        self._busy = 0
        self._calling = 0  # callers at work, pauses between tries included
        self._tasks: dict[Slot, asyncio.Task[None]] = {}  # of an async stage
        self._ending = False
        self._sandbox = Sandbox(type(stage), settings)
        self._threads = ThreadPoolExecutor(self._config.calls + 1, thread_name_prefix=stage.name)

    # -- room --------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether nothing more may be taken in."""
        return (
            self._ending
            or self._records >= self._runner.window_records
            or self._bytes >= self._runner.window_bytes
        )

    async def wait_for_room(self) -> None:
        """Return once the window has room again."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def add(self, slot: Slot) -> None:
        """Hold a slot; process it unless it is done already."""
        self._records += 1
        self._bytes += len(slot.value)
        if slot.done:
            slot.lane.wake.set()
        elif slot.started:
            return  # adopted: its call is still running and will wake the lane
        elif slot.lane.isolate:
            self._alone.append(slot)
            self._wake_alone.set()
        else:
            self._todo.append(slot)
            self._wake.set()

    def release(self, slot: Slot) -> None:
        """Let go of a slot that was sent, or whose lane was closed."""
        self._records -= 1
        self._bytes -= len(slot.value)
        if not self._room.is_set() and not self.full:
            self._room.set()

    @property
    def records(self) -> int:
        """How many records are held."""
        return self._records

    @property
    def calling(self) -> int:
        """How many calls are in flight."""
        return self._calling

    def begin_nothing_more(self) -> None:
        """Take nothing more in and start no more calls; those in flight go on."""
        self._ending = True
        self._todo.clear()
        self._alone.clear()

    # -- calls -------------------------------------------------------------------------------------------

    def callers(self) -> list[Any]:
        """Return the coroutines that process; an exception in one must end the worker."""
        if isinstance(self._stage, AsyncStage):
            return [self._answer_forever(self._stage), self._caller_alone()]
        return [*(self._caller() for _ in range(self._config.calls)), self._caller_alone()]

    async def _answer_forever(self, stage: AsyncStage[Any, Any]) -> None:
        """Keep as many records of an async stage under way as it may have, one task for each."""
        await stage.start()
        place = asyncio.Semaphore(stage.records_at_once)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(slot: Slot, task: asyncio.Task[None]) -> None:
            del self._tasks[slot]
            self._calling -= 1
            place.release()
            error = None if task.cancelled() else task.exception()
            if error is not None and not broken.done():
                broken.set_exception(error)

        async def give_out() -> None:
            while True:
                await place.acquire()
                while (slot := self._next()) is None:
                    self._wake.clear()
                    await self._wake.wait()
                self._calling += 1
                task = self._tasks[slot] = asyncio.ensure_future(self._answer(stage, slot))
                task.add_done_callback(partial(done, slot))

        own = [asyncio.ensure_future(give_out()), asyncio.ensure_future(self._watch_loop())]
        try:
            await asyncio.wait({*own, broken}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (*own, broken):
                if ended.done():
                    ended.result()
        finally:
            tasks = [*own, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stage.stop()

    async def _watch_loop(self) -> None:
        """End the process where a record's own code keeps the event loop: nothing here could go on."""
        while True:
            faulthandler.dump_traceback_later(self._config.deadline_seconds, exit=True, file=2)
            await asyncio.sleep(1.0)

    def _next(self) -> Slot | None:
        """Take the next slot whose lane is still ours; None where no more wait."""
        while self._todo:
            slot = self._todo.popleft()
            if slot.lane.is_open and not slot.started:
                slot.started = True
                return slot
        return None

    async def _answer(self, stage: AsyncStage[Any, Any], slot: Slot) -> None:
        """Ask for one record; where it keeps failing, it alone is buried."""
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                self._finish(slot, await answer(stage, slot.kind, slot.value))
            except Misconfigured:
                raise
            except Unavailable:
                await stage.wait_until_up()
                continue
            except EngineError as error:
                self._bury(slot, error)
            except Exception as error:  # noqa: BLE001 - the boundary to stage code: retried, then named and buried
                attempt += 1
                self._metrics.retried(type(error).__name__)
                if attempt < self._runner.tries:
                    await asyncio.sleep(self._runner.backoff_seconds * 2 ** (attempt - 1))
                    continue
                self._bury(slot, error)
            finally:
                self._metrics.batch_seconds.observe(time.monotonic() - began)
            return

    def abandon(self, slot: Slot) -> None:
        """End the call of a slot whose lane went to another worker: it costs, and nobody waits for it."""
        if (task := self._tasks.get(slot)) is not None:
            task.cancel()

    async def _caller(self) -> None:
        while True:
            await self._wake.wait()
            batch: list[Slot] = []
            while len(batch) < self._config.batch_records and (slot := self._next()) is not None:
                batch.append(slot)
            if not self._todo:
                self._wake.clear()
            if batch:
                self._calling += 1
                try:
                    await self._call(batch)
                finally:
                    self._calling -= 1

    async def _caller_alone(self) -> None:
        while True:
            await self._wake_alone.wait()
            slot = self._alone.popleft() if self._alone else None
            if not self._alone:
                self._wake_alone.clear()
            if slot is not None and slot.lane.is_open and not slot.started:
                slot.started = True
                self._calling += 1
                try:
                    self._finish(slot, await self._isolated(slot))
                finally:
                    self._calling -= 1

    async def _call(self, batch: list[Slot]) -> None:
        """Process a batch; where it keeps failing, each of its records alone, to find the guilty one."""
        error: Exception | None = None
        for attempt in range(self._runner.tries):
            if attempt:
                await asyncio.sleep(self._runner.backoff_seconds * 2 ** (attempt - 1))
            try:
                results = await self._run(batch)
            except Exception as raised:  # noqa: BLE001 - the boundary to stage code: retried, then named and buried
                error = raised
                self._metrics.retried(type(raised).__name__)
                continue
            for slot, result in zip(batch, results, strict=True):
                self._finish(slot, result)
            return
        assert error is not None
        if len(batch) > 1:
            for slot in batch:
                await self._call([slot])
        else:
            self._bury(batch[0], error)

    async def _run(self, batch: list[Slot]) -> list[Result]:
        inputs = [(slot.kind, slot.value) for slot in batch]
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._config.deadline_seconds, self._overdue, batch)
        self._busy += 1
        faulthandler.dump_traceback_later(self._config.deadline_seconds * _WATCHDOG_FACTOR, exit=True, file=2)
        try:
            return await loop.run_in_executor(self._threads, self._guarded, inputs)
        finally:
            self._busy -= 1
            if not self._busy:
                faulthandler.cancel_dump_traceback_later()
            deadline.cancel()
            self._metrics.batch_seconds.observe(time.monotonic() - started)

    def _guarded(self, inputs: list[Any]) -> list[Result]:
        try:
            return run(self._stage, inputs)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"the stage raised {type(error).__name__}") from error

    def _overdue(self, batch: list[Slot]) -> None:
        """End the process: a thread cannot be stopped. After some deaths the record alone is blamed."""
        where = [(slot.lane.partition, slot.position) for slot in batch[:4]]
        log.error("process is past its deadline; worker exits", stage=self._stage.name,
                  seconds=self._config.deadline_seconds, first_records=where)  # fmt: skip
        sys.stderr.flush()
        os._exit(EXIT_DEADLINE)

    async def _isolated(self, slot: Slot) -> Result:
        """Process one record in the child; what kills it twice is to blame."""
        loop = asyncio.get_running_loop()
        reason = ""
        deaths = 0
        while deaths < 2:
            try:
                return await loop.run_in_executor(
                    self._threads, self._sandbox.call, slot.kind, slot.value, self._stage.deadline_seconds
                )
            except Unavailable:
                assert isinstance(self._stage, AsyncStage)
                await self._stage.wait_until_up()
            except ChildDied as death:
                deaths += 1
                reason = str(death)
                log.warning("record killed its process", stage=self._stage.name, lane=slot.lane.partition,
                            position=slot.position, reason=reason)  # fmt: skip
        slot.lane.isolate = 1  # found: once this one is sent, the lane runs normally again
        return Failure("killed_worker", reason)

    def _bury(self, slot: Slot, error: Exception) -> None:
        log.warning("record fails", stage=self._stage.name, position=slot.position, error=repr(error)[:500])
        self._finish(slot, failure(error))

    def _finish(self, slot: Slot, result: Result) -> None:
        slot.result = result
        slot.lane.wake.set()

    def close(self) -> None:
        """End the child process."""
        self._sandbox.close()
