"""Reading what is already durable when lanes are taken over: one poll loop for all lanes of a worker.

For each lane the last record of ours in the output topic and in the dead-letter topic, and the deaths
noted in `controls`. Lanes one after another would take 20-70 ms each, too slow for 48 of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import clients
from streams.errors import BrokerUnreachable, LaneError, LaneRecreated, LaneTrimmed, RecordError
from streams.generations import Generation
from streams.pipeline import StageTopics
from streams.positions import START, Position, unpack_lane_header, unpack_position
from streams.settings import Settings
from workers.lane import DeadTail, Lane, Tail
from workers.stage import Stage
from workers.window_reader import Bounds, WindowReader

READ_SECONDS = 60.0
FOREIGN_RECORDS = 200
"""How many records of somebody else are stepped over to find our last one."""

T = TypeVar("T")


class Deaths(msgspec.Struct, frozen=True):
    """Value in `controls`: how often a lane was taken over at this tail without getting further."""

    tail: tuple[int, int]
    n: int


def deaths_key(generation: str, stage: str, lane: int) -> bytes:
    """Return the key in `controls` of a lane's deaths."""
    return f"deaths/{generation}/{stage}/{lane}".encode()


class TailReader:
    """An aiokafka consumer without a group, seeking to the ends of lanes."""

    def __init__(self, settings: Settings, topics: StageTopics, generation: Generation, stage: str) -> None:
        self._topics = topics
        self._generation = generation
        self._stage = stage
        self._accept_loss = set(settings.runner.accept_loss)
        # fetch_max_wait_ms: the default keeps an empty fetch open for half a second.
        self._consumer = AIOKafkaConsumer(
            **clients.common(settings),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=5,
            retry_backoff_ms=10,  # it waits so long for the leaders of what it is assigned, a few times over
            max_partition_fetch_bytes=clients.MAX_REQUEST_BYTES,
        )

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def lanes(self, partitions: Iterable[int], *, root: bool, stage: Stage[Any, Any]) -> list[Lane]:
        """Return the lanes as the log has them; one that is not whole comes back stopped with its error."""
        wanted = sorted(partitions)
        target = {p: TopicPartition(self._topics.target, p) for p in wanted}
        dead = {p: TopicPartition(self._topics.dead, p) for p in wanted}
        source = {p: TopicPartition(self._topics.source, p) for p in wanted}
        bounds = await self.bounds([*target.values(), *dead.values(), *source.values()])
        last = await self._last({tp: bounds[tp] for tp in target.values()}, _tail)
        last_dead = await self._last({tp: bounds[tp] for tp in dead.values()}, _dead_tail)
        deaths = await self._deaths(wanted)
        lanes = []
        for p in wanted:
            lane = self._lane(p, root, last.get(target[p]), last_dead.get(dead[p]))
            lane.accept_loss = p in self._accept_loss
            lane.deaths = self._count(lane, deaths.get(p), idle=lane.next_offset >= bounds[source[p]].end)
            try:
                _check_whole(lane, bounds[target[p]], bounds[source[p]])
            except LaneError as error:
                lane.stop(error)
            lanes.append(lane)
        if root and stage.duplicates is not None:
            await WindowReader(self, self._topics, stage, stage.duplicates).fill(
                lanes, {p: bounds[tp] for p, tp in target.items()}
            )
        return lanes

    def _lane(self, partition: int, root: bool, tail: Tail | None, dead: DeadTail | None) -> Lane:
        expected, next_offset = Position(*self._generation.first_position(partition)), 0
        if root:
            next_offset = expected.offset
        if tail is not None:
            expected = tail.position.successor(tail.header.segments)
            next_offset = tail.header.input_offset + 1
            if root and expected.segment:  # the tail lies inside a document: read that document again
                next_offset = tail.header.input_offset
        lane = Lane(
            partition=partition,
            epoch=self._generation.epoch,
            root=root,
            expected=expected,
            next_offset=next_offset,
            tail=tail,
            dead=dead,
            committed=next_offset,
        )
        if tail is not None:
            lane.origin_high = tail.header.origin_high
            if tail.header.epoch != self._generation.epoch:
                lane.stop(
                    LaneRecreated(
                        f"lane {partition}: {self._topics.target} ends with epoch {tail.header.epoch:x}, "
                        f"this generation is {self._generation.epoch:x}: the topics were recreated. "
                        "Begin a new pipeline"
                    )
                )
        return lane

    @staticmethod
    def _count(lane: Lane, before: Deaths | None, *, idle: bool) -> int:
        """Count this take-over. A lane that has nothing to do makes no progress for no fault of its own."""
        tail = lane.tail.position if lane.tail else START
        return before.n + 1 if before is not None and before.tail == tuple(tail) and not idle else 1

    async def bounds(self, tps: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return where partitions begin and end."""
        begin, end = await asyncio.gather(
            self._consumer.beginning_offsets(tps), self._consumer.end_offsets(tps)
        )
        return {tp: Bounds(begin[tp], end[tp]) for tp in tps}

    async def _last(
        self, bounds: Mapping[TopicPartition, Bounds], parse: Callable[[Any], T]
    ) -> dict[TopicPartition, T]:
        """Return the last record of ours in each partition, stepping back over records of somebody else."""
        found: dict[TopicPartition, T] = {}
        at = {tp: b.end - 1 for tp, b in bounds.items() if b.end > b.begin}
        for _ in range(FOREIGN_RECORDS):
            if not at:
                break
            records = await self._read({tp: (offset, offset + 1) for tp, offset in at.items()})
            for tp, (record,) in records.items():
                try:
                    found[tp] = parse(record)
                    del at[tp]
                except RecordError:
                    at[tp] -= 1
                    if at[tp] < bounds[tp].begin:
                        del at[tp]
        if at:
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in at)
            raise LaneRecreated(
                f"none of the last {FOREIGN_RECORDS} records of {names} is ours; somebody else writes there. "
                "Take away its right to, and delete what it wrote"
            )
        return found

    async def read(
        self,
        ranges: Mapping[TopicPartition, tuple[int, int]],
        take: Callable[[TopicPartition, list[Any]], None],
    ) -> None:
        """Give `take` the records at offsets [from, to) of several partitions, as they come; there may be
        holes.

        A range must end behind a record that is there. Raises `BrokerUnreachable` where nothing comes for
        long.
        """
        waiting = {tp for tp, (a, b) in ranges.items() if b > a}
        self._consumer.assign(list(waiting))
        for tp in waiting:
            self._consumer.seek(tp, ranges[tp][0])
        try:
            while waiting:
                for tp, records in (await self._some(waiting)).items():
                    end = ranges[tp][1]
                    if records[-1].offset >= end - 1:
                        waiting.discard(tp)
                        self._consumer.pause(tp)
                    take(tp, [record for record in records if record.offset < end])
        finally:
            self._consumer.unsubscribe()  # or it goes on prefetching

    async def _some(self, waiting: set[TopicPartition]) -> dict[TopicPartition, list[Any]]:
        """Return the next records of any of these partitions."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                while True:
                    found = await self._consumer.getmany(*waiting, timeout_ms=1000)
                    if some := {tp: records for tp, records in found.items() if records}:
                        return some
        except TimeoutError:
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(waiting))
            raise BrokerUnreachable(
                f"the ends of {names} could not be read: nothing came for {READ_SECONDS:.0f} s"
            ) from None

    async def _read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Any]]:
        """Return the records at offsets [from, to) of several partitions."""
        out: dict[TopicPartition, list[Any]] = {tp: [] for tp, (a, b) in ranges.items() if b > a}
        await self.read(ranges, lambda tp, records: out[tp].extend(records))
        return out

    async def _deaths(self, lanes: list[int]) -> dict[int, Deaths]:
        tp = TopicPartition("controls", 0)
        bounds = (await self.bounds([tp]))[tp]
        keys = {deaths_key(self._generation.id, self._stage, lane): lane for lane in lanes}
        found: dict[int, Deaths] = {}
        if bounds.end == bounds.begin:
            return found
        # A compacted topic has holes but always keeps its last record, which ends the reading.
        for record in (await self._read({tp: (bounds.begin, bounds.end)}))[tp]:
            if (lane := keys.get(record.key)) is not None and record.value:
                found[lane] = msgspec.msgpack.decode(record.value, type=Deaths)
        return found


def _tail(record: Any) -> Tail:
    return Tail(unpack_position(record.key), unpack_lane_header(record.headers))


def _dead_tail(record: Any) -> DeadTail:
    header = unpack_lane_header(record.headers)
    words = {
        name: value.decode("utf-8", "replace")
        for name, value in record.headers
        if name in {"error", "detail"}
    }
    return DeadTail(
        unpack_position(record.key) if record.key else None,
        header.input_offset,
        words.get("error", "unknown"),
        words.get("detail", ""),
    )


def _check_whole(lane: Lane, target: Bounds, source: Bounds) -> None:
    """Stop where records that this lane needs are gone, or where the topics are not the ones it wrote."""
    where = f"lane {lane.partition}"
    if lane.next_offset > source.end:
        raise LaneRecreated(
            f"{where}: the output was made from input offset {lane.next_offset - 1}, but the input ends at "
            f"{source.end}: it was recreated or lost its end. Begin a new pipeline"
        )
    if lane.accept_loss:
        lane.next_offset = max(lane.next_offset, source.begin)
        return
    if lane.tail is None and target.begin > 0:
        raise LaneTrimmed(
            f"{where}: the output is empty but its log starts at {target.begin}, so its last record was "
            f"deleted. Set runner.accept_loss=[{lane.partition}] to start at the input's beginning"
        )
    if source.begin > lane.next_offset:
        raise LaneTrimmed(
            f"{where}: the next input is offset {lane.next_offset}, but the log starts at {source.begin}. "
            f"Set runner.accept_loss=[{lane.partition}] to go on there"
        )
