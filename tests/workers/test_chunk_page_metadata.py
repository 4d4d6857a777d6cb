"""What pages say of themselves: one form, bounded, nobody's opt-out overruled; odd heads cost no time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.chunk.page_metadata import SIGNALS, from_html, from_source, iso_date, license_name, signals

URL = "https://site.example/a/b"


def said(head: str, body: str = "", **source: str) -> dict[str, str]:
    return from_html(f"<html><head>{head}</head><body>{body}</body></html>", URL, source)


@pytest.mark.parametrize(
    ("markup", "address"),
    [
        ('<link rel="canonical" href="https://site.example/x?a=1&amp;b=2">', "https://site.example/x?a=1&b=2"),
        ("<LINK REL=canonical HREF=/x>", "https://site.example/x"),
        ("<link href='../y' rel='alternate canonical'/>", "https://site.example/y"),
        ('<meta property="og:url" content="http://site.example/og">', "http://site.example/og"),
        ('<link rel="canonical" href="javascript:alert(1)">', None),
        ('<link rel="canonical" href="https://site.example/a b">', None),
        ('<link rel="canonical" href="https://[bad">', None),
        (f'<link rel="canonical" href="https://site.example/{"x" * 600}">', None),
        ('<link rel="stylesheet" href="/canonical.css">', None),
        ('<!-- <link rel="canonical" href="/old"> --><link rel="canonical" href="/new">', "https://site.example/new"),
        ('<script>"<link rel=canonical href=/js>"</script>', None),
        ('<style>a:after{content:"<link rel=canonical href=/css>"}</STYLE>', None),
    ],
)  # fmt: skip
def test_canonical_address(markup, address):
    assert said(markup).get("canonical-url") == address


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2020-01-31", "2020-01-31"),
        ("2020-1-3", "2020-01-03"),
        ("20200131", "2020-01-31"),
        ("2020-01-31T09:30", "2020-01-31T09:30:00"),
        ("2020-01-31 09:30:15.123Z", "2020-01-31T09:30:15Z"),
        ("2020-01-31T23:30:00-01:00", "2020-02-01T00:30:00Z"),
        ("2022-05-04T00:00:01+0530", "2022-05-03T18:30:01Z"),
        ("2020-02-30", ""),
        ("0001-01-01T00:00:00+23:00", ""),
        ("9999-12-31T23:59:59-23:59", ""),
        ("03/01/2020", ""),
        ("1560960000", ""),
        ("2020-01-311", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_dates_have_one_form(value, date):
    assert iso_date(value) == date


def test_dates_come_from_json_then_from_the_most_telling_element():
    meta = (
        '<meta property="article:published_time" content="2020-01-02"><meta name="date" content="2019-01-01">'
    )
    json = (
        '<script type="application/ld+json">{"@graph": [{"@type": "Person"}, {"@type": "Article",'
        '"datePublished": "2021-03-04", "dateModified": "2021-03-05T10:00:00Z"}]}</script>'
    )
    assert said(meta)["published"] == "2020-01-02"
    assert said(meta, json)["published"] == "2021-03-04"
    assert said(meta, json)["modified"] == "2021-03-05T10:00:00Z"
    assert (
        said("", '<time itemprop="datePublished" datetime="2018-07-06">x</time>')["published"] == "2018-07-06"
    )
    assert said(meta.replace("2020-01-02", "soon"))["published"] == "2019-01-01"
    assert said(meta, published="1999")["published"] == "1999"
    broken = said(meta, json.replace('"@type": "Person"', "["))
    deep = said(meta, f'<script type="application/ld+json">{"[" * 50_000}</script>')
    assert broken["published"] == deep["published"] == "2020-01-02"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("http://creativecommons.org/licenses/by-sa/3.0/at/", "CC-BY-SA-3.0-AT"),
        ("//creativecommons.org/licenses/by/4.0/deed.de", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/BY-NC-ND/2.5/legalcode", "CC-BY-NC-ND-2.5"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("https://creativecommons.org/about", ""),
        ("https://notcreativecommons.org/licenses/by/4.0/", ""),
    ],
)
def test_creative_commons_has_names(address, name):
    assert license_name(address) == name


def test_licences_with_who_says_so():
    by = "https://creativecommons.org/licenses/by/4.0/"
    anchor = f'<p><a class=x rel="license noopener" href="{by}">CC</a></p>'
    mere = f"<a href='{by}'>photo</a>"
    json = '<script type="application/ld+json">{"license": {"@id": "https://site.example/terms"}}</script>'
    cases = [
        (said("", anchor), ("CC-BY-4.0", "rel-license")),
        (said('<link rel="license" href="/terms">', anchor), ("https://site.example/terms", "rel-license")),
        (said("", mere), ("CC-BY-4.0", "link")),
        (said('<meta name="DC.License" content="free &amp; open">', mere), ("free & open", "meta")),
        (said("", json + mere), ("https://site.example/terms", "json-ld")),
        (said("", mere, link=f'<{by}>; title="a"; rel="license"'), ("CC-BY-4.0", "link-header")),
        (said("", anchor, link='<https://site.example/next>; rel="next"'), ("CC-BY-4.0", "rel-license")),
    ]
    for metadata, claim in cases:
        assert (metadata["license"], metadata["license-source"]) == claim
    assert said(f'<meta name="rights" content="{by}">')["license"] == "CC-BY-4.0"
    assert said('<link rel=license href="terms.html">')["license"] == "https://site.example/a/terms.html"
    assert said("", anchor, license="mit")["license"] == "mit"
    assert "license-source" not in said("", anchor, license="mit")
    assert "license" not in said("", "<p>rel=license, a licence: creativecommons.org/about</p>")
    assert said('<meta name="dcterms.rights" content="\u00a9\n2020 A">')["rights"] == "\u00a9 2020 A"


@pytest.mark.parametrize(
    ("head", "source", "robots", "expected"),
    [
        ('<meta name="robots" content="NoAI, noimageai">', {}, "noai, noimageai", ("noai", "noimageai")),
        ('<meta name=robots content="index"><meta name="ROBOTS" content=noai>', {}, "index, noai", ("noai",)),
        ('<meta content="noindex,follow" name="robots"/>', {}, "follow, noindex", ("noindex",)),
        ('<meta name="robots" content="none">', {}, "none", ("noindex",)),
        ('<meta name="robots" content="noindex noarchive">', {}, "noarchive, noindex",
         ("noindex", "noarchive")),
        ('<meta name="googlebot" content="noai">', {}, None, ()),
        ('<meta name="GPTBot" content="noindex">', {}, "noindex", ("noindex",)),
        ('<meta name="robots" content="max-snippet:-1">', {}, "max-snippet:-1", ()),
        ("", {"x-robots-tag": "noai, noimageai"}, "noai, noimageai", ("noai", "noimageai")),
        ("", {"x-robots-tag": "otherbot: noai, noindex, CCBot: nosnippet"}, "nosnippet", ("nosnippet",)),
        ("", {"x-robots-tag": "otherbot: none; noai"}, "noai", ("noai",)),
        ("", {"x-robots-tag": "unavailable_after: 25-Jun-2010, noai"}, "noai, unavailable_after: 25-jun-2010",
         ("noai",)),
        ('<meta name="robots" content="all">', {"robots": "noai"}, "all, noai", ("noai",)),
        ('<meta name="robots" content="<script>">', {}, None, ()),
    ],
)  # fmt: skip
def test_robots_and_their_signals(head, source, robots, expected):
    metadata = from_html(f"<head>{head}</head>", URL, source)
    assert metadata.get("robots") == robots
    assert signals(metadata) == expected


@pytest.mark.parametrize(
    ("meta", "header", "kept"),
    [
        ("1", None, "1"),
        ("0", None, "0"),
        (None, "1", "1"),
        ("0", "1", "1"),
        ("1", "0", "1"),
        ("yes", None, None),
    ],
)
def test_reserved_by_either_is_reserved(meta, header, kept):
    head = f'<meta name="tdm-reservation" content="{meta}">' if meta else ""
    metadata = said(head, **({"tdm-reservation": header} if header else {}))
    assert metadata.get("tdm-reservation") == kept
    assert ("tdm-reservation" in signals(metadata)) == (kept == "1")
    assert said('<meta name="tdm-policy" content="/p.json">')["tdm-policy"] == "https://site.example/p.json"


def test_texts_without_markup_have_what_their_header_says():
    metadata = from_source({"x-robots-tag": "NOAI", "link": "<https://a.example/l>;rel=license", "row": "1"})
    assert metadata["robots"] == "noai"
    assert metadata["license"] == "https://a.example/l"
    assert metadata["row"] == "1"
    assert from_source({}) == {}
    assert signals({}) == ()


def test_many_directives_never_push_an_opt_out_aside():
    flood = ",".join(f"a{'b' * 20}-{chr(97 + i)}" for i in range(26))
    metadata = said(f'<meta name="robots" content="{flood},noai">')
    assert len(metadata["robots"]) <= 200
    assert signals(metadata) == ("noai",)


@pytest.mark.parametrize(
    "piece",
    ["<meta ", '<meta "', "<meta name='", "<!--", "<script>", "<STYLE>", "<link rel=canonical href=",
     "<meta name=robots content='a", '"', 'rel="license', "creativecommons.org/", "application/ld+json",
     '<script type="application/ld+json">{"a":', 'itemprop="datePublished"', "&amp;",
     "<meta name=robots content=noai>"],
)  # fmt: skip
def test_hostile_heads_are_read_in_no_time(piece):
    html = piece * (3_000_000 // len(piece))
    started = time.process_time()
    metadata = from_html(html, URL, {"x-robots-tag": piece * 20, "link": piece * 50})
    assert time.process_time() - started < 20  # generous: a square of the length would take hours
    assert all(
        len(value) <= 512 * 2 for key, value in metadata.items() if key not in {"x-robots-tag", "link"}
    )


@given(
    st.lists(
        st.sampled_from(
            ["<meta ", "<link ", "name=", "content=", "rel=", "href=", '"', "'", ">", "robots", "canonical",
             "license", "noai", " ", "<!--", "-->", "<script>", "</script>", "https://a.example/", "\0",
             "\u202e", "\ud800", "&#0;", "date", "2020-01-01", "application/ld+json", "{", '"license":', "}",
             "tdm-reservation", "1"]
        ),
        max_size=60,
    )
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_any_head_gives_bounded_clean_lines(parts):
    metadata = from_html("".join(parts), URL, {})
    for key, value in metadata.items():
        assert 0 < len(value) <= 500
        assert value == value.strip()
        assert not any(ord(character) < 32 or character == "\u202e" for character in value), key
        value.encode()
    assert set(signals(metadata)) <= set(SIGNALS)
