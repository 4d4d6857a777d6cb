"""instantiate: each segment's candidate templates become pairs, made or rejected with a reason.

One output for each input, always: a segment without candidates, or one that the engine abstains from
altogether, still carries its position and its reasons on, so that what was tried can be counted from the
topic. Nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.records import InstantiatedSegment, MatchedSegment
from streams.settings import InstantiateSettings
from workers.encoder import Encoder
from workers.engines.extractive.engine import NAME, ExtractiveEngine, Reject
from workers.match import bank as banks
from workers.stage import Outcome, Stage

REASONS: Final = tuple(reason.value for reason in Reject)
"""Why a pair is rejected: the closed set of `Pair.rejected`."""


class InstantiateStage(Stage[MatchedSegment, InstantiatedSegment]):
    """One output for each matched segment, with a pair for each of its candidates."""

    name = "instantiate"
    reads = MatchedSegment
    Config = InstantiateSettings
    config: InstantiateSettings

    def open(self) -> None:
        """Load encoder, bank and what the engine compares with. Raise `SettingsError` or `EncoderError`."""
        bank = banks.load(self.settings.match.bank)
        self._encoder = Encoder.load(self.config.encoder, self.config.threads or 1)
        self._engine = ExtractiveEngine(self._encoder, bank)

    def process(self, records: Sequence[MatchedSegment]) -> Sequence[Outcome]:
        """Return one `InstantiatedSegment` for each record, in order.

        Their texts are encoded together, yet what stands beside a record in the batch changes nothing.
        """
        made = self._engine.instantiate_all([(record.segment, record.candidates) for record in records])
        return [
            [InstantiatedSegment(matched=record, engine=NAME, model=self._encoder.name, pairs=pairs)]
            for record, pairs in zip(records, made, strict=True)
        ]
