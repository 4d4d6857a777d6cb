"""The plan on a thread of its own, through torchdata: items out, errors as items, one state per batch.

torchdata 0.11 is the last of its line, so only its node interface and its prefetching thread are used, and
nothing of its state format enters a checkpoint: each batch carries the pipeline's own state. What bites
there is avoided here: an exception under a Prefetcher is raised once and then looks like the end of the
data, so the node catches it and hands it on as an item; `restart_on_stop_iteration` reads ahead, so it is
off; a source that blocks leaves its thread behind, so the plan polls briefly and obeys a stop flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from torchdata.nodes import BaseNode, Loader, Prefetcher

from trainer.batches import Batch, End, Item, Waiting
from trainer.state import PipelineState, encode

PREFETCHED: Final = 2
"""Items made while a step runs. The plan itself works in groups of steps, so two are enough."""


class Failure(NamedTuple):
    """The pipeline has failed: raise `error`; nothing follows."""

    error: BaseException


class PlanNode(BaseNode):  # type: ignore[misc]
    """A plan's items as a torchdata node. Its state is that of the last batch, under one opaque key."""

    def __init__(self, items: Iterator[Item], state: PipelineState) -> None:
        super().__init__()
        self._items = items
        self._state = encode(state)

    def reset(self, initial_state: dict[str, Any] | None = None) -> None:
        """Begin; a state can only be given to the plan itself, which reads from it."""
        super().reset(initial_state)
        if initial_state is not None:
            raise ValueError("a plan resumes from a PipelineState, not from a torchdata state")

    def next(self) -> Item | Failure:
        """Return the next item, or the failure that ended the plan."""
        try:
            item = next(self._items)
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001 - crosses a thread as an item and is raised there
            return Failure(error)
        if isinstance(item, Batch):
            self._state = encode(item.state)
        return item

    def get_state(self) -> dict[str, Any]:
        """Return the state behind the last batch; bytes, so nobody can change it."""
        return {"plan": self._state}


class PlanLoader:
    """Iterate to train: yields batches and waits, raises what the plan raised, ends with an `End`."""

    def __init__(self, items: Iterator[Item], state: PipelineState, stop: Callable[[], None]) -> None:
        self._stop = stop
        prefetcher = Prefetcher(PlanNode(items, state), prefetch_factor=PREFETCHED)
        self._items: Iterator[Any] | None = iter(Loader(prefetcher, restart_on_stop_iteration=False))

    def next(self) -> Batch | Waiting | End:
        """Return the next item; raise the plan's own error where it failed."""
        try:
            item = next(self._items or iter(()))
        except StopIteration:
            raise RuntimeError("the plan ended without saying why") from None
        if isinstance(item, Failure):
            raise item.error
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop the plan and its thread. Bounded: the plan looks at its stop flag between short polls."""
        self._stop()
        self._items = None  # the prefetcher ends and joins its thread when nobody holds it
