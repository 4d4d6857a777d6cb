"""Claims: one log in which the lanes agree who keeps a content that several of them have (`global_exact`).

The rule: of all claims to a content the *first in the log* wins. A claim is written and acknowledged before
its document's outputs, and the verdict is given once the log is read to that claim: nothing that comes later
can change it, so a crash and a rerun give the same. One write and two reads a round of up to 512 documents.

1. The log is read to its end. A content with a claim in it is not claimed again; its owner is who has it.
2. Else the claim is appended, in one record for all documents of the round, and the log is read to it.
3. Two workers may have claimed before they read each other. Who finds its claim behind another's *confirms*
   the winner (appends the winner's claim once more, marked) before it drops its own document. Where memory or
   retention has forgotten the beginning of the log, the loser's claim then never stands alone: without that,
   the winner, dead between claim and outputs for that long, would lose to one that is dropped already.

A worker remembers the newest `claims` contents (40 bytes each). A content whose claim is forgotten may be
kept twice, in two lanes. None is lost, unless of two that raced the later one is still undecided when memory
ends just between the two: 100,000 records later at least, where a decision takes milliseconds.

The topic is a plain log and not compacted: compaction keeps the *last* record of a key where the rule needs
the first, and would save nothing, since a content is claimed about once. Twenty bytes a document. The
alternative, lanes by content hash, needs the text extracted before a document has its lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from numpy.typing import NDArray

from streams import clients
from streams.errors import BrokerUnreachable
from streams.settings import Settings
from workers.key_index import KeyIndex

READ_SECONDS: Final = 60.0
"""How long a read may bring nothing."""
_CLAIM: Final = np.dtype([("content", ">u8"), ("owner", ">u8")])
_CONFIRMS: Final = 1 << 63
_LANE_SHIFT: Final = 48
_OFFSET_MASK: Final = (1 << _LANE_SHIFT) - 1
Write = Callable[[bytes, bytes], Awaitable[int]]
"""Appends (key, value), waits for the acknowledgement, returns the offset."""


class Owner(NamedTuple):
    """The document that keeps a content."""

    lane: int
    offset: int


def _packed(owner: Owner) -> int:
    return owner.lane << _LANE_SHIFT | owner.offset


def _unpacked(number: int) -> Owner:
    return Owner((number & ~_CONFIRMS) >> _LANE_SHIFT, number & _OFFSET_MASK)


class ClaimTable:
    """Who owns which content, as the log says it so far; the newest `most` contents. Pure, no Kafka."""

    def __init__(self, most: int) -> None:
        self._index = KeyIndex(1, most)
        self._owners: NDArray[np.uint64] = np.zeros(self._index.capacity, np.uint64)
        self.losing: dict[tuple[int, Owner], Owner] = {}
        """(content, loser) -> winner, of claims behind another's that nobody has confirmed yet: races
        only."""

    def owner(self, content: int) -> Owner | None:
        """Return who keeps a content, or None where no claim to it is remembered."""
        row = self._index.newest(content)
        return None if row < 0 else _unpacked(self._owners.item(row % self._index.capacity))

    def apply(self, value: bytes) -> None:
        """Take in a record of the log; what is none of ours is stepped over."""
        if len(value) % _CLAIM.itemsize:
            return
        for content, number in np.frombuffer(value, _CLAIM).tolist():
            owner, known = _unpacked(number), self.owner(content)
            if number & _CONFIRMS:
                for claim in [c for c in self.losing if c[0] == content]:
                    del self.losing[claim]
                if known != owner:
                    self._add(content, owner)
            elif known is None:
                self._add(content, owner)
            elif known != owner:
                self.losing[content, owner] = known

    def _add(self, content: int, owner: Owner) -> None:
        index = self._index
        if index.grows(1):
            rows = index.kept()
            kept = self._owners[rows % index.capacity]
            index.grow(1)
            self._owners = np.zeros(index.capacity, np.uint64)
            self._owners[rows % index.capacity] = kept
        self._owners[index.added % index.capacity] = _packed(owner)
        index.append(np.array([content], np.uint64))

    @property
    def nbytes(self) -> int:
        """Bytes that the tables take."""
        return self._index.nbytes + self._owners.nbytes


def claims_of(lane: int, wanted: Mapping[int, int]) -> bytes:
    """Return the record that claims contents (to raw offsets) for a lane."""
    rows = [(content, _packed(Owner(lane, offset))) for content, offset in wanted.items()]
    return np.array(rows, _CLAIM).tobytes()


def confirmations_of(winners: Mapping[int, Owner]) -> bytes:
    """Return the record that confirms the owners of contents."""
    rows = [(content, _packed(owner) | _CONFIRMS) for content, owner in winners.items()]
    return np.array(rows, _CLAIM).tobytes()


async def settle(
    table: ClaimTable, lane: int, wanted: Mapping[int, int], append: Callable[[bytes], Awaitable[None]]
) -> None:
    """Do what the module's docstring says, once the log is read.

    `wanted`: content -> raw offset. `append` puts a record behind the log, durably, and lets the table read
    on to it.
    """
    new = {content: offset for content, offset in wanted.items() if table.owner(content) is None}
    if new:
        await append(claims_of(lane, new))
    lost = {
        content: winner
        for content, offset in wanted.items()
        if (winner := table.losing.get((content, Owner(lane, offset)))) is not None
    }
    if lost:
        await append(confirmations_of(lost))


class Claims:
    """One worker's view of the log, read on as far as its verdicts need."""

    def __init__(self, settings: Settings, topic: str, write: Write) -> None:
        self._most = settings.chunk.duplicates.claims
        self.table = ClaimTable(self._most)
        self._tp = TopicPartition(topic, 0)
        self._write = write
        self._reading = asyncio.Lock()
        self._next = 0
        self._consumer: Any = AIOKafkaConsumer(
            **clients.common(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=5,
            retry_backoff_ms=10,
            max_partition_fetch_bytes=clients.MAX_REQUEST_BYTES,
        )

    async def start(self) -> None:
        """Connect, and read the log to its end."""
        await self._consumer.start()
        self._consumer.assign([self._tp])
        begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        self._next = max(begin, end - self._most)  # each record holds a claim at least
        self._consumer.seek(self._tp, self._next)
        await self._read_to(end)

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def _read_to(self, end: int) -> None:
        """Take in the log up to an offset (exclusive). Raises `BrokerUnreachable` where nothing comes."""
        async with self._reading:
            self._consumer.resume(self._tp)  # paused between reads: or it would ask 200 times a second
            while self._next < end:
                try:
                    async with asyncio.timeout(READ_SECONDS):
                        found: dict[Any, list[Any]] = {}
                        while not found:
                            found = await self._consumer.getmany(self._tp, timeout_ms=1000)
                except TimeoutError:
                    raise BrokerUnreachable(
                        f"{self._tp.topic} brought nothing for {READ_SECONDS:.0f} s at offset {self._next}"
                    ) from None
                for record in found[self._tp]:
                    self.table.apply(record.value or b"")
                    self._next = record.offset + 1
            self._consumer.pause(self._tp)

    async def settle(self, lane: int, wanted: Mapping[int, int]) -> None:
        """Claim contents for the documents at raw offsets of a lane; `owner` then says who keeps each."""
        key = lane.to_bytes(4, "big")

        async def append(value: bytes) -> None:
            await self._read_to(await self._write(key, value) + 1)

        await self._read_to((await self._consumer.end_offsets([self._tp]))[self._tp])
        await settle(self.table, lane, wanted, append)

    def owner(self, content: int) -> Owner | None:
        """Return who keeps a content that was settled; None where so much came since that it is forgotten."""
        return self.table.owner(content)
