"""The tokenizer: text stays text, counts are exact, other people's tokenizers load or are refused by name."""

import json
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from streams.errors import SettingsError
from streams.tokens import DEFAULT, TokenCounter, load_tokenizer

TOKENS = load_tokenizer()
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>")

awkward = st.text(
    st.sampled_from(
        [*" \n\r\t\0\1\2\3\4\x85\u00a0\u2028\u3000\x1c.,'\u2019\u0301-(<|>sSaA9\u00e9\u017f\U0001f600\u4e2d"]
    ),
    max_size=40,
)
words = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "Measles",
                "is",
                "a",
                "disease",
                "it's",
                "1,234.5",
                "\n\n",
                "\n",
                "\n- ",
                "\n    - ",
                "  ",
                "   x",
                *SPECIAL,
            ]
        ),
        awkward,
    ),
    max_size=30,
)


def test_shipped_tokenizer_is_the_one_the_trainer_expects():
    assert TOKENS.name == DEFAULT
    assert (TOKENS.bos_id, TOKENS.eos_id, TOKENS.pad_id) == (0, 1, 2)
    assert TOKENS.vocab_size == 8192
    assert TOKENS.fingerprint == "4ae4dc8ae4e12af6", (
        "a new tokenizer makes old checkpoints and counts meaningless"
    )


@pytest.mark.parametrize("special", SPECIAL)
def test_special_tokens_in_text_are_plain_characters(special):
    text = f"before {special} after{special}"
    ids = TOKENS.encode(text)
    assert not {TOKENS.bos_id, TOKENS.eos_id, TOKENS.pad_id} & set(ids)
    assert TOKENS.decode(ids) == text
    assert TOKENS.encode_batch([special, "x"])[0] == TOKENS.encode(special)
    assert TOKENS.count(text) == len(ids) == len(TOKENS.offsets(text))


def test_decode_leaves_special_ids_out():
    assert TOKENS.decode([TOKENS.bos_id, *TOKENS.encode("word"), TOKENS.eos_id, TOKENS.pad_id]) == "word"


@given(awkward | words.map(" ".join) | words.map("".join) | st.text(max_size=60))
@settings(max_examples=800, deadline=None)
def test_count_is_exact_and_nothing_is_lost(text):
    ids = TOKENS.encode(text)
    assert TOKENS.count(text) == len(ids)
    assert TOKENS.count(text) == len(ids), "the second time from the cache"
    assert TOKENS.decode(ids) == text
    assert len(TOKENS.offsets(text)) == len(ids)


@given(words.map(" ".join))
@settings(max_examples=200, deadline=None)
def test_offsets_cover_the_text_in_order(text):
    offsets = TOKENS.offsets(text)
    position = 0
    for first, last in offsets:
        assert first <= position <= last
        position = max(position, last)
    assert position == len(text)


@given(words.map(" ".join) | awkward | st.text(max_size=60), st.integers(1, 50))
@settings(max_examples=300, deadline=None)
def test_prefixes_are_counts_at_places_where_the_text_may_be_cut(text, unit_tokens):
    characters, tokens = TOKENS.prefixes(text, unit_tokens)
    assert characters == sorted(characters)
    assert tokens == sorted(tokens)
    if text:
        assert (characters[-1], tokens[-1]) == (len(text), TOKENS.count(text))
    offsets = [last for _, last in TOKENS.offsets(text)]
    for end, total in zip(characters, tokens, strict=True):
        assert end == 0 or offsets[total - 1] == end


def test_ordinary_text_is_counted_without_encoding_it(monkeypatch):
    text = "Measles is a disease.\n\nIt's caused by a virus:\n- fever\n    - 103 \u00b0F\tand so on"
    tokens = load_tokenizer()
    expected = len(tokens.encode(text))
    assert tokens.count(text) == expected
    monkeypatch.setattr(tokens, "_tokenizer", None)
    assert tokens._words is not None
    monkeypatch.setattr(tokens._words, "_tokenizer", None)
    assert tokens.count(text) == expected


def test_runs_of_white_space_are_counted_in_linear_time():
    text = "\t \n \t" * 200_000 + "end"
    assert TOKENS.count(text) == len(TOKENS.encode(text))


def test_word_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("streams.tokens._CACHED_WORDS", 50)
    tokens = load_tokenizer()
    text = " ".join(f"w{i}" for i in range(500)) + " " + "x" * 1000
    assert tokens.count(text) == len(tokens.encode(text))
    assert tokens._words is not None
    assert len(tokens._words.cache) <= 50
    assert max(map(len, tokens._words.cache)) <= 40


def shipped() -> dict:
    return json.loads(files("streams").joinpath("data", "finestream-bpe.json").read_text())


def test_folder_with_a_foreign_tokenizer(tmp_path):
    content = shipped()
    content["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    content["added_tokens"][1]["special"] = False  # not flagged, still a control token
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]}
        },
    }
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "<|pad|>"}, "bos_token": None})
    )
    tokens = load_tokenizer(str(tmp_path))
    assert tokens.eos_id == 2
    assert tokens.bos_id == 0
    text = "one two three four five six<|end_of_text|>"
    ids = tokens.encode(text)
    assert 0 not in ids
    assert 1 not in ids
    assert tokens.decode(ids) == text
    assert tokens.count(text) == len(ids) > 6
    assert tokens._words is None
    assert (
        load_tokenizer(str(tmp_path / "tokenizer.json")).fingerprint
        == tokens.fingerprint
        != TOKENS.fingerprint
    )


def test_tokenizer_that_cannot_keep_control_tokens_apart_is_refused(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "a": 1, "b": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(SettingsError, match="control token 0"):
        load_tokenizer(str(tmp_path))


def test_tokenizer_without_an_end_is_refused():
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    with pytest.raises(SettingsError, match="no end-of-text token"):
        TokenCounter("bare", tokenizer.to_str())


@pytest.mark.parametrize(
    ("name", "says"),
    [("./absent", "no such file"), ("absent.json", "no such file"), ("not a model!", "neither")],
)
def test_absent_tokenizers_name_the_fix(name, says):
    with pytest.raises(SettingsError, match=says):
        load_tokenizer(name)


def test_broken_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"no valid tokenizer\.json"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_tokenizer(str(tmp_path))


def test_two_million_characters_without_a_space_end():
    text = "ab" * 1_000_000
    assert TOKENS.count(text) == len(TOKENS.encode(text))
