"""Looking at folders, path lists and stores without a broker: what is new, what is whole, what must wait."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from kit.raw_log import lines

from streams.ingest import watch as watching
from streams.ingest.booking import DONE, Booked, booking_key, new_booking
from streams.ingest.inputs import Input
from streams.ingest.report import SourceReport
from streams.ingest.shard import ALONE, Shard
from streams.ingest.source import Source, inspect
from streams.ingest.source_book import SourceBook
from streams.ingest.watch import Watch
from streams.settings import IngestSettings, Settings

QUICK = IngestSettings(quiet_seconds=0.2, follow_seconds=0.01, remote_seconds=0.01, incomplete_seconds=60)
OLD = 3600


@pytest.fixture
def book(settings: Callable[..., Settings]) -> SourceBook:
    """A book that was never written to; needs no broker."""
    return SourceBook(settings(kafka={"bootstrap_servers": "127.0.0.1:1"}))


def old(path: Path, seconds: float = OLD) -> Path:
    """A file that was written long ago."""
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def names(found: list[Input]) -> list[str]:
    return [one if isinstance(one, str) else one.location for one in found]


def know(book: SourceBook, one: Input, watch: Watch) -> None:
    """As if it had been ingested."""
    source = inspect(one) if isinstance(one, str) else one
    book._note(booking_key(source), Booked(book.known + 1, new_booking(source)))
    watch.became(one, SourceReport(source.name, 1, DONE, sequence=1))


def test_a_file_must_be_quiet_and_old_ones_have_been(book: SourceBook, tmp_path: Path, until: Any) -> None:
    fresh, stale = lines(tmp_path / "a.jsonl", 2), old(lines(tmp_path / "b.jsonl", 2))
    watch = Watch([str(tmp_path)], QUICK)
    assert names(watch.ready(book)) == [str(stale)]
    assert [row["why"] for row in watch.why_waiting(9)] == ["it was written to in the last 0.2 s"]
    assert watch.due < time.monotonic() + 0.3
    know(book, str(stale), watch)
    until(lambda: names(watch.ready(book)) == [str(fresh)])
    lines(fresh, 3)  # before it was its turn
    assert watch.still(str(fresh)) is None
    assert watch.ready(book) == []
    until(lambda: names(watch.ready(book)) == [str(fresh)])
    assert watch.still(str(fresh)) == str(fresh)
    know(book, str(fresh), watch)
    time.sleep(0.02)
    assert watch.ready(book) == []
    assert (watch.waiting, watch.lag_seconds) == (0, 0.0)


def test_names_and_rights_that_say_wait(
    book: SourceBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jsonl.part", "b.jsonl", ".hidden.jsonl", "_also.jsonl"):
        old(lines(tmp_path / name, 2))
    (tmp_path / "empty.jsonl").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    may_not_read = [str(tmp_path / "b.jsonl")]
    monkeypatch.setattr(watching.os, "access", lambda path, _: path not in may_not_read)
    watch = Watch([str(tmp_path)], QUICK)
    watch.ready(book)
    time.sleep(0.25)
    assert watch.ready(book) == []
    assert {Path(row["source"]).name: row["why"] for row in watch.why_waiting(9)} == {
        "a.jsonl.part": "its name ends in .part",
        "b.jsonl": "it may not be read: permission denied",
        "empty.jsonl": "it is empty",
    }
    assert watch.waiting == 3
    may_not_read.clear()
    assert names(watch.ready(book)) == [str(tmp_path / "b.jsonl")]


def test_documents_come_in_bundles_of_what_is_still_there(book: SourceBook, tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text("x" * (n + 1))
        old(tmp_path / f"{n}.txt")
    watch = Watch([str(tmp_path)], QUICK)
    (one,) = watch.ready(book)
    assert isinstance(one, Source)
    assert len(one.entries) == 4
    (tmp_path / "1.txt").unlink()
    (tmp_path / "2.txt").write_text("another")
    kept = watch.still(one)
    assert isinstance(kept, Source)
    assert [entry.name for entry in kept.entries] == [b"0.txt", b"3.txt"]
    know(book, kept, watch)
    (again,) = watch.ready(book) or [None]
    assert again is None


def test_shards_share_files_and_path_lists(book: SourceBook, tmp_path: Path) -> None:
    for n in range(12):
        old(lines(tmp_path / f"{n}.jsonl", 1))
    (tmp_path / "some.paths").write_text("".join(f"{n}.jsonl\n" for n in range(6)) + "missing.jsonl\n")
    old(tmp_path / "some.paths")
    whole = names(Watch([str(tmp_path / "some.paths")], QUICK).ready(book))
    assert whole == sorted(str(tmp_path / f"{n}.jsonl") for n in range(6))
    shares = [names(Watch([str(tmp_path)], QUICK, Shard(i, 3)).ready(book)) for i in range(3)]
    assert all(shares)
    assert sorted(name for share in shares for name in share) == sorted(
        str(tmp_path / f"{n}.jsonl") for n in range(12)
    )


def test_a_crowd_is_taken_in_turns(book: SourceBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_CANDIDATES", 5)
    for n in range(12):
        old(lines(tmp_path / f"{n:02}.jsonl", 1))
    watch, seen = Watch([str(tmp_path)], QUICK, ALONE), []
    for _ in range(3):
        found = watch.ready(book)
        assert len(found) <= 5
        seen += names(found)
        for one in found:
            know(book, one, watch)
        time.sleep(0.02)
    assert seen == [str(tmp_path / f"{n:02}.jsonl") for n in range(12)]


def test_objects_are_whole_when_listed(book: SourceBook, until: Any) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/a.jsonl", b'{"text": "a"}\n')
    try:
        watch = Watch(["memory://bucket/", "memory://elsewhere/*.jsonl", "nosuch://x/"], QUICK)
        found = until(lambda: watch.ready(book))
        assert names(found) == ["memory:///bucket/a.jsonl"]
        watch.became(found[0], SourceReport("x", 1, DONE, sequence=1))
        store.pipe("/bucket/b.jsonl", b'{"text": "b"}\n')
        found = until(lambda: watch.ready(book))
        assert names(found) == ["memory:///bucket/b.jsonl"]
        watch.became(found[0], SourceReport("x", 1, "postponed", "the store is down"))
        assert watch.ready(book) == []
        assert [row["why"] for row in watch.why_waiting(9)] == ["the store is down"]
        until(lambda: "nosuch://x/" in watch.problems())
    finally:
        store.rm("/bucket", recursive=True)
