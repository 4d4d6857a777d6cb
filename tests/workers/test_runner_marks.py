"""What a stage marks in its outputs is counted where they are written: here, contaminated segments."""

import sys
from pathlib import Path

import pytest
from kit.flow import RawWriter, raw_ends, read_lanes, wait_drained
from kit.processes import wait_for
from kit.unfiltered import UNFILTERED

from streams import generations
from streams.errors import SettingsError, StageMismatch
from streams.positions import Kind
from streams.records import RawDocument, Segment, decode, encode
from streams.settings import load
from workers.chunk.stage import ChunkStage
from workers.contamination import read_items
from workers.sandbox import Sandbox
from workers.work import Outputs

BENCHMARKS = Path(__file__).parents[1] / "data" / "benchmarks"
NAMES = ("mt-bench", "mt-bench-101")
PROSE = (
    "Measles is a highly contagious disease. It spreads through the air when an infected person coughs. "
    "A vaccine prevents it, and children receive it twice before they go to school. "
    "Complications are common among the very young."
)
ITEM = read_items(BENCHMARKS / "mt-bench.jsonl")[0].text
CHUNK = {
    "contamination": {"benchmarks": {name: str(BENCHMARKS / f"{name}.jsonl") for name in NAMES}},
    "filters": UNFILTERED,
}
COUNT = "finestream_outputs_marked_total contamination"


def test_contaminated_segments_are_counted_for_each_benchmark(pipeline, workers):
    settings, generation = pipeline(1, chunk=CHUNK)
    worker = workers.run(settings, [sys.executable, "-m", "workers", "chunk"])
    wait_for(lambda: worker.metrics().get("finestream_lanes_open") == 1, worker)
    before = worker.metrics()
    assert [before[f"{COUNT} {name}"] for name in NAMES] == [0, 0]
    raw = RawWriter(settings, generation)
    raw.write(0, PROSE.encode())
    for text in (
        f"{PROSE}\n\n{ITEM}",
        f"{PROSE}\n\n{ITEM}",
        f"{ITEM}\n\n{PROSE}",
    ):  # the second is a duplicate
        raw.write(0, text.encode())
    raw.flush()
    wait_drained(settings, "chunked", raw_ends(settings), alive=lambda: worker.alive)
    records = read_lanes(settings, "chunked")[0]
    found = [
        decode(record.value, Segment).contamination for record in records if not record.header.kind.marker
    ]
    assert found == [{}, {"mt-bench": 1.0}, {"mt-bench": 1.0}]
    counts = worker.metrics()
    assert [counts[f"{COUNT} {name}"] for name in NAMES] == [2, 0]


def test_a_benchmark_with_another_content_is_another_generation(pipeline, tmp_path):
    path = tmp_path / "exam.txt"
    path.write_text("How far is the moon from here on a clear night?")
    settings, generation = pipeline(1, chunk={"contamination": {"benchmarks": {"exam": str(path)}}})
    assert generations.load(settings, "chunk") == generation
    before = path.read_bytes()
    path.write_bytes(before + b"\nAnd how far is the sun?")
    with pytest.raises(StageMismatch, match="another content"):
        generations.load(settings, "chunk")
    assert generations.load(settings, "match") == generation
    path.unlink()
    with pytest.raises(SettingsError, match=r"exam\.txt"):
        generations.load(settings, "chunk")
    path.write_bytes(before)
    assert generations.load(settings, "chunk") == generation


def test_marks_come_out_of_the_child_process_too():
    sandbox = Sandbox(ChunkStage, load(chunk=CHUNK))
    document = RawDocument(
        id="d", url="http://x/", source="t", content_type="text/plain", payload=f"{PROSE} {ITEM}".encode()
    )
    try:
        result = sandbox.call(Kind.DOCUMENT, encode(document), 60.0)
    finally:
        sandbox.close()
    assert isinstance(result, Outputs)
    assert result.marks == (("contamination", "mt-bench"),)


def test_a_stage_knows_its_marks_before_it_is_opened():
    assert ChunkStage(load(chunk=CHUNK)).known_marks() == [("contamination", name) for name in NAMES]
    assert ChunkStage(load()).known_marks() == []
