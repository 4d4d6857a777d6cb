"""A server's queue as its metrics show it, in vLLM's names."""

from __future__ import annotations

from typing import Final, NamedTuple

METRICS_BYTES: Final = 4 * 1024 * 1024
_RUNNING: Final = b"vllm:num_requests_running"
_WAITING: Final = b"vllm:num_requests_waiting"


class Queue(NamedTuple):
    """Requests in a server, whoever sent them."""

    running: float
    waiting: float


def read_queue(metrics: bytes) -> Queue | None:
    """Return the queue, summed over a server's engines; None where its metrics do not show it."""
    running, waiting = _total(metrics, _RUNNING), _total(metrics, _WAITING)
    return None if running is None or waiting is None else Queue(running, waiting)


def _total(metrics: bytes, name: bytes) -> float | None:
    """Sum a gauge over its labels. Searched for, not parsed: a page of vLLM has thousands of lines."""
    total: float | None = None
    at = -1
    while (at := metrics.find(name, at + 1)) >= 0:
        begins_line = at == 0 or metrics[at - 1 : at] == b"\n"
        end = metrics.find(b"\n", at)
        line = metrics[at : end if end >= 0 else len(metrics)]
        if not begins_line or line[len(name) : len(name) + 1] not in {b"{", b" "}:
            continue  # a HELP line, or a longer name
        try:
            value = float(line.rsplit(b" ", 1)[-1])
        except ValueError:
            continue
        if 0 <= value < 1e9:
            total = value + (total or 0.0)
    return total
