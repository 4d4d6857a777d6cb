"""The oracle: what must have been trained on, by its own reading of the input files, against the ledger.

It shares nothing with the system but the wire: its own readers of JSON lines and WARC, its own parsing of
keys, headers and msgpack. Everything is compared by (file, record, segment, template): nothing missing,
nothing repeated, nothing that should not be there, every lane in order and without a gap.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition

HEADER = struct.Struct(">BBQIQQQQQQQQ")
PAIR = struct.Struct(">QQ")
SEGMENT, DROPPED, DEAD = 2, 3, 4
STAGE_TOPICS = ("chunked", "matched", "instantiated", "judged")


class Item(NamedTuple):
    """One pair, by where it comes from."""

    file: str
    record: int
    segment: int
    template: str


# -- what the files say ---------------------------------------------------------------------------------


class Page(NamedTuple):
    """One record of a file, whatever became of it."""

    record: int
    url: str
    paragraphs: list[str]


def read_file(path: Path) -> Iterator[Page]:
    """Yield the documents of a file with their record numbers; what is no document is only counted."""
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if ".jsonl" in path.name:
        for number, line in enumerate(data.split(b"\n")[:-1]):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield Page(number, row["url"], row["text"].split("\n\n"))
        return
    at = number = 0
    while at < len(data):
        head, _, _ = data[at:].partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        begin = at + len(head) + 4
        at = begin + int(fields["Content-Length"]) + 4
        if fields["WARC-Type"] == "response":
            text = data[begin : at - 4].decode()
            yield Page(number, fields["WARC-Target-URI"], re.findall(r"<p>(.*?)</p>", text))
        number += 1


def templates(text: str) -> list[str]:
    """What the scripted stages make of a segment: a second pair where the text's length is even."""
    return ["first", "second"] if len(text) % 2 == 0 else ["first"]


@dataclass
class Expected:
    """What must come of the files."""

    items: set[Item] = field(default_factory=set)
    dead: set[tuple[str, int]] = field(default_factory=set)  # (file, record) that must be buried
    texts: dict[tuple[str, int, int], str] = field(default_factory=dict)


def expected(files: Iterable[Path]) -> Expected:
    """Read the files, in the order in which they were given."""
    out = Expected()
    for path in files:
        for page in read_file(path):
            kind = "dup" if page.url.endswith("#dup") else page.url.split("/")[3]
            if kind in {"raise", "exit"}:
                out.dead.add((str(path), page.record))
            if kind != "keep":
                continue
            assert len(page.paragraphs) == int(page.url.split("/")[4])
            for segment, text in enumerate(page.paragraphs):
                out.texts[str(path), page.record, segment] = text
                out.items |= {Item(str(path), page.record, segment, name) for name in templates(text)}
    return out


# -- what the topics say --------------------------------------------------------------------------------


class Topics:
    """A reader of everything in a topic."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", max_partition_fetch_bytes=16 * 1024 * 1024,
        )  # fmt: skip

    def read(self, topic: str) -> dict[int, list[Any]]:
        """Return all committed records of a topic, partition by partition."""
        tps = [TopicPartition(topic, p) for p in sorted(self._consumer.partitions_for_topic(topic) or ())]
        self._consumer.assign(tps)
        self._consumer.seek_to_beginning(*tps)
        ends = self._consumer.end_offsets(tps)
        out: dict[int, list[Any]] = {tp.partition: [] for tp in tps}
        while any(self._consumer.position(tp) < ends[tp] for tp in tps):
            for tp, records in self._consumer.poll(timeout_ms=500).items():
                out[tp.partition] += records
        return out

    def ends(self, topic: str) -> dict[int, int]:
        tps = [TopicPartition(topic, p) for p in self._consumer.partitions_for_topic(topic) or ()]
        return {tp.partition: end for tp, end in self._consumer.end_offsets(tps).items()}

    def close(self) -> None:
        self._consumer.close()


class Place(NamedTuple):
    """A record of a lane."""

    position: tuple[int, int]
    kind: int
    segments: int
    source: int
    record: int
    value: bytes


def place(record: Any) -> Place | None:
    """Read a lane record; None where it is nobody's."""
    header = dict(record.headers).get("fs", b"")
    if record.key is None or len(record.key) != PAIR.size or len(header) != HEADER.size:
        return None
    (_, kind, _, segments, source, number, *_) = HEADER.unpack(header)
    return Place(PAIR.unpack(record.key), kind, segments, source, number, record.value)


@dataclass
class Log:
    """A lane topic as a reader that filters sees it."""

    places: dict[int, list[Place]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    filtered: int = 0  # records below what had been seen
    foreign: int = 0


def read_log(topics: Topics, topic: str) -> Log:
    """Read a lane topic and check that every position has its one successor."""
    out = Log()
    for lane, records in topics.read(topic).items():
        seen = out.places.setdefault(lane, [])
        due = (0, 0)
        for record in records:
            at = place(record)
            if at is None:
                out.foreign += 1
            elif at.position < due:
                out.filtered += 1
            else:
                if at.position != due:
                    out.gaps.append(f"{topic}/{lane}: {at.position} where {due} must follow")
                seen.append(at)
                offset, segment = at.position
                due = (offset, segment + 1) if segment + 1 < at.segments else (offset + 1, 0)
    return out


def sources(topics: Topics) -> dict[int, str]:
    """Return the file behind each source number, from the book."""
    out = {}
    for record in topics.read("sources")[0]:
        if record.key.startswith(b"\0"):  # how many ingesters there are
            continue
        booking = msgspec.msgpack.decode(record.value)
        out[booking.get("sequence") or record.offset + 1] = bytes(booking["path"]).decode()
    return out


class Trained(NamedTuple):
    """A pair of the ledger, in the order of training."""

    lane: int
    position: tuple[int, int]
    template: str


def ledger(topics: Topics, run: str) -> tuple[list[Trained], list[str]]:
    """Return the pairs of a run's ledger in order, and what is wrong with it in itself."""
    steps, wrong, out, open_ = 0, [], [], {}
    for record in topics.read(f"ledger.{run}")[0]:
        entry = msgspec.msgpack.decode(record.value)
        if entry["entry"] != "step":
            continue
        steps += 1
        if entry["step"] != steps:
            wrong.append(f"step {entry['step']} where {steps} must follow")
        for lane, position, template, cut, begin, end, *_ in entry["pairs"]:
            name = Trained(lane, tuple(position), template)
            if cut <= 1 and name not in open_:  # the run's very first token is no target
                out.append(name)
            elif open_.get(name) != cut:
                wrong.append(f"{name} goes on at {cut}, after {open_.get(name)}")
                out.append(name)
            open_[name] = cut + end - begin
    return out, wrong


# -- the comparison -------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What the oracle found; empty lists are good news."""

    expected: int = 0
    missing: list[Item] = field(default_factory=list)
    repeated: list[Item] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    unburied: list[tuple[str, int]] = field(default_factory=list)  # poison without its dead letter
    buried: list[tuple[str, int]] = field(default_factory=list)  # dead letters that should not be
    unfinished: list[str] = field(default_factory=list)  # lanes of judged that did not reach raw's end
    filtered: dict[str, int] = field(default_factory=dict)  # records that filters dropped, by topic
    lanes: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # where something is wrong

    @property
    def lost(self) -> int:
        return len(self.missing) + len(self.gaps) + len(self.unfinished) + len(self.unburied)

    @property
    def spurious(self) -> int:
        return len(self.repeated) + len(self.unexpected) + len(self.disorder) + len(self.buried)

    @property
    def clean(self) -> bool:
        return not self.lost and not self.spurious

    def words(self) -> str:
        """Return what is wrong, a line for each kind, with its first examples."""
        kinds = ("missing", "repeated", "unexpected", "disorder", "gaps", "unburied", "buried", "unfinished")
        found = [(kind, getattr(self, kind)) for kind in kinds]
        return "\n".join(f"{kind}: {len(x)}, first {x[:3]}" for kind, x in found if x) or "nothing is wrong"


def judge(bootstrap_servers: str, files: list[Path], run: str) -> Verdict:
    """Compare the files with a run's ledger and with the topics between them."""
    topics = Topics(bootstrap_servers)
    want, out = expected(files), Verdict()
    out.expected = len(want.items)
    names = sources(topics)
    logs = {topic: read_log(topics, topic) for topic in STAGE_TOPICS}
    for topic, log in logs.items():
        out.gaps += log.gaps
        out.filtered[topic] = log.filtered
    judged = logs["judged"].places
    for lane, end in topics.ends("raw").items():
        last = judged[lane][-1] if judged[lane] else None
        reached = 0 if last is None else last.position[0] + (last.position[1] + 1 == last.segments)
        if reached != end:
            out.unfinished.append(f"judged/{lane} ends in document {reached} of {end}")
            out.lanes["unfinished"].add(lane)
    pages: dict[tuple[int, tuple[int, int]], tuple[str, int, int]] = {}
    dead: set[tuple[str, int]] = set()
    for lane, places in judged.items():
        for at in places:
            if at.kind == SEGMENT:
                pages[lane, at.position] = (names[at.source], at.record, at.position[1])
            elif at.kind == DEAD and at.source:
                dead.add((names[at.source], at.record))
    out.unburied, out.buried = sorted(want.dead - dead), sorted(dead - want.dead)
    _compare_texts(judged, pages, want, out)
    trained, wrong = ledger(topics, run)
    out.disorder += wrong
    _compare_ledger(trained, pages, want, out)
    topics.close()
    return out


def _compare_texts(
    judged: dict[int, list[Place]], pages: dict[Any, tuple[str, int, int]], want: Expected, out: Verdict
) -> None:
    """Check that each segment holds just its paragraph."""
    for lane, places in judged.items():
        for at in places:
            page = pages.get((lane, at.position))
            if page is None or page not in want.texts:
                continue
            value = msgspec.msgpack.decode(at.value)
            text = value["instantiated"]["matched"]["segment"]["text"]
            if text != want.texts[page]:
                out.unexpected.append(f"{page} holds {text[:60]!r}")


def _compare_ledger(
    trained: list[Trained], pages: dict[Any, tuple[str, int, int]], want: Expected, out: Verdict
) -> None:
    count: Counter[Item] = Counter()
    before: dict[int, tuple[int, int]] = {}
    for pair in trained:
        if pair.position < before.get(pair.lane, (0, 0)):
            out.disorder.append(f"lane {pair.lane}: {pair.position} after {before[pair.lane]}")
            out.lanes["disorder"].add(pair.lane)
        before[pair.lane] = max(pair.position, before.get(pair.lane, (0, 0)))
        page = pages.get((pair.lane, pair.position))
        if page is None:
            out.unexpected.append(f"{pair} is no segment of judged")
            out.lanes["unexpected"].add(pair.lane)
            continue
        item = Item(*page, pair.template)
        count[item] += 1
        if item not in want.items:
            out.unexpected.append(f"{item} should have been dropped")
            out.lanes["unexpected"].add(pair.lane)
        elif count[item] == 2:
            out.repeated.append(item)
            out.lanes["repeated"].add(pair.lane)
    out.missing = sorted(want.items - set(count))
