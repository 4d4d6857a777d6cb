"""The garbage collector, kept from looking where there is none.

It is set off by the number of new objects and looks over all that live. In a process that holds models,
libraries and a window of records that is up to half of the CPU a record, and it finds nothing: what these
processes make leaves no cycles behind. Turned off, the rare cycle (an exception's traceback) would stay for
ever; so it looks seldom (our choice).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

NEW_OBJECTS: Final = 50_000
"""After which it looks: some thousand records' worth."""


def collect_seldom() -> Callable[[], None]:
    """Set what lives now aside, and look at new objects seldom; call it once all is loaded.

    Returns what undoes it, for a process that goes on with something else.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *before[1:])

    def as_before() -> None:
        gc.unfreeze()
        gc.set_threshold(*before)

    return as_before
