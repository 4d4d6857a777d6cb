"""What the demo found: the JSON that scripts read, with just these keys, and the tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from streams.accounting import Accounts, Trained

TRAINER_KEYS: Final = (
    "steps",
    "tokens",
    "loss_first",
    "loss_last",
    "heldout_loss",
    "unigram_loss",
    "checkpoint",
)


@dataclass(frozen=True)
class Outcome:
    """Everything that the report is made of."""

    accounts: Accounts
    trained: Trained
    trainer: dict[str, Any]  # the trainer's own report
    seconds: float
    data_dir: str
    bootstrap_servers: str
    memory: dict[str, int]  # peak bytes by process
    killed: str  # what was killed, and what became of it; empty where nothing was in flight


def report(outcome: Outcome) -> dict[str, Any]:
    """Return what `--format json` prints. `pairs_kept` are the pairs in the ledger."""
    accounts, trained = outcome.accounts, outcome.trained
    return {
        "documents": accounts.raw,
        "segments": accounts.segments,
        "contaminated": accounts.contaminated,
        "flagged": accounts.flagged,
        "matched": accounts.matched,
        "instantiated": accounts.instantiated,
        "judged": accounts.judged,
        "pairs": accounts.pairs,
        "pairs_kept": trained.pairs,
        "dead": accounts.dead_total,
        "dropped": accounts.dropped,
        "funnel": funnel(accounts, trained),
        "trainer": {key: outcome.trainer[key] for key in TRAINER_KEYS},
        "seconds": round(outcome.seconds, 1),
        "data_dir": outcome.data_dir,
        "bootstrap_servers": outcome.bootstrap_servers,
        "memory": outcome.memory,
    }


def funnel(accounts: Accounts, trained: Trained) -> list[dict[str, Any]]:
    """Return the way from documents to pairs: each row's count, and its share of the row before it."""
    rows = [
        ("documents in raw", accounts.raw, 0),
        ("documents with segments", accounts.chunked, accounts.raw),
        ("segments", accounts.segments, accounts.chunked),
        ("segments with a template", accounts.matched, accounts.segments),
        ("candidate templates", accounts.candidates, accounts.matched),
        ("segments with a pair", accounts.instantiated, accounts.matched),
        ("pairs made", accounts.pairs_made, accounts.candidates),
        ("pairs judged", accounts.pairs, accounts.pairs_made),
        ("pairs that pass", trained.eligible, accounts.pairs),
        ("pairs trained on", trained.pairs, trained.eligible),
    ]
    return [
        {"step": name, "count": count, "per_one_before": round(count / before, 4) if before else None}
        for name, count, before in rows
    ]


def losses(accounts: Accounts) -> Iterator[dict[str, Any]]:
    """Yield what ended before its end: stage, what it was, why, how many."""
    what = {"chunk": "documents", "match": "segments", "instantiate": "candidates", "judge": "segments"}
    for stage, reasons in accounts.dropped.items():
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            yield {"stage": stage, "dropped": what.get(stage, "records"), "reason": reason, "count": count}
    for stage, errors in accounts.dead.items():
        for error, count in sorted(errors.items(), key=lambda item: -item[1]):
            yield {"stage": stage, "dropped": "dead letters", "reason": error, "count": count}
