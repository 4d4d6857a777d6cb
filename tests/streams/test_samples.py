"""The shipped documents: enough, short, attributed, no questions; the unwanted ones end as they should."""

import gzip
import json
import statistics
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from streams.records import RawDocument
from streams.samples import sample_paths
from streams.settings import Settings
from workers.chunk.stage import ChunkStage
from workers.stage import Drop

ROOT = Path(__file__).parents[2]


def documents(path: Path) -> list[RawDocument]:
    """Read a sample file without the project's own readers."""
    if ".jsonl" in path.name:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return [
            RawDocument(
                id=row["url"],
                url=row["url"],
                source=path.name,
                content_type="text/plain",
                payload=row["text"].encode(),
                title=row["title"],
                metadata=row["metadata"],
            )
            for row in rows
        ]
    with path.open("rb") as stream:
        return [
            RawDocument(
                id=record.record_id,
                url=record.headers["WARC-Target-URI"],
                source=path.name,
                content_type=record.http_content_type or "",
                charset=record.http_charset or "",
                payload=record.reader.read(),
            )
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True)
        ]


@pytest.fixture(scope="module")
def stage() -> ChunkStage:
    stage = ChunkStage(Settings())
    stage.open()
    return stage


@pytest.fixture(scope="module")
def outcomes(stage: ChunkStage) -> dict[str, list]:
    return {path.name: list(stage.process(documents(path))) for path in sample_paths()}


def test_enough_short_documents_become_segments(outcomes):
    segments = [
        o for name in ("encyclopedia.jsonl.gz", "health-and-government.warc.gz") for o in outcomes[name]
    ]
    kept = [o for o in segments if not isinstance(o, Drop)]
    assert len(kept) >= 500
    assert len(kept) >= 0.97 * len(segments), "the filters' defaults leave the samples whole, nearly"
    assert {o.reason.partition(".")[0] for o in segments if isinstance(o, Drop)} <= {
        "gopher_quality",
        "gopher_repetition",
    }
    assert all(len(o) == 1 for o in kept)
    assert statistics.median(o[0].tokens for o in kept) <= 400
    assert len({o[0].content_hash for o in kept}) == len(kept)


def test_pages_name_their_subject_and_keep_their_lists(outcomes):
    pages = [o[0] for o in outcomes["health-and-government.warc.gz"] if not isinstance(o, Drop)]
    assert all(page.title for page in pages)
    assert sum(
        page.title.casefold() in page.text[len(page.title) :].casefold() for page in pages
    ) > 0.8 * len(pages)
    assert sum("\n  \u2022 " in page.text for page in pages) > 150
    assert not any("Topics" in page.text.split("\n")[0] or "Contact us" in page.text for page in pages)


def test_no_question_of_an_evaluation_set_is_in(outcomes):
    texts = [o[0].text for name in outcomes for o in outcomes[name] if not isinstance(o, Drop)]
    assert not any("What is (are)" in text or "<Question" in text for text in texts), "as MedQuAD asks"
    encyclopedia = [o[0].text for o in outcomes["encyclopedia.jsonl.gz"] if not isinstance(o, Drop)]
    assert not any(text.rstrip().endswith("?") for text in encyclopedia)


def test_unwanted_ones_end_for_their_reasons(outcomes):
    unwanted = outcomes["unwanted.warc.gz"]
    reasons = Counter(o.reason for o in unwanted if isinstance(o, Drop))
    assert reasons == {
        "language": 4,
        "empty": 2,
        "not_text": 2,
        "too_short": 1,
        "too_complex": 1,
        "undecodable": 1,
    }
    known = {o[0].content_hash for o in outcomes["health-and-government.warc.gz"] if not isinstance(o, Drop)}
    copies = [o[0].content_hash in known for o in unwanted if not isinstance(o, Drop)]
    assert copies == [True, True, True], "two copies, and one from an old encoding that comes out the same"
    assert [o.reason for o in outcomes["whirlwind.warc.gz"]] == ["language"]


def test_every_source_is_attributed():
    notice = (ROOT / "NOTICE").read_text()
    readme = (ROOT / "streams/data/samples/README.md").read_text()
    for name, licence in {
        "abachaa/MedQuAD": "Creative Commons Attribution 4.0",
        "GSA/digitalgov.gov": "CC0 1.0",
        "google-deepmind/xquad": "Attribution-ShareAlike 4.0",
        "commoncrawl/whirlwind-python": "Apache-2.0",
    }.items():
        paragraph = next(p for p in notice.split("\n* ") if name in p)
        assert licence in " ".join(paragraph.split())
    for path in sample_paths():
        assert f"`{path.name}`" in readme
    rows = documents(next(p for p in sample_paths() if "encyclopedia" in p.name))
    assert all(row.metadata["licence"].startswith("CC BY-SA 4.0") for row in rows)


def test_samples_are_small_and_in_a_fixed_order():
    paths = sample_paths()
    assert paths == sorted(paths)
    assert sum(path.stat().st_size for path in paths) < 3_000_000
