"""`filters_vs_datatrove`: share of documents on which our filters and datatrove's agree, of the worst filter.

Four filters, Gopher quality, Gopher repetition, C4 and FineWeb, each asked alone about each English text:
kept or rejected. Whether the same rule rejects is shown beside. The texts are what our chunk stage extracts,
from the shipped documents, or from the corpora in the folder that `FILTERS_DATA` names:
docs/medquad-nih.tar.gz, docs/digitalgov.tar.gz, docs/xquad, and under crawl/ Parquet (a column `contents` or
`text`, needs pyarrow), JSONL (`text`) and archives of HTML.

Also `filters_speed_vs_datatrove`: documents a CPU-second through all four, over datatrove's.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _datatrove
from _datatrove import FAMILIES

from streams.records import RawDocument, decode, encode
from streams.samples import sample_paths
from streams.settings import load
from streams.settings.filters import FilterSettings
from workers.chunk.filters.c4 import c4
from workers.chunk.filters.fineweb import fineweb
from workers.chunk.filters.gopher_quality import gopher_quality
from workers.chunk.filters.gopher_repetition import gopher_repetition
from workers.chunk.filters.page import Page
from workers.chunk.stage import ChunkStage
from workers.stage import Drop

GOAL = 0.97
SPEED_GOAL = 10
BATCH = 64
RULES = {
    "gopher_short_doc": "short_doc",
    "gopher_long_doc": "long_doc",
    "gopher_below_avg_threshold": "short_words",
    "gopher_above_avg_threshold": "long_words",
    "gopher_too_many_hashes": "hashes",
    "gopher_too_many_ellipsis": "ellipses",
    "gopher_too_many_bullets": "bullet_lines",
    "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "few_alpha_words",
    "gopher_enough_stop_words": "few_stop_words",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_characters",
    "line_punct_ratio": "line_punctuation",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_characters",
    "list_ratio": "list",
    "too_few_sentences": "few_sentences",
    **{f"duplicated_{n}_n_grams": f"duplicate_{n}_grams" for n in range(5, 11)},
}
"""Of datatrove's reasons those that we call otherwise."""


def document(corpus: str, payload: bytes, media_type: str, url: str = "") -> RawDocument:
    return RawDocument(id=corpus, url=url, source=corpus, content_type=media_type, payload=payload)


def shipped() -> Iterator[RawDocument]:
    """The project's sample documents, read as the ingester does."""
    from streams.ingest.items import Document
    from streams.ingest.reader import open_reader
    from streams.ingest.source import inspect

    for path in sample_paths():
        opened = open_reader(inspect(str(path)), load().ingest)
        assert opened is not None
        for item in opened:
            if isinstance(item, Document):
                yield decode(encode(item.record), RawDocument)
        opened.close()


def corpora(folder: Path) -> Iterator[RawDocument]:
    """What a folder of corpora holds."""
    from dev.corpora import digitalgov, medquad, xquad

    for corpus in (medquad, digitalgov, xquad):
        for page in corpus(folder):
            yield document(page.corpus, f"<body>{page.body}</body>".encode(), "text/html", page.url)
    for path in sorted(folder.glob("crawl/parquet/*.parquet")):
        import pyarrow.parquet  # type: ignore[import-untyped]

        table = pyarrow.parquet.read_table(path)
        column = "contents" if "contents" in table.column_names else "text"
        for text in table[column].to_pylist():
            yield document("parquet", text.encode(), "text/plain")
    for path in sorted(folder.glob("crawl/jsonl/*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield document("jsonl", json.loads(line)["text"].encode(), "text/plain")
    for path in sorted(folder.glob("crawl/html/*.tar.gz")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith((".html", ".htm")) and (stream := tar.extractfile(member)):
                    yield document("html", stream.read(), "text/html")


def english(documents: Iterator[RawDocument]) -> list[dict[str, str]]:
    """Return what the chunk stage makes of them: corpus and whole text of those that it takes for English."""
    off = {family: {"mode": "off"} for family in (*FAMILIES, "opt_out")}
    stage = ChunkStage(load(chunk={"filters": off, "min_characters": 1, "segment_tokens": 10**9}))
    stage.open()
    rows = []
    batch: list[RawDocument] = []
    for each in documents:
        batch.append(each)
        if len(batch) == BATCH:
            rows += _texts(stage, batch)
            batch = []
    return rows + _texts(stage, batch)


def _texts(stage: ChunkStage, batch: list[RawDocument]) -> list[dict[str, str]]:
    outcomes = zip(batch, stage.process(batch), strict=True)
    return [
        {"corpus": each.source, "text": "".join(segment.text for segment in outcome)}
        for each, outcome in outcomes
        if not isinstance(outcome, (Drop, Exception))
    ]


def ours(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], float]:
    """Return each text's verdicts as datatrove's are written, and the CPU time of all."""
    limits = FilterSettings()
    chain: dict[str, Any] = {
        "fineweb": lambda page: fineweb(page, limits.fineweb),
        "gopher_quality": lambda page: gopher_quality(page, limits.gopher_quality),
        "c4": lambda page: c4(page, limits.c4),
        "gopher_repetition": lambda page: gopher_repetition(page, limits.gopher_repetition),
    }
    out = []
    began = time.process_time()
    for row in rows:
        page = Page(row["text"])
        findings = {name: judge(page) for name, judge in chain.items()}
        out.append(
            {name: found.reason.partition(".")[2] if found else "" for name, found in findings.items()}
        )
    return out, time.process_time() - began


def main() -> int:
    """Compare and print."""
    data = os.environ.get("FILTERS_DATA")
    rows = english(corpora(Path(data)) if data else shipped())
    with tempfile.TemporaryDirectory() as name:
        texts = _datatrove.write_rows(Path(name) / "texts", rows)
        out = Path(name) / "verdicts"
        try:
            cost = _datatrove.ask("verdicts", texts, out)
        except _datatrove.NoDatatrove as error:
            print(f"datatrove: {error}", file=sys.stderr)
            return 1
        theirs = [json.loads(line) for line in out.open(encoding="utf-8")]
    ours(rows)  # fills the table of pieces, as a worker's first pages do
    mine, seconds = ours(rows)
    share: dict[str, float] = {}
    more: dict[str, Any] = {}
    for family in FAMILIES:
        pairs = [(a[family], RULES.get(b[family], b[family])) for a, b in zip(mine, theirs, strict=True)]
        share[family] = sum(bool(a) == bool(b) for a, b in pairs) / len(pairs)
        different = Counter(f"{a or 'kept'} / {b or 'kept'}" for a, b in pairs if a != b)
        more[family] = {
            "equal": round(share[family], 5),
            "same_rule": round(sum(a == b for a, b in pairs) / len(pairs), 5),
            "rejected": round(sum(bool(b) for _, b in pairs) / len(pairs), 4),
            "ours / theirs": dict(different),
        }
        print(family, json.dumps(more[family]), file=sys.stderr)
    texts_of = dict(Counter(row["corpus"] for row in rows)) if data else len(rows)
    value = min(share.values())
    figure = {
        "name": "filters_vs_datatrove",
        "value": round(value, 5),
        "unit": "share of equal verdicts, of the worst filter",
        "goal": GOAL,
        "better": "higher",
        "baseline": f"datatrove {_datatrove.VERSION} with spaCy on the same {len(rows)} English texts",
        "met": round(value, 5) >= GOAL,
        "filters": more,
        "texts": texts_of,
    }
    print(json.dumps(figure))
    characters = sum(len(row["text"]) for row in rows)
    rate, reference = len(rows) / seconds, cost["documents"] / cost["cpu_seconds"]
    speed = {
        "name": "filters_speed_vs_datatrove",
        "value": round(rate / reference, 1),
        "unit": "ratio of documents a CPU-second through all four",
        "goal": SPEED_GOAL,
        "better": "higher",
        "baseline": f"datatrove {reference:.0f} documents a CPU-second, ours {rate:.0f}, "
        f"{characters / len(rows):.0f} characters each; ours {seconds / characters * 1e7:.2f} ms for 10 kB",
        "met": round(rate / reference, 1) >= SPEED_GOAL,
    }
    print(json.dumps(speed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
