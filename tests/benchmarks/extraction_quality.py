"""`extraction_quality`: how much wanted and unwanted text each extractor keeps, on pages with known snippets.

The pages and snippets are those of trafilatura's own evaluation (`evaldata.json`: for each page some strings
that its text must hold, `with`, and some that it must not, `without`; Apache-2.0, the pages their owners').
They are not shipped: FINESTREAM_EXTRACTION_PAGES names the folder or the `.tar.gz` that holds `evaldata.json`
and the pages, as `tests/` of trafilatura's repository does. Counted as there: a `with` string found is a true
positive, missed a false negative; a `without` string found is a false positive, else a true negative.

Both extractors run as the chunk stage runs them: decoding, guard, extraction, canonical form. White space is
ignored in the comparison, since snippets were written with that of the page. Without the pages or without
trafilatura it says so, with the number of pages measured: none.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from streams.errors import SettingsError
from streams.records import RawDocument
from streams.settings.extraction import ExtractorName
from workers.chunk.extract import extract
from workers.chunk.extractors.interface import Extractor, load
from workers.chunk.reasons import Unusable

VARIABLE = "FINESTREAM_EXTRACTION_PAGES"
MEBIBYTES = 1024 * 1024


class Page(NamedTuple):
    """A page with its snippets."""

    document: RawDocument
    wanted: list[str]
    unwanted: list[str]


def files(place: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield path and content of all files in a folder or an archive."""
    if place.is_dir():
        for path in sorted(place.rglob("*")):
            if path.is_file():
                yield PurePosixPath(path.relative_to(place)), path.read_bytes()
        return
    with tarfile.open(place) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                yield PurePosixPath(member.name), stream.read()


def pages(place: Path) -> list[Page]:
    """Read what can be read: not all pages of the evaluation need to be there."""
    found = {path.name: content for path, content in files(place)}
    rows: dict[str, Any] = json.loads(found["evaldata.json"])
    return [
        Page(
            RawDocument(
                id=row["file"],
                url=url,
                source=place.name,
                content_type="text/html",
                payload=found[row["file"]],
            ),
            [snippet for snippet in row["with"] if snippet],
            [snippet for snippet in row["without"] if snippet],
        )
        for url, row in rows.items()
        if row["file"] in found
    ]


def flat(text: str) -> str:
    """Return a text without regard to white space."""
    return " ".join(text.split())


def judge(extractor: Extractor, given: list[Page]) -> dict[str, float | int | str]:
    """Extract all pages and count snippets; seconds are CPU time, the best of two rounds."""
    texts: list[str] = []
    refused = 0
    seconds = float("inf")
    for _ in range(2):
        texts, refused = [], 0
        began = time.process_time()
        for page in given:
            try:
                texts.append(extract(page.document, 6 * MEBIBYTES, 2 * MEBIBYTES, extractor).text)
            except Unusable:
                texts.append("")
                refused += 1
        seconds = min(seconds, time.process_time() - began)
    found = [0, 0]
    total = [0, 0]
    for page, raw in zip(given, texts, strict=True):
        text = flat(raw)
        for kind, snippets in enumerate((page.wanted, page.unwanted)):
            total[kind] += len(snippets)
            found[kind] += sum(flat(snippet) in text for snippet in snippets)
    precision = found[0] / max(1, sum(found))
    recall = found[0] / max(1, total[0])
    return {
        "extractor": extractor.name,
        "precision": round(precision, 3),
        "recall": round(recall, 3),
        "f1": round(2 * precision * recall / max(1e-9, precision + recall), 3),
        "accuracy": round((found[0] + total[1] - found[1]) / max(1, sum(total)), 3),
        "documents_per_cpu_second": round(len(given) / seconds, 1),
        "refused": refused,
    }


def line(name: str, value: float, unit: str, baseline: str, **more: Any) -> None:
    """Print one figure."""
    figure = {"name": name, "value": value, "unit": unit, "goal": None, "better": "higher"}
    print(json.dumps({**figure, "baseline": baseline, "met": None, **more}))


def skipped(name: str, why: str) -> None:
    """Say that nothing was measured."""
    line(name, 0, "pages measured", f"skipped: {why}", skipped=True)


def main() -> int:
    """Measure and print."""
    named = os.environ.get(VARIABLE, "")
    if not named or not Path(named).exists():
        why = f"{named} does not exist" if named else f"{VARIABLE} does not name the evaluation's pages"
        skipped("extraction_quality", why)
        return 0
    given = pages(Path(named))
    wanted, unwanted = (
        sum(map(len, snippets)) for snippets in zip(*(page[1:] for page in given), strict=True)
    )
    names: tuple[ExtractorName, ...] = ("resiliparse", "trafilatura")
    for name in names:
        try:
            extractor = load(name)
        except SettingsError as error:
            skipped(f"extraction_quality_{name}", str(error))
            continue
        result = judge(extractor, given)
        told = f"{len(given)} pages, {wanted} wanted and {unwanted} unwanted snippets"
        line(f"extraction_quality_{name}", float(result["f1"]), "F1", told, **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
