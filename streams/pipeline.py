"""Names: which stage reads and writes which topic, in which generation."""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.settings import STAGES

RAW: Final = "raw"
TOPICS: Final = ("raw", "chunked", "matched", "instantiated", "judged")
SEEN: Final = "seen"
CLAIMS: Final = "claims"
BOOKS: Final = ("sources", "generations", "controls")


class StageTopics(NamedTuple):
    """The topics of one stage in one generation."""

    source: str
    target: str
    dead: str
    group: str
    seen: str = ""  # of the stage that makes positions: what a large duplicate window remembers
    claims: str = ""  # and who keeps a content that several lanes have


def topic(base: str, generation: str = "1") -> str:
    """Return a topic's full name: the first generation uses the bare one, `g2.matched` the second.

    `raw` is shared by all generations: a replay copies nothing.
    """
    return base if generation == "1" or base == RAW else f"g{generation}.{base}"


def base_name(name: str) -> str:
    """Return a topic's name without its generation."""
    head, _, tail = name.partition(".")
    return tail if tail and head[:1] == "g" and head[1:].isalnum() else name


def stage_topics(stage: str, generation: str = "1") -> StageTopics:
    """Return what a stage reads and writes."""
    i = STAGES.index(stage)
    root = i == 0
    return StageTopics(
        source=topic(TOPICS[i], generation),
        target=topic(TOPICS[i + 1], generation),
        dead=topic(f"dead.{stage}", generation),
        group=f"finestream.{generation}.{stage}",
        seen=topic(SEEN, generation) if root else "",
        claims=topic(CLAIMS, generation) if root else "",
    )


def ledger_topic(run: str) -> str:
    """Return the topic of a training run's ledger."""
    return f"ledger.{run}"
