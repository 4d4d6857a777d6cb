"""How far each stage is behind, lane by lane, asked of Kafka alone: so it works where every worker is dead.

A stage's progress is what its group has committed. That is a mirror, written each second behind the output
it stands for, so a lag here is never too small. Lag in seconds is the age of the first record that is not
done, since it was appended: by the broker's clock against ours, so clocks that differ show in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streams import clients, ledger, pipeline
from streams.generations import Generation
from streams.lane_log import LogReader
from streams.settings import STAGES, Settings

READ_SECONDS: Final = 10.0
"""Most that is waited for the append times of one topic; those that did not come stay unknown."""


class LaneLag(msgspec.Struct, kw_only=True):
    """One lane of one stage's input."""

    lane: int
    committed: int | None
    """Next offset to be done; None where the group never committed."""
    end: int
    records: int
    seconds: float | None
    """Age of the first record that is not done; 0 without lag, None where it could not be read."""
    member: str = ""


class Member(msgspec.Struct, kw_only=True):
    """One worker of a group as the broker knows it; a dead one stays until its session ends."""

    id: str
    host: str
    lanes: list[int]


class StageLag(msgspec.Struct, kw_only=True):
    """One stage: its group, its workers, its lanes."""

    stage: str
    group: str
    topic: str
    state: str
    """Of the group, in Kafka's words; `Dead` and `Empty`: nobody is in it."""
    members: list[Member]
    lanes: list[LaneLag]

    @property
    def records(self) -> int:
        """Records that are not done, in all lanes."""
        return sum(lane.records for lane in self.lanes)

    @property
    def seconds(self) -> float | None:
        """Age of the oldest record that is not done; None where none is known."""
        known = [lane.seconds for lane in self.lanes if lane.seconds is not None]
        return max(known) if known else None


class RunLag(msgspec.Struct, kw_only=True):
    """The trainer's run: how far its ledger is in each lane, in documents, against the end of `raw`."""

    run: str
    step: int
    lanes: list[dict[str, Any]]


def stages(settings: Settings, generation: Generation) -> list[StageLag]:
    """Return the lag of each stage. Raises `BrokerUnreachable`, `TopicError`."""
    names = [pipeline.stage_topics(stage, generation.id) for stage in STAGES]
    admin = clients.admin(settings)
    try:
        groups = admin.describe_groups([name.group for name in names])
        committed = admin.list_group_offsets([name.group for name in names])
    finally:
        admin.close()
    out = []
    with LogReader(settings) as reader:
        for stage, name in zip(STAGES, names, strict=True):
            lanes = _lanes(reader, name.source, generation, committed.get(name.group, {}))
            group = groups[name.group]
            members = [_member(member, name.source) for member in group["members"]]
            for lane in lanes:
                lane.member = next((member.id for member in members if lane.lane in member.lanes), "")
            out.append(
                StageLag(
                    stage=stage,
                    group=name.group,
                    topic=name.source,
                    state=str(group["group_state"]),
                    members=members,
                    lanes=lanes,
                )
            )
    return out


def trainer(settings: Settings, generation: Generation) -> RunLag | None:
    """Return how far the run that the settings name is; None where it has no ledger."""
    run = settings.trainer.run
    with LogReader(settings) as reader:
        if not ledger.exists(reader, run):
            return None
        at = ledger.reached(reader, run, generation.lanes)
        bounds = reader.all_bounds(pipeline.RAW, list(range(generation.lanes)))
    lanes = []
    for lane, (_, end) in bounds.items():
        last = at.positions.get(lane)
        begin = generation.first_position(lane)[0] if last is None else last.offset + 1
        lanes.append(
            {
                "lane": lane,
                "position": None if last is None else list(last),
                "raw_end": end,
                "documents": max(0, end - begin),
            }
        )
    return RunLag(run=run, step=at.step, lanes=lanes)


def _lanes(
    reader: LogReader, topic: str, generation: Generation, committed: Mapping[Any, Any]
) -> list[LaneLag]:
    offsets = {tp.partition: found.offset for tp, found in committed.items() if tp.topic == topic}
    bounds = reader.all_bounds(topic, list(range(generation.lanes)))
    lanes, first = [], {}
    for lane, (begin, end) in bounds.items():
        done = offsets.get(lane, -1)
        known = done if done >= 0 else None
        at = max(begin, known or 0)
        lanes.append(LaneLag(lane=lane, committed=known, end=end, records=max(0, end - at), seconds=0.0))
        if end > at:
            first[lane] = at
    now = time.time()
    appended = reader.appended_at(topic, first, READ_SECONDS)
    for row in lanes:
        if row.lane in first:
            at_seconds = appended.get(row.lane)
            row.seconds = None if at_seconds is None else round(max(0.0, now - at_seconds), 3)
    return lanes


def _member(member: Mapping[str, Any], topic: str) -> Member:
    assignment = member["member_assignment"]
    parts = assignment["assigned_partitions"] if isinstance(assignment, dict) else []
    lanes = sorted(p for part in parts if part["topic"] == topic for p in part["partitions"])
    return Member(
        id=str(member["group_instance_id"] or member["member_id"]),
        host=str(member["client_host"]).lstrip("/"),
        lanes=lanes,
    )
