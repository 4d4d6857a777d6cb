"""Through the chunk stage: a document that holds a test item is flagged in the segment that holds it."""

from pathlib import Path

import pytest
from kit.unfiltered import UNFILTERED

from streams.errors import SettingsError
from streams.records import RawDocument, Segment, decode, encode
from streams.settings import load
from workers.chunk.stage import ChunkStage
from workers.contamination import read_items

BENCHMARKS = Path(__file__).parents[1] / "data" / "benchmarks"
PROSE = (
    "Measles is a highly contagious disease. It spreads through the air when an infected person coughs. "
    "A vaccine prevents it, and children receive it twice before they go to school. "
    "Complications are common among the very young."
)
ITEM = read_items(BENCHMARKS / "mt-bench.jsonl")[0].text
BOTH = {"mt-bench": 1.0, "vicuna-bench": 1.0}
"""MT-Bench took this question over from Vicuna's."""


def opened(**chunk) -> ChunkStage:
    benchmarks = {name: str(BENCHMARKS / f"{name}.jsonl") for name in ("mt-bench", "vicuna-bench")}
    stage = ChunkStage(
        load(chunk={"contamination": {"benchmarks": benchmarks}, "filters": UNFILTERED, **chunk})
    )
    stage.open()
    return stage


def document(text: str, content_type: str = "text/plain") -> RawDocument:
    return RawDocument(
        id="doc",
        url="https://health.example/measles",
        source="crawl.warc.gz",
        content_type=content_type,
        payload=text.encode(),
    )


def test_a_page_that_holds_a_test_item_is_flagged_and_kept():
    body = f"<p>{PROSE}</p><p><b>Task:</b> {ITEM.upper()}</p><p>{PROSE}</p>"
    html = f"<html><body><main>{body}</main></body></html>"
    [clean, dirty] = opened().process([document(PROSE), document(html, "text/html")])
    assert [segment.contamination for segment in clean] == [{}]
    assert [segment.contamination for segment in dirty] == [BOTH]
    assert decode(encode(dirty[0]), Segment).contamination == BOTH


def test_only_the_segment_that_holds_it_is_flagged():
    filler = "\n\n".join(f"{PROSE} Paragraph {i}." for i in range(20))
    [segments] = opened(segment_tokens=200).process([document(f"{filler}\n\n{ITEM}\n\n{filler}")])
    flagged = [segment for segment in segments if segment.contamination]
    assert (len(segments) > 5, len(flagged)) == (True, 1)
    assert ITEM in flagged[0].text


def test_without_benchmarks_nothing_is_looked_for():
    stage = opened(contamination={})
    [segments] = stage.process([document(f"{PROSE}\n\n{ITEM}")])
    assert [segment.contamination for segment in segments] == [{}]


def test_a_missing_file_stops_the_stage_before_its_first_record():
    with pytest.raises(SettingsError, match=r"gone\.jsonl"):
        opened(contamination={"benchmarks": {"exam": str(BENCHMARKS / "gone.jsonl")}})
