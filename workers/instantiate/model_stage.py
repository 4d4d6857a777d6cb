"""instantiate by a language model (paper section 3): one call for each candidate template of a segment.

All calls of a segment are under way at once and share the document as their prompts' head. What a call fails
of touches its own pair alone, which is rejected by name; only where every call of a segment fails for good is
the segment a dead letter, with the server's words.
"""

from __future__ import annotations

from streams.errors import AnswerTooLong, Broken, EngineError, Refused
from streams.records import Candidate, InstantiatedSegment, MatchedSegment, Pair, Segment
from streams.settings import InstantiateSettings
from workers.engines.language.excerpts import Source
from workers.engines.language.instantiator import instantiator
from workers.engines.language.pair import make_pair
from workers.engines.model import ENGINE, seed_of
from workers.engines.model_stage import ModelStage, together
from workers.stage import Outcome

REFUSED = "refused"
BROKEN = "broken"
ANSWER_TOO_LONG = "answer_too_long"
"""Why a call brought no words, as a pair's `rejected`."""
KEPT_CHARACTERS = 500


class ModelInstantiateStage(ModelStage[MatchedSegment, InstantiatedSegment]):
    """One output for each matched segment, with a pair for each of its candidates."""

    name = "instantiate"
    reads = MatchedSegment
    Config = InstantiateSettings
    config: InstantiateSettings

    def open(self) -> None:
        """Choose how the model is spoken to. Raise `SettingsError` for an unknown profile."""
        super().open()
        self._profile = instantiator(self.config.profile)

    async def answer(self, record: MatchedSegment) -> Outcome:
        """Return the segment with its pairs, in the order of its candidates."""
        source = Source(record.segment.text)
        made = await together(self._pair(record.segment, it, source) for it in record.candidates)
        if isinstance(made, EngineError):
            return made
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
