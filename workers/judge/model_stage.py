"""judge by a language model (paper section 4): one call for each pair that was made.

The pairs of a segment are judged at once. A judge whose words hold no score is asked again with another seed;
a pair that stays without one goes on with a verdict that says so and no score, so that it voids no other pair
of its segment. Only where no pair of a segment gets a score is the segment a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from streams.errors import Broken, EngineError, Refused
from streams.records import InstantiatedSegment, JudgedSegment, Pair, Verdict
from streams.settings import JudgeSettings
from workers.engines.language.judge import Opinion, judge
from workers.engines.model import ENGINE, Model, seed_of
from workers.stage import AsyncStage, Outcome

KEPT_CHARACTERS = 500


class ModelJudgeStage(AsyncStage[InstantiatedSegment, JudgedSegment]):
    """One output for each instantiated segment, with a verdict for each pair that was made."""

    name = "judge"
    reads = InstantiatedSegment
    Config = JudgeSettings
    config: JudgeSettings

    def open(self) -> None:
        """Choose how the judge is spoken to. Raise `SettingsError` for an unknown profile."""
        self._profile = judge(self.config.profile)
        self._model = Model(self.config.model, self.name)

    def register(self, registry: CollectorRegistry) -> None:
        """Count the model's requests and tokens."""
        self._model.register(registry)

    @property
    def records_at_once(self) -> int:
        """How many segments may be asked about at once."""
        return self.config.segments_at_once

    @property
    def deadline_seconds(self) -> float:
        """How long one record may take alone: as long as its calls may."""
        return max(self.config.deadline_seconds, self._model.patience_seconds)

    async def wait_until_up(self) -> None:
        """Return once a server is up again."""
        await self._model.wait_until_up()

    def process(self, records: Sequence[InstantiatedSegment]) -> Sequence[Outcome]:
        """Answer in a process of its own, where a server that is down is the worker's to wait for."""
        self._model.patient = False
        return super().process(records)

    async def start(self) -> None:
        """Open the connections to the judge's servers."""
        await self._model.open()

    async def stop(self) -> None:
        """Close them."""
        await self._model.close()

    async def answer(self, record: InstantiatedSegment) -> Outcome:
        """Return the segment with its verdicts, in the order of its pairs."""
        pairs = [pair for pair in record.pairs if not pair.rejected]
        content = record.matched.segment.content_hash
        tasks = [asyncio.ensure_future(self._verdict(pair, content)) for pair in pairs]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        faults = [one for one in found if isinstance(one, EngineError)]
        if faults and len(faults) == len(found):
            return faults[0]
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
