"""The duplicate window as a pure function: what repeats what, and the same after a crash at any document."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import DuplicateSettings
from workers import duplicates
from workers.duplicates import (
    CANDIDATES_A_BAND,
    NOBODY,
    SKETCH_BYTES,
    AdmitWindow,
    Identity,
    Repeats,
    estimate,
    least_equal,
    similarity,
)
from workers.seen import documents


def spread(rng, group, different):
    """A sketch of a group, with so many bytes changed."""
    sketch = bytearray(random.Random(group).randbytes(SKETCH_BYTES))
    for place in rng.sample(range(SKETCH_BYTES), different):
        sketch[place] ^= rng.randrange(1, 256)
    return bytes(sketch)


steps = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(0, 2), st.integers(0, 30)), max_size=40
)
"""Of each document: offsets behind the one before, content, group, how far it is from that."""


def stream_of(steps):
    rng = random.Random(repr(steps))
    offsets = itertools.accumulate(step for step, *_ in steps)
    for offset, (_, content, group, far) in zip(offsets, steps, strict=True):
        sketch = spread(rng, group, far) if content % 2 else b""
        yield offset, Identity(content * 10**18, sketch)  # content 0: is never asked about


def run(window, part, near):
    """Judge documents as `Admission` does; return (offset, identity, verdict, whether it is kept)."""
    out = []
    for offset, identity in part:
        verdict = window.judge(offset, identity)
        kept = verdict is None or (near == "flag" and not verdict.exact)
        if kept:
            window.add(offset, identity)
        out.append((offset, identity, verdict, kept))
    return out


def expected(kept, offset, identity, size, least):
    """The verdict by searching all that was kept: the rule itself."""
    there = [(o, i) for o, i in kept if offset - size <= o < offset and i.content]
    if not identity.content:
        return None
    if equal := [o for o, i in there if i.content == identity.content]:
        return Repeats(equal[-1])
    alike = [
        (sum(a == b for a, b in zip(i.sketch, identity.sketch, strict=True)), o)
        for o, i in there
        if i.sketch
        and identity.sketch
        and any(i.sketch[b : b + 8] == identity.sketch[b : b + 8] for b in range(0, 128, 8))
    ]
    best = max(alike, default=(0, 0))
    return Repeats(best[1], estimate(best[0])) if best[0] >= least else None


@pytest.mark.parametrize("near", ["flag", "drop"])
@given(st.integers(1, 12), steps, st.data())
def test_a_verdict_says_the_same_after_a_crash(near, size, steps, data):
    stream = list(stream_of(steps))
    whole = run(AdmitWindow(size, 0.8), stream, near)
    for n, (offset, identity, verdict, _) in enumerate(whole):
        kept = [(o, i) for o, i, _, k in whole[:n] if k]
        assert verdict == expected(kept, offset, identity, size, least_equal(0.8))
    cut = data.draw(st.integers(0, len(stream)))
    begin = stream[cut][0] if cut < len(stream) else 10**6
    again = AdmitWindow(size, 0.8)
    again.extend(
        *documents([(o, i) for o, i, _, kept in whole[:cut] if kept and i.content and o >= begin - size])
    )
    assert run(again, stream[cut:], near) == whole[cut:]


def test_a_window_that_grows_and_forgets_says_what_a_dictionary_says():
    window, seen, rng = AdmitWindow(3000), {}, random.Random(5)
    for offset in range(12_000):
        content = rng.randrange(1, 6000)
        before = seen.get(content, -1)
        verdict = window.judge(offset, Identity(content))
        assert verdict == (Repeats(before) if before >= max(0, offset - 3000) else None)
        if verdict is None:
            window.add(offset, Identity(content))
            seen[content] = offset
    assert window.documents <= 3000
    assert window.nbytes < 3000 * 45


def test_memory_is_bounded_by_the_window_and_is_what_the_settings_say():
    rng = np.random.default_rng(3)
    window = AdmitWindow(20_000, 0.8)
    for begin in range(0, 60_000, 500):
        offsets = np.arange(begin, begin + 500)
        sketches = rng.integers(0, 256, (500, SKETCH_BYTES), dtype=np.uint8)
        window.extend(offsets, rng.integers(1, 2**63, 500).astype(np.uint64), sketches)
    assert window.documents == 20_000
    assert 250 <= window.nbytes / 20_000 <= 360


def test_the_most_similar_is_named_and_an_equal_one_before_it():
    rng, window = random.Random(1), AdmitWindow(100, 0.8)
    window.add(3, Identity(1, spread(rng, 7, 10)))
    window.add(4, Identity(2, spread(rng, 7, 0)))
    window.add(5, Identity(3, spread(rng, 7, 10)))
    asked = spread(rng, 7, 2)
    assert window.judge(9, Identity(9, asked)) == Repeats(4, estimate(126))
    assert str(window.judge(9, Identity(9, asked))) == "of raw offset 4, similarity 0.98"
    assert window.judge(9, Identity(1, asked)) == Repeats(3)
    assert str(window.judge(9, Identity(1, asked))) == "of raw offset 3"
    assert window.judge(9, Identity(9, spread(rng, 8, 0))) is None
    assert window.judge(9, Identity(9)) is None
    assert window.judge(9, NOBODY) is None
    assert window.judge(200, Identity(1, asked)) is None


def test_a_band_that_everybody_shares_costs_a_bounded_number_of_comparisons(monkeypatch):
    window, rng = AdmitWindow(5000, 0.8), random.Random(2)
    for offset in range(2000):  # alike in one band of sixteen, in nothing else
        window.add(offset, Identity(offset + 1, b"same8byt" + rng.randbytes(120)))
    compared = []
    monkeypatch.setattr(duplicates, "estimate", lambda equal: compared.append(equal) or 0.0)
    index = window._sketched
    asked = np.frombuffer(b"same8byt" + rng.randbytes(120), np.uint64)
    assert len(index.sharing(asked, CANDIDATES_A_BAND)) == CANDIDATES_A_BAND
    assert window.judge(2000, Identity(1 << 40, asked.tobytes())) is None


def test_thirty_two_bands_find_what_sixteen_do_not():
    rng = random.Random(4)
    found = {16: 0, 32: 0}
    for n in range(200):
        for bands in found:
            window = AdmitWindow(10, 0.5, bands)
            window.add(0, Identity(1, spread(rng, n, 0)))
            found[bands] += window.judge(1, Identity(2, spread(rng, n, 52))) is not None
    assert found[16] < 80
    assert found[32] > 160


def test_a_window_of_nothing_asks_nothing():
    window = AdmitWindow.of(DuplicateSettings(window=0))
    window.add(0, Identity(1))
    assert window.judge(1, Identity(1)) is None
    assert AdmitWindow.of(DuplicateSettings(near="off"))._sketched is None


def test_the_estimate_takes_chance_out():
    assert estimate(SKETCH_BYTES) == 1
    assert estimate(0) == 0
    assert estimate(least_equal(0.8)) >= 0.8 > estimate(least_equal(0.8) - 1)
    assert least_equal(1.0) == SKETCH_BYTES
    rng = random.Random(6)
    chance = [similarity(rng.randbytes(128), rng.randbytes(128)) for _ in range(200)]
    assert sum(chance) / len(chance) < 0.005
