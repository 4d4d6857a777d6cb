"""Bad input: for every edge case and every damage of every format, what became of it; never fatal or silent.

The table is part of the documentation, dev/BAD_INPUT.md. Where it should change, write it anew:
WRITE_TABLES=1 pytest tests/streams/test_ingest_bad_input.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.formats import (
    ROWS,
    Built,
    body_length_off,
    build,
    documents,
    lying,
    page_length_off_by_one,
    parquet,
    write_folder,
)

from streams.ingest.inputs import expand
from streams.ingest.items import Document
from streams.ingest.reader import open_reader
from streams.ingest.report import SourceReport
from streams.ingest.source import Source, inspect
from streams.settings import IngestSettings

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "dev" / "BAD_INPUT.md"
DATA = ROOT / "tests" / "data" / "warc"
WRITE = "WRITE_TABLES"
FORMATS = (
    "warc",
    "warc.gz",
    "warc.zst",
    "arc",
    "arc.gz",
    "jsonl",
    "jsonl.gz",
    "jsonl.zst",
    "parquet",
    "arrow",
)
TABLES = ("parquet", "arrow")
PAGES = documents(9)
HIT = 5
"""The document, or its row group or batch, that is damaged."""
SETTINGS = IngestSettings(max_document_bytes=1_000_000)


class Outcome(NamedTuple):
    """What became of a source."""

    report: SourceReport
    payloads: list[bytes]

    def cells(self) -> str:
        """The columns of the table."""
        report = self.report
        outcome = "damaged" if report.damaged else "done"
        return f"{outcome} | {report.documents} | {_counts(report.stubs)} | {_counts(report.skipped)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} `{reason}`" for reason, n in sorted(counts.items())) or "-"


def outcome(source: Source) -> Outcome:
    """Read a source as the ingester does."""
    report, payloads, last = SourceReport(source.name, source.identity.size), [], -1
    opened = open_reader(source, SETTINGS)
    assert opened is not None
    for item in opened:
        assert item.index > last  # an origin may only grow
        last = item.index
        report.add(item)
        if isinstance(item, Document):
            payloads.append(bytes(item.record.payload))
    opened.close()
    return Outcome(report, payloads)


def hit_part(name: str) -> int:
    return HIT // ROWS if name in TABLES else HIT


class Damage(NamedTuple):
    """A way to break a file."""

    words: str
    bytes: Callable[[str, Built], bytes | None]  # None where the format has no such thing
    noticed: bool = True  # whether every format must say so
    intact: Callable[[str], list[int]] | None = None  # documents that must come whatever happens


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def flipped(name: str, built: Built) -> bytes:
    part = hit_part(name)
    return _flip(built.data, built.start(part) + len(built.parts[part]) * 2 // 3)


def replaced(built: Built, part: int, data: bytes) -> bytes:
    return b"".join((built.head, *built.parts[:part], data, *built.parts[part + 1 :], built.tail))


def longer(name: str, built: Built) -> bytes | None:
    if name == "parquet":
        return replaced(built, hit_part(name), page_length_off_by_one(built.parts[hit_part(name)]))
    if name == "arrow":
        return replaced(built, hit_part(name), body_length_off(built.parts[hit_part(name)]))
    if name.startswith("jsonl"):
        return None
    return replaced(built, HIT, lying(name, PAGES[HIT], HIT, 1000))


def shorter(name: str, built: Built) -> bytes | None:
    if name.startswith(("jsonl", *TABLES)):
        return None
    return replaced(built, HIT, lying(name, PAGES[HIT], HIT, -1000))


def packed_length(name: str, built: Built) -> bytes | None:
    part = built.parts[HIT] if name not in TABLES else b""
    if name.endswith(".gz"):  # the size in a member's trailer
        return replaced(built, HIT, part[:-4] + bytes([part[-4] ^ 1]) + part[-3:])
    if name.endswith(".zst"):  # the size of the last block: three bytes before it
        magic_and_header = 4 + 1 + 2  # content size of two bytes, as for all of ours
        return replaced(built, HIT, _flip(part, magic_and_header + 1))
    if name == "parquet":  # the footer's length
        return built.data[:-8] + (10**8).to_bytes(4, "little") + b"PAR1"
    return None


def before(name: str) -> list[int]:
    """The documents before the damaged one."""
    return list(range(hit_part(name) * (ROWS if name in TABLES else 1)))


def around(name: str) -> list[int]:
    """In tables, what follows is found too; in archives nothing shows where to go on."""
    if name not in TABLES:
        return before(name)
    return [n for n in range(len(PAGES)) if n // ROWS != HIT // ROWS]


def half(name: str) -> list[int]:
    built = build(name, PAGES)
    if name == "parquet":
        return []
    ends = [built.start(n + 1) for n in range(len(built.parts))]
    whole = sum(end <= len(built.data) // 2 for end in ends)
    return list(range(whole * (ROWS if name in TABLES else 1)))


def last_byte(name: str) -> list[int]:
    return [] if name == "parquet" else before(name)  # nothing is found without the footer


def none(_name: str) -> list[int]:
    return []


def zeros(name: str, built: Built) -> bytes:
    at = built.start(hit_part(name))
    return built.data[:at] + bytes(1024) + built.data[at + 1024 :]


DAMAGES = (
    Damage("whole", lambda _, built: built.data, noticed=False, intact=lambda _: list(range(len(PAGES)))),
    Damage("empty", lambda _, built: b"", noticed=False),
    Damage("cut in half", lambda _, built: built.data[: len(built.data) // 2], intact=half),
    Damage("its last byte is missing", lambda _, built: built.data[:-1], noticed=False, intact=last_byte),
    Damage("a byte flipped", flipped, noticed=False, intact=around),
    Damage("a length 1,000 too long (tables: a page's or batch's)", longer, intact=before),
    Damage("a length 1,000 too short", shorter, intact=before),
    Damage("a length of the compression or footer wrong", packed_length, intact=none),
    Damage("20 bytes of garbage behind it", lambda _, built: built.data + b"garbage of 20 bytes\n"),
    Damage("a kilobyte of zeros in the middle", zeros, noticed=False, intact=none),
)
CHECKSUMS = {"warc.gz", "warc.zst", "arc.gz", "jsonl.gz", "jsonl.zst", "parquet"}
"""Formats that have them, as built here: a flipped byte is noticed wherever it is."""


def run(folder: Path, name: str, damage: Damage) -> Outcome | None:
    built = build(name, PAGES)
    data = damage.bytes(name, built)
    if data is None:
        return None
    path = folder / built.name
    path.write_bytes(data)
    return outcome(inspect(str(path)))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.words)
@pytest.mark.parametrize("name", FORMATS)
def test_no_damage_is_fatal_or_silent(tmp_path: Path, name: str, damage: Damage) -> None:
    found = run(tmp_path, name, damage)
    if found is None:
        return
    assert set(found.payloads) <= set(PAGES) or (name not in CHECKSUMS and damage.words != "whole")
    for number in damage.intact(name) if damage.intact else ():
        assert PAGES[number] in found.payloads, number
    if damage.noticed or (damage.words == "a byte flipped" and name in CHECKSUMS):
        assert found.report.stubs, damage.words
    if damage.words == "whole":
        assert (found.payloads, found.report.stubs) == (PAGES, {})
    lost = set(PAGES) - set(found.payloads)
    if lost and damage.words != "empty":
        changed = name not in CHECKSUMS and len(found.payloads) == len(PAGES)
        assert found.report.stubs or changed, f"{len(lost)} documents are gone without a word"


def bundle_outcomes(folder: Path) -> dict[str, Outcome]:
    """A folder whose files change between listing and reading."""
    outcomes = {}

    def vanish(path: Path) -> None:
        path.unlink()

    def grow(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"more")

    def shrink(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: len(PAGES[HIT]) // 2])

    changes: dict[str, Callable[[Path], object] | None] = {
        "whole": None,
        "a file cut in half after it was listed": shrink,
        "a file grown after it was listed": grow,
        "a file gone after it was listed": vanish,
    }
    for number, (words, change) in enumerate(changes.items()):
        here = write_folder(folder / f"pages-{number}", PAGES)
        (source,) = expand([str(here)])
        assert isinstance(source, Source)
        if change is not None:
            change(here / f"{HIT:04}.html")
        outcomes[words] = outcome(source)
    files = {
        "a file cut in half before": PAGES[0][: len(PAGES[0]) // 2],
        "an empty file": b"",
        "a file of zeros": bytes(100),
        "a file of 1.1 MB where 1 MB is the limit": b"<p>" * 366_667,
    }
    for number, (words, data) in enumerate(files.items()):
        here = write_folder(folder / f"files-{number}", [data])
        (source,) = expand([str(here)])
        assert isinstance(source, Source)
        outcomes[words] = outcome(source)
    return outcomes


def test_files_of_a_bundle_that_changed(tmp_path: Path) -> None:
    outcomes = bundle_outcomes(tmp_path)
    assert outcomes["whole"].payloads == PAGES
    rest = [page for n, page in enumerate(PAGES) if n != HIT]
    for words in ("a file cut in half after it was listed", "a file grown after it was listed"):
        assert (outcomes[words].payloads, outcomes[words].report.stubs) == (rest, {"changed": 1})
    gone = outcomes["a file gone after it was listed"]
    assert (gone.payloads, gone.report.stubs) == (rest, {"vanished": 1})


def test_without_checksums_a_flipped_byte_of_parquet_costs_its_row_group_at_most(tmp_path: Path) -> None:
    built = parquet(PAGES, checksums=False)
    start = built.start(1)
    for at in range(start, start + len(built.parts[1]), 97):
        path = tmp_path / "a.parquet"
        path.write_bytes(_flip(built.data, at))
        found = outcome(inspect(str(path)))
        outside = [page for n, page in enumerate(PAGES) if n // ROWS != 1]
        assert set(outside) <= set(found.payloads), at


HEAD = """\
# Bad input: what becomes of it

Written by tests/streams/test_ingest_bad_input.py, which fails where this is no longer true. Each stub is a
dead letter under its reason (`streams/ingest/items.py` defines them), with the first 64 KiB, the hash and
the place of what could not be read. `damaged` is the source's outcome in its book and report.

Plain WARC, ARC, JSONL, HTML and Arrow have no checksums that are read: a flipped byte within a text passes
as text.

## Edge cases of other projects (tests/data/warc)

| file | outcome | documents | stubs | skipped |
|---|---|---|---|---|"""
DAMAGED = f"""
## Each format damaged ({len(PAGES)} documents; the one hit is number {HIT}, counted from 0)

Archives and lines in gzip or zstd have a member a document here, tables {ROWS} rows a group or batch,
Parquet page checksums.

| format | damage | outcome | documents | stubs | skipped |
|---|---|---|---|---|---|"""


def table(folder: Path) -> str:
    """The document as it should be."""
    files = [path for path in sorted(DATA.iterdir()) if path.suffix != ".md" and ".paths" not in path.name]
    lines = [HEAD, *(f"| {path.name} | {outcome(inspect(str(path))).cells()} |" for path in files), DAMAGED]
    for name in FORMATS:
        for damage in DAMAGES:
            found = run(folder, name, damage)
            if found is not None:
                lines.append(f"| {name} | {damage.words} | {found.cells()} |")
    for words, found in bundle_outcomes(folder).items():
        lines.append(f"| html files | {words} | {found.cells()} |")
    return "\n".join(lines) + "\n"


def test_the_table_in_the_documentation_is_true(tmp_path: Path) -> None:
    now = table(tmp_path)
    if os.environ.get(WRITE):
        TABLE.write_text(now)
    assert TABLE.read_text() == now, f"run this test with {WRITE}=1 and look at the difference"
