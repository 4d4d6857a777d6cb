"""The plan over lanes that fill at random moments: live, restarted and obeyed give the same batches.

The lanes are lists here and not Kafka's: what is tested is a function of records, cursors and entries. The
same over a real broker, with kills, is in test_train_kills.py.
"""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.judged import judged

from streams.errors import LedgerMismatch
from streams.positions import START, Position
from streams.records import encode as encode_record
from streams.settings import TrainerSettings
from streams.tokens import load_tokenizer
from trainer import entries, plan
from trainer.batches import Batch, Batches, End, Terms, Waiting
from trainer.readings import Readings
from trainer.source import Arrived
from trainer.state import Cursor, LaneState, PipelineState, decode, encode

TOKENIZER = load_tokenizer()
CONFIG = TrainerSettings(sequence_tokens=32, batch_sequences=2, heldout_share=0.1)


class Log:
    """Lanes of records that are there from a certain poll on."""

    def __init__(self, seed, lanes=3, documents=30):
        rnd = random.Random(seed)
        self.lanes = {lane: [] for lane in range(lanes)}
        self.raw_ends = dict.fromkeys(self.lanes, 0)
        weights = [rnd.random() ** 2 + 0.01 for _ in self.lanes]
        for number in range(documents):
            (lane,) = rnd.choices(list(self.lanes), weights)
            count = rnd.choice((1, 1, 2, 3))
            for index in range(count):
                position = Position(self.raw_ends[lane], index)
                record = judged(number + seed * 1000, rnd.randrange(5), 6, tokenizer=TOKENIZER, index=index)
                value = None if rnd.random() < 0.3 else encode_record(record)
                appended = number * 10 + rnd.randrange(30)
                offset = len(self.lanes[lane])
                self.lanes[lane].append(Arrived(offset, position, count, appended, value))
            self.raw_ends[lane] += 1


class Source:
    """Reads a log as a consumer would: some records a poll, some polls without any."""

    def __init__(self, log, cursors, seed):
        self._log = log
        self._rnd = random.Random(seed)
        self._next = {lane: cursor.next_offset for lane, cursor in cursors.items()}
        self._expected = {lane: cursor.expected for lane, cursor in cursors.items()}
        self.waiting = {lane: deque() for lane in cursors}

    def poll(self, seconds):
        if self._rnd.random() < 0.3:
            return 0
        got = 0
        for lane in self._rnd.sample(list(self._next), self._rnd.randrange(1, len(self._next) + 1)):
            n = self._rnd.choice((1, 2, 5))
            some = self._log.lanes[lane][self._next[lane] : self._next[lane] + n]
            self._next[lane] += len(some)
            for record in some:
                assert record.position == self._expected[lane]
                self._expected[lane] = record.position.successor(record.segments)
            self.waiting[lane].extend(some)
            got += len(some)
        return got

    def take(self, lane, last=None):
        out = []
        while self.waiting[lane] and (last is None or self.waiting[lane][0].position <= last):
            out.append(self.waiting[lane].popleft())
        return out

    def drained(self):
        return not any(self.waiting.values()) and all(
            self._next[lane] == len(records) for lane, records in self._log.lanes.items()
        )


class Ledger:
    """What was committed, in order, through the wire format."""

    def __init__(self):
        self.values = []

    def append(self, added):
        begin = len(self.values)
        self.values += [entries.encode(entry) for entry in added]
        return list(range(begin, len(self.values)))

    def steps(self, begin=0, after=0):
        for offset, value in list(enumerate(self.values))[begin:]:
            entry = entries.decode(value)
            if entry.step > after:
                yield offset, entry


def beginning(log):
    return PipelineState(lanes={lane: encode(LaneState(Cursor())) for lane in log.lanes})


def process(log, ledger, state, seed, block=1, other=None, batches=None, max_steps=0):
    """One process of a run, to its end or to `batches` batches; returns them. Its draft dies with it."""
    terms = Terms(
        run="r",
        attempt=1,
        settings_hash="",
        generation="1",
        epoch=1,
        batch_targets=CONFIG.sequence_tokens * CONFIG.batch_sequences,
        block_pairs=block,
        seed=0,
        pad=0,
        heldout_pairs=8,
        books={},
        until_drained=True,
        max_steps=max_steps,
    )
    source = Source(log, state.cursors(), seed)
    readings = Readings(CONFIG, TOKENIZER, lambda reason, n: None)
    made = Batches(terms, source, readings, ledger, state)
    out = []
    for item in plan.items(made, ledger.steps(state.ledger_offset, state.step), other):
        if isinstance(item, Batch):
            out.append(item)
            if len(out) == batches:
                break
        elif isinstance(item, End):
            assert item.reason == ("obeyed" if other else "max_steps" if max_steps else "drained")
            break
        else:
            assert isinstance(item, Waiting)
    return out


def digests(batches):
    return [(b.entry.step, b.packed.digest, b.packed.targets, b.entry.final) for b in batches]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((1, 1, 4)))
def test_live_then_obeyed_is_the_same_to_the_last_state(seed, block):
    log, ledger, copy = Log(seed % 7), Ledger(), Ledger()
    live = process(log, ledger, beginning(log), seed, block)
    again = process(log, copy, beginning(log), seed + 1, block, other=lambda step: ledger.steps(0, step))
    assert digests(again) == digests(live)
    assert [entries.decode(v) for v in copy.values] == [entries.decode(v) for v in ledger.values]
    assert again[-1].state.heldout == live[-1].state.heldout
    assert {n: decode(d, LaneState).cursor for n, d in again[-1].state.lanes.items()} == {
        n: decode(d, LaneState).cursor for n, d in live[-1].state.lanes.items()
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((1, 1, 4)), st.data())
def test_killed_anywhere_and_resumed_from_any_checkpoint(seed, block, data):
    log, ledger = Log(seed % 7), Ledger()
    state, trained, checkpoints = beginning(log), {}, [beginning(log)]
    for life in range(4):
        last = life == 3
        batches = process(log, ledger, state, seed + life, block, batches=None if last else 1 + seed % 5)
        for batch in batches:
            before = trained.setdefault(batch.entry.step, batch.packed.digest)
            assert before == batch.packed.digest, "a step was trained on something else before the kill"
            checkpoints.append(batch.state)
        if not last:
            # The process dies; the checkpoint it left may be that of any step it took.
            state = decode(
                encode(checkpoints[data.draw(st.integers(0, len(checkpoints) - 1))]), PipelineState
            )
    assert sorted(trained) == list(range(1, len(trained) + 1))
    copy = Ledger()
    again = process(log, copy, beginning(log), 99, block, other=lambda step: ledger.steps(0, step))
    assert {b.entry.step: b.packed.digest for b in again} == trained


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((1, 4)))
def test_blocks_tile_the_lanes_and_every_kept_text_is_drawn_once(seed, block):
    log, ledger = Log(seed % 7), Ledger()
    live = process(log, ledger, beginning(log), seed, block)
    expected = kept(log)
    at, drawn = dict.fromkeys(log.lanes, START), {}
    for batch in live:
        for closed in batch.entry.closed:
            assert closed.first == at[closed.lane]
            (last,) = [r for r in log.lanes[closed.lane] if r.position == closed.last]
            at[closed.lane] = closed.last.successor(last.segments)
        for span in batch.entry.pairs:
            name = (span.lane, span.position, span.template_id)
            assert span.cut == drawn.get(name, 0) or (not drawn and span.cut == 1)
            drawn[name] = span.cut + span.end - span.begin
    assert drawn == expected
    assert at == {lane: Position(end, 0) for lane, end in log.raw_ends.items()}
    assert live[-1].entry.final
    assert live[-1].entry.pairs_total == len(expected)
    assert live[-1].entry.tokens == sum(expected.values()) - 1


def kept(log):
    """Which texts must be trained on and how long each is: one lane after the other, one record at a time."""
    out = {}
    readings = Readings(CONFIG, TOKENIZER, lambda reason, n: None)
    for lane, records in log.lanes.items():
        cursor = Cursor()
        for record in records:
            found, _ = readings.read([(lane, [record])], {lane: cursor})
            (reading,) = found[lane]
            cursor = reading.after
            out.update({(t.lane, t.position, t.template_id): len(t.tokens) for t in reading.texts})
    return out


def test_a_second_input_after_the_end_goes_on_behind_the_final_step():
    log, ledger = Log(3, documents=12), Ledger()
    whole = log.lanes
    log.lanes = {lane: records[: len(records) // 2] for lane, records in whole.items()}
    first = process(log, ledger, beginning(log), 1)
    assert process(log, ledger, first[-1].state, 2) == [], "nothing new, so no further step"
    log.lanes = whole
    second = process(log, ledger, first[-1].state, 3)
    assert [b.entry.step for b in second] == list(range(len(first) + 1, len(first) + len(second) + 1))
    copy = Ledger()
    again = process(log, copy, beginning(log), 4, other=lambda step: ledger.steps(0, step))
    assert digests(again) == digests([*first, *second])
    assert sum(b.packed.targets for b in again) == sum(kept(log).values()) - 1


def test_max_steps_plans_no_further():
    log, ledger = Log(1), Ledger()
    assert len(process(log, ledger, beginning(log), 1, max_steps=3)) == 3
    assert len(ledger.values) == 3


def test_obeying_over_other_records_is_refused():
    log, ledger = Log(1), Ledger()
    process(log, ledger, beginning(log), 1)
    other = Log(2)
    for lane, records in log.lanes.items():
        other.lanes[lane] = [
            r._replace(value=encode_record(judged(777, 3, tokenizer=TOKENIZER))) if r.value else r
            for r in records
        ]
    with pytest.raises(LedgerMismatch):
        process(other, Ledger(), beginning(other), 1, other=lambda step: ledger.steps(0, step))
