"""Both extractors in one form: rows, lists, code; chosen by rules; bounded; a missing one is named."""

import builtins
import contextlib
import sys
import time

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.unfiltered import UNFILTERED

from streams.errors import SettingsError
from streams.records import RawDocument
from streams.samples import sample_paths
from streams.settings import Settings, load
from streams.settings.extraction import ExtractionSettings
from workers.chunk.extract import canonical, extract
from workers.chunk.extractors import interface
from workers.chunk.extractors.interface import Extractors
from workers.chunk.reasons import Unusable
from workers.chunk.stage import ChunkStage

PROSE = "Measles is a highly contagious disease. It spreads through the air when an infected person coughs."
BOTH = pytest.mark.parametrize("name", ["resiliparse", "trafilatura"])


def page(html: str, url: str = "https://health.example/a", source: str = "crawl.warc.gz") -> RawDocument:
    return RawDocument(id="1", url=url, source=source, content_type="text/html", payload=html.encode())


def text(name: str, body: str) -> str:
    html = (
        f"<html><head><title>x</title></head><body><main><article><p>{PROSE}</p>\n{body}\n"
        f"<p>{PROSE} Again.</p></article></main></body></html>"
    )
    whole = extract(page(html), 10**7, 10**7, interface.load(name)).text
    assert whole.startswith(PROSE)
    assert whole.endswith(f"{PROSE} Again.")
    return whole.removeprefix(PROSE).removesuffix(f"{PROSE} Again.").strip("\n")


# Markup as a news site, Sphinx, a wiki and a forum write it.
TABLE = """<div class="table-wrapper"><table class="tbl" border="0"><caption></caption><thead><tr>
<th scope="col"><p><strong>Seat</strong></p></th>
<th scope="col">Price</th><th>Isofix</th></tr></thead><tbody>
<tr><td class="c1"><br />
            <a href="/a"> Britax&nbsp;R&ouml;mer<br>Swingfix</a></td>
  <td><div><p>500 &euro;</p></div></td><td> yes </td></tr>
<tr><td>Cybex</td><td><span>320</span> EUR</td><td><p>no</p></td></tr>
</tbody></table></div>"""
SPHINX = """<div class="highlight-python notranslate"><div class="highlight"><pre><span></span>\
<span class="k">def</span> <span class="nf">f</span><span class="p">(</span><span class="n">x</span>\
<span class="p">):</span>
    <span class="k">if</span> <span class="n">x</span> <span class="o">&lt;</span> <span class="mi">1</span>:

        <span class="k">return</span> <span class="mi">2</span>
</pre></div>
</div>"""
LISTS = """<ul class="simple"><li><p>Fever</p></li>
<li>Rash<ul>
  <li><i>Face</i> and <b>neck</b></li></ul></li></ul>
<p>Then:</p><ol><li>Wash
   hands</li><li>Rest</li></ol>"""


@BOTH
def test_tables_become_rows_with_tabs(name):
    rows = text(name, TABLE).split("\n")
    assert rows == [
        "Seat\tPrice\tIsofix",
        "Britax R\u00f6mer Swingfix\t500 \u20ac\tyes",
        "Cybex\t320 EUR\tno",
    ]


@BOTH
def test_code_keeps_its_lines_and_indents(name):
    assert text(name, SPHINX) == "def f(x):\n    if x < 1:\n\n        return 2"
    assert text(name, "<pre><code>a = 1\n\tb</code></pre>") == "a = 1\n\tb"
    assert f"{PROSE} Use x = 1 here." in text(name, f"<p>{PROSE} Use <code>x = 1</code> here.</p>")


@BOTH
def test_lists_keep_their_lines(name):
    lines = [line for line in text(name, LISTS).split("\n") if line]
    assert lines == [
        "  \u2022 Fever",
        "  \u2022 Rash",
        "    \u2022 Face and neck",
        "Then:",
        "  1. Wash hands",
        "  2. Rest",
    ]


@BOTH
def test_line_breaks_and_quotes_stay_lines(name):
    assert (
        text(name, "<blockquote><p>First line<br>second line</p></blockquote>") == "First line\nsecond line"
    )


@BOTH
def test_a_shipped_page_with_a_table(name):
    [warc] = [path for path in sample_paths() if "health" in path.name]
    with warc.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            if "understand-the-data" in record.headers["WARC-Target-URI"]:
                html = record.reader.read().decode()
    lines = extract(page(html), 10**7, 10**7, interface.load(name)).text.split("\n")
    table = lines[lines.index("General\tUSWDS\tDAP\tSEO\tThird Party Services") :]
    assert [len(row.split("\t")) for row in table[: html.count("<tr")]] == [5, 5, 5, 4, 4, 4, 4, 1, 1]
    assert table[4].split("\t")[:3] == ["Agency", "", ""]  # empty cells keep their place


def test_blocks_in_cells_go_only_where_nothing_around_them_is_closed():
    body = f"<table><tr><td>{'<p>' + PROSE + '</p>'} <p>{PROSE * 4}</p></td><td>x</td></tr></table>"
    assert text("resiliparse", body).count("\n\n") >= 1  # a table that lays out a page keeps its paragraphs
    nested = "<div><td></div>" * 30_000
    started = time.process_time()
    with contextlib.suppress(Unusable):
        extract(page(nested + PROSE), 10**7, 10**7)
    assert time.process_time() - started < 20


@BOTH
@pytest.mark.parametrize(
    "html",
    [
        PROSE,
        f"<p>{PROSE}",
        f"<p>{PROSE}\0\x01\x1f</p>",
        f"<p>&#xD800;&#0;{PROSE}",
        f"<div><ul><li><a href=x>{PROSE}</a></li></ul></div>",
        f"<?xml version='1.0' encoding='latin-1'?><html xmlns='x'><body><p>{PROSE}</p></body></html>",
        "<div>" * 300 + PROSE,
        f"<table><tr><td>{PROSE}</td></tr></table>",
        f"<body><form><p>{PROSE}</p></form></body>",
        f"<noscript><p>{PROSE}</p></noscript>",
    ],
)
def test_odd_pages_lose_no_text(name, html):
    assert (
        "Measles is a highly contagious disease"
        in extract(page(html), 10**7, 10**7, interface.load(name)).text
    )


@pytest.mark.parametrize(
    "html",
    [
        "<p>text</p>" * 100_000,
        "<article>" + f"<time>2020-01-01</time><p>{PROSE}</p>" * 10_000,
        "<div>" * 5_900 + PROSE,
        "<p>" + "a<br>" * 100_000,
        "<ul><li>" * 3_000 + PROSE,
        "<blockquote>" * 2_000 + PROSE,
        f"<p {'a=1 ' * 4_900}>{PROSE}",
        "<a><b>" * 400 + PROSE,
    ],
    ids=range(8),
)
def test_trafilatura_is_bounded_as_resiliparse_is(html):
    started = time.process_time()
    extract(page(html), 10**7, 10**7, interface.load("trafilatura"))
    assert time.process_time() - started < 30  # about 1 s


def test_trafilatura_remembers_no_page():
    extractor = interface.load("trafilatura")
    first = extract(
        page(f"<html><body><article>{TABLE}<p>{PROSE}</p></article></body></html>"), 10**7, 10**7, extractor
    )
    for _ in range(4):
        extract(page(f"<html><body><p>{PROSE}</p><p>{PROSE}</p></body></html>"), 10**7, 10**7, extractor)
    again = extract(
        page(f"<html><body><article>{TABLE}<p>{PROSE}</p></article></body></html>"), 10**7, 10**7, extractor
    )
    assert first == again
    assert canonical(first.text) == first.text


def test_the_first_rule_that_fits_decides():
    extractors = Extractors(
        ExtractionSettings.model_validate(
            {
                "rules": [
                    {"host": "*.gov", "source": "*/news-*", "extractor": "resiliparse"},
                    {"host": "*.gov", "extractor": "trafilatura"},
                    {"source": "*.wet.gz", "extractor": "trafilatura"},
                ]
            }
        )
    )

    def chosen(url: str, source: str) -> str:
        return extractors.of(page("", url, source)).name

    assert chosen("https://www.cdc.gov/x", "crawl/news-1.warc.gz") == "resiliparse"
    assert chosen("https://WWW.CDC.GOV:8080/x", "crawl/main.warc.gz") == "trafilatura"
    assert chosen("https://cdc.gov.example/x", "crawl/main.warc.gz") == "resiliparse"
    assert chosen("https://a.example/?x=.gov", "crawl/main.wet.gz") == "trafilatura"
    assert chosen("http://[bad", "x") == "resiliparse"
    assert chosen("", "") == "resiliparse"


def test_a_rule_without_a_pattern_is_refused():
    with pytest.raises(SettingsError, match="pattern for source or host"):
        load(chunk={"extraction": {"rules": [{"extractor": "trafilatura"}]}})
    with pytest.raises(SettingsError, match=r"chunk\.extraction\.extractor"):
        load(chunk={"extraction": {"extractor": "readability"}})


@pytest.mark.parametrize(
    "extraction", [{"extractor": "trafilatura"}, {"rules": [{"host": "*.gov", "extractor": "trafilatura"}]}]
)
def test_a_missing_extractor_says_how_to_get_it_before_any_page(monkeypatch, extraction):
    real = builtins.__import__

    def without(name: str, *rest):
        if name == "trafilatura":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "workers.chunk.extractors.trafilatura", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"finestream\[extract\]"):
        ChunkStage(Settings(chunk={"extraction": extraction})).open()
    ChunkStage(Settings()).open()


def test_the_stage_uses_what_its_rules_say():
    stage = ChunkStage(
        Settings(
            chunk={
                "extraction": {"rules": [{"host": "b.example", "extractor": "trafilatura"}]},
                "min_characters": 1,
                "filters": UNFILTERED,
            }
        )
    )
    stage.open()
    terms = "<dl><dt>Term</dt><dd>What it means</dd></dl>"
    html = f"<html><body><main><p>{PROSE} {PROSE}</p>{terms}</main></body></html>"
    [[a], [b]] = stage.process([page(html, "https://a.example/"), page(html, "https://b.example/")])
    assert "\nTerm\nWhat it means" in a.text
    assert "\u2022 Term\n" in b.text


@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<ul>", "<li>", "<ol>", "<table>", "<tr>", "<td>", "</table>", "<pre>",
             "<code>", "</code>", "<b", ">", "text ", "&amp", "<body>", "<h1>", "\0", "<!--", "-->", "'", "=",
             "<br>", "\n", "<blockquote>", "<dl>", "<dd>", "<html>", "<?xml", "<![CDATA[", "&#0;", "\ud83d",
             "\ufffe", "<svg>"]
        )
    ).map("".join)
)  # fmt: skip
@settings(max_examples=100, deadline=None)
@BOTH
def test_any_sequence_of_tags_is_text_or_refused(name, html):
    payload = html.encode("utf-8", "surrogatepass")
    document = RawDocument(id="1", url="", source="", content_type="text/html", payload=payload)
    try:
        whole = extract(document, 10**7, 10**7, interface.load(name)).text
    except Unusable:
        return
    assert canonical(whole) == whole
