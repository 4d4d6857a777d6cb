"""chunk: each document becomes segments, or a drop with one reason of a closed list. Everything is pure.

Order of the questions, cheap before dear: is it a document at all, at an address that is wanted, is it text,
long enough (personal data are placeholders by then), in a wanted language, free to use and good enough
(`filters/`); only then are tokens counted and the text cut. Duplicates are the runner's question, since the
answer depends on the lane's past: `identity` says what equal documents share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.records import RawDocument, RawStub, Record, Segment
from streams.settings import ChunkSettings, DuplicateSettings
from streams.tokens import load_tokenizer
from workers.chunk.extract import Extracted, extract
from workers.chunk.extractors.interface import Extractors
from workers.chunk.filters.chain import Filters
from workers.chunk.filters.reasons import FILTER_REASONS
from workers.chunk.language import Language, detect
from workers.chunk.near_duplicates import check_algorithm, fingerprint_of, sketch, with_flag
from workers.chunk.page_metadata import from_html, from_source
from workers.chunk.reasons import Reason, Unusable
from workers.chunk.scrub import Scrubber
from workers.chunk.segment import cut
from workers.contamination import load_index
from workers.duplicates import DUPLICATE_REASONS, Identity
from workers.stage import Drop, Mark, Outcome, Stage

REASONS: Final = (*(reason.value for reason in Reason), *FILTER_REASONS, *DUPLICATE_REASONS)
CONTENT_HASH_BYTES: Final = 16
CONTAMINATION: Final = "contamination"
"""Kind of the marks that count contaminated segments; the name is the benchmark's."""


class _Text(NamedTuple):
    document: RawDocument
    title: str
    text: str  # personal data replaced
    metadata: dict[str, str]
    scrubbed: dict[str, int]
    language: Language
    flags: set[str]  # filters add theirs


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
        self._filters = Filters(self.config.filters)
        self._tokens = load_tokenizer(self.config.tokenizer)
        if self.config.duplicates.near != "off":
            check_algorithm()
        self._benchmarks = load_index(self.config.contamination)

    def process(self, records: Sequence[RawDocument | RawStub]) -> Sequence[Outcome]:
        """Return each document's segments, or why it is dropped.

        First all texts, then what the filters say of each, then all segments: the tables of words that
        filters and counting look into stay in the processor's cache from one text to the next, where a
        parser's tree between them would drive them out.
        """
        texts = [self._text(record) for record in records]
        kept = [text if isinstance(text, Drop) else self._filtered(text) for text in texts]
        return [text if isinstance(text, Drop) else self._segments(text) for text in kept]

    @property
    def duplicates(self) -> DuplicateSettings:
        """How duplicates are sought among the lane's documents."""
        return self.config.duplicates

    def identity(self, outputs: Sequence[Record]) -> Identity:
        """Return the first 8 bytes of the document's content hash, and its near-duplicate sketch."""
        first = outputs[0]
        assert isinstance(first, Segment)
        return Identity(int.from_bytes(first.content_hash[:8], "big"), first.fingerprint)

    def sketch_of(self, value: bytes) -> bytes:
        """Return the sketch in an encoded first segment."""
        return fingerprint_of(value)

    def flagged(self, value: bytes, flag: str) -> bytes:
        """Return an encoded segment with one more flag."""
        return with_flag(value, flag)

    def marks(self, outputs: Sequence[Record]) -> Sequence[Mark]:
        """Return a mark for each benchmark that a segment is contaminated by."""
        return [
            (CONTAMINATION, name)
            for segment in outputs
            if isinstance(segment, Segment)
            for name in segment.contamination
        ]

    def known_marks(self) -> Sequence[Mark]:
        """Return the benchmarks that the settings name."""
        return [(CONTAMINATION, name) for name in self.config.contamination.benchmarks]

    def _text(self, record: RawDocument | RawStub) -> _Text | Drop:
        if isinstance(record, RawStub):
            place = f"{record.source} at byte {record.start}, {record.length} bytes"
            return Drop(Reason.STUB.value, f"{record.reason}: {place}")
        flags: set[str] = set()
        if unwanted := self._filters.address(record.url, flags):
            return unwanted
        try:
            page = self._extract(record)
            metadata = _metadata(record, page)
            title, text, scrubbed = self._scrub(page)
            self._long_enough(text)
            language = self._language(text)
        except Unusable as unusable:
            return Drop(unusable.reason.value, unusable.detail)
        return _Text(record, title, text, metadata, scrubbed, language, flags)

    def _filtered(self, content: _Text) -> _Text | Drop:
        unwanted = self._filters.page(content.text, content.language.code, content.metadata, content.flags)
        return unwanted or content

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
        document, title, text, metadata, scrubbed, language, flags = content
        content_hash = hashlib.blake2b(text.encode(), digest_size=CONTENT_HASH_BYTES).digest()
        pieces = cut(text, self._tokens, self.config.segment_tokens)
        wanted = self.config.duplicates
        fingerprint = b"" if wanted.near == "off" else sketch(text, wanted.shingle_words)
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
                fingerprint=b"" if index else fingerprint,
                source=document.source,
                fetched_at=document.fetched_at,
                metadata=metadata,
                contamination=self._benchmarks.shares(piece.text) if self._benchmarks else {},
                scrubbed=scrubbed,
                flags=sorted(flags),
            )
            for index, piece in enumerate(pieces)
        ]


def _metadata(document: RawDocument, page: Extracted) -> dict[str, str]:
    if page.html:
        return from_html(page.html, document.url, document.metadata)
    return from_source(document.metadata)
