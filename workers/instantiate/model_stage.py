"""instantiate by a language model (paper section 3): one call for each candidate template of a segment.

All calls of a segment are under way at once and share the document as their prompts' head. What a call fails
of touches its own pair alone, which is rejected by name; only where every call of a segment fails for good is
the segment a dead letter, with the server's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from streams.errors import AnswerTooLong, Broken, EngineError, Refused
from streams.records import Candidate, InstantiatedSegment, MatchedSegment, Pair, Segment
from streams.settings import InstantiateSettings
from workers.engines.language.excerpts import Source
from workers.engines.language.instantiator import instantiator
from workers.engines.language.pair import make_pair
from workers.engines.model import ENGINE, Model, seed_of
from workers.stage import AsyncStage, Outcome

REFUSED = "refused"
BROKEN = "broken"
ANSWER_TOO_LONG = "answer_too_long"
"""Why a call brought no words, as a pair's `rejected`."""
KEPT_CHARACTERS = 500


class ModelInstantiateStage(AsyncStage[MatchedSegment, InstantiatedSegment]):
    """One output for each matched segment, with a pair for each of its candidates."""

    name = "instantiate"
    reads = MatchedSegment
    Config = InstantiateSettings
    config: InstantiateSettings

    def open(self) -> None:
        """Choose how the model is spoken to. Raise `SettingsError` for an unknown profile."""
        self._profile = instantiator(self.config.profile)
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

    def process(self, records: Sequence[MatchedSegment]) -> Sequence[Outcome]:
        """Answer in a process of its own, where a server that is down is the worker's to wait for."""
        self._model.patient = False
        return super().process(records)

    async def start(self) -> None:
        """Open the connections to the model's servers."""
        await self._model.open()

    async def stop(self) -> None:
        """Close them."""
        await self._model.close()

    async def answer(self, record: MatchedSegment) -> Outcome:
        """Return the segment with its pairs, in the order of its candidates."""
        source = Source(record.segment.text)
        tasks = [asyncio.ensure_future(self._pair(record.segment, it, source)) for it in record.candidates]
        try:
            made = await asyncio.gather(*tasks)
        finally:  # one call met what all would meet, or the worker ends: the others are not left behind
            for task in tasks:
                task.cancel()
        faults = [one for one in made if isinstance(one, EngineError)]
        if faults and len(faults) == len(made):
            return faults[0]
        pairs = [
            _rejected(candidate, one) if isinstance(one, EngineError) else one
            for candidate, one in zip(record.candidates, made, strict=True)
        ]
        return [InstantiatedSegment(matched=record, engine=ENGINE, model=self._name, pairs=pairs)]

    @property
    def _name(self) -> str:
        return f"{self._profile.name}:{self.config.model.model}"

    async def _pair(self, segment: Segment, candidate: Candidate, source: Source) -> Pair | EngineError:
        seed = seed_of(
            self.settings.pipeline.seed,
            self.config.model.seed,
            segment.content_hash,
            segment.index,
            candidate.template_id,
        )
        near = int.from_bytes(segment.content_hash[:4], "big") + segment.index
        try:
            said = await self._model.ask(self._profile.prompt(segment, candidate), seed, near)
        except (Refused, Broken) as error:
            return error
        return make_pair(said.text, self._profile.parse, candidate, source)


def _rejected(candidate: Candidate, error: EngineError) -> Pair:
    reason = (
        ANSWER_TOO_LONG
        if isinstance(error, AnswerTooLong)
        else REFUSED
        if isinstance(error, Refused)
        else BROKEN
    )
    return Pair(template_id=candidate.template_id, rejected=reason, raw_output=str(error)[:KEPT_CHARACTERS])
