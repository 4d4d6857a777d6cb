"""Crawl files for a chaos run: each document's URL says what must become of it, so that the oracle can know.

`http://HOST/keep/3/17` has three paragraphs and three segments. The others end early: `short`, `foreign`,
`dup` (an exact copy, nearby in its lane), `raise` and `exit` (poison for match); a broken line has no URL at
all. Lane 0 gets ten times the load of each other lane, the last lane nothing.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.ingest.lanes import canonical_url, lane_of
from streams.tokens import load_tokenizer

SEGMENT_TOKENS = 96
"""Of chunk: two paragraphs never fit, so that each paragraph is a segment."""
PARAGRAPH_TOKENS = range(60, 76)
SHARES = {"keep": 0.28, "raise": 0.02, "short": 0.3, "foreign": 0.14, "dup": 0.16, "broken": 0.1}
FILE_DOCUMENTS = 40

_NOUNS = [
    "river",
    "bridge",
    "harbour",
    "garden",
    "museum",
    "village",
    "mountain",
    "teacher",
    "engineer",
    "farmer",
    "library",
    "market",
]
_VERBS = [
    "explains",
    "shapes",
    "supports",
    "follows",
    "measures",
    "protects",
    "describes",
    "improves",
    "carries",
    "limits",
]
_ENDS = [
    "the old road behind the church",
    "many people who live near the coast",
    "the weather of the whole valley",
    "a small group of students each year",
    "what the council had planned for the town",
    "the history of trade",
]
_GERMAN = [
    "Der Garten hinter dem alten Haus wurde im vergangenen Jahr von den Nachbarn gepflegt.",
    "Niemand wusste genau, warum die Kinder an diesem Morgen nicht in die Schule gegangen waren.",
    "Die Brücke über den Fluss ist seit mehreren Monaten für den Verkehr gesperrt.",
    "Am Abend trafen sich die Bewohner, um über die Zukunft des Marktes zu sprechen.",
]


class Lanes(NamedTuple):
    """How load is spread."""

    count: int
    weights: list[int]

    def pick(self, rnd: random.Random) -> int:
        return rnd.choices(range(self.count), self.weights)[0]


def spread(count: int) -> Lanes:
    """One lane with ten times the load, one without any."""
    return Lanes(count, [10, *[1] * (count - 2), 0])


class Writer:
    """Writes numbered files; every second one is gzip, every fourth a WARC."""

    def __init__(self, folder: Path, lanes: Lanes, seed: int) -> None:
        self._folder = folder
        self._lanes = lanes
        self._rnd = random.Random(seed)
        self._tokenizer = load_tokenizer()
        self._number = 0
        self._kept: dict[int, list[tuple[str, str]]] = {}

    def write(self, documents: int, killers: int = 0) -> list[Path]:
        """Write that many documents; `killers` of them end the process that matches them."""
        kinds = [kind for kind, share in SHARES.items() for _ in range(round(share * documents))]
        kinds = (kinds + ["keep"] * documents)[: documents - killers] + ["exit"] * killers
        self._rnd.shuffle(kinds)
        files = []
        for begin in range(0, documents, FILE_DOCUMENTS):
            n = begin // FILE_DOCUMENTS
            name = f"{n:03}.{'warc' if n % 4 == 3 else 'jsonl'}{'.gz' if n % 2 else ''}"
            path = self._folder / name
            parts = self._warc if n % 4 == 3 else self._jsonl
            data = list(parts(path, kinds[begin : begin + FILE_DOCUMENTS]))
            if path.suffix == ".gz":
                path.write_bytes(b"".join(gzip.compress(part, 6, mtime=0) for part in data))
            else:
                path.write_bytes(b"".join(data))
            files.append(path)
        return files

    def write_lane(self, name: str, lane: int, kinds: list[str]) -> Path:
        """Write one file of plain JSON lines whose documents all go to one lane."""
        path = self._folder / name
        rows = [self.document(kind, lane) for kind in kinds]
        lines = [json.dumps({"url": url, "text": text}).encode() + b"\n" for url, text in rows]
        path.write_bytes(b"".join(lines))
        return path

    def _jsonl(self, path: Path, kinds: list[str]) -> Iterator[bytes]:
        index = 0
        for kind in kinds:
            if self._rnd.random() < 0.05:
                yield b"\n"  # a blank line is a record, though nothing of it is sent
                index += 1
            # Where a broken line goes, its place in the file decides.
            if kind == "broken" and lane_of(f"{path}#{index}", self._lanes.count) != self._lanes.count - 1:
                yield b'{"text": "cut off in the mid\n'
            else:
                url, text = self.document(kind)
                row = {"url": url, "text": text, "id": f"n{self._number}"}
                yield json.dumps(row).encode() + b"\n"
            index += 1

    def _warc(self, path: Path, kinds: list[str]) -> Iterator[bytes]:
        yield _record("warcinfo", b"software: chaos\r\n", "", "application/warc-fields")
        for kind in kinds:
            url, text = self.document(kind)
            yield _record("request", b"GET / HTTP/1.1\r\n\r\n", url, "application/http; msgtype=request")
            body = "".join(f"<p>{paragraph}</p>\n" for paragraph in text.split("\n\n"))
            page = f"<!DOCTYPE html><html><head><title>A page</title></head><body>{body}</body></html>"
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
            yield _record("response", head + page.encode(), url, "application/http; msgtype=response")

    def document(self, kind: str, lane: int | None = None) -> tuple[str, str]:
        """Return URL and text of a document of a kind; `keep:30` asks for as many paragraphs."""
        kind, _, wanted = kind.partition(":")
        lane = self._lanes.pick(self._rnd) if lane is None else lane
        if kind == "dup" and self._kept.get(lane):
            url, text = self._kept[lane][-self._rnd.randrange(1, 20) :][0]
            return url + "#dup", text
        if kind in {"dup", "broken"}:
            kind = "short"
        paragraphs = 1
        if kind == "short":
            text = f"Too short to keep, number {self._rnd.randrange(10**6)}."
        elif kind == "foreign":
            text = " ".join(self._rnd.sample(_GERMAN, 4)) + f" Nummer {self._rnd.randrange(10**6)}."
        elif kind in {"raise", "exit"}:
            text = f"{kind}: {self._paragraph()}"
        else:
            paragraphs = int(wanted) if wanted else self._rnd.randrange(1, 5)
            text = "\n\n".join(self._paragraph() for _ in range(paragraphs))
        url = self._url(f"{kind}/{paragraphs}", lane)
        if kind == "keep":
            self._kept.setdefault(lane, []).append((url, text))
        return url, text

    def _url(self, path: str, lane: int) -> str:
        while True:
            self._number += 1
            url = f"http://example.org/{path}/{self._number}"
            if lane_of(canonical_url(url), self._lanes.count) == lane:
                return url

    def _paragraph(self) -> str:
        rnd, text = self._rnd, ""
        while True:
            what = f"The {rnd.choice(_NOUNS)} {rnd.choice(_VERBS)} {rnd.choice(_ENDS)}"
            text = f"{text} {what}, in {rnd.randrange(10**4)} ways.".strip()
            tokens = self._tokenizer.count(text)
            if tokens in PARAGRAPH_TOKENS:
                return text
            if tokens >= PARAGRAPH_TOKENS.stop:
                text = ""


def _record(kind: str, body: bytes, url: str, content_type: str) -> bytes:
    lines = ["WARC/1.0", f"WARC-Type: {kind}", "WARC-Date: 2026-01-02T03:04:05Z"]
    lines += [f"WARC-Target-URI: {url}"] if url else []
    lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"
