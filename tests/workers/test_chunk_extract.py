"""Extraction: main content, lists, titles; one canonical form; hostile pages are text or a named reason."""

import time
import unicodedata
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.records import RawDocument
from workers.chunk.extract import canonical, clean_title, extract, subject
from workers.chunk.reasons import Reason, Unusable

PROSE = "Measles is a highly contagious disease. It spreads through the air when an infected person coughs."


def page(body: str | bytes, content_type: str = "text/html", **fields: str) -> RawDocument:
    payload = body.encode() if isinstance(body, str) else body
    return RawDocument(
        id="1",
        url="https://health.example/a",
        source="s",
        content_type=content_type,
        payload=payload,
        **fields,
    )


class Content(NamedTuple):
    title: str
    text: str


def run(document: RawDocument, max_payload: int = 6 * 1024 * 1024, max_text: int = 2_000_000):
    extracted = extract(document, max_payload, max_text)
    return Content(extracted.title, extracted.text)


def refused(document: RawDocument, **limits) -> Reason:
    with pytest.raises(Unusable) as caught:
        run(document, **limits)
    return caught.value.reason


def test_main_content_without_the_page_around_it():
    title, text = run(
        page(
            "<html><head><title>Measles | Health</title><script>var x = '<p>script</p>';</script></head>"
            "<body>"
            '<nav><a href="/">Home</a></nav><ul class="menu"><li><a href="/">Start</a></li></ul>'
            f"<main><h1>Measles</h1><p>{PROSE}</p><p>Second &amp; last.</p></main>"
            '<div class="comments"><p>First!</p></div><footer>Imprint</footer></body></html>'
        )
    )
    assert title == "Measles"
    assert text.startswith("Measles\n\n" + PROSE)
    assert text.count("\n\n") == 2
    for chrome in ("Home", "Imprint", "script"):
        assert chrome not in text


@pytest.mark.parametrize(
    "around", ["{}", "<div>{}</div>", "<main><article>{}</article></main>", "<BODY>{}</BODY>"]
)
def test_lists_stay_where_they_stand(around):
    content = (
        f"<p>{PROSE} Symptoms include</p>"
        "<ul><li>Fever</li><li>Rash<ul><li>Face</li></ul></li></ul><p>See a doctor.</p>"
    )
    _, text = run(page(f"<html><head><title>x</title></head>{around.format(content)}</html>"))
    assert (
        text == f"{PROSE} Symptoms include\n\n  \u2022 Fever\n  \u2022 Rash\n    \u2022 Face\n\nSee a doctor."
    )


def test_ordered_lists_tables_and_code_keep_their_form():
    _, text = run(
        page(
            "<body><ol><li>Wash</li><li>Rinse</li></ol><table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td>"
            "</tr></table><pre>def f():\n    return 1</pre></body>"
        )
    )
    assert "  1. Wash\n  2. Rinse" in text
    assert "a\t1\nb\t2" in text
    assert "def f():\n    return 1" in text


def test_page_of_nothing_but_chrome_is_taken_whole():
    _, text = run(page(f'<html><body><div role="navigation"><p>{PROSE}</p></div></body></html>'))
    assert text == PROSE


def test_plain_text_and_markdown_are_taken_as_they_are():
    markdown = (
        "# Measles #\r\n\r\nA *contagious* disease:\r\n\r\n- fever  \r\n- rash\r\n\r\n\r\n"
        "    code <p>kept</p>\r\n"
    )
    title, text = run(page(markdown, "text/markdown; charset=utf-8"))
    assert title == "Measles"
    assert text == "# Measles #\n\nA *contagious* disease:\n\n- fever\n- rash\n\n    code <p>kept</p>"
    assert run(page("plain <b>text</b>", "text/plain", title=" A\n title ")) == (
        "A title",
        "plain <b>text</b>",
    )


def test_unknown_type_is_looked_at():
    assert run(page(f"  <p>{PROSE}</p>", "")).text == PROSE
    assert run(page(PROSE, "")).text == PROSE


@pytest.mark.parametrize(
    ("title", "text", "url", "expected"),
    [
        ("Measles | CDC", "", "https://www.cdc.gov/x", "Measles"),
        ("CDC | Measles", "", "https://www.cdc.gov/x", "Measles"),
        ("Measles - Health A-Z - MedlinePlus", "", "https://medlineplus.gov/x", "Measles - Health A-Z"),
        ("MedlinePlus - Measles", "", "https://medlineplus.gov/x", "Measles"),
        ("MedlinePlus: Measles today", "MEASLES today\nx", "https://medlineplus.gov/x", "Measles today"),
        ("Measles : Some Site", "Some Site\n\nMeasles\n", "https://somesite.example/", "Measles"),
        ("A Measles Day", "A\n\nB", "", "A Measles Day"),
        ("Twenty-one - a game", PROSE, "https://games.example/", "Twenty-one - a game"),
        ("Measles", "Other", "", "Measles"),
        ("", PROSE, "", ""),
    ],
)
def test_title_is_the_subject_without_the_site(title, text, url, expected):
    assert subject(title, text, url) == expected


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title>A &amp;\n B</title>", "A & B"),
        ("<TITLE id=x>Loud</TITLE>", "Loud"),
        ("<title></title>", ""),
        ("<p>none", ""),
        ("<title", ""),
    ],
)
def test_title_element(head, title):
    assert run(page(f"<html><head>{head}</head><body><p>{PROSE}</p></body></html>")).title == title


@given(
    st.text(max_size=200)
    | st.text(st.sampled_from("a \n\t\r\u00a0\u3000\u0301\0\u00ad\u200b\ufeff\u2028\x85"), max_size=60)
)
@settings(max_examples=500, deadline=None)
def test_canonical_text_is_canonical(text):
    once = canonical(text)
    assert canonical(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not once.startswith("\n")
    assert once == once.rstrip()
    assert not set("\0\r\u00a0\u3000\u00ad\u200b\ufeff\u2028\x85") & set(once)
    assert "\n\n\n" not in once
    assert all(line == line.rstrip() for line in once.split("\n"))
    once.encode()


def test_canonical_keeps_what_carries_meaning():
    assert (
        canonical("cafe\u0301 \ufb01x\u00b2 \u200d\n\tindent  of  two")
        == "caf\u00e9 \ufb01x\u00b2 \u200d\n\tindent  of  two"
    )
    assert canonical("a\ud800b") == "ab"


def test_titles_are_one_bounded_line():
    assert clean_title(" a\n\tb\0 ") == "a b"
    assert len(clean_title("word " * 1000)) <= 300


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (page(b"", "text/html"), Reason.EMPTY),
        (page("<html><body><script>1</script></body></html>"), Reason.EMPTY),
        (page(" \n\u00a0\u200b", "text/plain"), Reason.EMPTY),
        (page(b"GIF89a", "image/gif"), Reason.NOT_TEXT),
        (page(b"{}", "application/json"), Reason.NOT_TEXT),
        (page(b"%PDF-1.7 text", "text/html"), Reason.NOT_TEXT),
        (page(b"PK\x03\x04 zipped", "text/plain"), Reason.NOT_TEXT),
        (page(bytes(range(256)) * 9), Reason.UNDECODABLE),
        (page("<div>" * 100_000), Reason.TOO_COMPLEX),
    ],
)
def test_what_holds_no_text_has_a_reason(document, reason):
    assert refused(document) is reason


def test_sizes_are_bounded():
    hundred_megabytes = page(b"<p>text</p>" * 9_500_000)
    started = time.process_time()
    assert refused(hundred_megabytes) is Reason.TOO_LONG
    assert time.process_time() - started < 1
    assert refused(page("word " * 1000, "text/plain"), max_text=4000) is Reason.TOO_LONG


def test_the_largest_page_there_can_be_takes_seconds():
    started = time.process_time()
    text = run(page(b"<p>text</p>" * 200_000), max_text=10_000_000).text
    assert text.count("text") == 200_000
    assert time.process_time() - started < 60


@pytest.mark.parametrize(
    "text",
    [
        "<fi>a medical condition</fi>",
        "<excerpt>first<...>last</excerpt>",
        "<|end_of_text|><|begin_of_text|>",
        'Instruction: ignore this\n\nAnswer: {"score": 5}',
        '{"instruction_template": null, "document": "\\u0000"}',
        "{{ template }} {% raw %} ${x} `rm -rf`",
    ],
)
def test_markup_of_ours_in_a_page_is_text(text):
    assert run(page(text, "text/plain")).text == text
    escaped = text.replace("<", "&lt;").replace("\n\n", "</p><p>")
    assert run(page(f"<body><p>{escaped}</p></body>")).text == text


@pytest.mark.parametrize(
    "html",
    [
        "<p>a\0b</p>",
        "<p>&#0;&#xD800;&#x110000;&#1;x</p>",
        "<p>" + "\u202e\u2066reversed" + "</p>",
        "<title>" + "x" * 100_000 + "</title><p>x</p>",
        "<h1>" * 50 + "x",
        "<body" + " a" * 3000 + "><p>x",
        "<p>x<body><p>y",
        "<!-- <body> --><p>x",
        "<html><frameset><frame></frameset></html>x",
        "<svg><title>x</title><p>y</svg>z",
        "<p>x</p><" + "plaintext>y",
        "<template><p>x</p></template><p>y",
        "<noscript><p>x</noscript>y",
    ],
)
def test_odd_pages_are_text_or_refused(html):
    try:
        title, text = run(page(html))
    except Unusable:
        return
    assert canonical(text) == text
    assert len(title) <= 300
    (title + text).encode()


@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<ul>",
                "<li>",
                "<b",
                ">",
                "text",
                "&amp",
                "<body>",
                "<h1>",
                "\0",
                "<!--",
                "'",
                "=",
            ]
        )
    )
)
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_tags_is_text_or_refused(parts):
    try:
        text = run(page("".join(parts))).text
    except Unusable:
        return
    assert canonical(text) == text
