"""Carries a stage over Kafka with Faust: lanes in, window, lanes out. The only file that imports faust.

Faust gives the consumer group, the rebalances and the stream; what it does *not* decide is where to read
from. `_LaneConsumer.perform_seek` takes that decision from the committed offsets to the log itself: at each
assignment, before any record flows, all lanes are opened from their output tails and the consumer is put
behind them. Offsets are still committed, but only as a mirror for lag tools. The alternative, Faust's own
acknowledgement and recovery, loses or repeats records when a process is killed (ARCHITECTURE.md).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import faust
import msgspec
import structlog
import uvloop
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP

from monitoring.metrics import StageMetrics
from streams import clients
from streams.errors import FinestreamError, LaneError, LaneTrimmed, Misconfigured
from streams.garbage import collect_seldom
from streams.generations import Generation
from streams.pipeline import stage_topics
from streams.positions import START
from streams.settings import STAGES, DuplicateSettings, Settings
from workers.admit import Admission
from workers.claims import Claims
from workers.lane import Input, Lane, Slot
from workers.sandbox import limit_memory
from workers.sender import Sender, now_ms
from workers.stage import Stage
from workers.tails import Deaths, TailReader, deaths_key
from workers.window import Window

log = structlog.get_logger(__name__)

EXIT_CRASH: Final = 70
EXIT_LATE: Final = 76
LEAVE_SECONDS: Final = 4.0
"""For leaving the group and closing connections, once draining is over: under the supervisor's grace."""
RESEEKS: Final = 5
"""How often a hole in the *offsets* is read again before it counts: a fetch may overlap a rebalance."""
ISOLATED_BATCHES: Final = 2


class _LaneConsumer(Consumer):  # type: ignore[misc]
    """Faust's consumer, reading from where the lanes' outputs end."""

    async def perform_seek(self) -> None:
        """Open the assigned lanes and seek behind their tails (once a group generation)."""
        runner: Runner = self.app.lane_runner
        for partition, offset in (await runner.open_lanes(self.assignment())).items():
            await self.seek(TP(runner.topics.source, partition), offset)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand whole fetches to the agent. Faust's own loop costs two tasks and a message object a record.

        Nothing is dropped here, from whatever assignment: a lane takes a record by its offset alone, and what
        was dropped after the seek would only be read again once something followed it.
        """
        batches = self.app.lane_runner.batches
        while not (self.should_stop or fetcher.should_stop):
            try:
                records, _ = await self._wait_next_records(1.0)
            except KeyError:
                # aiokafka's fetcher met a partition whose records were taken from it meanwhile. What it had
                # drained of others is lost with it; a lane drops what comes twice.
                log.warning("a fetch is lost and read again", exc_info=True)
                for partition, offset in self.app.lane_runner.next_offsets().items():
                    await self.seek(TP(self.app.lane_runner.topics.source, partition), offset)
                continue
            if not records:
                continue
            try:
                await batches.put(records)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not us: at a rebalance Faust empties its queues and cancels who waits to put something in.
                # The seek that follows makes us read it again.

    def check_group(self) -> None:
        """Raise what ended the group's coordination: without it this process would live on, and hold no lane.

        aiokafka lets its coordination task die of what a broker says while it starts; it tells who polls
        through its own interface, which Faust does not.
        """
        consumer = self._thread._consumer  # noqa: SLF001 - Faust has no way to ask
        if consumer is not None:
            consumer._coordinator.check_errors()  # noqa: SLF001

    async def commit_lanes(self, offsets: Mapping[TP, int]) -> None:
        """Mirror the lanes' progress in the group's offsets."""
        await self._commit(dict(offsets))


class _LaneTransport(Transport):  # type: ignore[misc]
    Consumer = _LaneConsumer


class Runner:
    """One worker of one stage."""

    def __init__(
        self, stage: Stage[Any, Any], settings: Settings, generation: Generation, metrics: StageMetrics,
        slot: str | None = None,
    ) -> None:  # fmt: skip
        self.stage = stage
        self.topics = stage_topics(stage.name, generation.id)
        self._settings = settings
        self._generation = generation
        self._metrics = metrics
        self._root = STAGES.index(stage.name) == 0
        self._lanes: dict[int, Lane] = {}
        self._opened = -1  # group generation whose lanes are open
        self._opening = asyncio.Lock()
        self._senders: dict[int, asyncio.Task[None]] = {}
        self._orphans: dict[tuple[int, int], Slot] = {}
        self._reseeks: dict[int, int] = {}
        self._connected = False  # the three below need the running loop
        self._window: Window
        self._sender: Sender
        self._tails: TailReader
        self.app = self._make_app(slot)

    def _make_app(self, slot: str | None) -> Any:
        settings, runner = self._settings, self._settings.runner
        app = faust.App(
            self.topics.group,
            broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
            broker_credentials=_credentials(settings),
            store="memory://",
            datadir=str(settings.data_dir / "faust"),  # nothing is kept there, but Faust makes the folder
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=slot,
            consumer_max_fetch_size=256 * 1024,
            broker_session_timeout=runner.session_seconds,
            broker_heartbeat_interval=1.0,
            broker_max_poll_interval=86400.0,
            broker_rebalance_timeout=60.0,
            broker_commit_interval=86400.0,  # we commit ourselves
            broker_max_poll_records=500,
            stream_buffer_maxsize=1,  # whole fetches wait here; the window counts the rest
            stream_wait_empty=False,
            stream_processing_timeout=86400.0,
            broker_commit_livelock_soft_timeout=86400.0,
            agent_supervisor="mode.supervisors.CrashingSupervisor",
        )
        app.lane_runner = self
        app.transport = _LaneTransport(app.conf.broker_consumer, app=app)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_before_shutdown.connect(self._on_shutdown, weak=False)
        app.topics.add(app.topic(self.topics.source, value_serializer="raw"))  # what the group subscribes to
        self.batches = app.channel(maxsize=1)
        app.agent(self.batches, name=self.stage.name, concurrency=1)(self._intake)
        app.task(self._start)
        return app

    # -- start and end -----------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._connected:
            return
        self._connected = True
        self._window = Window(self.stage, self._settings, self._metrics)
        self._sender = Sender(self._settings, self.topics, self.stage.name, self._metrics)
        self._tails = TailReader(self._settings, self.topics, self._generation, self.stage.name)
        await self._sender.start()
        await self._tails.start()
        if self._root and self.stage.duplicates is not None:
            self._sender.admission = await self._admission(self.stage.duplicates)

    async def _admission(self, duplicates: DuplicateSettings) -> Admission:
        claims = None
        if duplicates.has_claims_topic:
            topic = self.topics.claims
            claims = Claims(
                self._settings, topic, lambda key, value: self._sender.append(topic, 0, (key, value, None))
            )
            await claims.start()
        return Admission(self.stage, duplicates, claims)

    async def _start(self) -> None:
        async with self._opening:
            await self._connect()
        for coroutine in (*map(self._process, self._window.callers()), self._commit_forever()):
            self._watch(asyncio.ensure_future(coroutine))

    async def _process(self, caller: Any) -> None:
        """Carry one caller of the window. Wrong settings are no lane's death: that is written first."""
        try:
            await caller
        except Misconfigured:
            async with self._opening:
                await self._close_lanes()
            raise

    def _watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Let an error in a background task end the process: nothing later may be sent."""
        task.add_done_callback(_crash_on_error)
        return task

    async def _on_shutdown(self, *_: Any, **__: Any) -> None:
        """SIGTERM: finish the calls in flight, send what is done, for a bounded time."""
        if not self._connected:
            return
        drain_seconds = self._settings.runner.drain_seconds
        # Whatever hangs below or in Faust, a broker that does not answer above all: what was not acknowledged
        # is done again by the next worker.
        bound = threading.Timer(drain_seconds + LEAVE_SECONDS, os._exit, [EXIT_LATE])
        bound.daemon = True
        bound.start()
        self._window.begin_nothing_more()
        deadline = time.monotonic() + drain_seconds
        while (self._window.calling or self._to_send()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await self._close_lanes()
        await self._commit()
        self._window.close()

    def _to_send(self) -> bool:
        return any(lane.slots and lane.slots[0].done for lane in self._lanes.values())

    # -- lanes come and go -------------------------------------------------------------------------------

    async def open_lanes(self, assignment: set[TP]) -> dict[int, int]:
        """Open the lanes of this group generation; return the input offset each must be read from."""
        async with self._opening:
            await self._connect()
            generation = self.app.consumer_generation_id
            if self._opened == generation:
                return {}
            await self._close_lanes()
            mine = {tp.partition for tp in assignment if tp.topic == self.topics.source}
            lanes = await self._tails.lanes(mine, root=self._root, stage=self.stage)
            await self._note_deaths(lanes)
            for lane in lanes:
                self._lanes[lane.partition] = lane
                if lane.stopped:
                    self._report_stopped(lane)
                self._senders[lane.partition] = self._watch(asyncio.ensure_future(self._send_forever(lane)))
            for key in [key for key in self._orphans if key[0] not in mine]:
                self._window.abandon(self._orphans.pop(key))
            self._opened = generation
            self._gauge_lanes()
            log.info("lanes open", stage=self.stage.name, lanes=sorted(mine), group_generation=generation)
            return {lane.partition: lane.next_offset for lane in lanes}

    async def _note_deaths(self, lanes: list[Lane]) -> None:
        """Write how often each lane was taken over without progress, before its first input."""
        limit = self._settings.runner.deaths_before_isolation
        for lane in lanes:
            if lane.deaths > limit:
                lane.isolate = max(64, ISOLATED_BATCHES * self._settings.stage(self.stage.name).batch_records)
                log.warning(
                    "lane is isolated", stage=self.stage.name, lane=lane.partition, deaths=lane.deaths - 1
                )
        await self._sender.note("controls", [self._deaths_record(lane, lane.deaths) for lane in lanes])

    def _deaths_record(self, lane: Lane, n: int) -> tuple[bytes, bytes]:
        tail = lane.tail.position if lane.tail else START
        key = deaths_key(self._generation.id, self.stage.name, lane.partition)
        return key, msgspec.msgpack.encode(Deaths((tail.offset, tail.segment), n))

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        async with self._opening:
            await self._close_lanes()
            # A static member that joins again may be given the very same generation: its lanes open anew.
            self._opened = -1

    async def _close_lanes(self) -> None:
        """Stop sending; once this returns nothing more is written for these lanes."""
        if not self._lanes:
            return
        lanes, self._lanes = list(self._lanes.values()), {}
        senders, self._senders = list(self._senders.values()), {}
        for lane in lanes:
            lane.is_open = False
            lane.wake.set()
        await asyncio.wait(senders)
        for lane in lanes:
            self._metrics.lag(self.topics.group, self.topics.source, lane.partition, None)
            for slot in lane.slots:
                self._window.release(slot)
                if slot.started:  # the call goes on; the lane may come back to us
                    self._orphans[lane.partition, slot.offset] = slot
        # A lane that was given back in peace did not die here.
        peaceful = [self._deaths_record(lane, lane.deaths - 1) for lane in lanes if not lane.progress]
        await self._sender.note("controls", peaceful)
        self._gauge_lanes()

    def next_offsets(self) -> dict[int, int]:
        """Return the input offset that each open lane wants next."""
        return {lane.partition: lane.next_offset for lane in self._lanes.values()}

    def _gauge_lanes(self) -> None:
        self._metrics.lanes.set(len(self._lanes))
        self._metrics.stopped.set(sum(lane.stopped is not None for lane in self._lanes.values()))
        self._metrics.isolated.set(sum(lane.isolate > 0 for lane in self._lanes.values()))

    # -- in ----------------------------------------------------------------------------------------------

    async def _intake(self, batches: Any) -> None:
        async for records in batches:
            for tp, messages in records.items():
                await self._take(self._lanes.get(tp.partition), messages)

    async def _take(self, lane: Lane | None, messages: list[Any]) -> None:
        """Accept what one lane's fetch brought, as far as the window has room."""
        for message in messages:
            if self._window.full:
                await self._window.wait_for_room()
            if lane is None or not lane.is_open or lane.stopped:
                return  # of an assignment that is over; the next one reads it again
            if message.offset == lane.next_offset:
                self._accept(lane, message)
            elif message.offset > lane.next_offset:
                await self._read_again(lane, message.offset)
                return

    def _accept(self, lane: Lane, message: Any) -> None:
        record = Input(message.offset, message.key, message.value or b"", message.headers or ())
        duplicates = lane.duplicates
        try:
            slot = lane.accept(record, time.monotonic())
        except LaneError as error:
            lane.stop(error)
            self._report_stopped(lane)
            self._gauge_lanes()
            return
        self._metrics.duplicates.inc(lane.duplicates - duplicates)
        if lane.crossed:
            self._note_losses(lane, record.offset)
        if slot is None:
            return
        orphan = self._orphans.pop((lane.partition, slot.offset), None)
        if orphan is not None and not slot.done and orphan.value == slot.value:
            orphan.lane, orphan.received, orphan.up_to = lane, slot.received, slot.up_to
            slot = orphan
        lane.slots.append(slot)
        self._metrics.records_in.inc()
        self._window.add(slot)
        self._metrics.inflight.set(self._window.records)

    async def _read_again(self, lane: Lane, offset: int) -> None:
        """Seek back over a hole in the offsets; a hole that stays is a loss."""
        tries = self._reseeks[lane.partition] = self._reseeks.get(lane.partition, 0) + 1
        if tries <= RESEEKS:
            await self.app.consumer.seek(TP(self.topics.source, lane.partition), lane.next_offset)
        elif lane.accept_loss:
            # What is missing shows as a gap in the positions (or origins) of what comes now.
            self._reseeks[lane.partition] = 0
            lane.next_offset = offset
            await self.app.consumer.seek(TP(self.topics.source, lane.partition), offset)
        else:
            lane.stop(LaneTrimmed(
                f"lane {lane.partition}: input offset {lane.next_offset} is gone, {offset} comes after it; "
                f"set runner.accept_loss=[{lane.partition}] to go on without it"
            ))  # fmt: skip
            self._report_stopped(lane)
            self._gauge_lanes()

    def _note_losses(self, lane: Lane, offset: int) -> None:
        """Count and record the gaps that the operator let a lane cross."""
        what, lane.crossed = "; ".join(lane.crossed), []
        self._metrics.losses.inc()
        log.warning("loss accepted", stage=self.stage.name, lane=lane.partition, offset=offset, what=what)
        key = f"loss/{self._generation.id}/{self.stage.name}/{lane.partition}/{offset}".encode()
        value = msgspec.msgpack.encode({"what": what, "at_ms": now_ms()})
        self._watch(asyncio.ensure_future(self._sender.note("controls", [(key, value)])))

    def _report_stopped(self, lane: Lane) -> None:
        log.error("lane stopped", stage=self.stage.name, lane=lane.partition,
                  error=type(lane.stopped).__name__, detail=str(lane.stopped))  # fmt: skip

    # -- out ---------------------------------------------------------------------------------------------

    async def _send_forever(self, lane: Lane) -> None:
        while lane.is_open:
            await lane.wake.wait()
            lane.wake.clear()
            while lane.is_open and lane.slots and lane.slots[0].done:
                sent = await self._sender.send_heads(lane)
                for slot in sent:
                    self._window.release(slot)
                self._after_round(lane, sent)

    def _after_round(self, lane: Lane, sent: list[Slot]) -> None:
        self._reseeks.pop(lane.partition, None)
        if lane.isolate:
            lane.isolate = max(0, lane.isolate - len(sent))
            self._gauge_lanes()
        last = sent[-1]
        self._metrics.inflight.set(self._window.records)
        self._metrics.last_record.set_to_current_time()
        self._metrics.record_seconds.observe(time.monotonic() - last.received)
        if last.ingested_at_ms:
            self._metrics.age_seconds.observe(max(0, now_ms() - last.ingested_at_ms) / 1000)

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.runner.commit_seconds)
            self.app.consumer.check_group()
            self._gauge_lag()
            await self._commit()

    def _gauge_lag(self) -> None:
        assigned = self.app.consumer.assignment()
        for lane in self._lanes.values():
            tp = TP(self.topics.source, lane.partition)
            end = self.app.consumer.highwater(tp) if tp in assigned else None
            if end is not None:
                behind = max(0, end - lane.committed)
                self._metrics.lag(self.topics.group, self.topics.source, lane.partition, behind)

    async def _commit(self) -> None:
        offsets = {}
        for lane in self._lanes.values():
            if lane.committed > lane.mirrored:
                offsets[TP(self.topics.source, lane.partition)] = lane.mirrored = lane.committed
        if offsets and not self.app.rebalancing:
            await self.app.consumer.commit_lanes(offsets)


def _crash_on_error(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.error("worker crashes", error=repr(error)[:1000], exc_info=error)
    sys.stderr.flush()
    os._exit(error.exit_code if isinstance(error, FinestreamError) else EXIT_CRASH)


def _credentials(settings: Settings) -> Any:
    kafka = settings.kafka
    context = clients.common(settings).get("ssl_context")
    if kafka.sasl_mechanism:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context is not None else None


def run_worker(stage: Stage[Any, Any], settings: Settings, generation: Generation, metrics: StageMetrics,
               slot: str | None = None) -> None:  # fmt: skip
    """Run a worker in the foreground until SIGTERM or SIGINT. The stage must be open."""
    limit_memory(settings.runner.memory_bytes)
    settings.data_dir.mkdir(parents=True, exist_ok=True)  # Faust makes its folder, but not the one above
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    runner = Runner(stage, settings, generation, metrics, slot)
    collect_seldom()
    worker = faust.Worker(runner.app, loglevel=logging.WARNING, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it writes escapes even where there is no terminal
    worker.execute_from_commandline()
