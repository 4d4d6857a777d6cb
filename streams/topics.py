"""Topics: what they must look like, creating them, and refusing those that would lose records.

Pipeline topics keep everything until the trimmer says otherwise: no expiry by time or size, append time as
the timestamp (retention by record time would delete replayed records at once), no compaction, since a lane
must have no holes. Books are compacted and hold one partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams import clients, pipeline
from streams.errors import TopicError
from streams.settings import STAGES, Settings

_LANE_CONFIG: Final = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(clients.MAX_REQUEST_BYTES),
    "compression.type": "producer",
}
_BOOK_CONFIG: Final = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(clients.MAX_REQUEST_BYTES),
    "min.cleanable.dirty.ratio": "0.5",
}
LEDGER_CONFIG: Final = dict(_LANE_CONFIG)
"""A ledger is never trimmed, nor compacted."""


def lane_topics(generation: str) -> list[str]:
    """Return every topic of a generation that has lanes: the flow and its dead letters."""
    flow = [pipeline.topic(base, generation) for base in pipeline.TOPICS]
    return flow + [pipeline.stage_topics(stage, generation).dead for stage in STAGES]


def generation_topics(settings: Settings, generation: str, lanes: int) -> dict[str, int]:
    """Return every topic of a generation with its partitions: the lanes, and what the settings want.

    `seen` has lanes, too, but its records stand for many documents. `claims` is one log for all lanes.
    """
    wanted = dict.fromkeys(lane_topics(generation), lanes)
    if settings.chunk.duplicates.has_seen_topic:
        wanted[pipeline.topic(pipeline.SEEN, generation)] = lanes
    if settings.chunk.duplicates.has_claims_topic:
        wanted[pipeline.topic(pipeline.CLAIMS, generation)] = 1
    return wanted


def create(settings: Settings, wanted: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
    """Create those of the wanted topics (name -> partitions, configuration) that are missing; verify all."""
    from kafka.admin import NewTopic  # noqa: PLC0415
    from kafka.errors import KafkaError, TopicAlreadyExistsError  # noqa: PLC0415

    admin = clients.admin(settings)
    try:
        there = set(admin.list_topics())
        missing = {name: config for name, config in wanted.items() if name not in there}
        new = [
            NewTopic(
                name,
                partitions,
                settings.kafka.replication_factor,
                topic_configs={**config, "min.insync.replicas": str(settings.kafka.min_insync_replicas)},
            )
            for name, (partitions, config) in missing.items()
        ]
        try:
            if new:  # in one request: one after another takes a second more
                admin.create_topics(new, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            admin.wait_for_topics(list(missing))  # somebody else was faster; verified below like any other
        except KafkaError as error:
            raise TopicError(
                f"topics {', '.join(missing)} cannot be created ({error}); check this user's rights, and "
                f"that the cluster has kafka.replication_factor={settings.kafka.replication_factor} brokers"
            ) from error
        _verify(admin, wanted)
    finally:
        admin.close()


def create_books(settings: Settings) -> None:
    """Create and verify the compacted books."""
    create(settings, dict.fromkeys(pipeline.BOOKS, (1, _BOOK_CONFIG)))


def create_lanes(settings: Settings, generation: str, lanes: int) -> None:
    """Create and verify all topics of a generation."""
    wanted = generation_topics(settings, generation, lanes)
    create(settings, {name: (partitions, _LANE_CONFIG) for name, partitions in wanted.items()})


def create_ledger(settings: Settings, run: str) -> None:
    """Create and verify a training run's ledger."""
    create(settings, {pipeline.ledger_topic(run): (1, LEDGER_CONFIG)})


def topic_ids(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Return the cluster's own identity of each topic: another one means deleted and created anew."""
    admin = clients.admin(settings)
    try:
        return {name: str(_describe(admin, name)["topic_id"]) for name in names}
    finally:
        admin.close()


def verify_lanes(settings: Settings, names: Iterable[str], lanes: int) -> None:
    """Check that a generation's topics are there and safe; raise `TopicError` by name."""
    admin = clients.admin(settings)
    try:
        one = {name for name in names if pipeline.base_name(name) == pipeline.CLAIMS}
        _verify(admin, {name: (1 if name in one else lanes, _LANE_CONFIG) for name in names})
    finally:
        admin.close()


def _describe(admin: Any, name: str) -> dict[str, Any]:
    (topic,) = admin.describe_topics([name])
    if topic["error_code"]:
        raise TopicError(f"topic {name} is missing; `finestream up` creates it")
    description: dict[str, Any] = topic
    return description


def _verify(admin: Any, wanted: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType  # noqa: PLC0415

    for name, (partitions, _) in wanted.items():
        found = len(_describe(admin, name)["partitions"])
        if found != partitions:
            raise TopicError(
                f"topic {name} has {found} partitions where the pipeline has {partitions} lanes. The "
                "number is fixed when a pipeline is created: restore it, or begin a new pipeline"
            )
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    described = admin.describe_configs(resources, config_filter="all")["topic"]
    for name, (_, config) in wanted.items():
        for key, value in config.items():
            actual = described[name].get(key, {}).get("value")
            if key == "min.cleanable.dirty.ratio":
                continue  # taste, not safety
            if key == "max.message.bytes" and int(actual or 0) >= int(value):
                continue
            if actual != value:
                raise TopicError(
                    f"topic {name} has {key}={actual}, which could lose records; set it to {value} "
                    f"(kafka-configs.sh --alter --topic {name} --add-config {key}={value})"
                )
