"""Real documents and what datatrove's filters said of them (`tests/data/filters/`): verdict and rule."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from streams.settings.filters import FilterSettings
from workers.chunk.filters.c4 import c4
from workers.chunk.filters.fineweb import fineweb
from workers.chunk.filters.gopher_quality import gopher_quality
from workers.chunk.filters.gopher_repetition import gopher_repetition
from workers.chunk.filters.page import Page

RULES = {
    "gopher_short_doc": "short_doc",
    "gopher_below_alpha_threshold": "few_alpha_words",
    "gopher_enough_stop_words": "few_stop_words",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines",
    "line_punct_ratio": "line_punctuation",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_characters",
    "too_few_sentences": "few_sentences",
    **{f"duplicated_{n}_n_grams": f"duplicate_{n}_grams" for n in range(5, 11)},
}
LIMITS = FilterSettings()
STRICT = LIMITS.c4.model_copy(update={"terminal_punctuation": True})
FILTERS = {
    "gopher_quality": lambda page: gopher_quality(page, LIMITS.gopher_quality),
    "gopher_repetition": lambda page: gopher_repetition(page, LIMITS.gopher_repetition),
    "c4": lambda page: c4(page, LIMITS.c4),
    "c4_terminal_punctuation": lambda page: c4(page, STRICT),
    "fineweb": lambda page: fineweb(page, LIMITS.fineweb),
}


@pytest.fixture(scope="module")
def rows():
    path = Path(__file__).parents[1] / "data" / "filters" / "verdicts.jsonl.gz"
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.mark.parametrize("name", FILTERS)
def test_each_verdict_is_datatroves(rows, name):
    different = []
    rejected: Counter[str] = Counter()
    for row in rows:
        finding = FILTERS[name](Page(row["text"]))
        ours = finding.reason.partition(".")[2] if finding else ""
        theirs = row["datatrove"][name]
        rejected[theirs] += bool(theirs)
        if ours != RULES.get(theirs, theirs):
            different.append((row["url"], ours, theirs))
    assert not different
    assert sum(rejected.values()) >= 10
    assert len(rows) - sum(rejected.values()) >= 30
