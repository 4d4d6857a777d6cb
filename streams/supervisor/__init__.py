"""The supervisor: one process that runs the embedded broker and a child in each slot, and restarts what dies.

`Supervisor` is the handle that the command line, the demo and the tests hold; the work is done by
`python -m streams.supervisor`, so that nothing lives or dies with a terminal. The alternative, systemd or a
container runtime, does the same where there is one (compose.yaml); a laptop has neither.
"""

from streams.supervisor.handle import Supervisor
from streams.supervisor.plan import Plan, Slot, engine_slots, ingest_slots, stage_slots, trainer_slot
from streams.supervisor.state import Process, State, read_state, running_state

__all__ = [
    "Plan",
    "Process",
    "Slot",
    "State",
    "Supervisor",
    "engine_slots",
    "ingest_slots",
    "read_state",
    "running_state",
    "stage_slots",
    "trainer_slot",
]
