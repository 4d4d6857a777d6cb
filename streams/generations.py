"""The book of generations: which configurations run over the log, and what identifies their topics.

A generation is created once (`finestream up`, the first time) and holds a random epoch that every record
and checkpoint repeats, the cluster's ids of its topics, and a hash of each stage's settings. So topics that
were deleted and created anew are recognised, and a worker with other settings refuses to start.
"""

from __future__ import annotations

import secrets
import time

import msgspec

from streams import books, clients, topics
from streams.errors import LaneRecreated, SettingsError, StageMismatch, TopicError
from streams.positions import START
from streams.settings import STAGES, Settings, stage_hash

_IDENTITY = "finestream.generations"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the pipeline with one configuration."""

    id: str
    lanes: int
    epoch: int
    created_at: float
    stage_hashes: dict[str, str]
    topic_ids: dict[str, str]
    parent: str = ""
    from_stage: str = ""  # the first stage that differs from the parent
    start: list[tuple[int, int]] = []  # per lane, the first position; empty: (0, 0) everywhere

    def first_position(self, lane: int) -> tuple[int, int]:
        """Return the position at which a lane of this generation begins."""
        return self.start[lane] if self.start else START


def create(settings: Settings) -> Generation:
    """Create the pipeline that the settings name, or verify the one that is there.

    Raises `SettingsError` where the number of lanes differs, `TopicError` where records lie in topics that
    no book knows.
    """
    topics.create_books(settings)
    with books.BookWriter(settings, _IDENTITY) as writer:
        found = _read(settings)
        if found is not None:
            if found.lanes != settings.pipeline.lanes:
                raise SettingsError(
                    f"pipeline.lanes is {settings.pipeline.lanes}, but generation {found.id} was created "
                    f"with {found.lanes}; the number is fixed. Set it back, or use another data_dir or "
                    "cluster"
                )
            verify(settings, found)
            return found
        name, lanes = settings.pipeline.generation, settings.pipeline.lanes
        topics.create_lanes(settings, name, lanes)
        names = list(topics.generation_topics(settings, name, lanes))
        if occupied := _occupied(settings, names):
            raise TopicError(
                f"topics {', '.join(occupied)} hold records but the book of generations does not know them; "
                "delete them, or restore the book"
            )
        generation = Generation(
            id=name,
            lanes=lanes,
            epoch=secrets.randbits(63),
            created_at=time.time(),
            stage_hashes={stage: stage_hash(settings, stage) for stage in STAGES},
            topic_ids=topics.topic_ids(settings, names),
        )
        writer.append("generations", [(name.encode(), msgspec.msgpack.encode(generation))])
        return generation


def load(settings: Settings, stage: str | None = None) -> Generation:
    """Return the generation that the settings name, verified; with `stage`, its settings too.

    Raises `TopicError` where there is none, `LaneRecreated` where its topics are others than they were,
    `StageMismatch` where the stage's settings differ from those it was created with.
    """
    found = _read(settings)
    if found is None:
        raise TopicError(
            f"there is no generation {settings.pipeline.generation!r}; `finestream up` creates it"
        )
    verify(settings, found)
    if stage is not None and (mine := stage_hash(settings, stage)) != found.stage_hashes[stage]:
        raise StageMismatch(
            f"the settings of {stage} (hash {mine}) differ from those that generation {found.id} was created "
            f"with ({found.stage_hashes[stage]}), or a file that they name has another content; set them "
            "back, or begin a new generation with them"
        )
    return found


def verify(settings: Settings, generation: Generation) -> None:
    """Check that the topics are there, safe, and the same as when the generation was created."""
    topics.verify_lanes(settings, generation.topic_ids, generation.lanes)
    now = topics.topic_ids(settings, generation.topic_ids)
    changed = sorted(name for name, old in generation.topic_ids.items() if now[name] != old)
    if changed:
        raise LaneRecreated(
            f"topics {', '.join(changed)} were deleted and created anew since generation {generation.id} "
            "began; its positions mean nothing any more. Begin a new pipeline (another data_dir or cluster)"
        )


def _read(settings: Settings) -> Generation | None:
    entry = books.read_book(settings, "generations").get(settings.pipeline.generation.encode())
    return None if entry is None else msgspec.msgpack.decode(entry.value, type=Generation)


def _occupied(settings: Settings, names: list[str]) -> list[str]:
    from kafka import TopicPartition  # noqa: PLC0415

    consumer = clients.sync_consumer(settings)
    try:
        tps = [TopicPartition(name, p) for name in names for p in consumer.partitions_for_topic(name)]
        return sorted({tp.topic for tp, end in clients.end_offsets(consumer, tps).items() if end})
    finally:
        consumer.close()
