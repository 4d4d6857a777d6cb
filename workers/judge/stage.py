"""judge: each pair that was made gets a score from 1 to 5 and a sentence that says why.

Nothing is filtered: readers select (`score >= 4`). Rejected pairs get no verdict, since there is nothing to
judge; a segment without pairs goes on with none.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.records import InstantiatedSegment, JudgedSegment
from streams.settings import JudgeSettings
from workers.encoder import Encoder
from workers.engines.extractive.judge import NAME, ExtractiveJudge
from workers.match import bank as banks
from workers.stage import Outcome, Stage


class JudgeStage(Stage[InstantiatedSegment, JudgedSegment]):
    """One output for each instantiated segment, with a verdict for each pair that was made."""

    name = "judge"
    reads = InstantiatedSegment
    Config = JudgeSettings
    config: JudgeSettings

    def open(self) -> None:
        """Load encoder, bank and what the judge compares with. Raise `SettingsError` or `EncoderError`."""
        bank = banks.load(self.settings.match.bank)
        self._judge = ExtractiveJudge(Encoder.load(self.config.encoder, self.config.threads or 1), bank)

    def process(self, records: Sequence[InstantiatedSegment]) -> Sequence[Outcome]:
        """Return one `JudgedSegment` for each record, in order; what stands beside it changes nothing."""
        judged = self._judge.judge_all(
            [(record.matched.segment, record.matched.candidates, record.pairs) for record in records]
        )
        return [
            [JudgedSegment(instantiated=record, judge=NAME, verdicts=verdicts)]
            for record, verdicts in zip(records, judged, strict=True)
        ]
