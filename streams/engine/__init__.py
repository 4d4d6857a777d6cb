"""`finestream engine`: vLLM in an environment of its own, kept generating.

A server that answers /health may have hung long ago, so what counts here is tokens. The alternative, vLLM
under a container runtime's restarts, sees deaths and no hangs; where one is wanted all the same, the stages
take any URL.
"""

from streams.engine.environment import Environment, environments_folder
from streams.engine.state import EngineState, Server, problems, read_state, running_state

__all__ = [
    "EngineState",
    "Environment",
    "Server",
    "environments_folder",
    "problems",
    "read_state",
    "running_state",
]
