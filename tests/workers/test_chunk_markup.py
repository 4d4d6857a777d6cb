"""The guard before the parser: what would take minutes is refused in no time, what is merely large is not."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.chunk import markup
from workers.chunk.reasons import Reason, Unusable

MEBIBYTES = 6 * 1024 * 1024


def filled(unit: str, size: int = MEBIBYTES) -> str:
    return unit * (size // len(unit))


COSTLY = {
    "nested": filled("<div>"),
    "nested, with text": filled("<div>a "),
    "nested and closed": "<div>" * 200_000 + "</div>" * 200_000,
    "nested, upper case": filled("<DIV>"),
    "nested tables": filled("<table><tr><td>"),
    "nested lists": filled("<ul><li>x"),
    "formatting left open": "<p>" + "".join(f"<font c={i}>" for i in range(2000)) + "<p>x" * 2000,
    "misnested": filled("<a><b><i>x "),
    "attributes": "<div " + " ".join(f"a{i}=b" for i in range(500_000)) + ">",
    "attributes without values": "<div " + " ".join(f"a{i}" for i in range(500_000)) + ">",
    "attributes between quotes": "<div " + " ".join(f'a{i}="<"' for i in range(500_000)) + ">",
    "behind a comment": "<!-- </div> -->" * 10 + filled("<div>"),
    "between closings in comments": filled("<div><!--</div>-->"),
    "between closings in attributes": filled('<div title="</div></div>">'),
    "behind a quote that is none": '<p ">' + filled("<div>") + '">',
    "behind an abrupt comment": "<!-->" + filled("<div>"),
    "behind a script that quotes": "<script><a b='</script>" + filled("<div>") + "'>",
}


@pytest.mark.parametrize("page", COSTLY.values(), ids=COSTLY.keys())
def test_costly_markup_is_refused_quickly(page):
    started = time.process_time()
    with pytest.raises(Unusable) as caught:
        markup.check(page)
    assert caught.value.reason is Reason.TOO_COMPLEX
    assert time.process_time() - started < 10


LARGE = {
    "paragraphs": filled("<p>one two</p>", 2_000_000),
    "paragraphs left open": filled("<p>one two", 2_000_000),
    "list items left open": "<ul>" + filled("<li>one two", 2_000_000),
    "rows left open": "<table>" + filled("<tr><td>1<td>2", 2_000_000),
    "breaks": filled("one<br>", 2_000_000),
    "pictures": filled("<img src=a>", 2_000_000),
    "bold words": filled("<b>one</b> <i>two</i> ", 2_000_000),
    "closings": filled("</p></div>", 2_000_000),
    "depth of a real page": "<div>" * 30 + filled("<span>one</span>", 1_000_000) + "</div>" * 30,
    "a picture inside": '<img src="data:image/png;base64,' + "A" * 2_000_000 + '">',
    "angles": filled("<", 1_000_000),
    "a script": "<script>" + filled("if (a < b) { c(); }", 2_000_000) + "</script>",
    "a script of markup": "<script>" + filled("'<div>' +", 2_000_000) + "</script>",
    "a comment": "<!--" + filled("<div>", 2_000_000) + "-->",
}


@pytest.mark.parametrize("page", LARGE.values(), ids=LARGE.keys())
def test_large_pages_pass(page):
    assert markup.check(page) == page.count("<")


def test_small_pages_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(markup, "_TAG", None)
    markup.check("<div>" * 400 + "text" + "</div>" * 400)


PIECES = st.sampled_from(
    ["<div>", "</div>", "<DIV class='a'>", "<p", ">", '"', "'", "<", "</", "<!--", "-->", "<!-->", "--!>",
     "<!x>", "<?y>", "<script>", "</script>", "<style a='b'>", "</STYLE >", "<title>", "<b>", "</b>", "<br/>",
     " a=", "x", "=", "/", "-", "<a href='>'>", '<i title="<">', "<td>", "</a>", "<textarea/>", "\n"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=600, deadline=None)
def test_the_quick_look_sees_the_tags_of_the_thorough_one(html):
    seen: list[str] = []

    class Codes(markup._Codes):
        def __getitem__(self, tag: str) -> int:
            seen.append(tag.lower())
            return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markup, "_Codes", Codes)
        quick = markup._plainly_cheap(html)
    if quick:  # else nothing was decided
        tags = [match for match in markup._TAG.finditer(html) if match[3]]
        assert seen == [f"{match[2]}{match[3]}".lower() for match in tags]


@pytest.mark.parametrize("unit", ["<div>", "<b>", "<DIV><p>", "</b><i>", "<div></DIV>", "<a></a></b><b>"])
@pytest.mark.parametrize("times", [10, 300, 1000, 5000])
def test_the_quick_look_passes_only_what_the_thorough_one_passes(unit, times):
    html = unit * times + "<p>x" * times
    quick = markup._plainly_cheap(html)
    try:
        markup._look_at_each(html)
    except Unusable:
        assert not quick
    else:
        assert quick


def test_a_tag_of_many_attributes_is_looked_at():
    assert not markup._plainly_cheap("<p>" + "<p " + "a " * 3000 + ">")
    with pytest.raises(Unusable, match="attributes"):
        markup.check("<p>" * 5000 + "<p " + "a " * 6000 + ">")
