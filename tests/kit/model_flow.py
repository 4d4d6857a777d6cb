"""A model's stage and its server, as tests and benchmarks set them up: segments to ask about, a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from typing import Any

from kit.flow import filtered, read_lanes, write_lane
from kit.processes import KIT

from streams import children
from streams.broker.probe import free_port
from streams.generations import Generation
from streams.positions import Kind, LaneHeader, Origin, Position
from streams.records import Candidate, MatchedSegment, Segment, encode
from streams.settings import Settings

TEMPLATES = (
    "What is <fi>a thing</fi>?",
    "How do I use <fi>a tool</fi> well?",
    "Tell me about <fi>a name</fi>.",
)
FAST = {
    "timeout_seconds": 1.0,
    "backoff_seconds": 0.01,
    "backoff_most_seconds": 0.05,
    "probe_seconds": 0.1,
    "probe_most_seconds": 0.2,
}


class Server:
    """The model's server as a process; killed, it comes back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.popen: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self, **faults: object) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(KIT / "model_server.py"), "--port", str(self.port),
             "--faults", json.dumps(faults)],
            stdout=subprocess.PIPE, text=True, preexec_fn=children.die_with_parent(),  # noqa: PLW1509
            env={**children.clean_environment(), "PYTHONPATH": str(KIT.parent)},
        )  # fmt: skip
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline()

    def asked(self) -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=10) as answer:
            return Counter(json.load(answer)["counts"])

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None


def text(lane: int, number: int, more: str = "") -> str:
    return f"Thing{lane}x{number} is what this text is about. {more} It ends with {lane} and {number}."


def matched(lane: int, number: int, more: str = "", templates: tuple[str, ...] = TEMPLATES) -> bytes:
    segment = Segment(
        document_id=f"d{lane}.{number}", index=0, count=1, start=0, url="http://x/", title="",
        text=text(lane, number, more), language="en", language_score=1.0, tokens=20, tokenizer="none",
        content_hash=f"{lane:08d}{number:08d}".encode(),
    )  # fmt: skip
    candidates = [
        Candidate(template_id=f"t{i}", template=template, similarity=0.5, embedding=i)
        for i, template in enumerate(templates)
    ]
    return encode(MatchedSegment(segment=segment, bank="test", encoder="none", candidates=candidates))


def write(
    settings: Settings, generation: Generation, topic: str, lane: int, values: list[bytes], start: int = 0
) -> None:
    now = int(time.time() * 1000)
    records = []
    for number, value in enumerate(values, start):
        origin = Origin(1, number)
        header = LaneHeader(Kind.SEGMENT, generation.epoch, 1, origin, origin, number, now, 0, 0)
        records.append((Position(number, 0), header, value))
    write_lane(settings, topic, lane, records)


def outputs(settings: Settings, topic: str) -> int:
    return sum(len(filtered(records)) for records in read_lanes(settings, topic).values())


def model(server: Server, **fields: Any) -> dict[str, Any]:
    return {"engine": "openai", "model": {"urls": [server.url], **FAST, **fields}}
