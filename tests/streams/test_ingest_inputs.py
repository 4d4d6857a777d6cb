"""What a user names: folders, hidden files, path lists, bundles; and the files of a bundle as documents."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from kit.crawl_files import write_jsonl

from streams.errors import SourceError
from streams.ingest.booking import new_booking
from streams.ingest.documents import uri
from streams.ingest.inputs import (
    BUNDLE_FILES,
    Listed,
    bundled,
    expand,
    list_files,
    read_path_list,
    total_bytes,
)
from streams.ingest.items import Document, Item, Skip, Stub
from streams.ingest.reader import open_reader
from streams.ingest.source import Kind, Source, inspect
from streams.settings import IngestSettings

DATA = Path(__file__).parents[1] / "data" / "warc"


def locations(inputs: list[str | Source]) -> list[str]:
    return [one if isinstance(one, str) else one.location for one in inputs]


def bundles(inputs: list[str | Source]) -> list[Source]:
    return [one for one in inputs if isinstance(one, Source)]


def items(source: Source, max_bytes: int = 10_000) -> list[Item]:
    opened = open_reader(source, IngestSettings(max_document_bytes=max_bytes))
    assert opened is not None
    return list(opened)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_every_file_below_it_but_hidden_ones(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.warc.gz",
        "b/c/d.jsonl",
        "b/e.parquet",
        ".git/x.warc",
        "b/.hidden.warc",
        "_temporary/y.warc",
    )
    touch(tmp_path, "b/_SUCCESS")
    assert locations(expand([str(tmp_path)])) == [
        str(tmp_path / name) for name in ("a.warc.gz", "b/c/d.jsonl", "b/e.parquet")
    ]


def test_links_are_named_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.warc")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.warc").symlink_to(tmp_path / "real" / "a.warc")
    (tmp_path / "broken.warc").symlink_to(tmp_path / "none")
    assert locations(expand([str(tmp_path)])) == [
        str(tmp_path / "link.warc"),
        str(tmp_path / "real" / "a.warc"),
    ]


def test_documents_of_a_folder_are_bundled_by_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.html", "a/2.TXT", "a/3.md", "a/data.jsonl", "b/1.htm")
    inputs = expand([str(tmp_path)])
    assert locations(inputs) == [str(tmp_path / "a"), str(tmp_path / "a/data.jsonl"), str(tmp_path / "b")]
    first, second = bundles(inputs)
    assert [entry.name for entry in first.entries] == [b"1.html", b"2.TXT", b"3.md"]
    assert (first.kind, first.identity.size) == (Kind.FILES, 3)
    assert total_bytes(inputs) == 5
    assert new_booking(second).source == second  # as the book gives it back


def test_a_bundle_has_a_bounded_number_of_files() -> None:
    files = [Listed(f"/pages/{n:05}.html", None) for n in range(BUNDLE_FILES + 1)]
    from streams.ingest.stored import Identity

    whole = bundled([file._replace(identity=Identity(1, n)) for n, file in enumerate(files)])
    assert [len(source.entries) for source in bundles(whole)] == [BUNDLE_FILES, 1]
    assert len({source.identity for source in bundles(whole)}) == 2
    again = bundled([file._replace(identity=Identity(1, n)) for n, file in enumerate(files)])
    assert again == whole  # the same files are the same sources


def test_folders_and_files_of_like_names_do_not_split_a_bundle(tmp_path: Path) -> None:
    touch(tmp_path, "b.html", "b/x.html", "c.html")
    first, second = bundles(expand([str(tmp_path)]))
    assert [entry.name for entry in first.entries] == [b"b.html", b"c.html"]
    assert [entry.name for entry in second.entries] == [b"x.html"]


def test_a_document_that_is_gone_stops_no_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.html")
    (tmp_path / "x.paths").write_text("a.html\ngone.html\n")
    inputs = expand([str(tmp_path / "x.paths")])
    assert locations(inputs) == [str(tmp_path), str(tmp_path / "gone.html")]
    assert len(bundles(inputs)) == 1


def test_one_document_is_a_bundle_of_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.html")
    (source,) = expand([str(tmp_path / "a.html")])
    assert source == inspect(str(tmp_path / "a.html"))


def test_path_lists(tmp_path: Path) -> None:
    touch(tmp_path, "crawl/seg/a.warc.gz")
    text = f"seg/a.warc.gz\n{tmp_path}/other.warc\nhttps://a.b/c.warc.gz\n  \n# a note\n"
    (tmp_path / "crawl" / "warc.paths").write_text(text)
    (tmp_path / "crawl" / "warc.paths.gz").write_bytes(gzip.compress(text.encode()))
    expected = [f"{tmp_path}/crawl/seg/a.warc.gz", f"{tmp_path}/other.warc", "https://a.b/c.warc.gz"]
    for name in ("warc.paths", "warc.paths.gz"):
        assert sorted(read_path_list(str(tmp_path / "crawl" / name))) == sorted(expected)
        assert locations(expand([str(tmp_path / "crawl" / name)])) == sorted(expected)
    assert (
        read_path_list(str(tmp_path / "crawl" / "warc.paths"), "https://data.x/")[0]
        == "https://data.x/seg/a.warc.gz"
    )


def test_a_path_list_that_lies_in_a_folder_is_not_obeyed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.warc", "secret.jsonl")
    (tmp_path / "in" / "b.paths").write_text(f"{tmp_path}/secret.jsonl\nhttp://127.0.0.1:1/x.jsonl\n")
    assert locations(expand([str(tmp_path / "in")])) == [f"{tmp_path}/in/a.warc", f"{tmp_path}/in/b.paths"]
    with pytest.raises(SourceError, match="no known format"):
        inspect(str(tmp_path / "in" / "b.paths"))
    assert locations(expand([str(tmp_path / "in" / "*.paths")]))[0] == f"{tmp_path}/secret.jsonl"


def test_a_path_list_of_another_project() -> None:
    found = list_files([str(DATA / "CC-MAIN-2024-22.warc.paths.gz")], "https://data.commoncrawl.org/")
    assert len(found) == 300
    assert {file.location.rpartition("/")[0] for file in found} == {"https://data.commoncrawl.org"}


def test_path_lists_that_cannot_be_read(tmp_path: Path) -> None:
    whole = gzip.compress(b"a.warc\n" * 1000)
    for data in (whole[: len(whole) // 2], b"\x1f\x8bgarbage", b"\xff\xfe\xff"):
        (tmp_path / "x.paths").write_bytes(data)
        with pytest.raises(SourceError, match=r"path list|is cut"):
            expand([str(tmp_path / "x.paths")])


def test_documents_by_their_suffix(tmp_path: Path) -> None:
    texts = {
        "a b?.html": ("text/html", b"<p>\xe9"),
        "c.md": ("text/markdown", b"---\ntitle: x\n---\n# Heading"),
        "d.txt": ("text/plain", b"plain"),
        "e.xhtml": ("application/xhtml+xml", b"<html/>"),
    }
    for name, (_, data) in texts.items():
        (tmp_path / name).write_bytes(data)
    (source,) = bundles(expand([str(tmp_path)]))
    found = [item.record for item in items(source) if isinstance(item, Document)]
    assert [(record.content_type, record.payload) for record in found] == list(texts.values())
    assert found[0].url == f"file://{tmp_path}/a%20b%3F.html"
    assert found[0].source == str(tmp_path)
    assert len({record.id for record in found}) == 4
    (alone,) = bundles(expand([str(tmp_path / "d.txt")]))
    (same,) = items(alone)
    assert isinstance(same, Document)
    assert same.record == found[2]  # whatever bundle it comes in


def test_files_that_are_no_documents(tmp_path: Path) -> None:
    for name, data in {"1.txt": b"", "2.txt": b" \n", "3.txt": b"x" * 10_001, "4.txt": b"x" * 10_000}.items():
        (tmp_path / name).write_bytes(data)
    (source,) = bundles(expand([str(tmp_path)]))
    first, second, third, fourth = items(source)
    assert (type(first), type(second), type(fourth)) == (Skip, Skip, Document)
    assert isinstance(third, Stub)
    assert (third.record.reason, third.record.length) == ("over_long", 10_001)
    assert third.record.url == f"file://{tmp_path}/3.txt"


def test_what_a_name_became_since_it_was_listed(tmp_path: Path) -> None:
    """A pipe would block the ingester for ever, a folder fail, a link lead elsewhere."""
    touch(tmp_path, "1.txt", "2.txt", "3.txt", "4.txt", "5.txt")
    (source,) = bundles(expand([str(tmp_path)]))
    for name in ("1.txt", "2.txt", "3.txt", "4.txt"):
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "1.txt")
    (tmp_path / "2.txt").mkdir()
    (tmp_path / "3.txt").symlink_to("/dev/zero")
    (tmp_path / "4.txt").symlink_to("5.txt")
    os.utime(tmp_path / "5.txt", ns=(7, 7))
    reasons = [item.record.reason for item in items(source) if isinstance(item, Stub)]
    assert reasons == ["changed"] * 5


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_bytes(b"x")
    (source,) = bundles(expand([str(tmp_path)]))
    (item,) = items(source)
    assert isinstance(item, Document)
    assert item.record.url == f"file://{tmp_path}/caf%E9.txt"
    assert uri(str(path)) == item.record.url


def test_a_folder_of_everything_reads_to_its_end(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl.gz", [{"text": "one"}])
    (tmp_path / "b.html").write_bytes(b"<p>two")
    (tmp_path / "c.warc.gz").write_bytes((DATA / "example.warc.gz").read_bytes())
    found = 0
    for one in expand([str(tmp_path)]):
        found += sum(
            isinstance(item, Document) for item in items(one if isinstance(one, Source) else inspect(one))
        )
    assert found == 3
