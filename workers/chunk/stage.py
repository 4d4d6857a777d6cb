"""chunk: each document becomes segments, or a drop with one reason of a closed list. Everything is pure.

Order of the questions, cheap before dear: is it a document at all, is it text, long enough, in a wanted
language; only then are tokens counted and the text cut. Exact duplicates are the runner's question, since the
answer depends on the lane's past: `identity` says what equal documents share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from streams.records import RawDocument, RawStub, Record, Segment
from streams.settings import ChunkSettings
from streams.tokens import load_tokenizer
from workers.chunk.extract import extract
from workers.chunk.language import detect
from workers.chunk.reasons import Reason, Unusable
from workers.chunk.segment import cut
from workers.stage import Drop, Outcome, Stage

REASONS: Final = tuple(reason.value for reason in Reason)
CONTENT_HASH_BYTES: Final = 16


class ChunkStage(Stage[RawDocument | RawStub, Segment]):
    """Documents to segments (the paper's section 3.2 takes documents whole, up to a context's length)."""

    name = "chunk"
    reads = (RawDocument, RawStub)
    Config = ChunkSettings
    reasons = REASONS
    config: ChunkSettings

    def open(self) -> None:
        """Load the tokenizer. Raise `SettingsError` where it cannot be."""
        self._tokens = load_tokenizer(self.config.tokenizer)

    def process(self, records: Sequence[RawDocument | RawStub]) -> Sequence[Outcome]:
        """Return each document's segments, or why it is dropped."""
        return [self._one(record) for record in records]

    def identity(self, outputs: Sequence[Record]) -> int:
        """Return the first 8 bytes of the document's content hash."""
        first = outputs[0]
        assert isinstance(first, Segment)
        return int.from_bytes(first.content_hash[:8], "big")

    @property
    def duplicate_window(self) -> int:
        """Raw offsets of the lane among which exact duplicates are sought."""
        return self.config.duplicate_window

    def _one(self, record: RawDocument | RawStub) -> Outcome:
        if isinstance(record, RawStub):
            place = f"{record.source} at byte {record.start}, {record.length} bytes"
            return Drop(Reason.STUB.value, f"{record.reason}: {place}")
        try:
            return self._segments(record)
        except Unusable as unusable:
            return Drop(unusable.reason.value, unusable.detail)

    def _segments(self, document: RawDocument) -> list[Segment]:
        config = self.config
        title, text = extract(document, config.max_payload_bytes, config.max_text_characters)
        if len(text) < config.min_characters:
            raise Unusable(
                Reason.TOO_SHORT, f"{len(text)} characters, at least {config.min_characters} wanted"
            )
        language, score = detect(text, config.languages)
        if config.languages and (language not in config.languages or score < config.min_language_score):
            raise Unusable(Reason.LANGUAGE, f"{language} {score:.2f}")
        content_hash = hashlib.blake2b(text.encode(), digest_size=CONTENT_HASH_BYTES).digest()
        pieces = cut(text, self._tokens, config.segment_tokens)
        return [
            Segment(
                document_id=document.id,
                index=index,
                count=len(pieces),
                start=piece.start,
                url=document.url,
                title=title,
                text=piece.text,
                language=language,
                language_score=score,
                tokens=piece.tokens,
                tokenizer=self._tokens.name,
                content_hash=content_hash,
                source=document.source,
                fetched_at=document.fetched_at,
                metadata=document.metadata,
            )
            for index, piece in enumerate(pieces)
        ]
