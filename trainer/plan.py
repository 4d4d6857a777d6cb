"""The plan of a process: put back what was drawn, obey the own ledger, then choose live or obey another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainer.batches import Batches, Item
from trainer.live import LiveChoice
from trainer.obey import Obedience, Script


def items(batches: Batches, own: Script, other: Callable[[int], Script] | None = None) -> Iterator[Item]:
    """Yield what there is to train on, then an `End`.

    First the steps of the run's `own` ledger beyond the restored state are repeated. Then choices are made
    live, or, where it is given, the `other` ledger (as a function of the step to go on behind) is followed to
    its end. Raises `LaneError`s from the source, `Fenced` from the ledger, `LedgerMismatch` where repeating
    does not give the batch that was logged.
    """
    obedience = Obedience(batches)
    yield from obedience.reopen()
    if not batches.stopped:
        yield from obedience.repeat(own)
    if other is None:
        yield from LiveChoice(batches).items()
        return
    if not batches.over:
        yield from obedience.follow(other(batches.state.step))
    yield batches.end("obeyed")
