"""Blocklists and opt-outs: what is on a list, what a page says of itself, errors that name file and line."""

import gzip

import pytest

from streams.errors import SettingsError
from streams.records import RawDocument
from streams.settings import Settings, load, to_environment
from streams.settings.filters import FilterSettings, OptOutSettings, UrlSettings
from streams.settings.tree import stage_hash
from workers.chunk.filters.blocklist import Blocklist
from workers.chunk.filters.opt_out import opt_out
from workers.chunk.page_metadata import from_html, from_source
from workers.chunk.stage import ChunkStage
from workers.stage import Drop


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://spam.example/a", "spam.example"),
        ("HTTPS://User:secret@WWW.Spam.Example:8443/a?b#c", "spam.example"),
        ("http://a.b.c.spam.example.", "spam.example"),
        ("//deep.spam.example/x", "spam.example"),
        ("https://notspam.example/", ""),
        ("https://spam.example.org/", ""),
        ("https://fine.example/?next=spam.example", ""),
        ("https://spam.example@fine.example/", ""),
        ("http://xn--bcher-kva.example/x", "xn--bcher-kva.example"),
        ("http://www.bücher.example/x", "xn--bcher-kva.example"),
        ("http://[::1]:80/x", "[::1]"),
        ("mailto:a@spam.example", ""),
        ("http://" + "a." * 100_000 + "spam.example/", ""),
        ("http:///", ""),
        ("", ""),
        ("\u2028" * 99, ""),
    ],
)
def test_a_domain_stands_for_its_subdomains(url, domain):
    lists = Blocklist(UrlSettings(domains=("Spam.Example", "*.bücher.example", "[::1]")))
    finding = lists.find(url)
    assert (finding.reason, finding.detail) == ("url.domain", domain) if domain else finding is None


def test_addresses_words_and_substrings():
    lists = Blocklist(
        UrlSettings(urls=("http://a.example/Page?x=1",), words=("casino",), substrings=("free-money",))
    )
    found = {
        url: finding.reason.partition(".")[2] if (finding := lists.find(url)) else ""
        for url in (
            "https://a.example/page?x=1",
            "https://a.example/page?x=12",
            "https://b.example/best_Casino.html",
            "https://b.example/casinos",
            "https://b.example/get/free_money/now",
            "https://b.example/freemon/ey",
            "https://b.example/free/mon",
        )
    }
    assert list(found.values()) == ["url", "", "word", "", "substring", "substring", ""]
    assert Blocklist(UrlSettings()).find("https://a.example") is None


def test_files_hold_an_entry_a_line_with_comments_plain_or_packed(tmp_path):
    text = "\ufeff# ours\nspam.example  # why\n\nhttps://www.other.example/path\n"
    (tmp_path / "plain.txt").write_text(text)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(text.encode().replace(b"spam", b"more")))
    (tmp_path / "urls").write_text("https://a.example/x#part\n")
    lists = Blocklist(
        UrlSettings(
            domain_files=(str(tmp_path / "plain.txt"), str(tmp_path / "*.gz")),
            url_files=(str(tmp_path / "urls"),),
        )
    )
    for url in ("http://spam.example", "http://more.example", "http://www.other.example", "a.example/x#part"):
        assert lists.find(url), url
    assert lists.find("http://other.example") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"good.example\nnot a domain\n", "line 2: 'not a domain' is no entry for a list of domains"),
        (b"good.example\n" * 3 + b"\xff\xfe\n", "line 4: not UTF-8"),
        (b"good.example\n" + b"x" * 3000 + b"\n", "line 2: 'xxx"),
        (b"good.example\n" + b"x" * 100_000, "line 2: too long"),
        (gzip.compress(b"good.example\n" * 9999)[:-9], "cannot be read behind line"),
        (b"\x1f\x8bnothing", "cannot be read behind line 0"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, content, said):
    path = tmp_path / "list"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        Blocklist(UrlSettings(domain_files=(str(path),)))
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_missing_file_and_a_bad_entry_of_the_settings_are_errors(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        Blocklist(UrlSettings(word_files=(str(tmp_path / "none"),)))
    with pytest.raises(SettingsError, match=r"chunk\.filters\.url\.words: '---' is no entry"):
        Blocklist(UrlSettings(words=("---",)))
    with pytest.raises(SettingsError, match="10001 entries"):
        Blocklist(UrlSettings(substrings=tuple(f"x{i}" for i in range(10_001))))


def test_a_lists_content_and_not_its_path_shapes_a_generation(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("spam.example\n")
    two.write_text("spam.example\n")

    def hashed(path) -> str:
        return stage_hash(load(chunk={"filters": {"url": {"domain_files": [str(path)]}}}), "chunk")

    before = hashed(one)
    assert before == hashed(two)
    two.write_text("spam.example\nmore.example\n")
    assert before == hashed(one) != hashed(two) != stage_hash(load(), "chunk")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, ""),
        ({"tdm-reservation": "1"}, "tdm_reservation"),
        ({"tdm-reservation": "0"}, ""),
        ({"tdm-reservation": "yes"}, ""),
        ({"x-robots-tag": "noai"}, "noai"),
        ({"x-robots-tag": "NoIndex, nofollow"}, "noindex"),
        ({"x-robots-tag": "none"}, "noindex"),
        ({"x-robots-tag": "googlebot: noindex"}, ""),
        ({"x-robots-tag": "noarchive, noimageai, nosnippet"}, ""),
        ({"x-robots-tag": "noindexing, index"}, ""),
        ({"licence": "noai"}, ""),
    ],
)
def test_opt_outs_of_an_http_header(metadata, reason):
    finding = opt_out(from_source(metadata), OptOutSettings())
    assert (finding.reason.partition(".")[2] if finding else "") == reason


def test_opt_outs_of_a_page_and_which_are_obeyed():
    html = '<html><head><meta name="robots" content="noarchive, noindex"></head><body>Text</body></html>'
    metadata = from_html(html, "http://x.example", {})
    assert opt_out(metadata, OptOutSettings()).reason == "opt_out.noindex"
    assert "noarchive, noindex" in opt_out(metadata, OptOutSettings()).detail
    assert opt_out(metadata, OptOutSettings(signals=("noarchive",))).reason == "opt_out.noarchive"
    assert opt_out(metadata, OptOutSettings(signals=())) is None


PAGE = (
    "The garden behind the house holds many old trees and a few new ones. It was planted by a teacher who "
    "liked apples. Children of the village come every autumn to pick them. Nobody knows how old the largest "
    "tree is. Some say that it stood there before the first house was built. In winter the branches carry "
    "snow and look like a drawing. A bench under it is where people meet."
)


def outcome(metadata=None, **filters):
    stage = ChunkStage(Settings(chunk={"filters": filters}))
    stage.open()
    document = RawDocument(
        id="d",
        url="https://a.example/x",
        source="s",
        content_type="text/plain",
        payload=PAGE.encode(),
        metadata=metadata or {},
    )
    [out] = stage.process([document])
    return out


@pytest.mark.parametrize(
    ("family", "limits", "document", "reason"),
    [
        ("url", {"domains": ["a.example"]}, {}, "url.domain"),
        ("opt_out", {}, {"metadata": {"tdm-reservation": "1"}}, "opt_out.tdm_reservation"),
        ("fineweb", {"short_line_characters": 1000}, {}, "fineweb.short_lines"),
        ("gopher_quality", {"min_words": 1000}, {}, "gopher_quality.short_doc"),
        ("c4", {"min_sentences": 1000}, {}, "c4.few_sentences"),
        ("gopher_repetition", {"max_top_2_gram": 0.0}, {}, "gopher_repetition.top_2_gram"),
    ],
)
def test_each_filter_is_off_flags_or_drops(family, limits, document, reason):
    dropped = outcome(**document, **{family: {"mode": "drop", **limits}})
    assert isinstance(dropped, Drop)
    assert dropped.reason == reason
    assert dropped.detail
    assert reason in ChunkStage.reasons
    [segment] = outcome(**document, **{family: {"mode": "flag", **limits}})
    assert segment.flags == [reason]
    [segment] = outcome(**document, **{family: {"mode": "off", **limits}})
    assert segment.flags == []


def test_flags_are_sorted_and_end_where_something_drops():
    flagging = {
        "url": {"mode": "flag", "words": ["x"]},
        "gopher_quality": {"mode": "flag", "min_words": 1000},
        "c4": {"min_sentences": 1000},
    }
    [segment] = outcome(**flagging)
    assert segment.flags == ["c4.few_sentences", "gopher_quality.short_doc", "url.word"]
    dropped = outcome(**flagging, gopher_repetition={"max_top_2_gram": 0.0})
    assert dropped.reason == "gopher_repetition.top_2_gram"


def test_settings_reach_a_child_process(monkeypatch):
    asked = load(
        chunk={"filters": {"url": {"domains": ["a.example"], "mode": "flag"}, "c4": {"mode": "off"}}}
    )
    for name, value in to_environment(asked).items():
        if name.startswith("FINESTREAM_CHUNK__FILTERS"):
            monkeypatch.setenv(name, value)
    assert load().chunk.filters == asked.chunk.filters != FilterSettings()
