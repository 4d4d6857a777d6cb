"""Sources: globs, formats, identity; lanes: which spellings of an address meet."""

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.crawl_files import response, write_jsonl, write_warc

from streams.errors import SourceError
from streams.ingest.booking import booking_key, new_booking
from streams.ingest.inputs import expand
from streams.ingest.lanes import canonical_url, lane_of
from streams.ingest.reader import open_reader
from streams.ingest.source import Compression, Kind, identify, inspect
from streams.ingest.stored import LocalFile
from streams.records import MAX_RECORD_BYTES
from streams.settings import IngestSettings

DATA = Path(__file__).parents[1] / "data" / "warc"


def test_globs_are_expanded_sorted_and_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.warc", "a.warc", "deep/er/c.warc", "x[1].warc", "no.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert expand(["*.warc", "./a.warc", str(tmp_path / "a.warc"), "deep/../b.warc"]) == [
        str(tmp_path / name) for name in ("a.warc", "b.warc", "x[1].warc")
    ]
    assert expand(["x[1].warc"]) == [str(tmp_path / "x[1].warc")]  # it is called so
    assert expand(["**/*.warc"])[2:] == [str(tmp_path / "deep/er/c.warc"), str(tmp_path / "x[1].warc")]
    assert expand([]) == []


def test_names_that_match_nothing_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file matches .*nothing\*\.warc"):
        expand([str(tmp_path / "nothing*.warc")])
    with pytest.raises(SourceError, match="no file matches"):
        expand([str(tmp_path)])  # an empty folder


@pytest.mark.parametrize(
    ("name", "data", "kind", "compression"),
    [
        ("a.warc", b"WARC/1.0\r\n", Kind.WARC, Compression.NONE),
        ("a.warc.gz", gzip.compress(b"WARC/1.0\r\n"), Kind.WARC, Compression.GZIP),
        ("A.WARC.GZ", gzip.compress(b"WARC/1.0\r\n"), Kind.WARC, Compression.GZIP),
        ("a.warc.wet.gz", gzip.compress(b"WARC/1.0\r\n"), Kind.WARC, Compression.GZIP),
        ("a.warc.gz", b"WARC/1.0\r\n", Kind.WARC, Compression.NONE),  # somebody took the compression off
        ("a.warc", gzip.compress(b"WARC/1.0\r\n"), Kind.WARC, Compression.GZIP),
        ("a.jsonl", b"", Kind.JSONL, Compression.NONE),
        ("a.ndjson.gz", gzip.compress(b"{}"), Kind.JSONL, Compression.GZIP),
        ("a", b"WARC/1.1\r\n", Kind.WARC, Compression.NONE),
        ("a.gz", gzip.compress(b"\n WARC/1.1\r\n"), Kind.WARC, Compression.GZIP),
        ("a.json", b'\xef\xbb\xbf {"text": 1}', Kind.JSONL, Compression.NONE),
        ("part-0001", gzip.compress(b'{"text": 1}'), Kind.JSONL, Compression.GZIP),
    ],
)
def test_formats(tmp_path: Path, name: str, data: bytes, kind: Kind, compression: Compression) -> None:
    (tmp_path / name).write_bytes(data)
    source = inspect(str(tmp_path / name))
    assert (source.kind, source.compression) == (kind, compression)
    assert source.identity.size == len(data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"hello", r"of no known format \(\.warc, \.wet, \.arc, \.jsonl"),
        ("a.gz", b"\x1f\x8bbroken", "of no known format"),
        ("a.warc.gz", b"BZh91AY", "is bzip2"),
    ],
)
def test_unknown_formats_are_refused_with_what_to_do(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        inspect(str(tmp_path / name))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.warc")
    with pytest.raises(SourceError, match="no regular file"):
        inspect(str(tmp_path / "pipe.warc"))
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        inspect(str(tmp_path / "none.warc"))


def test_a_changed_file_is_another_source(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc", [response(b"<p>x")])
    first = inspect(str(path))
    opened = open_reader(first, IngestSettings())
    assert opened is not None
    opened.close()
    os.utime(path, ns=(1, 1))
    assert open_reader(first, IngestSettings()) is None
    assert booking_key(inspect(str(path))) != booking_key(first)
    path.unlink()
    assert open_reader(first, IngestSettings()) is None
    assert identify(str(path)) is None


def test_a_disk_that_fails_while_a_stub_is_made_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(response(b"<p>x") + b"garbage")
    opened = open_reader(inspect(str(path)), IngestSettings())
    assert opened is not None

    def fail(*_: object) -> Iterator[bytes]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalFile, "stored", fail)
    with pytest.raises(SourceError, match="cannot be read now: Input/output error"):
        list(opened)
    opened.close()


def test_names_that_are_no_text_can_be_booked_and_opened_again(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9\n\x1b[31m.jsonl"
    write_jsonl(Path(os.fsdecode(path)), [{"text": "x"}])
    source = inspect(os.fsdecode(path))
    assert source.name.encode()
    again = new_booking(source).source
    assert again == source
    opened = open_reader(again, IngestSettings())
    assert opened is not None
    opened.close()


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://www.Example.org/A?b=C#frag", "example.org/A?b=C"),
        ("http://example.org/A?b=C", "example.org/A?b=C"),
        ("http://user:pass@example.org:80/", "example.org/"),
        ("https://example.org:443", "example.org/"),
        ("https://example.org?x", "example.org/?x"),
        ("<http://example.org/a b>", "example.org/a b"),
        ("//example.org/a", "example.org/a"),
        ("HTTP://EXAMPLE.ORG/", "example.org/"),
        ("no url#x", "no url"),
        ("", ""),
    ],
)
def test_spellings_of_an_address_that_meet(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


def test_other_ports_hosts_and_paths_differ() -> None:
    urls = [
        "http://a.b:8080/",
        "http://a.b/",
        "http://c.a.b/",
        "http://a.b/x",
        "http://a.b/X",
        "http://a.b/?",
    ]
    assert len({canonical_url(url) for url in urls}) == len(urls)


@given(st.text())
def test_any_text_has_a_lane(url: str) -> None:
    canonical = canonical_url(url)
    assert canonical_url(canonical_url(url)) is not None
    assert 0 <= lane_of(canonical, 7) < 7


def test_lanes_are_stable_and_even() -> None:
    """The first numbers are what version 1 of the hash means: changing them needs a new version."""
    assert [lane_of(f"example.org/{n}", 48) for n in range(8)] == LANES_OF_VERSION_1
    counts = Counter(lane_of(f"example.org/{n}", 48) for n in range(48_000))
    assert set(counts) == set(range(48))
    assert max(counts.values()) < 1.2 * 1000


LANES_OF_VERSION_1 = [43, 21, 24, 32, 36, 3, 29, 17]


def test_the_longest_document_fits_a_message() -> None:
    limits = [
        rule.le for rule in IngestSettings.model_fields["max_document_bytes"].metadata if hasattr(rule, "le")
    ]
    # URL, title and metadata are bounded by their readers: at most 4 bytes a character.
    others = 4 * (8192 + 512 + 256 + 32 * 2 * 512) + 4096
    assert limits[0] + others < MAX_RECORD_BYTES
