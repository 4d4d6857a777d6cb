"""judge by a language model (paper section 4): one call for each pair that was made.

The pairs of a segment are judged at once. A judge whose words hold no score is asked again with another seed;
a pair that stays without one goes on with a verdict that says so and no score, so that it voids no other pair
of its segment. Only where no pair of a segment gets a score is the segment a dead letter.
"""

from __future__ import annotations

from streams.errors import Broken, EngineError, Refused
from streams.records import InstantiatedSegment, JudgedSegment, Pair, Verdict
from streams.settings import JudgeSettings
from workers.engines.language.judge import Opinion, judge
from workers.engines.model import ENGINE, seed_of
from workers.engines.model_stage import ModelStage, together
from workers.stage import Outcome

KEPT_CHARACTERS = 500


class ModelJudgeStage(ModelStage[InstantiatedSegment, JudgedSegment]):
    """One output for each instantiated segment, with a verdict for each pair that was made."""

    name = "judge"
    reads = InstantiatedSegment
    Config = JudgeSettings
    config: JudgeSettings

    def open(self) -> None:
        """Choose how the judge is spoken to. Raise `SettingsError` for an unknown profile."""
        super().open()
        self._profile = judge(self.config.profile)

    async def answer(self, record: InstantiatedSegment) -> Outcome:
        """Return the segment with its verdicts, in the order of its pairs."""
        pairs = [pair for pair in record.pairs if not pair.rejected]
        content = record.matched.segment.content_hash
        found = await together(self._verdict(pair, content) for pair in pairs)
        if isinstance(found, EngineError):
            return found
        verdicts = [
            Verdict(template_id=pair.template_id, score=0, unjudged=str(one)[:KEPT_CHARACTERS])
            if isinstance(one, EngineError)
            else one
            for pair, one in zip(pairs, found, strict=True)
        ]
        return [JudgedSegment(instantiated=record, judge=self._name, verdicts=verdicts)]

    @property
    def _name(self) -> str:
        """Engine, profile and model: the scores of two judges never share a histogram."""
        return f"{ENGINE}:{self._profile.name}:{self.config.model.model}"

    async def _verdict(self, pair: Pair, content: bytes) -> Verdict | EngineError:
        prompt, seed = self._profile.prompt(pair), self.config.model.seed
        near = int.from_bytes(content[:4], "big")
        said = ""
        for attempt in range(self.config.unclear_tries):
            drawn = seed_of(self.settings.pipeline.seed, seed, content, pair.template_id, attempt)
            try:
                completion = await self._model.ask(prompt, drawn, near)
            except (Refused, Broken) as error:
                return error
            opinion = self._profile.parse(completion.text)
            if isinstance(opinion, Opinion):
                return opinion.verdict(pair.template_id)
            said = f"{opinion.value}: {completion.text}"
        return Broken(f"the judge gave no score in {self.config.unclear_tries} answers; {said}")
