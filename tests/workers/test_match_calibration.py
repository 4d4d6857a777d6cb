"""The threshold from judged pairs, and the banks that it is refused for."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.banks import WordEncoder, rows, write_jsonl

from streams.errors import BankError, PrecisionOutOfReach
from streams.settings import load
from streams.settings.banks import version_folder
from workers.match import bank as banks
from workers.match import store
from workers.match.build import Wanted, make
from workers.match.calibration import best, curve, lowest, threshold_of, wilson
from workers.match.judged_pairs import calibrate_bank, read_pairs


class TokenEncoder(WordEncoder):
    """A word is a token."""

    def token_embeddings(self, texts):
        return [np.stack([self.encode([word])[0] for word in text.split()]) for text in texts]


def test_wilson_is_the_interval_of_the_textbooks():
    # Wilson 1927 as in Brown, Cai and DasGupta 2001: 8 of 10, and the ends.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7]), st.booleans()), min_size=1, max_size=40))
def test_a_point_says_what_holds_at_or_above_its_threshold(pairs):
    similarities = np.array([s for s, _ in pairs])
    labels = np.array([label for _, label in pairs])
    points = curve(similarities, labels)
    assert [point.threshold for point in points] == sorted({s for s, _ in pairs})
    for point in points:
        above = [label for s, label in pairs if s >= point.threshold]
        assert (point.above, point.right) == (len(above), sum(above))
        assert point.precision == pytest.approx(sum(above) / len(above))
        assert point.low - 1e-12 <= point.precision <= point.high + 1e-12
        assert (point.low, point.high) == wilson(sum(above), len(above))
    for wanted in (0.2, 0.5, 0.9):
        found = lowest(points, wanted)
        reach = [point.threshold for point in points if point.low >= wanted]
        assert (found is None) == (not reach)
        if found:
            assert found.threshold == min(reach)
    assert best(points).low == max(point.low for point in points)


def test_the_interval_holds_what_it_says():
    """Precision at the chosen threshold on fresh pairs is at least what was wanted, most of the time."""
    rng = np.random.default_rng(8)

    def pairs(n):
        similarities = rng.random(n)
        return similarities, rng.random(n) < 1 / (1 + np.exp(-12 * (similarities - 0.5)))

    reached = 0
    for _ in range(60):
        found = lowest(curve(*pairs(600)), 0.9)
        fresh, labels = pairs(40_000)
        reached += bool(labels[fresh >= found.threshold].mean() >= 0.9)
    assert reached >= 54


@pytest.fixture
def bank(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", rows(40))
    make(tmp_path / "bank", Wanted([source]), WordEncoder(), lambda _: None, add=False, dry_run=False)
    return tmp_path / "bank"


def judged(bank, path, right=lambda similar: similar, count=600):
    """Pairs: half of a document with its own description, half with another's."""
    opened = store.open_version(version_folder(bank))
    lines = []
    for i in range(count):
        row, similar = i % 40, i % 2 == 0
        text = " ".join([opened.descriptions[row]] * 2 + [f"filler{i}"] * (i % 5))
        other = row if similar else (row + 11) % 40
        lines.append({"text": text, "template_id": opened.ids[other], "label": int(right(similar))})
    return write_jsonl(path, lines)


def test_a_threshold_is_found_kept_and_used(bank, tmp_path):
    settings = load(match={"encoder": "words", "bank": str(bank)}).match
    opened = store.open_version(version_folder(bank))
    files = [judged(bank, tmp_path / "pairs.jsonl")]
    before = version_folder(bank)
    answer = calibrate_bank(
        opened, bank, files, TokenEncoder(), settings, precision=0.95, few=False, write=False
    )
    assert version_folder(bank) == before
    answer = calibrate_bank(
        opened, bank, files, TokenEncoder(), settings, precision=0.95, few=False, write=True
    )
    found = answer["calibration"]
    assert found["low"] >= 0.95
    assert (found["pairs"], found["encoder"]) == (600, "words")
    assert version_folder(bank) != before
    calibrated = store.open_version(version_folder(bank))
    assert threshold_of(calibrated, settings)("en") == found["threshold"] > 0
    # An explicit one wins; another encoder's is refused.
    fixed = load(match={"encoder": "x", "bank": str(bank), "threshold": 0.61}).match
    assert threshold_of(calibrated, fixed)("en") == 0.61
    other = load(match={"encoder": "another", "bank": str(bank)}).match
    with pytest.raises(BankError, match=r"was calibrated with 'words', match\.encoder is 'another'"):
        threshold_of(calibrated, other)
    with pytest.raises(BankError, match="no calibrated threshold, and none is known"):
        threshold_of(opened, other)
    assert threshold_of(banks.load("seed"), load().match)("en") == 0.45


def test_what_is_out_of_reach_is_said_with_the_best_and_changes_nothing(bank, tmp_path):
    settings = load(match={"encoder": "words", "bank": str(bank)}).match
    opened = store.open_version(version_folder(bank))
    before = version_folder(bank)
    coin = iter(range(10_000))
    files = [judged(bank, tmp_path / "noise.jsonl", right=lambda _: next(coin) % 3 == 0)]
    with pytest.raises(PrecisionOutOfReach, match=r"out of reach: the best to rely on is 0\.\d+") as caught:
        calibrate_bank(opened, bank, files, TokenEncoder(), settings, precision=0.95, few=False, write=True)
    assert caught.value.exit_code == 1
    assert "Precision by threshold" in str(caught.value)
    assert version_folder(bank) == before


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"text": "x", "label": 2, "template_id": "t0001"}', "label is 2"),
        ('{"text": "x", "label": 1, "template_id": "none"}', "'none' is no template"),
        ('{"text": " ", "label": 1, "template_id": "t0001"}', "text is empty"),
        ('{"label": 1}', "no judged pair"),
        ("{", "no judged pair"),
    ],
)
def test_a_faulty_pair_names_its_line(bank, tmp_path, line, fault):
    path = tmp_path / "pairs.jsonl"
    good = json.dumps({"text": "x", "label": True, "compatible_document_description": "y"})
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(BankError, match=r"pairs\.jsonl line 2") as caught:
        read_pairs([path], store.open_version(version_folder(bank)))
    assert fault in str(caught.value)


def test_few_pairs_are_refused(bank, tmp_path):
    settings = load(match={"encoder": "words", "bank": str(bank)}).match
    opened = store.open_version(version_folder(bank))
    files = [judged(bank, tmp_path / "pairs.jsonl", count=60)]
    with pytest.raises(BankError, match="60 pairs are given, at least 500"):
        calibrate_bank(opened, bank, files, TokenEncoder(), settings, precision=0.5, few=False, write=True)
    answer = calibrate_bank(
        opened, bank, files, TokenEncoder(), settings, precision=0.5, few=True, write=False
    )
    assert not math.isnan(answer["calibration"]["threshold"])
