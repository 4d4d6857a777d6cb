"""`chunk_pure_vs_resiliparse`: pages a CPU-second from payload to title and text, over bare Resiliparse's.

Bare = detect the encoding, decode, extract the main content with our own options. Ours = `extract`, a pure
function: besides, it looks at encodings one by one, guards against costly markup, brings the text into its
canonical form and finds the title. Both run in this process, in turns, over the same pages; the best round of
each counts: whatever else the machine does can only add. What the stage does with a text is
`chunk_stage_vs_resiliparse`.

The pages are made (`_crawl_pages`). Given WARC files as arguments, it reads their HTML pages instead.
"""

from __future__ import annotations

import json
import statistics
import sys

from _crawl_pages import bare, cpu_seconds, given_or_made

from workers.chunk.extract import extract
from workers.chunk.reasons import Unusable

ROUNDS = 7
GOAL = 0.85
MAX_BYTES = 6 * 1024 * 1024
MAX_CHARACTERS = 2_000_000


def main() -> int:
    """Measure and print."""
    pages = given_or_made(sys.argv[1:])

    def ours() -> list[int]:
        characters: list[int] = []
        for page in pages:
            try:
                characters.append(len(extract(page, MAX_BYTES, MAX_CHARACTERS).text))
            except Unusable:
                continue
        return characters

    kept = ours()
    rounds: list[tuple[float, float]] = []
    for turn in range(ROUNDS):
        rounds.append((cpu_seconds(lambda: bare(pages)), cpu_seconds(ours)))
        print(f"{turn}: bare {rounds[-1][0]:.3f} s, ours {rounds[-1][1]:.3f} s of CPU", file=sys.stderr)
    theirs = min(seconds for seconds, _ in rounds)
    value = round(theirs / min(seconds for _, seconds in rounds), 3)
    size = statistics.mean(len(page.payload) for page in pages) / 1000
    characters = statistics.mean(kept)
    baseline = (
        f"Resiliparse decode and main content of the same {len(pages)} pages of {size:.0f} kB ({len(kept)} "
        f"kept, {characters:.0f} characters each): {len(pages) / theirs:.0f} documents a CPU-second"
    )
    print(
        json.dumps(
            {
                "name": "chunk_pure_vs_resiliparse",
                "value": value,
                "unit": "ratio of documents per CPU-second",
                "goal": GOAL,
                "better": "higher",
                "baseline": baseline,
                "met": value >= GOAL,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
