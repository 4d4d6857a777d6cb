"""`dedup_missed_share`: how many real near duplicates deduplication per lane misses, against one pass over
all.

`DEDUP_DATA` names MedQuAD's archive (`medquad-nih.tar.gz`, XML pages of the NIH), or the folder that holds
it; without it the line says so. A document's lane is the one its URL gives it, as at ingestion. Truth is the
exact Jaccard similarity of word 5-grams: a document counts where an *earlier* one is at least that similar.

Told for each threshold: how many such documents there are by exact similarity; how many of them one window
over all finds by sketches (what LSH and the estimate miss, and what they find too much); and how many 8 and
48 lanes find with windows of 500, of 10,000 and without end. The figure is what 8 lanes with the default
window miss.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tarfile
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET
from zlib import crc32

from streams.ingest.lanes import canonical_url, lane_of
from streams.settings import DuplicateSettings
from workers.chunk.near_duplicates import normalised, sketch
from workers.duplicates import AdmitWindow, Identity

VARIABLE = "DEDUP_DATA"
ARCHIVE = "medquad-nih.tar.gz"
THRESHOLDS = (0.7, 0.8)
LANES = (1, 8, 48)
WINDOWS = (500, 10_000, 10**8)
MIN_CHARACTERS = 200
SHINGLE = DuplicateSettings().shingle_words


def read(path: Path) -> list[tuple[str, str]]:
    """Return (URL, text) of each document, in the archive's order."""
    out = []
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is None:
                continue
            root = ET.fromstring(file.read())
            pairs = [(pair.findtext("Question"), pair.findtext("Answer")) for pair in root.iter("QAPair")]
            text = "\n\n".join(" ".join(f"{q or ''} {a}".split()) for q, a in pairs if a and a.strip())
            if len(text) >= MIN_CHARACTERS:
                out.append((root.get("url") or member.name, text))
    return out


def shingles(text: str) -> frozenset[tuple[bytes, ...]]:
    """Return a text's word 5-grams, normalised as the sketch does it."""
    words = [word if isinstance(word, bytes) else word.encode() for word in normalised(text)]
    n = min(SHINGLE, len(words))
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def truly_similar(texts: list[str], threshold: float) -> dict[int, list[int]]:
    """Return, for each document that has some, the earlier ones at least so similar: exact, by prefix filter.

    Of two sets that similar, the rarest few shingles cannot all be missing from the other.
    """
    frequency: Counter[tuple[bytes, ...]] = Counter()
    sets = [shingles(text) for text in texts]
    for each in sets:
        frequency.update(each)
    holders: dict[tuple[bytes, ...], list[int]] = defaultdict(list)
    out: dict[int, list[int]] = {}
    for i, each in enumerate(sets):
        ordered = sorted(each, key=lambda s: (frequency[s], s))
        prefix = ordered[: len(each) - math.ceil(threshold * len(each)) + 1]
        candidates = {j for shingle in prefix for j in holders[shingle]}
        for shingle in prefix:
            holders[shingle].append(i)
        near = []
        for j in candidates:
            both = len(each & sets[j])
            if both >= threshold * (len(each) + len(sets[j]) - both) - 1e-9:
                near.append(j)
        if near:
            out[i] = sorted(near)
    return out


def flagged(identities: list[Identity], lanes: list[int], window: int, threshold: float) -> set[int]:
    """Return the documents that windows per lane find similar to an earlier one, which stays remembered."""
    windows: dict[int, AdmitWindow] = {}
    ends: Counter[int] = Counter()
    out = set()
    for i, (identity, lane) in enumerate(zip(identities, lanes, strict=True)):
        it = windows.setdefault(lane, AdmitWindow(min(window, len(identities)), threshold))
        offset = ends[lane]
        ends[lane] += 1
        verdict = it.judge(offset, identity)
        if verdict is not None:
            out.add(i)
        if verdict is None or not verdict.exact:
            it.add(offset, identity)
    return out


def line(name: str, value: float, unit: str, baseline: str, **more: object) -> None:
    """Print one figure."""
    figure = {"name": name, "value": value, "unit": unit, "goal": None, "better": "lower"}
    print(json.dumps({**figure, "baseline": baseline, "met": None, **more}))


def main() -> int:
    """Measure and print."""
    named = os.environ.get(VARIABLE, "")
    path = Path(named) / ARCHIVE if named and Path(named).is_dir() else Path(named)
    if not named or not path.is_file():
        why = f"{path} does not exist" if named else f"{VARIABLE} does not name {ARCHIVE} or its folder"
        line("dedup_missed_share", 0, "documents measured", f"skipped: {why}", skipped=True)
        return 0
    documents = read(path)
    texts = [text for _, text in documents]
    identities = [Identity(crc32(text.encode()) + 1, sketch(text, SHINGLE)) for text in texts]
    default = DuplicateSettings()
    for threshold in THRESHOLDS:
        truth = truly_similar(texts, threshold)
        table = {}
        for n in LANES:
            lanes = [lane_of(canonical_url(url), n) for url, _ in documents]
            within = {i for i, others in truth.items() if any(lanes[j] == lanes[i] for j in others)}
            row: dict[str, object] = {"truly_within_a_lane": len(within)}
            for window in WINDOWS:
                found = flagged(identities, lanes, window, threshold)
                row[f"window_{window}" if window < 10**8 else "window_all"] = len(found & truth.keys())
                row["beside_the_truth"] = len(found - truth.keys())
            table[f"lanes_{n}"] = row
            print(f"similarity {threshold}, {n} lanes: {row} of {len(truth)}", file=sys.stderr)
        found = int(str(table["lanes_8"]["window_500"]))
        line(
            f"dedup_missed_share_{round(threshold * 100)}",
            round(1 - found / max(1, len(truth)), 3),
            f"of documents with an earlier one at least {threshold} similar, 8 lanes, window {WINDOWS[0]}",
            f"{len(truth)} such documents of {len(texts)} by exact Jaccard similarity",
            default=threshold == default.similarity,
            table=table,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
