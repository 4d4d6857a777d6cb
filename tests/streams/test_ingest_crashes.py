"""What happens to an ingester that is killed, stopped, revived, refused or cut off: `raw` stays exact."""

import json
import random
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kit.crawl_files import write_jsonl
from kit.processes import Workers
from kit.raw_log import COMMAND, Raw, ends, expected, grown, lines

from streams import clients, generations, topics
from streams.broker import Broker
from streams.ingest.ingester import Ingester
from streams.settings import Settings

Make = Callable[..., Settings]


@pytest.fixture
def made(clean_broker: Broker, settings: Make) -> Settings:
    """Settings of a new pipeline with 4 lanes."""
    it = settings(clean_broker, pipeline={"lanes": 4}, ingest={"inflight_bytes": 1 << 20})
    generations.create(it)
    return it


@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_kill_9_at_any_instant(made: Settings, tmp_path: Path, processes: Workers, kills: int) -> None:
    """At chosen numbers of records, and at chosen times of the start; then to the end."""
    # A fast machine must not be through before it is killed: long records, since a megabyte is in flight.
    each = 2000 if kills < 10 else 700
    sizes = {"a": each * kills, "b": 1, "c": each * kills}
    files = [lines(tmp_path / f"{name}.jsonl", n, times=300) for name, n in sizes.items()]
    rnd = random.Random(5)
    killed = 0
    for turn in range(kills):
        worker = processes.run(made, [*COMMAND, *map(str, files)])
        if turn % 3 == 2:
            time.sleep(rnd.uniform(0.2, 1.0))
        else:
            grown(made, worker, ends(made) + rnd.randrange(1, 900))
        if worker.alive:
            killed += 1
        worker.kill()
    assert killed >= kills * 2 // 3
    last = processes.run(made, [*COMMAND, *map(str, files), "--format", "json"])
    assert last.exit_code() == 0, last.said()
    raw = Raw(made)
    for path in files:
        assert raw.of(path) == expected(path)
        assert [booking.outcome for booking in raw.booked[str(path)]] == ["done"]
    assert raw.records - raw.repeated == sum(sizes.values())


def test_a_zombie_repeats_but_neither_books_nor_harms(
    made: Settings, tmp_path: Path, processes: Workers
) -> None:
    files = [lines(tmp_path / f"{name}.jsonl", 24_000) for name in "ab"]
    zombie = processes.run(made, [*COMMAND, *map(str, files)])
    grown(made, zombie, 1000)
    zombie.send(signal.SIGSTOP)
    assert ends(made) < 24_000, "stopped too late to be a zombie of an open source"
    reports = Ingester(made).run([str(files[0])])
    assert [(r.url, r.outcome) for r in reports] == [(str(files[0]), "done"), (str(files[0]), "known")]
    zombie.send(signal.SIGCONT)
    assert zombie.exit_code() == 3, zombie.said()
    assert "another process has taken over 'ingest.main.0'" in zombie.said()
    raw = Raw(made)
    assert raw.repeated > 0, "the zombie wrote nothing: the test shows nothing"
    assert raw.of(files[0]) == expected(files[0])
    assert str(files[1]) not in raw.booked
    Ingester(made).run([str(path) for path in files])
    raw = Raw(made)
    for path in files:
        assert raw.of(path) == expected(path)


def test_late_writes_of_a_zombie_whose_file_has_vanished(
    made: Settings, tmp_path: Path, processes: Workers
) -> None:
    """It wakes between the tails that its successor read and what that one sends: older, and no hole."""
    gone, other = lines(tmp_path / "a.jsonl", 24_000), lines(tmp_path / "b.jsonl", 3000)
    zombie = processes.run(made, [*COMMAND, str(gone)])
    grown(made, zombie, 1000)
    zombie.send(signal.SIGSTOP)
    gone.unlink()
    calls = count()

    def wake() -> bool:
        if next(calls) == 2:  # the first record of the second file has just been handed to the producer
            before = ends(made)
            zombie.send(signal.SIGCONT)
            grown(made, zombie, before + 1000)
        return False

    first, second = Ingester(made, stopping=wake).run([str(other)])
    assert (first.outcome, second.outcome) == ("vanished", "done")
    assert zombie.exit_code() == 3, zombie.said()
    raw = Raw(made)
    assert raw.overtaken > 0, "the zombie woke too late: the test shows nothing"
    assert raw.of(other) == expected(other)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_stop_it_cleanly(
    made: Settings, tmp_path: Path, processes: Workers, how: signal.Signals, code: int
) -> None:
    path = lines(tmp_path / "a.jsonl", 24_000)
    worker = processes.run(made, [*COMMAND, str(path), "--format", "json"])
    grown(made, worker, 500)
    worker.send(how)
    assert worker.exit_code() == code, worker.said()
    said = worker.said()
    answer = json.loads(said[said.index("{") :])
    assert answer["stopped"] is True
    assert answer["sources"][0]["outcome"] == "stopped"
    assert answer["sent"] == ends(made) < 24_000
    Ingester(made).run([])
    raw = Raw(made)
    assert raw.of(path) == expected(path)
    assert raw.repeated == 0


def test_a_refused_record_kills_the_process_and_leaves_no_hole(
    made: Settings, tmp_path: Path, processes: Workers
) -> None:
    """The broker refuses one batch for good: nothing behind it may be sent."""
    rnd = random.Random(1)
    rows = [{"text": f"{n} {rnd.randbytes(200_000 if n == 7000 else 150).hex()}"} for n in range(12_000)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    admin = clients.admin(made)

    def limit(size: int) -> None:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, "raw", {"max.message.bytes": str(size)})]
        )

    worker = processes.run(made, [*COMMAND, str(path)])
    grown(made, worker, 500)
    limit(100_000)
    assert worker.exit_code() == 1, worker.said()
    assert "sending to raw failed" in worker.said()
    assert ends(made) < 12_000
    limit(clients.MAX_REQUEST_BYTES)
    topics_again(made)
    Ingester(made).run([])
    assert Raw(made).of(path) == {n: row["text"] for n, row in enumerate(rows)}


def topics_again(settings: Settings) -> None:
    """alter_configs replaces all of a topic's settings: put the others back."""
    admin = clients.admin(settings)
    config = {**topics._LANE_CONFIG, "min.insync.replicas": "1"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "raw", config)])
    admin.close()


def test_a_broker_that_is_killed_and_comes_back(
    fresh_broker: Broker, settings: Make, tmp_path: Path, processes: Workers
) -> None:
    it = settings(fresh_broker, pipeline={"lanes": 4}, ingest={"inflight_bytes": 1 << 20})
    generations.create(it)
    files = [lines(tmp_path / f"{name}.jsonl", 8_000) for name in "ab"]
    worker = processes.run(it, [*COMMAND, *map(str, files)])
    grown(it, worker, 2000)
    fresh_broker.kill()
    fresh_broker.start()
    assert worker.exit_code(120) in {0, 4}, worker.said()
    Ingester(it).run([str(path) for path in files])
    raw = Raw(it)
    for path in files:
        assert raw.of(path) == expected(path)
    assert raw.repeated == 0
