"""Writes the shipped documents on which it is measured how the seed bank is sampled.

    python dev/measure_seed.py DOCUMENTS.jsonl
    finestream template measure seed DOCUMENTS.jsonl --set chunk.segment_tokens=400

The second line writes `sampling.json` beside the bank. The documents are the samples as chunk lets them
through, and the extractive engine's background passages. At 400 tokens a segment they give more than the
2,000 that are wanted; the stream's own segments are up to 3,000.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from streams.ingest.items import Document
from streams.ingest.reader import open_reader
from streams.ingest.source import inspect
from streams.records import RawDocument, Segment, decode, encode
from streams.samples import sample_paths
from streams.settings import Settings, load
from workers.chunk.stage import ChunkStage
from workers.engines.extractive.roundtrip import passages
from workers.stage import Drop


def raw_documents(settings: Settings) -> Iterator[RawDocument]:
    """Yield the shipped documents as ingest makes them."""
    for path in sample_paths():
        reader = open_reader(inspect(str(path)), settings.ingest)
        assert reader is not None
        # As it comes out of the topic: readers give their buffers, not bytes.
        yield from (decode(encode(item.record), RawDocument) for item in reader if isinstance(item, Document))


def segments(settings: Settings) -> Iterator[Segment]:
    """Yield the shipped documents' segments; exact duplicates once, as the stream does."""
    stage = ChunkStage(settings)
    stage.open()
    seen: set[bytes] = set()
    for document in raw_documents(settings):
        [outcome] = stage.process([document])
        if isinstance(outcome, Drop | Exception):
            continue
        for segment in outcome:
            assert isinstance(segment, Segment)
            if segment.index == 0 and segment.content_hash in seen:
                break
            seen.add(segment.content_hash)
            yield segment


def main() -> None:
    """Write the documents."""
    texts = [{"text": segment.text, "language": segment.language} for segment in segments(load())]
    texts += [{"text": text, "language": "en"} for text in passages()]
    Path(sys.argv[1]).write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    print(f"{len(texts)} documents")


if __name__ == "__main__":
    main()
