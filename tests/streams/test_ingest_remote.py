"""Objects behind URLs: ranges, retries and listings against a real server and fsspec's memory store."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.crawl_files import crawl, page
from kit.formats import gz
from kit.object_server import ObjectServer

from streams.errors import SourceError
from streams.ingest import stored
from streams.ingest.inputs import expand, list_files, read_path_list
from streams.ingest.items import Document, Item, Stub
from streams.ingest.reader import open_reader
from streams.ingest.source import Kind, Source, identify, inspect
from streams.ingest.stored import RemoteFile, is_remote, open_stored
from streams.settings import IngestSettings

DATA = bytes(range(256)) * 100


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer().running() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_LONGEST_PAUSE_SECONDS", 0.01)


def items(source: Source) -> list[Item]:
    opened = open_reader(source, IngestSettings())
    assert opened is not None
    found = list(opened)
    opened.close()
    return found


def payloads(found: list[Item]) -> list[bytes]:
    return [bytes(item.record.payload) for item in found if isinstance(item, Document)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.integers(2500, 30_000),
    sizes=st.lists(st.integers(50, 20_000), min_size=1, max_size=20),
    faults=st.lists(st.sampled_from(["reset", "503", "429", "500", "short", "cut", ""]), max_size=5),
)
def test_retries_neither_repeat_nor_lose_bytes(
    server: ObjectServer, block: int, sizes: list[int], faults: list[str]
) -> None:
    server.objects["/a"], server.faults = DATA, []
    file = RemoteFile(f"{server.url}/a", block_bytes=block, pause_seconds=0.001)
    server.faults = list(faults)
    got, turn = b"", 0
    while piece := file.read(sizes[turn % len(sizes)]):
        assert len(piece) <= sizes[turn % len(sizes)]
        got += piece
        turn += 1
        assert file.tell() == len(got)
    assert got == DATA
    start, length = block % len(DATA), sizes[0]
    assert b"".join(file.stored(start, length)) == DATA[start : start + length]
    file.close()


def test_a_server_that_stays_away_is_an_error_that_may_pass(server: ObjectServer) -> None:
    server.objects["/a"] = DATA
    file = RemoteFile(f"{server.url}/a", pause_seconds=0.001)
    server.faults = ["503"] * 50
    with pytest.raises(SourceError, match="cannot be read now"):
        file.read(10)
    file.close()


def test_what_is_refused_is_not_asked_for_again(server: ObjectServer) -> None:
    server.objects["/a"] = DATA
    file = RemoteFile(f"{server.url}/a", pause_seconds=0.001)
    asked = len(server.requests)
    server.faults = ["403"]
    with pytest.raises(SourceError):
        list(file.stored(0, 10))
    assert len(server.requests) == asked + 1
    file.close()


def test_a_server_without_ranges_is_refused_with_what_to_do(server: ObjectServer) -> None:
    server.objects["/a"], server.ranges = DATA * 4, False
    with pytest.raises(SourceError, match="whole object where a range is asked for; copy the object"):
        RemoteFile(f"{server.url}/a", block_bytes=1000, pause_seconds=0.001).read(10)


def test_an_object_that_is_not_there(server: ObjectServer) -> None:
    assert identify(f"{server.url}/none") is None
    with pytest.raises(SourceError, match="cannot be read"):
        inspect(f"{server.url}/none")
    with pytest.raises(SourceError):
        open_stored("nosuchscheme://a/b")


def test_a_crawl_file_over_http(server: ObjectServer) -> None:
    """Compressed as it is stored, though the server may call that an encoding; each document once."""
    pages = [page(n, 3000) for n in range(30)]
    server.objects["/crawl.warc.gz"] = b"".join(map(gz, crawl(pages)))
    server.etags["/crawl.warc.gz"] = '"one"'
    source = inspect(f"{server.url}/crawl.warc.gz")
    assert (source.kind, source.identity.etag) == (Kind.WARC, "one")
    server.faults = ["reset", "short", "503"]
    assert payloads(items(source)) == pages


def test_a_parquet_file_over_http_is_read_by_ranges(server: ObjectServer) -> None:
    file, texts = io.BytesIO(), [f"text {n}" * 100 for n in range(2000)]
    pq.write_table(pa.table({"text": texts}), file, row_group_size=500)
    server.objects["/a.parquet"] = file.getvalue()
    source = inspect(f"{server.url}/a.parquet")
    server.faults = ["short", "reset", "cut"]
    assert payloads(items(source)) == [text.encode() for text in texts]
    assert all(request == "HEAD" or "bytes=" in request for request in server.requests)


def test_an_object_that_changes_is_another_source(server: ObjectServer) -> None:
    server.objects["/a.jsonl"], server.etags["/a.jsonl"] = b'{"text": "x"}\n' * 1000, '"one"'
    source = inspect(f"{server.url}/a.jsonl")
    opened = open_reader(source, IngestSettings())
    assert opened is not None
    assert opened.identity() == source.identity
    server.etags["/a.jsonl"] = '"two"'
    assert opened.identity() != source.identity  # asked again at the end of each source
    opened.close()
    assert open_reader(source, IngestSettings()) is None
    del server.objects["/a.jsonl"]
    assert open_reader(source, IngestSettings()) is None


def test_bundles_of_remote_documents(server: ObjectServer) -> None:
    """A listing of links; one page changes and one vanishes before they are read."""
    names = [f"{n}.html" for n in range(4)]
    server.listings["/pages/"] = "".join(f'<a href="{server.url}/pages/{name}">x</a>' for name in names)
    for number, name in enumerate(names):
        server.objects[f"/pages/{name}"] = b"<p>page %d" % number
        server.etags[f"/pages/{name}"] = f'"{number}"'
    (source,) = expand([f"{server.url}/pages/"])
    assert isinstance(source, Source)
    server.etags["/pages/1.html"] = '"other"'
    del server.objects["/pages/2.html"]
    found = items(source)
    assert payloads(found) == [b"<p>page 0", b"<p>page 3"]
    assert [item.record.reason for item in found if isinstance(item, Stub)] == ["changed", "vanished"]
    assert isinstance(found[0], Document)
    assert found[0].record.url == f"{server.url}/pages/0.html"


def test_folders_globs_and_single_objects_of_a_store() -> None:
    """fsspec's memory store stands for any store that lists."""
    store = fsspec.filesystem("memory")
    store.pipe(
        {
            "/crawl/a.warc.gz": gz(b"WARC/1.0\r\n"),
            "/crawl/deep/b.jsonl": b'{"text": "x"}\n',
            "/crawl/deep/c.html": b"<p>c",
            "/crawl/deep/.hidden.html": b"<p>no",
            "/crawl/_SUCCESS": b"",
        }
    )
    try:
        found = [one if isinstance(one, str) else one.location for one in expand(["memory://crawl/"])]
        found = [location.replace("memory:///", "memory://") for location in found]
        assert found == ["memory://crawl/a.warc.gz", "memory://crawl/deep", "memory://crawl/deep/b.jsonl"]
        globbed = list_files(["memory://crawl/*.warc.gz"])
        assert [file.location.rpartition("/")[2] for file in globbed] == ["a.warc.gz"]
        (source,) = (one for one in expand(["memory://crawl/"]) if isinstance(one, Source))
        assert payloads(items(source)) == [b"<p>c"]
        lines = inspect("memory://crawl/deep/b.jsonl")
        assert payloads(items(lines)) == [b"x"]
        with pytest.raises(SourceError, match="no file matches"):
            expand(["memory://nothing/"])
    finally:
        store.rm("/crawl", recursive=True)


def test_a_path_list_over_http_with_relative_lines(server: ObjectServer) -> None:
    server.objects["/crawl/warc.paths.gz"] = gzip.compress(
        b"segments/1/a.warc.gz\n\n# note\nsegments/1/b.warc.gz\n"
    )
    listed = read_path_list(f"{server.url}/crawl/warc.paths.gz")
    assert listed == [f"{server.url}/crawl/segments/1/{name}.warc.gz" for name in "ab"]
    based = read_path_list(f"{server.url}/crawl/warc.paths.gz", "s3://commoncrawl/")
    assert based[0] == "s3://commoncrawl/segments/1/a.warc.gz"


@pytest.mark.parametrize("location", ["s3://a/b", "https://a/b", "a://"])
def test_what_is_a_url(location: str) -> None:
    assert is_remote(location)


@pytest.mark.parametrize("location", ["/a/b", "C:/x", "://a", "a b://c", "a"])
def test_what_is_a_path(location: str) -> None:
    assert not is_remote(location)
