"""Test items in texts: found wherever they stand, not where half differs, never flagged by chance."""

import gzip
import json
import random
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from streams.samples import sample_paths
from streams.settings import ContaminationSettings
from workers.contamination import ContaminationIndex, Item, load_index, read_items, words
from workers.contamination.index import GRAM

BENCHMARKS = Path(__file__).parents[1] / "data" / "benchmarks"
NAMES = ("mt-bench", "vicuna-bench", "mt-bench-101")
WORDS = [f"word{i}" for i in range(400)]
FILLER = [f"filler{i}" for i in range(400)]

ITEM = (
    "A bookshop sells 120 novels a week. How many novels will it sell in a year with 52 weeks, "
    "if sales rise by 10 % after the first half?"
)


def index(*texts: str, threshold: float = 0.5) -> ContaminationIndex:
    return ContaminationIndex(
        {"exam": [Item(f"exam.txt, line {i}", text) for i, text in enumerate(texts, 1)]}, threshold
    )


def real() -> ContaminationIndex:
    loaded = load_index(ContaminationSettings(benchmarks={n: str(BENCHMARKS / f"{n}.jsonl") for n in NAMES}))
    assert loaded is not None
    return loaded


REAL = real()
item_words = st.lists(st.sampled_from(WORDS), min_size=GRAM, max_size=60)
filler_words = st.lists(st.sampled_from(FILLER), max_size=40)


@pytest.fixture(scope="module")
def sample_texts() -> list[str]:
    """The shipped documents' texts, without those that are there to be dropped."""
    texts = []
    for path in [path for path in sample_paths() if "unwanted" not in path.name]:
        if ".jsonl" in path.name:
            texts += [json.loads(line)["text"] for line in gzip.decompress(path.read_bytes()).splitlines()]
            continue
        with path.open("rb") as stream:
            for page in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                html = page.reader.read().decode("utf-8", "replace")
                texts.append(extract_plain_text(html, main_content=True))
    return texts


def oracle(item: list[bytes], text: list[bytes]) -> float:
    """The definition, word for word: the share of the item's tokens in an 8-gram that the text has too."""
    grams = [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]
    matched = {i + k for i in range(len(item) - GRAM + 1) if item[i : i + GRAM] in grams for k in range(GRAM)}
    return len(matched) / len(item)


@given(item_words, filler_words, filler_words)
def test_an_item_anywhere_in_a_text_is_found(item, before, after):
    text = " ".join([*before, *item, *after])
    assert index(" ".join(item)).shares(text) == {"exam": 1.0}


@given(item_words, st.randoms(use_true_random=False), filler_words)
def test_an_item_with_half_of_its_tokens_changed_is_not_found(item, draw, before):
    places = draw.sample(range(len(item)), (len(item) + 1) // 2)
    changed = [f"other{i}" if i in places else word for i, word in enumerate(item)]
    assert index(" ".join(item)).shares(" ".join([*before, *changed])) == {}


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=GRAM, max_size=24), min_size=1, max_size=4),
    st.lists(st.sampled_from("abcd"), max_size=60),
    st.sampled_from([0.2, 0.5, 0.75]),
)
def test_shares_are_those_of_the_definition(items, text, threshold):
    found = index(*(" ".join(item) for item in items), threshold=threshold).matches(" ".join(text))
    tokens = [letter.encode() for letter in text]
    expected = []
    for number, item in enumerate(items, 1):
        share = oracle([letter.encode() for letter in item], tokens)
        if share > threshold and len(tokens) >= GRAM:
            expected.append((f"exam.txt, line {number}", share))
    assert [(match.place, match.share) for match in found] == expected


def test_pieces_in_another_order_and_far_apart_count_together():
    item = WORDS[:40]
    pieces = [item[30:40], item[0:10], item[15:25]]
    text = " ".join(word for piece in pieces for word in [*piece, *FILLER[:50]])
    assert index(" ".join(item)).shares(text) == {"exam": 0.75}


def test_exactly_half_is_not_more_than_half():
    item = WORDS[:20]
    assert index(" ".join(item)).shares(" ".join([*item[:10], *FILLER[:20]])) == {}
    assert index(" ".join(item)).shares(" ".join([*item[:11], *FILLER[:20]])) == {"exam": 0.55}


def test_pieces_shorter_than_8_tokens_do_not_count():
    item = WORDS[:42]
    text = " ".join(word for i in range(0, 42, 7) for word in [*item[i : i + 7], "between"])
    assert index(" ".join(item)).matches(text) == []


def test_the_pieces_must_be_in_one_text_and_of_one_item():
    first, second = WORDS[:30], WORDS[30:60]
    text = " ".join([*first[:14], *second[:14]])
    assert index(" ".join(first), " ".join(second)).shares(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        ITEM.upper(),
        ITEM.replace(" ", "\n\n  "),
        ITEM.replace(" ", "\u00a0"),
        ITEM.replace(".", " …").replace("?", "").replace(",", " \u2014 "),
        "".join(f"**{word}** " for word in ITEM.split()),
        ITEM.replace("novels", "n\u00f3vels").replace("o", "\uff4f"),
    ],
    ids=["case", "lines", "no-break spaces", "punctuation", "markup", "accents and wide letters"],
)
def test_layout_makes_no_difference(text):
    assert index(ITEM).shares(f"Question 7. {text} Think first.") == {"exam": 1.0}


def test_changed_numbers_leave_it_found():
    """The paper's case: a sum in which only numbers differ."""
    assert index(ITEM).shares(ITEM.replace("120", "150"))["exam"] > 0.8


def test_a_short_item_matches_a_whole_text_and_nothing_else():
    short = index("Who is the president?")
    assert short.short == 1
    assert short.shares("who is the President") == {"exam": 1.0}
    assert short.shares("Everybody asks: who is the president? " + " ".join(FILLER[:30])) == {}
    assert short.shares("Who is the president now?") == {}


@pytest.mark.parametrize("size", range(1, GRAM + 1))
def test_at_which_length_an_item_is_short(size):
    item = " ".join(WORDS[:size])
    exam = index(item)
    assert (exam.short, exam.shares(item)) == (int(size < GRAM), {"exam": 1.0})
    assert exam.shares(f"{item} {' '.join(FILLER[:30])}") == ({"exam": 1.0} if size == GRAM else {})


def test_the_largest_share_of_each_benchmark_is_told():
    both = ContaminationIndex(
        {
            "b": [Item("b 1", " ".join(WORDS[:20])), Item("b 2", " ".join(WORDS[:16]))],
            "a": [Item("a 1", " ".join(WORDS[4:14]))],
            "c": [Item("c 1", " ".join(WORDS[100:120]))],
        }
    )
    found = both.shares(" ".join(WORDS[:16]))
    assert (found, list(found)) == ({"a": 1.0, "b": 1.0}, ["a", "b"])
    assert [m.place for m in both.matches(" ".join(WORDS[:16]))] == ["b 1", "b 2", "a 1"]


def test_a_collision_of_hashes_flags_nothing():
    """With every lookup saying yes, the tokens decide alone."""
    exam = index(ITEM, " ".join(WORDS[:30]))
    exam._holders = lambda _: iter(range(len(exam)))
    exam._table = bytearray(b"\1") * len(exam._table)
    assert exam.shares(" ".join(FILLER[:200])) == {}
    assert exam.shares(ITEM) == {"exam": 1.0}


def test_empty_and_hostile_texts():
    exam = index(ITEM, "a " * 5000)
    for text in ("", " \n", "\ud800 half a pair", "?!" * 1000, "\u0301" * 100, "\U0001f600" * 50):
        assert exam.matches(text) == []
    assert exam.shares("A " * 20_000) == {"exam": 1.0}


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_both_ways_to_tokens_agree(text):
    """Few other characters: a pass for each. Many: a pass by character. 60 of them bring any text there."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 60)))
    assert words(f"{text} {many}") == [*words(text), *words(many)]
    assert words(text) == words(b" ".join(words(text)).decode())


def test_every_character_folds_once_and_for_all():
    for code in range(0x110000):
        once = words(chr(code))
        if words(b" ".join(once).decode()) != once:
            pytest.fail(f"U+{code:04X}: {once}")


def test_scripts_without_spaces_are_compared_by_character():
    item = "\u4eca\u65e5\u306f\u3068\u3066\u3082\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d"
    assert len(words(item)) == 14
    assert index(item).shares(f"\u300c{item}\u300d\u3068\u5f7c\u306f\u8a00\u3063\u305f\u3002") == {
        "exam": 1.0
    }


def test_each_real_item_is_found_in_a_real_document(sample_texts):
    draw = random.Random(8)
    texts = [text for text in sample_texts if len(text) > 2000]
    for name in NAMES:
        path = BENCHMARKS / f"{name}.jsonl"
        for item in [i for i in read_items(path) if len(words(i.text)) >= GRAM]:
            text = draw.choice(texts)
            cut = draw.randrange(len(text))
            planted = f"{text[:cut]}\n\n{item.text}\n\n{text[cut:]}"
            assert REAL.shares(planted).get(name) == 1.0, item.place


def test_no_shipped_document_holds_a_test_item(sample_texts):
    assert len(sample_texts) > 100
    assert [REAL.matches(text) for text in sample_texts if REAL.matches(text)] == []
