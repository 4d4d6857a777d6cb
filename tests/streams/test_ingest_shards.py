"""Several ingesters: each document once, each lane one writer, and a number that changes only in order."""

import json
import random
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from kit.processes import Workers, wait_for
from kit.raw_log import COMMAND, Raw, ends, expected, grown, lines

from streams import books, generations
from streams.broker import Broker
from streams.errors import Fenced, SettingsError, ShardMismatch
from streams.ingest.booking import ingester_key, read_bookings
from streams.ingest.ingester import Ingester
from streams.ingest.inputs import expand
from streams.ingest.shard import ALONE, Shard, parse_shard
from streams.ingest.shards import join, transactional_id
from streams.ingest.source_book import SourceBook
from streams.settings import Settings

Make = Callable[..., Settings]
HALVES = (Shard(0, 2), Shard(1, 2))


@pytest.fixture
def made(clean_broker: Broker, settings: Make) -> Settings:
    """Settings of a new pipeline with 4 lanes."""
    it = settings(
        clean_broker,
        pipeline={"lanes": 4},
        ingest={"inflight_bytes": 1 << 20, "quiet_seconds": 0.2, "follow_seconds": 0.1},
    )
    generations.create(it)
    return it


def stopped_after(n: int) -> Callable[[], bool]:
    numbers = count(1)
    return lambda: next(numbers) > n


def check(settings: Settings, files: list[Path]) -> Raw:
    """Each document of each file once, and each lane written only by who owns it."""
    raw = Raw(settings)
    for path in files:
        assert raw.of(path) == expected(path)
    booked = {one.sequence: one.booking for one in read_bookings(settings).values()}
    for lane, kept in enumerate(raw.lanes):
        for origin, _, _ in kept:
            booking = booked[origin.source]
            assert lane % booking.ingesters == booking.shard
    return raw


def test_names_of_shards() -> None:
    assert parse_shard("0/1") == ALONE
    assert parse_shard("3/8") == Shard(3, 8)
    for text in ("", "1", "2/2", "a/b", "-1/2", "1/0", "0/5000", "1/2/3"):
        with pytest.raises(SettingsError, match="--shard wants i/n"):
            parse_shard(text)
    with pytest.raises(SettingsError, match="5 ingesters cannot share 4 lanes"):
        Shard(0, 5).lanes(4)
    names = [f"/crawl/{n}.warc.gz" for n in range(900)]
    owned = [sum(Shard(i, 3).owns(name) for name in names) for i in range(3)]
    assert sum(owned) == 900
    assert min(owned) > 240
    assert sorted(lane for i in range(3) for lane in Shard(i, 3).lanes(8)) == list(range(8))


def test_two_at_once_over_the_same_folder(made: Settings, tmp_path: Path, processes: Workers) -> None:
    """Both begin where one alone had worked before: the first changes the number, the second waits for it."""
    folder = tmp_path / "in"
    folder.mkdir()
    files = [lines(folder / "0.jsonl", 300)]
    Ingester(made).run(expand([str(folder)]))
    files += [lines(folder / f"{n}.jsonl", 700) for n in range(1, 12)]
    for n in range(40):
        (folder / f"{n}.txt").write_text(f"text {n}")
    both = [
        processes.run(made, [*COMMAND, str(folder), "--shard", f"{i}/2", "--format", "json"]) for i in (1, 0)
    ]
    answers = []
    for worker in both:
        assert worker.exit_code() == 0, worker.said()
        answers.append(json.loads(worker.said()[worker.said().index("{") :]))
    assert "waits until ingester 0/2" in both[0].said()
    assert sum(answer["sent"] for answer in answers) == 11 * 700 + 40
    assert min(answer["sent"] for answer in answers) > 0
    raw = check(made, files)
    assert (raw.records, raw.repeated) == (300 + 11 * 700 + 40, 0)


def test_kills_and_other_numbers(made: Settings, tmp_path: Path, processes: Workers) -> None:
    """1, then 2 with kills, then 1 again, over a folder that grows between."""
    folder = tmp_path / "in"
    folder.mkdir()
    rnd = random.Random(7)
    files = [lines(folder / "a.jsonl", 400)]
    Ingester(made).run(expand([str(folder)]))
    files += [lines(folder / f"b{n}.jsonl", 3000, times=200) for n in range(5)]
    killed = 0
    for _ in range(3):
        both = [processes.run(made, [*COMMAND, str(folder), "--shard", str(shard)]) for shard in HALVES]
        grown(made, both[0], ends(made) + rnd.randrange(500, 2500))
        for worker in both:
            killed += worker.alive
            worker.kill()
    assert killed >= 4
    with pytest.raises(ShardMismatch, match=r"is open: it was begun by ingester ./2.*--shard ./2` without"):
        Ingester(made).run([])
    both = [processes.run(made, [*COMMAND, str(folder), "--shard", str(shard)]) for shard in HALVES]
    for worker in both:
        assert worker.exit_code() == 0, worker.said()
    files.append(lines(folder / "c.jsonl", 500))
    Ingester(made).run(expand([str(folder)]))
    raw = check(made, files)
    assert raw.records - raw.repeated == 400 + 5 * 3000 + 500
    (booking,) = raw.booked[str(files[-1])]
    assert (booking.ingesters, booking.shard) == (1, 0)


def test_an_open_source_keeps_the_number_and_harms_nobody(
    made: Settings, tmp_path: Path, processes: Workers
) -> None:
    path = lines(tmp_path / "a.jsonl", 24_000)
    alone = processes.run(made, [*COMMAND, str(path)])
    grown(made, alone, 500)
    alone.send(signal.SIGSTOP)
    for shard in HALVES:
        with pytest.raises(ShardMismatch, match=r"begun by ingester 0/1, and this is ingester ./2"):
            Ingester(made, shard=shard).run([])
    alone.send(signal.SIGCONT)
    assert alone.exit_code() == 0, "it was fenced by who was refused: " + alone.said()
    check(made, [path])


def test_a_zombie_of_the_old_number_can_neither_book_nor_finish(
    made: Settings, tmp_path: Path, processes: Workers
) -> None:
    began, new = lines(tmp_path / "a.jsonl", 24_000), tmp_path / "in" / "b.jsonl"
    new.parent.mkdir()
    reader = processes.run(made, [*COMMAND, str(began)])
    grown(made, reader, 500)
    reader.send(signal.SIGSTOP)
    Ingester(made).run([])  # its successor finishes what it had begun
    follower = processes.run(made, [*COMMAND, "--follow", str(new.parent)])
    wait_for(lambda: "finestream_ingest_waiting_files" in follower.metrics(), follower)
    other = lines(new.parent / "first.jsonl", 20)
    wait_for(lambda: any(b.booking.url == str(other) for b in read_bookings(made).values()), follower)
    wait_for(lambda: follower.metrics()["finestream_ingest_sources_total done"] == 1, follower)
    follower.send(signal.SIGSTOP)
    lines(new, 300)
    for shard in HALVES:  # nothing is open: the number may change
        Ingester(made, shard=shard).run([str(new)])
    for zombie in (reader, follower):
        zombie.send(signal.SIGCONT)
    lines(new.parent / "c.jsonl", 300)
    for zombie in (reader, follower):
        assert zombie.exit_code() == 3, zombie.said()
        assert "another process has taken over 'ingest.main.0'" in zombie.said()
    raw = check(made, [began, other, new])
    assert str(new.parent / "c.jsonl") not in raw.booked


def test_a_change_that_was_interrupted_lets_nobody_work_until_it_is_done(made: Settings) -> None:
    book = SourceBook(made)
    book.catch_up()
    with books.BookWriter(made, transactional_id(ingester=0)) as writer:
        book.bind(writer, 0, 2)  # and here it was killed: id 1 was told nothing
    for shard in (*HALVES, ALONE):
        seen = SourceBook(made, shard)
        seen.catch_up()
        assert not seen.agrees(shard.count)
        assert seen.ingesters == 0
    second = SourceBook(made, HALVES[1])
    assert join(made, second, HALVES[1], stopping=lambda: True) is None
    first = SourceBook(made, HALVES[0])
    writer = join(made, first, HALVES[0])
    assert writer is not None
    writer.close()
    assert first.ingesters == 2
    writer = join(made, second, HALVES[1])
    assert writer is not None
    writer.close()


def test_who_takes_an_id_back_while_the_number_changes_stops_the_change(
    made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the old number starts between the fence and the new number: never both at work."""
    held: list[books.BookWriter] = []
    book, plain = SourceBook(made, HALVES[0]), SourceBook.bind

    def bind(self: SourceBook, writer: books.BookWriter, number: int, n: int) -> None:
        if not held:
            old = SourceBook(made)
            taken = join(made, old, ALONE)  # reads that one alone is at work, and is right
            assert taken is not None
            held.append(taken)
            with pytest.raises(Fenced):
                plain(self, writer, number, n)
            raise Fenced("as the line above")
        plain(self, writer, number, n)

    monkeypatch.setattr(SourceBook, "bind", bind)
    writer = join(made, book, HALVES[0])  # tries again, and takes the id for good
    assert writer is not None
    with pytest.raises(Fenced):
        held[0].append("sources", [(ingester_key(0), b"\x01")])
    fresh = SourceBook(made, HALVES[1])
    fresh.catch_up()
    assert fresh.ingesters == 2
    for one in (writer, *held):
        one.close()


def test_a_number_that_changed_before_the_id_was_taken_is_seen(
    made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read that one works alone, and slept; when it takes its id, two are at work."""
    plain, others = SourceBook.agrees, list[books.BookWriter]()

    def agrees(self: SourceBook, number: int) -> bool:
        found = plain(self, number)
        if self is slow and not others:
            assert found
            writer = join(made, SourceBook(made, HALVES[0]), HALVES[0])
            assert writer is not None
            others.append(writer)
        return found

    slow = SourceBook(made)
    monkeypatch.setattr(SourceBook, "agrees", agrees)
    writer = join(made, slow, ALONE)
    assert writer is not None
    fresh = SourceBook(made)
    fresh.catch_up()
    assert fresh.ingesters == 1, "it works alone while the book says two"
    with pytest.raises(Fenced):
        others[0].append("sources", [(ingester_key(0), b"\x02")])
    for one in (writer, *others):
        one.close()


def test_a_shard_that_waits_for_the_first_is_patient_and_says_so(
    made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.ingest.shards.PATIENCE_SECONDS", 0.5)
    said: list[str] = []
    began = time.monotonic()
    with pytest.raises(ShardMismatch, match=r"ingester 1/2 waited .* for ingester 0/2.*\(now 1\); start it"):
        Ingester(made, shard=HALVES[1], say=said.append).run([])
    assert time.monotonic() - began < 10
    assert said == ["ingester 1/2 waits until ingester 0/2 has changed the number of ingesters"]
