"""What the stages share that a language model carries: its client, and calls that fail each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from streams.errors import EngineError
from streams.records import Record
from streams.settings import ModelStageSettings
from workers.engines.model import Model
from workers.stage import AsyncStage, Outcome

In = TypeVar("In", bound=Record)
Out = TypeVar("Out", bound=Record)
T = TypeVar("T")


class ModelStage(AsyncStage[In, Out]):
    """A stage whose records are asked about by calls to one model."""

    config: ModelStageSettings

    def open(self) -> None:
        """Make the client; connections are opened by `start`."""
        self._model = Model(self.config.model, self.name)

    def register(self, registry: CollectorRegistry) -> None:
        """Count the model's requests and tokens."""
        self._model.register(registry)

    @property
    def records_at_once(self) -> int:
        """How many records may be asked about at once."""
        return self.config.segments_at_once

    @property
    def deadline_seconds(self) -> float:
        """How long one record may take alone: as long as its calls may."""
        return max(self.config.deadline_seconds, self._model.patience_seconds)

    async def wait_until_up(self) -> None:
        """Return once a server is up again."""
        await self._model.wait_until_up()

    def process(self, records: Sequence[In]) -> Sequence[Outcome]:
        """Answer in a process of its own, where a server that is down is the worker's to wait for."""
        self._model.patient = False
        return super().process(records)

    async def start(self) -> None:
        """Open the connections to the model's servers."""
        await self._model.open()

    async def stop(self) -> None:
        """Close them."""
        await self._model.close()


async def together(
    calls: Iterable[Coroutine[Any, Any, T | EngineError]],
) -> list[T | EngineError] | EngineError:
    """Await calls at once. Return what each brought, or one call's error where no call brought anything.

    What a call raises (it would meet all) ends the others.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    faults = [one for one in found if isinstance(one, EngineError)]
    return faults[0] if faults and len(faults) == len(found) else found
