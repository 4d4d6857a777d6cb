"""`chunk_stage_vs_resiliparse`: pages a CPU-second through the whole chunk stage, over bare Resiliparse's.

The whole stage is `ChunkStage.process` with its usual settings, except that nothing is dropped: filters flag,
every language is wanted. So each page costs what a page costs that is kept. Bare = detect the encoding,
decode, extract the main content with our own options. Both run in this process, in turns, over the same
pages; the best round of each counts.

`parts_us` says what a page costs in each step, measured alone, one step over all pages after another, best of
all rounds; `rest` is what the whole takes beyond their sum: records, and caches that a step finds cold when
steps take turns. The pages are made (`_crawl_pages`), or those of the WARC files given as arguments.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

from _crawl_pages import bare, cpu_seconds, given_or_made

from streams.garbage import collect_seldom
from streams.records import RawDocument
from streams.settings import load
from streams.settings.filters import FilterSettings
from workers.chunk import extract as extraction
from workers.chunk import markup
from workers.chunk.decode import decode
from workers.chunk.language import detect
from workers.chunk.near_duplicates import sketch
from workers.chunk.page_metadata import from_html
from workers.chunk.reasons import Unusable
from workers.chunk.segment import cut
from workers.chunk.stage import ChunkStage
from workers.stage import Drop

ROUNDS = 5
GOAL = 0.5


def readable(pages: list[RawDocument]) -> list[RawDocument]:
    """Leave out what the guard refuses: it costs next to nothing, and no step behind sees it."""
    kept: list[RawDocument] = []
    for page in pages:
        try:
            extraction.extract(page, 6 * 1024 * 1024, 2_000_000)
        except Unusable:
            continue
        kept.append(page)
    return kept


class Parts:
    """Each step over all pages, with what the steps before it gave."""

    def __init__(self, stage: ChunkStage, pages: list[RawDocument]) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = stage
        self.pages = pages

    def time(self, name: str, step: Callable[..., Any], *inputs: list[Any]) -> list[Any]:
        """Return what a step gives for each page; keep its best time."""
        results: list[Any] = []

        def work() -> None:
            results.extend(map(step, *inputs))

        seconds = cpu_seconds(work)
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))
        return results

    def round(self) -> None:
        """Time every step once."""
        stage, pages = self.stage, self.pages
        config, extractor = stage.config, stage._extractors.of(pages[0])
        urls = [page.url for page in pages]
        htmls = self.time("decode", lambda page: decode(page.payload, page.charset), pages)
        tags = self.time("guard", markup.check, htmls)
        raw = self.time("extract", extractor.text, htmls, tags)
        texts = self.time("canonical", extraction.canonical, raw)
        titles = self.time(
            "title",
            lambda html, text, url: extraction.clean_title(extraction.title_of(html, text, url)),
            htmls,
            texts,
            urls,
        )
        metadata = self.time("metadata", lambda html, url: from_html(html, url, {}), htmls, urls)
        extracted = [extraction.Extracted(*it) for it in zip(titles, texts, htmls, strict=True)]
        scrubbed = [text for _, text, _ in self.time("scrub", stage._scrub, extracted)]
        languages = self.time("language", lambda text: detect(text, config.languages), scrubbed)
        codes = [language.code for language in languages]
        self.time("filters", lambda *it: stage._filters.page(*it, set()), scrubbed, codes, metadata)
        pieces = self.time(
            "tokens and cutting", lambda text: cut(text, stage._tokens, config.segment_tokens), scrubbed
        )
        self.time("hash", lambda text: hashlib.blake2b(text.encode(), digest_size=16).digest(), scrubbed)
        if config.duplicates.near != "off":
            self.time(
                "near-duplicate sketch", lambda text: sketch(text, config.duplicates.shingle_words), scrubbed
            )
        if stage._benchmarks:
            shares = stage._benchmarks.shares
            self.time("contamination", lambda cuts: [shares(piece.text) for piece in cuts], pieces)


def main() -> int:
    """Measure and print."""
    pages = readable(given_or_made(sys.argv[1:]))
    flagging = {name: {"mode": "flag"} for name in FilterSettings.model_fields}
    settings = load(chunk={"languages": [], "min_characters": 1, "filters": flagging})
    stage = ChunkStage(settings)
    stage.open()
    collect_seldom()  # as a worker does
    size = settings.chunk.batch_records

    def ours() -> list[Any]:
        return [outcome for i in range(0, len(pages), size) for outcome in stage.process(pages[i : i + size])]

    outcomes = ours()  # fills the cache of words, as a worker's first second does
    dropped = sum(isinstance(outcome, Drop) for outcome in outcomes)
    parts = Parts(stage, pages)
    rounds: list[tuple[float, float]] = []
    for turn in range(ROUNDS):
        rounds.append((cpu_seconds(lambda: bare(pages)), cpu_seconds(ours)))
        parts.round()
        print(f"{turn}: bare {rounds[-1][0]:.3f} s, stage {rounds[-1][1]:.3f} s of CPU", file=sys.stderr)
    theirs, whole = (min(column) for column in zip(*rounds, strict=True))
    value = round(theirs / whole, 3)
    microseconds = {name: round(seconds / len(pages) * 1e6) for name, seconds in parts.seconds.items()}
    microseconds["rest"] = round(whole / len(pages) * 1e6) - sum(microseconds.values())
    kilobytes = statistics.mean(len(page.payload) for page in pages) / 1000
    print(
        json.dumps(
            {
                "name": "chunk_stage_vs_resiliparse",
                "value": value,
                "unit": "ratio of documents per CPU-second",
                "goal": GOAL,
                "better": "higher",
                "baseline": f"Resiliparse decode and main content of the same {len(pages)} pages of "
                f"{kilobytes:.0f} kB ({dropped} dropped): {len(pages) / theirs:.0f} documents a CPU-second",
                "met": value >= GOAL,
                "bare_us": round(theirs / len(pages) * 1e6),
                "parts_us": microseconds,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
