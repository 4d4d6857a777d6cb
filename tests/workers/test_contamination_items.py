"""Benchmark files: every format gives its texts; what is broken is named by file and line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import SettingsError
from streams.settings import ContaminationSettings, Settings, load, stage_hash, to_environment
from workers.contamination import load_index, read_items

Q, R = "How far is the moon?", "And the sun?"


def texts(path, fields=()):
    return [item.text for item in read_items(path, fields)]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", {"question_id": 1, "turns": [Q, R]}, [Q, R]),
        ("a.jsonl", {"history": [{"user": Q, "bot": "Far."}, {"user": R, "bot": "More."}]}, [Q, R]),
        ("a.jsonl", {"messages": [{"role": "user", "content": Q}, {"role": "bot", "content": "Far."}]}, [Q]),
        ("a.jsonl", {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": "7"}]}, [Q]),
        ("a.ndjson", {"prompt": Q, "context": "The moon is a moon.", "target": ["Far."]}, [Q]),
        ("a.jsonl", {"prompt": None, "question": Q}, [Q]),
        ("a.jsonl", Q, [Q]),
        ("a.json", {"0": {"prompt": Q}, "1": {"prompt": R}}, [Q, R]),
        ("a.json", {"version": "1", "data": [{"question": Q}]}, [Q]),
        ("a.json", [{"instruction": Q, "input": ""}, R], [Q, R]),
    ],
)  # fmt: skip
def test_rows_of_known_shapes(tmp_path, name, content, expected):
    assert texts(write(tmp_path, name, json.dumps(content))) == expected


def test_tables_and_lines(tmp_path):
    assert texts(write(tmp_path, "a.csv", f'id,question\n1,"{Q}"\n\n2,"{R}\nNow."\n')) == [Q, f"{R}\nNow."]
    assert texts(write(tmp_path, "a.tsv", f'id\tquery\r\n1\tThe "far" moon\r\n2\t{R}\r\n')) == [
        'The "far" moon',
        R,
    ]
    assert texts(write(tmp_path, "b.tsv", f"{Q}\t0.8\n{R}\t1.0\n"), ["0"]) == [Q, R]
    assert texts(write(tmp_path, "a.txt", f"\ufeff{Q}\n\n  \n{R}\n")) == [Q, R]


def test_fields_that_are_named(tmp_path):
    row = {"context": "The moon.", "prompt": Q, "choices": [{"turns": ["Far.", "Very."]}, {"turns": ["No."]}]}
    path = write(tmp_path, "a.jsonl", json.dumps(row))
    assert texts(path, ["context", "prompt"]) == ["The moon.", Q]
    assert texts(path, ["choices.turns"]) == ["Far.", "Very.", "No."]


def test_places_lead_to_the_line(tmp_path):
    path = write(tmp_path, "a.jsonl", f'\n{{"prompt": "{Q}"}}\n\n{{"prompt": "{R}"}}\n')
    assert [item.place for item in read_items(path)] == [f"{path}, line 2", f"{path}, line 4"]


@pytest.mark.parametrize(
    ("name", "content", "fields", "says"),
    [
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": ', (), "a.jsonl, line 2: no JSON"),
        ("a.jsonl", b'{"prompt": "x"}\n\n{"prompt": "\xff"}', (), "a.jsonl, line 3: no UTF-8"),
        ("a.json", '{\n"0": {"prompt" "x"}}', (), "a.json, line 2: no JSON"),
        ("a.json", b'[\n"a",\n"\xff"]', (), "a.json, line 3: no UTF-8"),
        ("a.json", "[" * 100_000, (), "a.json: nested too deeply"),
        ("a.json", '"x"', (), "a.json is no list of rows"),
        ("a.jsonl", '{"prompt": "x"}\n7', (), "a.jsonl, line 2: a row is a text or an object, not int"),
        ("a.jsonl", '{"name": "x", "system": "y"}', (), "line 1: none of the usual .* has name, system"),
        ("a.jsonl", '{"prompt": {"a": 1}}', (), "line 1, field prompt: a text, .* not dict"),
        ("a.jsonl", '{"prompt": 7}', (), "line 1, field prompt: a text, .* not int"),
        ("a.jsonl", '{"prompt": "x"}', ("question",), "line 1 has no field 'question'.* the row has prompt"),
        ("a.jsonl", "\n", (), "holds no test item"),
        ("a.jsonl", '{"prompt": "  "}', (), "holds no test item"),
        ("a.csv", 'question\n"x\n', (), r"a.csv, line \d: unexpected end"),
        ("a.csv", "id,answer\n1,x\n", (), "a.csv, line 2: none of the usual fields"),
        ("a.parquet", "PAR1", (), "format unknown"),
        ("a.jsonl.gz", "", (), "uncompressed"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named(tmp_path, name, content, fields, says):
    with pytest.raises(SettingsError, match=says):
        read_items(write(tmp_path, name, content), fields)


@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt"]), st.binary(max_size=200))
def test_any_bytes_give_items_or_our_error(tmp_path_factory, suffix, content):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        assert all(item.text.strip() for item in read_items(path))
    except SettingsError as error:
        if str(path) not in str(error):
            raise AssertionError("the error does not name the file") from error


def test_a_file_too_large_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as stream:
        stream.truncate(257 * 1024 * 1024)
    with pytest.raises(SettingsError, match="larger than 256 MiB"):
        read_items(path)


def test_a_glob_reads_all_its_files(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, f"{name}.txt", f"one question of the file called {name} that is long enough")
    index = load_index(ContaminationSettings(benchmarks={"exam": f"{tmp_path}/*.txt"}))
    assert index is not None
    text = "One question of the file called B that is long enough"
    assert [match.place for match in index.matches(text)] == [f"{tmp_path}/b.txt, line 1"]
    assert load_index(ContaminationSettings()) is None


def chunk(**contamination) -> Settings:
    return load(chunk={"contamination": contamination})


def test_contents_shape_a_generation_and_paths_do_not(tmp_path):
    path = write(tmp_path, "a.txt", Q)
    before = stage_hash(chunk(benchmarks={"exam": str(path)}), "chunk")
    other = write(tmp_path, "elsewhere.txt", Q)
    assert stage_hash(chunk(benchmarks={"exam": str(other)}), "chunk") == before
    assert stage_hash(chunk(benchmarks={"exam": str(path)}, threshold=0.6), "chunk") != before
    assert stage_hash(chunk(benchmarks={"test": str(path)}), "chunk") != before
    assert stage_hash(chunk(), "chunk") != before
    path.write_text(R)
    assert stage_hash(chunk(benchmarks={"exam": str(path)}), "chunk") != before


@pytest.mark.parametrize("name", ["gone.jsonl", "*.gone", ""])
def test_a_missing_file_is_an_error_that_names_it(tmp_path, name):
    it = chunk(benchmarks={"exam": f"{tmp_path}/{name}"})
    with pytest.raises(SettingsError, match="no such file is there"):
        stage_hash(it, "chunk")
    with pytest.raises(SettingsError, match="no such file is there"):
        load_index(it.chunk.contamination)


def test_a_child_process_reads_the_same(tmp_path, monkeypatch):
    path = write(tmp_path, "a.jsonl", json.dumps({"q": {"text": Q}}))
    it = chunk(benchmarks={"exam-1.0": str(path)}, fields={"exam-1.0": ["q.text"]})
    for name, value in to_environment(it).items():
        monkeypatch.setenv(name, value)
    assert load() == it


@pytest.mark.parametrize(
    "wrong",
    [
        {"benchmarks": {"Not a label": "x"}},
        {"benchmarks": {f"b{i}": "x" for i in range(65)}},
        {"benchmarks": {"a": "x"}, "fields": {"b": ["q"]}},
        {"threshold": 1.0},
        {"threshold": 0.0},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(SettingsError, match="contamination"):
        chunk(**wrong)
