"""The ingester over a real Kafka: `raw` filtered by origin is exactly the files, and the book says so."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.crawl_files import page, response, write_warc
from kit.raw_log import Raw, ends, expected, lines
from prometheus_client import CollectorRegistry

from monitoring.metrics import IngestMetrics
from streams import books, clients, generations, topics
from streams.broker import Broker
from streams.errors import Fenced, LaneRecreated, LaneTrimmed, SourceError
from streams.ingest.booking import Booking, booking_key, new_booking
from streams.ingest.ingester import Ingester
from streams.ingest.items import READER_VERSION
from streams.ingest.preview import preview
from streams.ingest.raw_tails import read_tails
from streams.ingest.shards import transactional_id
from streams.ingest.source import inspect
from streams.ingest.source_book import SourceBook
from streams.positions import unpack_origin
from streams.settings import Settings, to_environment

Make = Callable[..., Settings]


@pytest.fixture
def made(clean_broker: Broker, settings: Make) -> Settings:
    """Settings of a new pipeline with 4 lanes."""
    it = settings(clean_broker, pipeline={"lanes": 4}, ingest={"inflight_bytes": 1 << 20})
    generations.create(it)
    return it


def test_every_record_arrives_once_in_the_lane_of_its_address(made: Settings, tmp_path: Path) -> None:
    files = [lines(tmp_path / "a.jsonl", 700), lines(tmp_path / "b.jsonl", 300)]
    reports = Ingester(made).run([str(path) for path in files])
    assert [(r.outcome, r.documents, r.sent, r.found) for r in reports] == [
        ("done", 700, 700, 0),
        ("done", 300, 300, 0),
    ]
    raw = Raw(made)
    assert raw.records == 1000
    assert raw.repeated == 0
    for path in files:
        assert raw.of(path) == expected(path)
    lanes: dict[str, set[int]] = {}
    for lane, kept in enumerate(raw.lanes):
        assert len(kept) > 100
        for _, _, value in kept:
            lanes.setdefault(value.url, set()).add(lane)
    assert all(len(found) == 1 for found in lanes.values())


def test_the_book_says_what_became_of_each_source(made: Settings, tmp_path: Path) -> None:
    good = write_warc(
        tmp_path / "a.warc.gz", [response(b"<p>x"), response(b"", status="404 X"), response(b"\xff")]
    )
    cut = tmp_path / "b.warc.gz"
    cut.write_bytes(good.read_bytes()[:-30])
    registry = CollectorRegistry()
    reports = Ingester(made, metrics=IngestMetrics(registry)).run([str(good), str(cut)])
    assert [r.outcome for r in reports] == ["done", "damaged"]
    first, second = (Raw(made).booked[str(path)][0] for path in (good, cut))
    assert (first.state, first.outcome, first.sequence) == ("done", "done", reports[0].sequence)
    assert first.counts == {"records": 3, "documents": 2, "payload_bytes": 5, "skipped.http_error": 1}
    assert (first.size, first.reader, first.lane_hash, first.ingesters) == (
        good.stat().st_size,
        READER_VERSION,
        1,
        1,
    )
    assert second.outcome == "damaged"
    assert second.counts["stub.truncated"] == 1
    assert first.sequence < second.sequence
    kinds = sorted(kind.name for lane in Raw(made).lanes for _, kind, _ in lane)
    assert kinds == ["DOCUMENT"] * 3 + ["STUB"]
    value = registry.get_sample_value
    assert value("finestream_ingest_documents_total") == 3
    assert value("finestream_ingest_bytes_total") == 4 + 1 + 4
    assert value("finestream_ingest_stubs_total", {"reason": "truncated"}) == 1
    assert value("finestream_ingest_skipped_total", {"reason": "http_error"}) == 2
    assert value("finestream_ingest_sources_total", {"outcome": "damaged"}) == 1


def test_records_lie_between_the_two_entries_of_their_source(made: Settings, tmp_path: Path) -> None:
    """By the broker's own clock: booked before the first record, booked done after the last."""
    for name in "abc":
        Ingester(made).run([str(lines(tmp_path / f"{name}.jsonl", 30))])
    begun, done = {}, {}
    for entry in books.read_log(made, "sources"):
        booking = msgspec.msgpack.decode(entry.value, type=Booking)
        times, sequence = (done, booking.sequence) if booking.sequence else (begun, entry.offset + 1)
        times[sequence] = entry.timestamp
    sent: dict[int, list[int]] = {}
    for lane in range(made.pipeline.lanes):
        for record in books.read_log(made, "raw", lane):
            sent.setdefault(unpack_origin(record.key).source, []).append(record.timestamp)
    assert sent.keys() == begun.keys() == done.keys()
    for sequence, times in sent.items():
        assert begun[sequence] <= min(times)
        assert max(times) <= done[sequence]


def test_a_known_file_is_passed_over_and_a_changed_one_read_again(made: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", 50)
    Ingester(made).run([str(path)])
    (again,) = Ingester(made).run([str(path)])
    assert (again.outcome, again.sent) == ("known", 0)
    lines(path, 60)
    (third,) = Ingester(made).run([str(path)])
    assert (third.outcome, third.sent) == ("done", 60)
    assert Raw(made).records == 110


def test_what_cannot_be_read_is_booked_with_its_reason_and_stops_no_other(
    made: Settings, tmp_path: Path
) -> None:
    bad, good = tmp_path / "a.csv", lines(tmp_path / "b.jsonl", 5)
    bad.write_text("hello")
    inputs = [str(bad), str(tmp_path / "gone.warc"), str(good)]
    reports = Ingester(made).run(inputs)
    assert [report.outcome for report in reports] == ["refused", "vanished", "done"]
    assert "of no known format" in reports[0].reason
    assert Raw(made).of(good) == expected(good)
    (booking,) = Raw(made).booked[str(bad)]
    assert (booking.outcome, booking.kind, booking.counts) == ("refused", None, {})
    assert booking.reason == reports[0].reason

    offsets = [entry.offset for entry in books.read_log(made, "sources")]
    assert [report.outcome for report in Ingester(made).run(inputs)] == ["refused", "vanished", "known"]
    assert [entry.offset for entry in books.read_log(made, "sources")] == offsets, "booked once a state"
    bad.write_text('{"text": "now it is JSON"}\n')
    (report,) = Ingester(made).run([str(bad)])
    assert (report.outcome, report.documents) == ("done", 1)


def stopped_after(n: int) -> Callable[[], bool]:
    numbers = count(1)
    return lambda: next(numbers) > n


def test_a_stop_between_records_is_continued(made: Settings, tmp_path: Path) -> None:
    path, other = lines(tmp_path / "a.jsonl", 400), lines(tmp_path / "b.jsonl", 100)
    (first,) = Ingester(made, stopping=stopped_after(100)).run([str(path), str(other)])
    assert first.outcome == "stopped"
    assert 0 < first.sent < 400
    assert ends(made) == first.sent  # all of it acknowledged
    second, third = Ingester(made).run([str(other)])
    assert (second.url, second.outcome, second.documents) == (str(path), "done", 400)
    assert (second.sent, second.found) == (400 - first.sent, first.sent)
    assert third.outcome == "done"
    raw = Raw(made)
    assert (raw.records, raw.repeated) == (500, 0)
    assert raw.of(path) == expected(path)


@pytest.mark.parametrize("fate", ["vanished", "changed"])
def test_a_begun_file_that_is_gone_is_reported_and_booked_done(
    made: Settings, tmp_path: Path, fate: str
) -> None:
    path, other = lines(tmp_path / "a.jsonl", 400), lines(tmp_path / "b.jsonl", 100)
    Ingester(made, stopping=stopped_after(100)).run([str(path)])
    if fate == "vanished":
        path.unlink()
    else:
        lines(path, 410)
    first, second = Ingester(made).run([str(other)])
    assert (first.url, first.outcome, first.sent) == (str(path), fate, 0)
    assert second.outcome == "done"
    (booking,) = Raw(made).booked[str(path)]
    assert (booking.state, booking.outcome) == ("done", fate)
    assert Raw(made).of(other) == expected(other)
    assert [r.outcome for r in Ingester(made).run([])] == []


def test_a_file_that_grows_while_it_is_read_is_said_to_have_changed(made: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", 400)

    def touch() -> bool:
        with path.open("a") as file:  # faster than it is read: it must not be followed for ever
            file.write("\n\n")
        return False

    (report,) = Ingester(made, stopping=touch).run([str(path)])
    assert report.outcome == "changed"


def test_another_reader_version_does_not_go_on_with_a_source(made: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", 5)
    with books.BookWriter(made, transactional_id()) as writer:
        book = SourceBook(made)
        book.catch_up()
        booking = msgspec.structs.replace(new_booking(inspect(str(path))), reader=0)
        writer.append("sources", [(booking_key(booking.source), msgspec.msgpack.encode(booking))])
        assert book.unfinished() == []
    with pytest.raises(SourceError, match="begun by reader version 0"):
        Ingester(made).run([])


def test_foreign_records_at_the_end_of_a_lane_are_stepped_over(made: Settings, tmp_path: Path) -> None:
    Ingester(made).run([str(lines(tmp_path / "a.jsonl", 100))])
    tails = read_tails(made, range(4))
    producer = clients.sync_producer(made)
    for _ in range(5):
        producer.send("raw", b"not ours", key=b"x", partition=2)
    producer.flush()
    producer.close()
    assert read_tails(made, range(4)) == tails


def test_a_lane_whose_last_record_was_deleted_stops_ingest(made: Settings, tmp_path: Path) -> None:
    from kafka import TopicPartition

    Ingester(made).run([str(lines(tmp_path / "a.jsonl", 100))])
    consumer, admin = clients.sync_consumer(made), clients.admin(made)
    tp = TopicPartition("raw", 1)
    admin.delete_records({tp: consumer.end_offsets([tp])[tp]})
    consumer.close()
    admin.close()
    with pytest.raises(LaneTrimmed, match="lane 1 of raw is empty though"):
        Ingester(made).run([])


def test_a_new_book_under_old_lanes_is_recognised(made: Settings, tmp_path: Path, until: Any) -> None:
    """Its numbers would begin again, and chunk would drop every record as repeated."""
    for n in range(3):
        Ingester(made).run([str(lines(tmp_path / f"{n}.jsonl", 20))])
    admin = clients.admin(made)
    admin.delete_topics(["sources"])
    until(lambda: "sources" not in admin.list_topics())
    admin.close()
    topics.create_books(made)
    with pytest.raises(LaneRecreated, match="the book was deleted"):
        Ingester(made).run([str(lines(tmp_path / "new.jsonl", 20))])
    assert ends(made) == 60


def test_preview_counts_without_a_broker(settings: Make, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", 20)
    offline = settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    (report,) = preview(offline, [str(path)])
    assert (report.outcome, report.documents, report.sent) == ("done", 20, 0)


def test_memory_stays_flat_over_a_large_source(made: Settings, tmp_path: Path) -> None:
    pages = [gzip.compress(response(page(n, 100_000), f"http://a.b/{n}")) for n in range(20)]
    small, large = tmp_path / "small.warc.gz", tmp_path / "large.warc.gz"
    small.write_bytes(b"".join(pages) * 2)
    large.write_bytes(b"".join(pages) * 30)
    program = """
import resource, sys
from streams.ingest.ingester import Ingester
from streams.settings import load
for path in sys.argv[1:]:
    (report,) = Ingester(load()).run([path])
    print(report.sent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(small), str(large)],
        capture_output=True, text=True, check=True, env=to_environment(made),
    )  # fmt: skip
    (sent, before), (all_sent, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (sent, all_sent) == (40, 600)
    assert after - before < 25_000, f"{after - before} kB more for 56 MB more"


def test_fenced_is_raised_where_another_books(made: Settings, tmp_path: Path) -> None:
    """The first ingester's next booking fails once a second one was opened."""
    files = [lines(tmp_path / f"{name}.jsonl", 50) for name in "ab"]
    seen = count()

    def take_over() -> bool:
        if next(seen) == 60:
            books.BookWriter(made, transactional_id()).close()
        return False

    with pytest.raises(Fenced):
        Ingester(made, stopping=take_over).run([str(path) for path in files])
