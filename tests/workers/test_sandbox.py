"""The child process alone: what it answers, how it dies, and that it blames no record for its own faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.stages import Expand

from streams.positions import Kind
from streams.records import RawDocument, Segment, decode, encode
from streams.settings import load
from workers.sandbox import ChildDied, Sandbox, SandboxError
from workers.stage import Drop
from workers.work import Failure, Outputs


class Unopened(Expand):
    """Opens in the worker, but not a second time."""

    def open(self):
        raise MemoryError


@pytest.fixture
def sandbox(request, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    made = []

    def make(stage=Expand):
        made.append(Sandbox(stage, load()))
        return made[-1]

    yield make
    for it in made:
        it.close()


def document(text):
    return encode(RawDocument(id="d", url="", source="t", content_type="text/plain", payload=text.encode()))


def test_one_child_answers_until_it_dies(sandbox):
    it = sandbox()

    def call(text, seconds=30.0):
        return it.call(Kind.DOCUMENT, document(text), seconds)

    found = call("seg:2:a")
    assert isinstance(found, Outputs)
    assert [decode(value, Segment).text for value in found.values] == ["a#0", "a#1"]
    assert call("drop") == Drop("scripted")
    assert call("fail") == Failure("ValueError", "scripted failure")
    assert call("raise") == Failure("RuntimeError", "scripted exception")
    assert call("surrogate") == Failure("ValueError", "half a pair: \\ud800")
    assert call("hog").error == "MemoryError"
    assert it.call(Kind.DOCUMENT, b"\xc1", 30.0).error == "RecordError"
    with pytest.raises(ChildDied, match="code 9"):
        call("exit")
    with pytest.raises(ChildDied, match="code 5"):
        call("leave")
    with pytest.raises(ChildDied, match="no answer within 1 s"):
        call("hang", 1.0)
    assert isinstance(call("seg:1:b"), Outputs)  # a new child, each time


def test_a_child_that_does_not_open_blames_no_record(sandbox):
    it = sandbox(Unopened)
    with pytest.raises(SandboxError, match="memory"):
        it.call(Kind.DOCUMENT, document("seg:1:a"), 30.0)
