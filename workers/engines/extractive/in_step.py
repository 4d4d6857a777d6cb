"""Many segments worked on in step, so that the encoder is asked for all of their texts at once.

A forward pass costs some 6 ms whatever its length, and a segment has a handful of texts of as many lengths.
A task is a generator: it yields texts and is sent their vectors. Since a text's vector does not depend on
what is encoded beside it (`workers.encoder`), neither does a task's result. The alternative, threads, would
need a queue and give the same batches.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

from workers.encoder import Encoder, FloatArray

T = TypeVar("T")
Task: TypeAlias = Generator[list[str], FloatArray, T]
"""Yields texts, is sent their vectors (float32 [n, d], normalised), returns its result."""


def in_step(encoder: Encoder, tasks: Sequence[Task[T]]) -> list[T]:
    """Run tasks to their ends and return their results in order. What a task raises is raised."""
    results: dict[int, T] = {}
    waiting: dict[int, list[str]] = {}

    def advance(row: int, vectors: FloatArray | None) -> None:
        try:
            waiting[row] = next(tasks[row]) if vectors is None else tasks[row].send(vectors)
        except StopIteration as end:
            results[row] = end.value
            waiting.pop(row, None)

    for row in range(len(tasks)):
        advance(row, None)
    while waiting:
        asked = dict(waiting)
        distinct = list(dict.fromkeys(text for texts in asked.values() for text in texts))
        place = {text: i for i, text in enumerate(distinct)}
        vectors = encoder.encode(distinct)
        for row, texts in asked.items():
            advance(row, vectors[[place[text] for text in texts]])
    return [results[row] for row in range(len(tasks))]
