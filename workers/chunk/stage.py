"""chunk: each document becomes segments, or a drop with one reason of a closed list. Everything is pure.

Order of the questions, cheap before dear: is it a document at all, is it text, long enough (personal data are
placeholders by then), in a wanted language; only then are tokens counted and the text cut. Duplicates are the
runner's question, since the answer depends on the lane's past: `identity` says what equal documents share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.records import RawDocument, RawStub, Record, Segment
from streams.settings import ChunkSettings
from streams.tokens import load_tokenizer
from workers.chunk.extract import Extracted, extract
from workers.chunk.extractors.interface import Extractors
from workers.chunk.language import Language, detect
from workers.chunk.page_metadata import from_html, from_source
from workers.chunk.reasons import Reason, Unusable
from workers.chunk.scrub import Scrubber
from workers.chunk.segment import cut
from workers.contamination import load_index
from workers.stage import Drop, Outcome, Stage

REASONS: Final = tuple(reason.value for reason in Reason)
CONTENT_HASH_BYTES: Final = 16


class _Text(NamedTuple):
    document: RawDocument
    title: str
    text: str  # personal data replaced
    metadata: dict[str, str]
    scrubbed: dict[str, int]
    language: Language


class ChunkStage(Stage[RawDocument | RawStub, Segment]):
    """Documents to segments. Whether and how to cut, the paper does not say: our choice."""

    name = "chunk"
    reads = (RawDocument, RawStub)
    Config = ChunkSettings
    reasons = REASONS
    config: ChunkSettings

    def open(self) -> None:
        """Load extractors, tokenizer and benchmarks. Raise `SettingsError` where one cannot be."""
        self._extractors = Extractors(self.config.extraction)
        self._scrubber = Scrubber(self.config.scrub)
        self._tokens = load_tokenizer(self.config.tokenizer)
        self._benchmarks = load_index(self.config.contamination)

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
        try:
            page = self._extract(record)
            metadata = _metadata(record, page)
            title, text, scrubbed = self._scrub(page)
            self._long_enough(text)
            language = self._language(text)
        except Unusable as unusable:
            return Drop(unusable.reason.value, unusable.detail)
        return _Text(record, title, text, metadata, scrubbed, language)

    def _extract(self, document: RawDocument) -> Extracted:
        config = self.config
        extractor = self._extractors.of(document)
        return extract(document, config.max_payload_bytes, config.max_text_characters, extractor)

    def _scrub(self, page: Extracted) -> tuple[str, str, dict[str, int]]:
        """Return title and text with placeholders for personal data, and how many there were in both."""
        text, counts = self._scrubber.scrub(page.text)
        title, in_title = self._scrubber.scrub(page.title)
        for kind, count in in_title.items():
            counts[kind] = counts.get(kind, 0) + count
        return title, text, counts

    def _long_enough(self, text: str) -> None:
        least = self.config.min_characters
        if len(text) < least:
            raise Unusable(Reason.TOO_SHORT, f"{len(text)} characters, at least {least} wanted")

    def _language(self, text: str) -> Language:
        config = self.config
        language = detect(text, config.languages)
        wanted = not config.languages or language.code in config.languages
        if not wanted or language.score < config.min_language_score:
            raise Unusable(Reason.LANGUAGE, f"{language.code} {language.score:.2f}")
        return language

    def _segments(self, content: _Text) -> list[Segment]:
        document, title, text, metadata, scrubbed, language = content
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
                metadata=metadata,
                contamination=self._benchmarks.shares(piece.text) if self._benchmarks else {},
                scrubbed=scrubbed,
            )
            for index, piece in enumerate(pieces)
        ]


def _metadata(document: RawDocument, page: Extracted) -> dict[str, str]:
    if page.html:
        return from_html(page.html, document.url, document.metadata)
    return from_source(document.metadata)
