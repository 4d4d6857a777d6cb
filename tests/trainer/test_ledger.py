"""The ledger over a real broker: all or nothing, one writer, and found again from its end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from streams.errors import Fenced, RecordError, TopicError
from trainer.entries import Checkpoint, Start, Step
from trainer.ledger import LedgerReader, LedgerWriter


def step(n, attempt=1, final=False):
    return Step(
        run="main", attempt=attempt, step=n, settings_hash="", generation="1", epoch=1, closed=[], draws=[],
        pairs=[], targets=1, batch_hash=bytes(16), tokens=n, pairs_total=n, final=final,
    )  # fmt: skip


def start(attempt=1, at=0):
    return Start(
        run="main", attempt=attempt, step=at, generation="1", epoch=1, lanes=1, settings_hash="",
        data_hash="", settings={}, threads=1, versions={},
    )  # fmt: skip


def checkpoint(n, name):
    return Checkpoint(run="main", attempt=1, step=n, directory=name, next_offset=0, bytes=1)


@pytest.fixture
def config(clean_broker, settings):
    return settings()


def test_written_and_found_again(config, until):
    writer = LedgerWriter(config, "main")
    reader = LedgerReader(config, "main")
    assert reader.newest() is None
    assert reader.first_start() is None
    assert list(reader.read()) == []
    writer.append([start()])
    offsets = writer.append([step(1), step(2)])
    assert offsets[1] == offsets[0] + 1
    writer.append([checkpoint(2, "a")])
    writer.append([step(3)])
    writer.append([checkpoint(3, "b")])
    # The broker may say that a transaction is committed a moment before its readers can see it.
    until(lambda: len(list(reader.read())) == 6, 10, "all entries are there")
    assert [e.entry.step for e in reader.read()] == [0, 1, 2, 2, 3, 3]
    assert [c.directory for c in reader.checkpoints()] == ["b", "a"]
    assert reader.newest() == step(3)
    assert reader.newest_step() == 3
    assert reader.first_start() == start()
    assert [s.step for _, s in reader.steps()] == [1, 2, 3]
    assert [s.step for _, s in reader.steps(offsets[1], 1)] == [2, 3]
    reader.close()
    writer.close()


def test_backwards_over_many_small_transactions(config):
    writer = LedgerWriter(config, "main")
    writer.append([start(), *(step(n) for n in range(1, 700))])
    writer.append([checkpoint(1, "old")])
    for n in range(700, 720):
        writer.append([step(n)])
    reader = LedgerReader(config, "main")
    assert [c.directory for c in reader.checkpoints()] == ["old"]
    assert [e.entry.step for e in reader.backwards()][:21] == [*range(719, 699, -1), 1]
    assert sum(1 for _ in reader.backwards()) == 721
    reader.close()
    writer.close()


def test_a_gap_in_the_steps_is_not_passed_over(config):
    writer = LedgerWriter(config, "main")
    writer.append([start(), step(1), step(3)])
    reader = LedgerReader(config, "main")
    with pytest.raises(RecordError, match="step 3 where 2 must follow"):
        list(reader.steps())
    reader.close()
    writer.close()


def test_a_ledger_that_is_not_there(config):
    with pytest.raises(TopicError, match=r"no ledger ledger\.nobody"):
        LedgerReader(config, "nobody")


def test_the_older_of_two_writers_is_fenced(config):
    old = LedgerWriter(config, "main")
    old.append([start(1)])
    new = LedgerWriter(config, "main")
    new.append([start(2)])
    with pytest.raises(Fenced):
        old.append([step(1, attempt=1)])
    with pytest.raises(Fenced):
        old.append([step(1, attempt=1)])
    new.append([step(1, attempt=2)])
    reader = LedgerReader(config, "main")
    assert [(e.entry.attempt, e.entry.step) for e in reader.read()] == [(1, 0), (2, 0), (2, 1)]
    reader.close()
    new.close()


OPEN_TRANSACTION = """
import sys, time
sys.path[:0] = ["."]
from streams.settings import load
from streams.books import BookWriter
from trainer import entries
from tests_step import step
writer = BookWriter(load(), "ledger.main")
writer._producer.begin_transaction()
entry = step(99)
writer._producer.send("ledger.main", key=entries.key(entry), value=entries.encode(entry), partition=0)
writer._producer.flush()
print("open", flush=True)
time.sleep(600)
"""


def test_what_a_killed_writer_had_not_committed_is_never_read(config, tmp_path):
    writer = LedgerWriter(config, "main")
    writer.append([start(1), step(1)])
    (tmp_path / "tests_step.py").write_text(
        "from trainer.entries import Step\n"
        "def step(n):\n"
        "    return Step(run='main', attempt=1, step=n, settings_hash='', generation='1', epoch=1,\n"
        "                closed=[], draws=[], pairs=[], targets=1, batch_hash=bytes(16), tokens=n,\n"
        "                pairs_total=n)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}",
        "FINESTREAM_KAFKA__BOOTSTRAP_SERVERS": config.bootstrap_servers,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", OPEN_TRANSACTION], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "open\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    reader = LedgerReader(config, "main")
    assert [e.entry.step for e in reader.read()] == [0, 1], "an open transaction is not there"
    began = time.monotonic()
    heir = LedgerWriter(config, "main")  # aborts it
    assert [e.entry.step for e in reader.read()] == [0, 1], "an aborted one neither"
    assert reader.newest_step() == 1
    heir.append([start(2, 1), step(2, attempt=2)])
    assert [e.entry.step for e in reader.read()] == [0, 1, 1, 2]
    assert [s.step for _, s in reader.steps()] == [1, 2]
    assert time.monotonic() - began < 30
    reader.close()
    heir.close()
