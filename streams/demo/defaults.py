"""The demo's own defaults, under everything that a user has set.

None of them changes what a stage writes, so `finestream up` on the demo's data directory finds a pipeline
with just the settings that it expects. The trainer's differ, so it has a run of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from streams.settings import Settings

DATA_DIR: Final = Path("finestream-demo")
"""Not that of `finestream up`: a demo must not go into somebody's pipeline by accident."""

_SECTIONS: Final[dict[str, dict[str, Any]]] = {
    "broker": {"port": 0},
    # One thread each: four model processes on two cores only get into each other's way.
    "match": {"threads": 1},
    "instantiate": {"threads": 1},
    "judge": {"threads": 1},
    # A few hundred documents give some ten thousand tokens: one row a step, so that there are steps to see.
    "trainer": {
        "run": "demo",
        "sequence_tokens": 128,
        "batch_sequences": 1,
        "learning_rate": 3e-3,
        "warmup_steps": 10,
        "threads": 1,
    },
}


def with_defaults(settings: Settings) -> Settings:
    """Return the settings with the demo's values where the user has set none."""
    update: dict[str, Any] = {}
    if "data_dir" not in settings.model_fields_set:
        update["data_dir"] = DATA_DIR
    for name, values in _SECTIONS.items():
        section = getattr(settings, name)
        unset = {key: value for key, value in values.items() if key not in section.model_fields_set}
        update[name] = section.model_copy(update=unset)
    return settings.model_copy(update=update)
