"""Following folders: each source once, as soon as it is whole, whatever writers, renames and kills do."""

import gzip
import json
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.crawl_files import page, response
from kit.processes import Workers, wait_for
from kit.raw_log import COMMAND, Raw, ends, expected, grown, lines

from streams import generations
from streams.broker import Broker
from streams.ingest import standing, summary
from streams.ingest.booking import DONE, Booked, Booking, booking_key, new_booking, read_bookings
from streams.ingest.follow import follow
from streams.ingest.ingester import Ingester
from streams.ingest.inputs import Input, expand
from streams.ingest.progress import Progress
from streams.ingest.report import SourceReport
from streams.ingest.source import Kind, Source
from streams.ingest.source_book import SourceBook
from streams.ingest.stored import Identity
from streams.ingest.watch import Watch
from streams.settings import Settings

Make = Callable[..., Settings]
QUICK = {"inflight_bytes": 1 << 20, "quiet_seconds": 0.2, "follow_seconds": 0.1}


@pytest.fixture
def made(clean_broker: Broker, settings: Make) -> Settings:
    """Settings of a new pipeline with 4 lanes, for followers that wait only a moment."""
    it = settings(clean_broker, pipeline={"lanes": 4}, ingest=QUICK)
    generations.create(it)
    return it


def booked(settings: Settings, path: Path) -> list[Booking]:
    return [one.booking for one in read_bookings(settings).values() if one.booking.url == str(path)]


def outcomes(settings: Settings, path: Path) -> list[str]:
    return sorted(booking.outcome for booking in booked(settings, path))


def place(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file elsewhere and rename it into place."""
    hidden = path.with_name(f".{path.name}")
    write(hidden)
    hidden.rename(path)


def test_a_folder_as_writers_leave_it(
    clean_broker: Broker, settings: Make, tmp_path: Path, processes: Workers
) -> None:
    """With the settings that users have; the folder does not exist when following begins."""
    it = settings(clean_broker, pipeline={"lanes": 4})
    generations.create(it)
    folder = tmp_path / "crawl"
    worker = processes.run(it, [*COMMAND, "--follow", str(folder), "--format", "json"])
    folder.mkdir()
    began = time.monotonic()

    slow = folder / "slow.warc.gz"
    pages = [gzip.compress(response(page(n, 5000), f"http://a.b/{n}")) for n in range(6)]

    def write_slowly() -> None:
        with slow.open("wb", buffering=0) as file:
            file.write(pages[0] + pages[1] + pages[2][:400])
            time.sleep(8)  # longer than a file must be quiet
            file.write(pages[2][400:])
            file.write(b"".join(pages[3:]))

    writer = threading.Thread(target=write_slowly)
    writer.start()
    good = lines(folder / "good.jsonl", 30)
    moved = folder / "moved.jsonl"
    place(moved, lambda path: lines(path, 30))
    bad = folder / "table.csv"
    bad.write_text("a,b\n1,2\n")
    broken = folder / "broken.warc.gz"
    broken.write_bytes(b"".join(pages)[:-40])
    part = folder / "later.jsonl.part"
    lines(part, 30)
    (folder / "deep").mkdir()
    for n in range(5):
        (folder / "deep" / f"{n}.html").write_bytes(page(100 + n, 2000))

    for path in (good, moved, bad):
        wait_for(lambda path=path: booked(it, path), worker, 30, f"{path} is booked")
    wait_for(lambda: outcomes(it, folder / "deep") == ["done"], worker, 30, "the documents are there")
    assert time.monotonic() - began < 20
    wait_for(lambda: outcomes(it, good) == ["done"] == outcomes(it, moved), worker)
    assert outcomes(it, bad) == ["refused"]
    (stands,) = wait_for(lambda: list(standing.read_all(it.data_dir)), worker)
    waiting = {Path(row["source"]).name: row["why"] for row in stands["waiting_for"]}
    assert waiting["later.jsonl.part"] == "its name ends in .part"
    assert waiting["broken.warc.gz"] == "its last gzip member is not closed"
    assert worker.metrics()["finestream_ingest_waiting_files"] >= 2

    part.rename(folder / "later.jsonl")
    writer.join()
    wait_for(lambda: outcomes(it, slow), worker, 30, "the slow file is whole")
    wait_for(lambda: outcomes(it, folder / "later.jsonl") == ["done"], worker, 30)
    assert [b.counts["documents"] for b in booked(it, slow)] == [6]
    assert outcomes(it, slow) == ["done"]
    assert worker.metrics()["finestream_ingest_sources_total done"] == 5
    assert not booked(it, broken)
    assert worker.stop() == 0, worker.said()
    assert list(standing.read_all(it.data_dir)) == []

    raw = Raw(it)
    for path in (good, moved, folder / "later.jsonl"):
        assert raw.of(path) == expected(path)
    assert raw.repeated == 0
    assert raw.records == 30 * 3 + 6 + 5
    told = [json.loads(line) for line in worker.said().splitlines() if line.startswith("{")]
    assert sorted(one["outcome"] for one in told) == ["done"] * 5 + ["refused"]
    found = summary.take(it, 3)
    assert found["outcomes"] == {"done": 5, "refused": 1}
    assert [row["source"] for row in found["refused"]] == [str(bad)]
    assert len(found["last"]) == 3


class Once(Progress):
    """Does something once, when the first record of a source has been read."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self._what, self._done = what, False

    def at(self, position: int, documents: int) -> None:
        if not self._done:
            self._done = True
            self._what()


@contextmanager
def following(
    settings: Settings, watch: Watch, progress: Progress | None = None
) -> Iterator[list[SourceReport]]:
    """Follow in a thread. Yields what became of each source, as it does."""
    end, told, failed = threading.Event(), [], []
    ingester = Ingester(settings, told=told.append, stopping=end.is_set, progress=progress)

    def run() -> None:
        try:
            follow(ingester, watch)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        end.set()
        thread.join(30)
    assert not failed
    assert not thread.is_alive()


def test_replacement_while_it_is_read_and_after(made: Settings, tmp_path: Path, until: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = lines(folder / "a.jsonl", 12_000)  # more than is read at once
    first = expected(path)
    replace = Once(lambda: place(path, lambda it: lines(it, 250, first=100)))
    with following(made, Watch([str(folder)], made.ingest), replace) as told:
        until(lambda: len(told) == 2, what="both states are read")
        place(path, lambda it: lines(it, 500, first=300))
        until(lambda: len(told) == 3, what="the third state is read")
    assert [report.outcome for report in told] == ["done"] * 3
    assert [report.documents for report in told] == [12_000, 150, 200]
    assert [report.replaces for report in told] == [0, told[0].sequence, told[1].sequence]
    raw = Raw(made)
    sent = [
        {o.record: value.payload.decode() for lane in raw.lanes for o, _, value in lane if o.source == n}
        for n in (report.sequence for report in told)
    ]
    assert sent[0] == first
    assert sent[2] == expected(path)


def test_growth_while_it_is_read_is_a_change_and_then_a_new_source(
    made: Settings, tmp_path: Path, until: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path, other = lines(folder / "a.jsonl", 12_000), lines(folder / "b.jsonl", 20)

    def grow() -> None:
        with path.open("a") as file:
            file.write(json.dumps({"url": "http://a.b/new", "text": "new"}) + "\n")

    with following(made, Watch([str(folder)], made.ingest), Once(grow)) as told:
        until(lambda: len(told) == 3)
    mine = [report for report in told if report.url == str(path)]
    assert [report.outcome for report in mine] == ["changed", "done"]
    assert (mine[1].documents, mine[1].replaces) == (12_001, mine[0].sequence)
    assert Raw(made).of(other) == expected(other)


class Vanishing(Watch):
    """Deletes a file between listing and opening."""

    victim: Path

    def still(self, one: Input) -> Input | None:
        found = super().still(one)
        if one == str(self.victim):
            self.victim.unlink()
        return found


def test_deletion_between_listing_and_opening(made: Settings, tmp_path: Path, until: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    watch = Vanishing([str(folder)], made.ingest)
    watch.victim, other = lines(folder / "a.jsonl", 20), lines(folder / "b.jsonl", 20)
    with following(made, watch) as told:
        until(lambda: len(told) == 2)
        assert [(report.url, report.outcome) for report in told] == [
            (str(watch.victim), "vanished"),
            (str(other), "done"),
        ]
        assert not booked(made, watch.victim)
        lines(watch.victim, 30)
        Vanishing.still = Watch.still  # type: ignore[method-assign]
        until(lambda: len(told) == 3)
    assert Raw(made).of(watch.victim) == expected(watch.victim)


def test_a_file_that_stays_broken_is_read_after_a_long_silence(
    made: Settings, tmp_path: Path, until: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.warc.gz"
    pages = b"".join(gzip.compress(response(page(n, 2000), f"http://a.b/{n}")) for n in range(3))
    path.write_bytes(pages[:-20])
    short = made.model_copy(update={"ingest": made.ingest.model_copy(update={"incomplete_seconds": 1.5})})
    watch = Watch([str(folder)], short.ingest)
    with following(short, watch) as told:
        until(lambda: [row["why"] for row in watch.why_waiting(9)] == ["its last gzip member is not closed"])
        until(lambda: told)
    assert [(report.outcome, report.documents) for report in told] == [("damaged", 2)]
    assert watch.waiting == 0


def test_documents_are_bundled_look_by_look_and_never_booked_again(
    made: Settings, tmp_path: Path, until: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def put(first: int, last: int) -> None:
        for n in range(first, last):
            place(folder / f"{n:03}.txt", lambda path, n=n: path.write_text(f"text {n}"))

    put(0, 30)
    with following(made, Watch([str(folder)], made.ingest)) as told:
        until(lambda: sum(report.documents for report in told) == 30)
        put(30, 50)
        until(lambda: sum(report.documents for report in told) == 50)
        (folder / "007.txt").write_text("another text")
        until(lambda: sum(report.documents for report in told) == 51)
    assert {report.outcome for report in told} == {"done"}
    with following(made, Watch([str(folder)], made.ingest)) as again:
        until(lambda: True)
    reports = Ingester(made).run(expand([str(folder)]))
    assert [(report.outcome, report.documents) for report in [*again, *reports]] == [("known", 0)]
    put(50, 52)
    (report,) = Ingester(made).run(expand([str(folder)]))
    assert (report.outcome, report.documents) == ("done", 2)
    texts = [value.payload.decode() for lane in Raw(made).lanes for _, _, value in lane]
    assert sorted(texts) == sorted([*(f"text {n}" for n in range(52)), "another text"])


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_kill_9_while_following(
    made: Settings, tmp_path: Path, processes: Workers, kills: int, until: Any
) -> None:
    """Files go on appearing, by rename and written in place; the follower is killed at random instants."""
    folder = tmp_path / "in"
    folder.mkdir()
    rnd, end = random.Random(3), threading.Event()
    files: list[Path] = []

    def write() -> None:
        while not end.is_set() and len(files) < 40 * kills:
            path = folder / f"{len(files):04}.jsonl"
            if len(files) % 2:
                place(path, lambda it: lines(it, 400))
            else:
                lines(path, 400)
            files.append(path)
            time.sleep(0.2)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(kills):
            worker = processes.run(made, [*COMMAND, "--follow", str(folder)])
            if turn % 3 == 2:
                time.sleep(rnd.uniform(0.3, 1.2))
            else:
                grown(made, worker, ends(made) + rnd.randrange(1, 700))
            assert worker.alive, worker.said()
            worker.kill()
    finally:
        end.set()
        writer.join()
    worker = processes.run(made, [*COMMAND, "--follow", str(folder)])
    wait_for(lambda: all_done(made, files), worker, 90, "everything is through")
    assert worker.stop() == 0, worker.said()
    raw = Raw(made)
    for path in files:
        assert [booking.outcome for booking in raw.booked[str(path)]] == ["done"]
        assert sorted(raw.of(path)) == list(range(400))
    assert raw.records - raw.repeated == 400 * len(files)


def all_done(settings: Settings, files: list[Path]) -> bool:
    found = {one.booking.url: one.booking.outcome for one in read_bookings(settings).values()}
    return all(found.get(str(path)) == "done" for path in files)


def test_a_million_known_files_fit(clean_broker: Broker, settings: Make, tmp_path: Path) -> None:
    """Some 250 bytes for each, by the interpreter's own account."""
    book = SourceBook(settings(clean_broker))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(20_000):
        source = Source(f"/crawl/segment/{n:09}.warc.gz", Identity(n, n), Kind.WARC)
        booking = msgspec.structs.replace(new_booking(source), state=DONE, outcome=DONE)
        book._note(booking_key(source), Booked(n + 1, booking))
    each = (tracemalloc.get_traced_memory()[0] - before) / 20_000
    tracemalloc.stop()
    assert book.known == 20_000
    assert each < 350, f"{each:.0f} bytes a file"
