"""How much a replica gets, how long a call pauses: the pure rules of the client."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings.engines import EngineSettings
from workers.engines.openai.fit import Queue, read_queue
from workers.engines.openai.limit import Limit
from workers.engines.openai.retry import SUSPECT_LOSSES, Cost, Spent, seconds_of


def test_a_long_queue_shrinks_the_limit_to_what_runs_and_no_further():
    limit = Limit(256)
    seen = []
    for _ in range(20):
        waiting = max(0, limit.value - 64)  # a server that runs 64 at once, all of them ours
        limit.reached()
        limit.look(min(64, limit.value), waiting, limit.value)
        seen.append(limit.value)
    assert seen[0] == 205
    assert all(64 <= value <= 256 for value in seen)
    assert max(seen[8:]) - 64 <= 64 * 0.25 + 2 + 256 // 32  # a short queue stays


def test_it_grows_only_where_it_was_reached():
    limit = Limit(64)
    limit.look(10, 100, 64)
    low = limit.value
    limit.look(10, 0, 10)
    assert limit.value == low
    limit.reached()
    limit.look(10, 0, 10)
    assert limit.value == low + 2


def test_others_of_the_server_are_not_taken_for_ours():
    """Two clients of one server: each falls to its share of what runs, not to 1."""
    limit = Limit(100)
    for _ in range(50):
        limit.look(64, 200, 132)
    assert limit.value == 32


def test_a_429_halves_once_for_requests_under_way_together():
    limit = Limit(64)
    for _ in range(10):
        limit.refused(began=1.0, now=2.0)
    assert limit.value == 32
    limit.refused(began=3.0, now=4.0)
    assert limit.value == 16
    for _ in range(16):
        limit.succeeded()
    assert limit.value == 17
    for i in range(20):
        limit.refused(began=5.0 + i, now=5.0 + i)
    assert limit.value == 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 512), st.booleans())))
def test_the_limit_stays_between_one_and_the_most(looks):
    limit = Limit(256)
    for running, waiting, ours, reached in looks:
        if reached:
            limit.reached()
        limit.look(running, waiting, ours)
        assert 1 <= limit.value <= 256


PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m 1.0"} 12.0
vllm:num_requests_running{engine="1",model_name="m 1.0"} 3.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
vllm:num_requests_waiting{engine="0",model_name="m 1.0"} 2.0
vllm:num_requests_waiting{engine="1",model_name="m 1.0"} 0.0
vllm:num_requests_waiting_by_reason{engine="0"} 99.0
"""


def test_a_queue_is_read_from_vllms_page():
    assert read_queue(PAGE) == Queue(15.0, 2.0)
    assert read_queue(b"vllm:num_requests_running 1\nvllm:num_requests_waiting 0") == Queue(1.0, 0.0)


@pytest.mark.parametrize(
    "page",
    [b"", b"<html>", b"vllm:num_requests_running 1\n", PAGE.replace(b"waiting", b"held"),
     b"vllm:num_requests_running NaN\nvllm:num_requests_waiting x\n"],
)  # fmt: skip
def test_a_page_without_a_queue_is_none(page):
    assert read_queue(page) is None


@given(st.binary())
def test_any_page_is_a_queue_or_none(page):
    read_queue(page)
    read_queue(b"vllm:num_requests_running" + page)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("3", 3), (" 1.5 ", 1.5), ("-4", 0), ("soon", 0), ("nan", 0), ("inf", 86400), ("1e99", 86400)],
)
def test_retry_after_is_read(header, seconds):
    assert seconds_of(header) == seconds


def test_retry_after_may_be_a_date():
    assert 25 < seconds_of(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert seconds_of(formatdate(time.time() - 30, usegmt=True)) == 0
    assert seconds_of("Fri, 31 Dec 999999 00:00:00 GMT") == 0


@given(st.text())
def test_any_header_is_a_bounded_pause(header):
    assert 0 <= seconds_of(header) <= 86400


def test_pauses_double_with_jitter_up_to_a_bound_and_obey_the_server():
    settings = EngineSettings(backoff_seconds=1.0, backoff_most_seconds=4.0, retry_after_most_seconds=30.0)
    spent, pauses = Spent(), []
    for _ in range(5):
        spent.charge(Cost.TRY, settings)
        pauses.append(spent.pause_seconds(settings))
    for pause, most in zip(pauses, (1, 2, 4, 4, 4), strict=True):
        assert most / 2 <= pause <= most
    assert 10 <= spent.pause_seconds(settings, "10") <= 11
    assert 30 <= spent.pause_seconds(settings, "86400") <= 33
    assert len({round(spent.pause_seconds(settings), 6) for _ in range(20)}) > 10


def test_budgets_are_separate():
    settings, spent = EngineSettings(tries=2, turned_away=3, losses=2), Spent()
    assert [spent.charge(Cost.TURNED_AWAY, settings) for _ in range(3)] == [False, False, True]
    assert [spent.charge(Cost.TRY, settings) for _ in range(2)] == [False, True]
    assert not spent.suspect
    assert [spent.charge(Cost.LOSS, settings) for _ in range(SUSPECT_LOSSES + 2)] == [False] * 4 + [True]
    assert spent.suspect
