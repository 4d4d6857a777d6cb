"""match: each segment gets the templates whose described documents it resembles (paper sections 2 and 4.2).

The K + 1 embeddings of a segment each bring one template, so up to K + 1 distinct ones. Two embeddings often
want the same template; who gets it is our choice (the paper is silent): pairs of embedding and template are
taken by falling similarity, each embedding and each template once. So a template goes to the embedding that
resembles it most, and the other takes its next best at or above the threshold. The alternative, first come
first served from embedding 0 on, would give the whole-document view what a local view fits better.

Everything here is exact and depends on the segment alone; the weighted sampling among candidates by
complexity (paper section 2) is a later step of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from streams.records import Candidate, MatchedSegment, Segment
from streams.settings import MatchSettings
from workers.encoder import Encoder, FloatArray
from workers.match import bank as banks
from workers.match.index import Hits, TemplateIndex, description_embeddings
from workers.match.pooling import gaussian_pool
from workers.stage import Outcome, Stage

BELOW_THRESHOLD: Final = "below_threshold"
NO_TEXT: Final = "no_text"
REASONS: Final = (BELOW_THRESHOLD, NO_TEXT)
"""Why a segment has no candidate: the closed set of `MatchedSegment.no_match`."""


class MatchStage(Stage[Segment, MatchedSegment]):
    """One output for each segment: its candidates, or the reason why there are none."""

    name = "match"
    reads = Segment
    Config = MatchSettings
    config: MatchSettings

    def open(self) -> None:
        """Load bank, encoder and index. Raise `SettingsError`, `EncoderError` or `FaissMissing`."""
        self._bank = banks.load(self.config.bank)
        threads = self.config.threads or len(os.sched_getaffinity(0))
        self._encoder = Encoder.load(self.config.encoder, threads)
        self._index = TemplateIndex(description_embeddings(self._bank, self._encoder))

    def process(self, records: Sequence[Segment]) -> Sequence[Outcome]:
        """Return one `MatchedSegment` for each segment, in order."""
        readable = [segment for segment in records if segment.text.strip()]
        states = iter(self._encoder.token_embeddings([segment.text for segment in readable]))
        return [
            [
                self._match(segment, next(states))
                if segment.text.strip()
                else self._matched(segment, [], NO_TEXT)
            ]
            for segment in records
        ]

    def _match(self, segment: Segment, tokens: FloatArray) -> MatchedSegment:
        config = self.config
        views = gaussian_pool(tokens, config.gaussians, config.sigma, config.alpha)
        # K others can take at most K templates away, so K + 1 a view always leave one.
        hits = self._index.search(views, config.gaussians + 1)
        found = [
            Candidate(
                template_id=self._bank.ids[row],
                template=self._bank.templates[row],
                similarity=similarity,
                embedding=view,
                description=self._bank.descriptions[row],
            )
            for similarity, view, row in assign(hits, config.threshold)
        ]
        return self._matched(segment, found, "" if found else BELOW_THRESHOLD)

    def _matched(self, segment: Segment, candidates: list[Candidate], reason: str) -> MatchedSegment:
        return MatchedSegment(
            segment=segment,
            bank=self._bank.version,
            encoder=self._encoder.name,
            candidates=candidates,
            no_match=reason,
        )


def assign(hits: Hits, threshold: float) -> list[tuple[float, int, int]]:
    """Give each embedding at most one template and each template to at most one embedding.

    Returns (similarity, embedding, bank row) by falling similarity, all at or above `threshold`; equal
    similarities are taken by embedding, then row, so that the result is one.
    """
    ranked = sorted(
        (-float(similarity), view, int(row))
        for view, (similarities, rows) in enumerate(zip(hits.similarities, hits.rows, strict=True))
        for similarity, row in zip(similarities, rows, strict=True)
        if row >= 0 and similarity >= threshold
    )
    views: set[int] = set()
    taken: set[int] = set()
    out: list[tuple[float, int, int]] = []
    for negative, view, row in ranked:
        if view not in views and row not in taken:
            views.add(view)
            taken.add(row)
            out.append((-negative, view, row))
    return out
