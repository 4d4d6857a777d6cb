"""match: each segment gets the templates whose described documents it resembles (paper sections 2 and 4.2).

The K + 1 embeddings of a segment each bring one template, so up to K + 1 distinct ones. Which of its
candidates an embedding brings is a setting: by weighted draw, as the paper does (`sampling.py`), or the best.
Of "best" two embeddings often want the same template; who gets it is our choice: pairs of embedding and
template are taken by falling similarity, each embedding and each template once. So a template goes to the
embedding that resembles it most, and the other takes its next best at or above the threshold. The
alternative, first come first served from embedding 0 on, would give the whole-document view what a local view
fits better.

What a segment gets depends on it, the bank and the settings alone: never on its batch, worker or time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.errors import BankError
from streams.records import Candidate, MatchedSegment, Segment
from streams.settings import MatchSettings
from workers.encoder import Encoder, FloatArray
from workers.match import bank as banks
from workers.match.calibration import threshold_of
from workers.match.index import Hits, TemplateIndex
from workers.match.pooling import gaussian_pool
from workers.match.sampling import CANDIDATES, chance, draw, keep_of, weight_of, weights
from workers.stage import Outcome, Stage

BELOW_THRESHOLD: Final = "below_threshold"
LANGUAGE: Final = "language_not_in_bank"
NO_TEXT: Final = "no_text"
THINNED: Final = "usage_cap"
REASONS: Final = (BELOW_THRESHOLD, LANGUAGE, NO_TEXT, THINNED)
"""Why a segment has no candidate: the closed set of `MatchedSegment.no_match`."""


class MatchStage(Stage[Segment, MatchedSegment]):
    """One output for each segment: its candidates, or the reason why there are none."""

    name = "match"
    reads = Segment
    Config = MatchSettings
    config: MatchSettings

    def open(self) -> None:
        """Load bank, encoder and index. Raise `SettingsError`, `EncoderError` or `FaissMissing`."""
        config = self.config
        self._bank = banks.load(config.bank)
        self._threshold = threshold_of(self._bank, config)
        self._check_sampling()
        threads = config.threads or len(os.sched_getaffinity(0))
        self._encoder = Encoder.load(config.encoder, threads)
        self._index = TemplateIndex.open(self._bank, self._encoder)
        sampling = self._bank.sampling
        self._weight = weight_of(
            self._bank.complexities, weights(sampling.target, sampling.candidate) if sampling else None
        )
        keep = self._bank.keep
        if keep is not None and not self.config.usage_cap:
            keep = np.where(keep > 0, np.float32(1), np.float32(0))
        self._keep = keep_of(keep)
        self._disabled = frozenset() if keep is None else frozenset(np.flatnonzero(keep <= 0).tolist())

    def _check_sampling(self) -> None:
        sampling, config = self._bank.sampling, self.config
        if config.choice != "sampled" or (sampling and sampling.encoder == config.encoder):
            return
        known = (
            f"its sampling was measured with {sampling.encoder!r}, " if sampling else "it has no sampling, "
        )
        raise BankError(
            f"template bank {self._bank.name}: {known}match.encoder is {config.encoder!r}: measure it with "
            "`finestream template measure` on documents, or set match.choice = best"
        )

    def process(self, records: Sequence[Segment]) -> Sequence[Outcome]:
        """Return one `MatchedSegment` for each segment, in order."""
        refused = [self._refusal(segment) for segment in records]
        readable = [segment for segment, reason in zip(records, refused, strict=True) if not reason]
        states = iter(self._encoder.token_embeddings([segment.text for segment in readable]))
        return [
            [self._matched(segment, [], reason) if reason else self._match(segment, next(states))]
            for segment, reason in zip(records, refused, strict=True)
        ]

    def _refusal(self, segment: Segment) -> str:
        """Say why a segment is not matched at all, before it is encoded."""
        if not segment.text.strip():
            return NO_TEXT
        # Templates in no language of ours: none could be asked of this text.
        return LANGUAGE if self._bank.languages and segment.language not in self._bank.languages else ""

    def _match(self, segment: Segment, tokens: FloatArray) -> MatchedSegment:
        config = self.config
        views = gaussian_pool(tokens, config.gaussians, config.sigma, config.alpha)
        threshold = self._threshold(segment.language)
        if config.choice == "best":
            # K others can take at most K templates away, so K + 1 a view always leave one.
            hits = self._index.search(views, config.gaussians + 1 + len(self._disabled), segment.language)
            chosen = assign(without(hits, self._disabled), threshold)
        else:
            hits = self._index.search(views, CANDIDATES, segment.language)
            chosen = self._draw(segment, hits, threshold)
        found = [
            Candidate(
                template_id=self._bank.ids[row],
                template=self._bank.templates[row],
                similarity=similarity,
                embedding=view,
                description=self._bank.descriptions[row],
            )
            for similarity, view, row in chosen
        ]
        if found:
            return self._matched(segment, found, "")
        near = bool(((hits.similarities >= threshold) & (hits.rows >= 0)).any())
        return self._matched(segment, [], THINNED if near else BELOW_THRESHOLD)

    def _draw(self, segment: Segment, hits: Hits, threshold: float) -> list[tuple[float, int, int]]:
        seed, ids = self.settings.pipeline.seed, self._bank.ids
        return draw(
            hits,
            threshold,
            self._weight,
            self._keep,
            lambda purpose, row: chance(seed, segment.content_hash, segment.index, purpose, ids[row]),
        )

    def _matched(self, segment: Segment, candidates: list[Candidate], reason: str) -> MatchedSegment:
        return MatchedSegment(
            segment=segment,
            bank=self._bank.version,
            encoder=self._encoder.name,
            candidates=candidates,
            no_match=reason,
        )


def without(hits: Hits, rows: frozenset[int]) -> Hits:
    """Return hits in which some bank rows are none."""
    if not rows:
        return hits
    out = np.isin(hits.rows, list(rows))
    return Hits(np.where(out, np.float32(-np.inf), hits.similarities), np.where(out, np.int64(-1), hits.rows))


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
