"""chunk: each document becomes segments, or a drop with one reason of a closed list. Everything is pure.

Order of the questions, cheap before dear: is it a document at all, is it text, long enough, in a wanted
language; only then are tokens counted and the text cut. Exact duplicates are the runner's question, since the
answer depends on the lane's past: `identity` says what equal documents share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.records import RawDocument, RawStub, Record, Segment
from streams.settings import ChunkSettings
from streams.tokens import load_tokenizer
from workers.chunk.extract import extract
from workers.chunk.language import Language, detect
from workers.chunk.reasons import Reason, Unusable
from workers.chunk.segment import cut
from workers.stage import Drop, Outcome, Stage

REASONS: Final = tuple(reason.value for reason in Reason)
CONTENT_HASH_BYTES: Final = 16


class _Text(NamedTuple):
    document: RawDocument
    title: str
    text: str
    language: Language


class ChunkStage(Stage[RawDocument | RawStub, Segment]):
    """Documents to segments. Whether and how to cut, the paper does not say: our choice."""

    name = "chunk"
    reads = (RawDocument, RawStub)
    Config = ChunkSettings
    reasons = REASONS
    config: ChunkSettings

    def open(self) -> None:
        """Load the tokenizer. Raise `SettingsError` where it cannot be."""
        self._tokens = load_tokenizer(self.config.tokenizer)

    def process(self, records: Sequence[RawDocument | RawStub]) -> Sequence[Outcome]:
        """Return each document's segments, or why it is dropped.

        First all texts, then all segments: the table of words that counts tokens stays in the processor's
        cache from one text to the next, where a parser's tree between them would drive it out.
        """
        texts = [self._text(record) for record in records]
        return [text if isinstance(text, Drop) else self._segments(text) for text in texts]

    def identity(self, outputs: Sequence[Record]) -> int:
        """Return the first 8 bytes of the document's content hash."""
        first = outputs[0]
        assert isinstance(first, Segment)
        return int.from_bytes(first.content_hash[:8], "big")

    @property
    def duplicate_window(self) -> int:
        """Raw offsets of the lane among which exact duplicates are sought."""
        return self.config.duplicate_window

    def _text(self, record: RawDocument | RawStub) -> _Text | Drop:
        if isinstance(record, RawStub):
            place = f"{record.source} at byte {record.start}, {record.length} bytes"
            return Drop(Reason.STUB.value, f"{record.reason}: {place}")
        config = self.config
        try:
            title, text = extract(record, config.max_payload_bytes, config.max_text_characters)
        except Unusable as unusable:
            return Drop(unusable.reason.value, unusable.detail)
        if len(text) < config.min_characters:
            detail = f"{len(text)} characters, at least {config.min_characters} wanted"
            return Drop(Reason.TOO_SHORT.value, detail)
        language = detect(text, config.languages)
        wanted = not config.languages or language.code in config.languages
        if not wanted or language.score < config.min_language_score:
            return Drop(Reason.LANGUAGE.value, f"{language.code} {language.score:.2f}")
        return _Text(record, title, text, language)

    def _segments(self, content: _Text) -> list[Segment]:
        document, title, text, language = content
        content_hash = hashlib.blake2b(text.encode(), digest_size=CONTENT_HASH_BYTES).digest()
        pieces = cut(text, self._tokens, self.config.segment_tokens)
        return [
            Segment(
                document_id=document.id,
                index=index,
                count=len(pieces),
                start=piece.start,
                url=document.url,
                title=title,
                text=piece.text,
                language=language.code,
                language_score=language.score,
                tokens=piece.tokens,
                tokenizer=self._tokens.name,
                content_hash=content_hash,
                source=document.source,
                fetched_at=document.fetched_at,
                metadata=document.metadata,
            )
            for index, piece in enumerate(pieces)
        ]
