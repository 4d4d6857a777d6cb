"""`finestream demo`: the main job in one command, with a kill in the middle and an account at the end.

It runs what `finestream up` runs, through the same supervisor, and adds nothing to the flow: it ingests,
kills a worker, waits for the trainer to end, and then counts from the topics whether anything was lost. The
alternative, a demo script of its own, would show a system that nobody runs.
"""

from streams.demo.defaults import with_defaults
from streams.demo.report import Outcome, report
from streams.demo.run import Demo

__all__ = ["Demo", "Outcome", "report", "with_defaults"]
