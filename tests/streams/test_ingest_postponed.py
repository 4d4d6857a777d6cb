"""A store that goes down: its sources are continued later, each document once, and the others go on."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kit.raw_log import Raw, expected, lines

from streams import generations
from streams.broker import Broker
from streams.errors import SourceUnavailable
from streams.ingest import stored
from streams.ingest.backoff import Backoff
from streams.ingest.booking import read_bookings
from streams.ingest.follow import follow
from streams.ingest.ingester import Ingester
from streams.ingest.watch import Watch
from streams.settings import Settings

Make = Callable[..., Settings]


class Store:
    """Files behind HTTP, by ranges; goes down after some requests, or says that it has nothing."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests_left = 10**9
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                data = store.files.get(self.path)
                if body:
                    store.requests_left -= 1
                if store.requests_left < 0 or data is None:
                    self.send_response(404 if store.requests_left >= 0 else 503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                piece = data
                if asked := self.headers.get("Range"):
                    first, _, last = asked.removeprefix("bytes=").partition("-")
                    piece = data[int(first) : int(last) + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                else:
                    self.send_response(200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", f'"{hash(data)}"')
                self.send_header("Content-Length", str(len(piece)))
                self.end_headers()
                if body:
                    self.wfile.write(piece)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def put(self, path: Path) -> str:
        self.files[f"/{path.name}"] = path.read_bytes()
        return self.url(path.name)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store; small blocks, and no pause between tries."""
    options = stored.RemoteFile.__init__.__kwdefaults__
    monkeypatch.setitem(options, "block_bytes", 100_000)
    monkeypatch.setitem(options, "pause_seconds", 0.01)
    it = Store()
    yield it
    it.close()


@pytest.fixture
def made(clean_broker: Broker, settings: Make) -> Settings:
    """Settings of a new pipeline with 4 lanes."""
    it = settings(
        clean_broker,
        pipeline={"lanes": 4},
        ingest={
            "inflight_bytes": 1 << 20,
            "quiet_seconds": 0.2,
            "follow_seconds": 0.1,
            "remote_seconds": 0.3,
        },
    )
    generations.create(it)
    return it


def of_url(settings: Settings, url: str) -> tuple[dict[int, str], set[int], int]:
    """The texts of a source by record index, under how many numbers they came, and how many came twice."""
    found: dict[int, str] = {}
    numbers, twice = set(), 0
    for lane in Raw(settings).lanes:
        for origin, _, value in lane:
            if value.source == url:
                twice += origin.record in found
                found[origin.record] = value.payload.decode()
                numbers.add(origin.source)
    return found, numbers, twice


def test_what_was_begun_is_continued_and_the_others_do_not_wait(
    made: Settings, store: Store, tmp_path: Path
) -> None:
    path, other = lines(tmp_path / "a.jsonl", 6000), lines(tmp_path / "b.jsonl", 50)
    url = store.put(path)
    store.requests_left = 5
    first, second = Ingester(made).run([url, str(other)])
    assert (first.outcome, second.outcome) == ("postponed", "done")
    assert 0 < first.sent < 6000
    assert "cannot be read now" in first.reason
    (booking,) = [one.booking for one in read_bookings(made).values() if one.booking.url == url]
    assert (booking.outcome, booking.resume_at) == ("postponed", first.records)

    (still_down,) = Ingester(made).run([])
    assert (still_down.outcome, still_down.sent) == ("postponed", 0)
    store.requests_left = 5  # up, and down again
    (further,) = Ingester(made).run([])
    assert further.outcome == "postponed"
    store.requests_left = 10**9
    (last,) = Ingester(made).run([])
    assert (last.outcome, last.documents) == ("done", 6000)
    assert first.sent + further.sent + last.sent == 6000
    assert [report.outcome for report in Ingester(made).run([url])] == ["known"]
    texts, numbers, twice = of_url(made, url)
    assert texts == expected(path)
    assert (len(numbers), twice) == (2 + (further.sent > 0), 0)
    raw = Raw(made)
    assert raw.repeated == 0
    assert raw.of(other) == expected(other)
    (booking,) = [one.booking for one in read_bookings(made).values() if one.booking.url == url]
    assert booking.counts["documents"] == 6000


def test_a_source_that_another_process_began_is_waited_for(
    made: Settings, store: Store, tmp_path: Path, until: Any
) -> None:
    """A zombie may still send of it under its number: a new one would let its records in twice."""
    url = store.put(lines(tmp_path / "a.jsonl", 6000))
    numbers = count()
    (stopped,) = Ingester(made, stopping=lambda: next(numbers) > 500).run([url])
    assert stopped.outcome == "stopped"
    store.requests_left = 0
    other = lines(tmp_path / "b.jsonl", 50)
    with pytest.raises(SourceUnavailable, match="nothing else can be sent before it"):
        Ingester(made).run([str(other)])
    end, told, said = threading.Event(), [], []
    ingester = Ingester(made, told=told.append, say=said.append, stopping=end.is_set)
    thread = threading.Thread(target=follow, args=(ingester, Watch([str(other)], made.ingest)))
    thread.start()
    until(lambda: said)
    assert "nothing else can be sent" in said[0]
    assert not told
    store.requests_left = 10**9
    until(lambda: len(told) == 2)
    end.set()
    thread.join()
    assert [report.outcome for report in told] == ["done", "done"]
    texts, sequences, twice = of_url(made, url)
    assert (len(texts), len(sequences), twice) == (6000, 1, 0)


def test_following_outlives_a_store_that_is_down(
    made: Settings, store: Store, tmp_path: Path, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.ingest.backoff.FIRST_SECONDS", 0.5)
    folder = tmp_path / "in"
    folder.mkdir()
    path = lines(tmp_path / "a.jsonl", 3000)
    url, missing = store.put(path), store.url("later.jsonl")
    store.requests_left = 3
    end, told = threading.Event(), []
    watch = Watch([url, missing, str(folder), "s3://"], made.ingest)
    ingester = Ingester(made, told=told.append, stopping=end.is_set)
    thread = threading.Thread(target=follow, args=(ingester, watch))
    thread.start()

    def done() -> Counter[str]:
        return Counter(report.url for report in told if report.outcome == "done")

    until(lambda: any(report.outcome == "postponed" for report in told))
    local = lines(folder / "b.jsonl", 40)
    until(lambda: done()[str(local)], what="a local file goes on")
    assert not done()[url]
    store.requests_left = 10**9
    until(lambda: done()[url], what="the store is back")
    later = lines(tmp_path / "later.jsonl", 30)
    store.put(later)
    until(lambda: done()[missing], 60, what="an object that appears")
    end.set()
    thread.join()
    texts, _, twice = of_url(made, url)
    assert (texts, twice) == (expected(path), 0)
    assert of_url(made, missing)[0] == expected(later)


def test_pauses_double_for_a_whole_store_and_end_with_success() -> None:
    backoff = Backoff()
    now, pauses = 0.0, []
    for n in range(9):
        backoff.failed(f"s3://bucket/{n}", now)
        assert not backoff.due("s3://bucket/other", now)
        assert backoff.due("s3://second/other", now)
        began = now
        while not backoff.due("s3://bucket/other", now):
            now += 1
        pauses.append(now - began)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    backoff.failed("s3://bucket/x", now)
    backoff.worked("s3://bucket/y")
    assert backoff.due("s3://bucket/x", now)
