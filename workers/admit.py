"""Admission: whether a processed document is accepted, in lane order, just before it is sent.

In this order: equal to one in the lane's window, similar to one, claimed by an equal one in another lane
(`workers/claims.py`). All of it is a pure function of the log, so a rerun after a crash gives the same:
the window holds what the lane's accepted outputs say, and a claim once won stays won. A document whose
outputs a crash has cut is not asked again, only flagged again as it was.
"""

from __future__ import annotations

import itertools
from typing import Any

from streams.positions import Position
from streams.settings import DuplicateSettings
from workers import seen
from workers.claims import Claims
from workers.duplicates import DUPLICATE, DUPLICATE_ELSEWHERE, NEAR_DUPLICATE
from workers.lane import Lane
from workers.stage import Drop, Stage
from workers.work import Outputs


class Admission:
    """The verdicts of one worker."""

    def __init__(self, stage: Stage[Any, Any], settings: DuplicateSettings, claims: Claims | None) -> None:
        self._stage = stage
        self._settings = settings
        self._claims = claims

    async def prepare(self, lane: Lane, most: int) -> int:
        """Claim the contents that the next round may send, all in one write; return how many slots it may.

        A claim stays even where the document is then dropped as similar to another: its equals in other lanes
        go, too, since what it is similar to is kept.
        """
        if self._claims is None:
            return most
        wanted: dict[int, int] = {}
        heads = list(itertools.takewhile(lambda slot: slot.done, itertools.islice(lane.slots, most)))
        for slot in heads:
            if isinstance(slot.result, Outputs) and slot.position is not None and not lane.resumes(slot):
                content, offset = slot.result.identity.content, slot.position.offset
                if content and lane.admitted.equal(offset, content) is None:
                    wanted.setdefault(content, offset)  # of two equal ones in the round the first
        if wanted:
            await self._claims.settle(lane.partition, wanted)
        return len(heads)

    def admit(self, lane: Lane, offset: int, outputs: Outputs) -> Outputs | Drop:
        """Return what is to be sent for a document: its outputs, flagged or not, or a drop."""
        repeats = lane.admitted.judge(offset, outputs.identity)
        near = repeats is not None and not repeats.exact
        if repeats is not None and (not near or self._settings.near == "drop"):
            return Drop(NEAR_DUPLICATE if near else DUPLICATE, str(repeats))
        if self._claims is not None and outputs.identity.content:
            owner = self._claims.owner(outputs.identity.content)
            if owner is not None and owner != (lane.partition, offset):
                return Drop(DUPLICATE_ELSEWHERE, f"of raw offset {owner.offset} in lane {owner.lane}")
        self._remember(lane, offset, outputs)
        return self._flagged(outputs) if near else outputs

    def readmit(self, lane: Lane, offset: int, outputs: Outputs) -> Outputs:
        """Return again what was sent, in part, for a document that was accepted before a crash."""
        repeats = lane.admitted.judge(offset, outputs.identity)
        return outputs if repeats is None or repeats.exact else self._flagged(outputs)

    def remember_inside(self, lane: Lane, offset: int) -> None:
        """Remember the document that a crash had cut by what its first segment in the log says."""
        self._remember(lane, offset, Outputs([], lane.inside))

    def _remember(self, lane: Lane, offset: int, outputs: Outputs) -> None:
        identity = outputs.identity
        lane.admitted.add(offset, identity)
        if self._settings.has_seen_topic and identity.content:
            lane.unseen.accepted.append((offset, identity))

    def _flagged(self, outputs: Outputs) -> Outputs:
        values = [self._stage.flagged(value, NEAR_DUPLICATE) for value in outputs.values]
        return outputs._replace(values=values)

    def seen_records(self, lane: Lane, durable: int, now_ms: int) -> list[tuple[bytes, bytes, bytes]]:
        """Return the (key, value, header) for `seen` that are due now that documents to `durable` are."""
        if not self._settings.has_seen_topic or not lane.unseen.due(durable):
            return []
        records, since, accepted = [], lane.unseen.covered, lane.unseen.accepted
        for begin in range(0, max(1, len(accepted)), seen.RECORD_DOCUMENTS):
            part = accepted[begin : begin + seen.RECORD_DOCUMENTS]
            covered = part[-1][0] if begin + len(part) < len(accepted) else durable
            value = seen.pack(part, sketched=self._settings.near != "off")
            header = seen.header(lane.epoch, since, now_ms)
            records.append((Position(covered, 0).pack(), value, header.pack()))
            since = covered
        return records
