"""Accounts of a pipeline, counted from its topics and not from counters: what became of every raw record.

One walk a lane, in order of position: `raw`, the four lane topics and the four dead-letter topics are read
side by side, one record of each held at a time. So the walk compares them as well: each raw record must end
exactly once in `judged` (all its segments, or markers), every topic before must agree, and each dead letter
must have the marker that names it. The alternative, adding up the processes' metrics, is cheaper and forgets
at every restart; a lost record is just what it could not see.
"""

from streams.accounting.accounts import Accounts, Offence
from streams.accounting.trained import Trained, trained
from streams.accounting.walk import take

__all__ = ["Accounts", "Offence", "Trained", "take", "trained"]
