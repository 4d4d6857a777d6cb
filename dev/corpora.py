"""The redistributable documents that we ship samples of and train the tokenizer on, as small HTML pages.

Reads the archives as their repositories hold them (MedQuAD XML, digital.gov Markdown, XQuAD JSON) and leaves
out every question: those are evaluation sets. So do the documents of the gold set, on which the engines are
measured. The pages are reconstructions: the originals' navigation is gone, their wording is kept.
"""

from __future__ import annotations

import html
import json
import re
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markdown_it import MarkdownIt

MEDQUAD = "docs/medquad-nih.tar.gz"
DIGITALGOV = "docs/digitalgov.tar.gz"
XQUAD = "docs/xquad/xquad.{language}.json"
GOLD = "gold/documents.jsonl"


class Page(NamedTuple):
    """One document: `body` is an HTML fragment of paragraphs, headings and lists."""

    corpus: str
    path: str  # inside the archive
    url: str
    title: str
    body: str
    language: str = "en"
    date: str = ""


def held_out(folder: Path) -> set[str]:
    """Return the paths of the gold set's documents."""
    with (folder / GOLD).open(encoding="utf-8") as lines:
        return {json.loads(line)["source_file"] for line in lines}


def medquad(folder: Path) -> Iterator[Page]:
    """Yield the NIH health pages: their answers one after another, without questions."""
    for path, data in _members(folder / MEDQUAD, ".xml"):
        root = ET.fromstring(data)  # noqa: S314 -- files of a pinned commit, read on a developer's machine
        collection = path.partition("_")[0]
        answers = [answer.text or "" for answer in root.iter("Answer")]
        body = "\n".join(medquad_body(answer, collection) for answer in answers if answer.strip())
        title = (root.findtext("Focus") or "").strip()
        if body and title:
            yield Page("medquad", path, root.get("url") or "", title, body)


def medquad_body(answer: str, collection: str) -> str:
    """Give an answer its paragraphs and lists back, which the XML holds as runs of spaces."""
    answer = re.sub(r"^\s*Summary\s*:\s*", "", answer)
    answer = re.sub(r"\s{2,}(?=-\s+\S)", "\n", answer)
    breaks = r"\s{2,}" if collection == "3" else r"\s{3,}|\n"  # GHR parts paragraphs by two spaces only
    lines = [re.sub(r"\s+", " ", line).strip() for line in re.split(breaks, answer)]
    out: list[str] = []
    items: list[str] = []
    for line in [*filter(None, lines), ""]:
        if line.startswith("- "):
            items.append(f"<li>{html.escape(line[2:].strip(), quote=False)}</li>")
            continue
        if items:
            out.append("<ul>\n" + "\n".join(items) + "\n</ul>")
            items = []
        if line:
            out.append(f"<p>{html.escape(line, quote=False)}</p>")
    return "\n".join(out)


def digitalgov(folder: Path) -> Iterator[Page]:
    """Yield the US government's web articles, rendered from Markdown."""
    render = MarkdownIt("commonmark", {"html": True}).render
    for path, data in _members(folder / DIGITALGOV, ".md"):
        text = data.decode("utf-8").lstrip("\ufeff")
        if not text.startswith("---"):
            continue
        _, front, markdown = text.split("---", 2)
        try:
            meta: dict[str, Any] = yaml.safe_load(front) or {}
        except yaml.YAMLError:
            continue
        title = str(meta.get("title") or "").strip()
        markdown = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", _without_shortcodes(markdown))
        body = _without_chrome(render(markdown)).strip()
        if title and body:
            url = "https://digital.gov/" + path.removeprefix("content/").removesuffix(".md") + "/"
            yield Page("digitalgov", path, url, title, body, date=str(meta.get("date") or "")[:10])


def xquad(folder: Path, language: str = "en") -> Iterator[Page]:
    """Yield one page for each Wikipedia article: its paragraphs, without questions."""
    name = XQUAD.format(language=language)
    articles = json.loads((folder / name).read_text(encoding="utf-8"))["data"]
    for article in articles:
        title = article["title"].replace("_", " ")
        paragraphs = [f"<p>{html.escape(p['context'], quote=False)}</p>" for p in article["paragraphs"]]
        path = f"{Path(name).name}#{article['title']}"
        url = f"https://{language}.wikipedia.org/wiki/{article['title']}"
        yield Page("xquad", path, url, title, "\n".join(paragraphs), language)


def _members(archive: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name):
            if member.name.endswith(suffix) and (stream := tar.extractfile(member)):
                yield member.name.removeprefix("./"), stream.read()


def _without_shortcodes(markdown: str) -> str:
    """Drop Hugo's `{{< … >}}` and `{{% … %}}`: layout, not text."""
    linked = re.sub(r"\]\(\s*\{\{[<%].*?[>%]\}\}[^)]*\)", "](#)", markdown, flags=re.DOTALL)
    return re.sub(r"\{\{[<%].*?[>%]\}\}", "", linked, flags=re.DOTALL)


def _without_chrome(page: str) -> str:
    """Drop images, scripts, frames and links' targets: the text is what counts, and the file stays small."""
    page = re.sub(r"<(script|style|iframe|figure|svg)\b.*?</\1>", "", page, flags=re.DOTALL | re.IGNORECASE)
    page = re.sub(
        r"</?(?:a|img|div|span|br|iframe|input|label|figcaption|center|font)\b[^>]*>",
        "",
        page,
        flags=re.IGNORECASE,
    )
    page = re.sub(r"<(/?[a-z0-9]+)\s[^>]*>", r"<\1>", page, flags=re.IGNORECASE)
    return re.sub(r"<p>\s*</p>\n?", "", page)
