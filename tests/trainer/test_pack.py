"""Concat-then-split: every token trained once, spans that say where, a remainder that is the whole state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.positions import Position
from trainer.pack import IGNORED, Packer, Text
from trainer.state import Remainder, decode, encode

lengths = st.lists(st.integers(2, 30), max_size=30)
PAD = 9999


def texts_of(some):
    made, token = [], 0
    for i, n in enumerate(some):
        made.append(Text(i % 3, Position(i, 0), f"t{i}", np.arange(token, token + n, dtype=np.int32)))
        token += n
    return made


def run(packer, texts):
    out = []
    for text in texts:
        packer.add(text)
        while packer.missing <= 0:
            out.append(packer.take())
    return out


@given(lengths, st.integers(1, 40))
def test_every_token_but_the_first_is_a_target_exactly_once_and_in_order(some, size):
    packer = Packer(size)
    batches = run(packer, texts_of(some))
    batches.append(packer.finish(PAD))
    targets = np.concatenate([b.tokens[1 : 1 + b.targets] for b in batches])
    assert targets.tolist() == list(range(1, sum(some)))
    assert packer.targets == 0
    for batch in batches:
        assert batch.tokens.shape == (size + 1,)
        if batch.targets:
            assert (batch.tokens[1 : 1 + batch.targets] == batch.tokens[: batch.targets] + 1).all()
        assert (batch.tokens[1 + batch.targets :] == PAD).all()


@given(lengths, st.integers(1, 40))
def test_spans_name_every_token_of_every_text(some, size):
    texts = {t.template_id: t for t in texts_of(some)}
    packer = Packer(size)
    batches = [*run(packer, texts.values()), packer.finish(PAD)]
    seen = {name: [] for name in texts}
    for batch in batches:
        assert sum(s.end - s.begin for s in batch.spans) == batch.targets
        assert [s.begin for s in batch.spans] == [0, *[s.end for s in batch.spans]][: len(batch.spans)]
        for span in batch.spans:
            text = texts[span.template_id]
            assert (span.lane, span.position) == (text.lane, text.position)
            mine = batch.tokens[1 + span.begin : 1 + span.end]
            assert mine.tolist() == text.tokens[span.cut : span.cut + len(mine)].tolist()
            seen[span.template_id] += mine.tolist()
    for i, (name, text) in enumerate(texts.items()):
        expected = text.tokens.tolist()
        if i == 0:
            expected = expected[1:] if sum(some) > 1 else []  # the run's very first token is no target
        assert seen[name] == expected


@given(lengths, st.integers(1, 40), st.integers(0, 30))
def test_a_packer_rebuilt_from_its_remainder_goes_on_as_if_nothing_had_happened(some, size, at):
    texts = texts_of(some)
    whole = Packer(size)
    expected = [*run(whole, texts), whole.finish(PAD)]
    first = Packer(size)
    got = run(first, texts[:at])
    kept = encode(first.remainder())
    run(first, texts[at:])  # what it does later must not reach into the state
    second = Packer(size, decode(kept, Remainder))
    got += [*run(second, texts[at:]), second.finish(PAD)]
    assert [(b.digest, b.targets, b.spans) for b in got] == [(b.digest, b.targets, b.spans) for b in expected]


def test_rows_are_shifted_by_one_and_padding_is_masked():
    packer = Packer(8)
    packer.add(Text(0, Position(0, 0), "t", np.arange(6, dtype=np.int32)))
    batch = packer.finish(PAD)
    inputs, labels = batch.rows(4)
    assert inputs.tolist() == [[0, 1, 2, 3], [4, 5, PAD, PAD]]
    assert labels.tolist() == [[1, 2, 3, 4], [5, IGNORED, IGNORED, IGNORED]]


def test_it_refuses_to_cut_what_is_not_there():
    packer = Packer(8)
    with pytest.raises(ValueError, match="missing"):
        packer.take()
    packer.add(Text(0, Position(0, 0), "t", np.arange(9, dtype=np.int32)))
    with pytest.raises(ValueError, match="full batch"):
        packer.finish(PAD)


def test_the_digest_tells_masked_from_unmasked():
    def packed(n):
        packer = Packer(8)
        packer.add(Text(0, Position(0, 0), "t", np.zeros(n, np.int32)))
        return packer.finish(0).digest

    assert packed(5) != packed(6)
