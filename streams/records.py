"""What flows through the topics: one struct a stage, msgpack on the wire.

Every struct carries on what the stages before it found, so that each consumer makes its own selection and
all arms of a comparison read the same segments. A field is only ever added, with a default: an older record
stays readable. Texts are data from a hostile crawl: nothing in here is ever interpreted.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from streams.errors import RecordError
from streams.positions import Kind


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: frozen, keyed by name on the wire, defaults left out."""


class RawDocument(Record, frozen=True):
    """A document as crawled, so that extraction itself can be replayed. Topic `raw`, kind DOCUMENT."""

    id: str  # the crawl's own record id, else a hash of source name and record index
    url: str
    source: str  # name of the booked source (path or URL)
    content_type: str
    payload: bytes  # body after transfer and content decoding, otherwise untouched
    charset: str = ""  # as the HTTP header declares it
    fetched_at: str = ""  # ISO 8601, as the crawl says
    title: str = ""  # where the source gives one beside the payload
    metadata: dict[str, str] = {}  # licence, robots and TDM signals, other fields of the source


class RawStub(Record, frozen=True):
    """Something the ingester could not turn into a document; chunk buries it. Topic `raw`, kind STUB."""

    reason: str
    source: str
    start: int  # byte offset of the record in the source as stored
    length: int  # of its body, in bytes; -1 where unknown
    sha256: str  # of the whole body where it could be read, else of what could
    head: bytes  # the first 64 KiB at most
    url: str = ""


class Segment(Record, frozen=True):
    """A piece of a document that fits an instantiator's context. Topic `chunked`."""

    document_id: str
    index: int
    count: int
    start: int  # character offset of `text` in the document's extracted text
    url: str
    title: str
    text: str
    language: str  # ISO 639-1
    language_score: float  # 0..1, the detector's own confidence
    tokens: int  # of `text`, counted by `tokenizer`
    tokenizer: str
    content_hash: bytes  # 16 bytes of BLAKE2b over the document's extracted text
    fingerprint: bytes = b""  # near-duplicate sketch, where that filter is on
    source: str = ""
    fetched_at: str = ""
    metadata: dict[str, str] = {}
    flags: list[str] = []  # filters that would have dropped the document and are set to flag: sorted
    contamination: dict[str, float] = {}  # benchmark -> largest share of one of its items' 8-grams found here
    scrubbed: dict[str, int] = {}  # kind of personal data -> how many the document had, now placeholders


class Candidate(Record, frozen=True):
    """A template that matched a segment."""

    template_id: str
    template: str
    similarity: float  # cosine
    embedding: int  # which of the K+1 found it: 0 = whole segment, 1..K = local
    description: str = ""  # the template's compatible document description


class MatchedSegment(Record, frozen=True):
    """A segment with its candidate templates. Topic `matched`."""

    segment: Segment
    bank: str  # version of the template bank
    encoder: str
    candidates: list[Candidate] = []
    no_match: str = ""  # why there are none


class SlotValue(Record, frozen=True):
    """What stands for one `<fi>description</fi>`."""

    description: str
    value: str
    span: tuple[int, int] | None = None  # character span in the segment's text where it was copied


class Pair(Record, frozen=True):
    """One instruction and its answer, or why there is none."""

    template_id: str
    instruction: str = ""
    answer: str = ""
    slots: list[SlotValue] = []
    excerpts: list[tuple[int, int]] = []  # character spans of the segment's text that the answer copies
    excerpt_share: float = 0.0  # characters of the answer that are excerpts, over all its characters
    rejected: str = ""  # the reason where no pair could be made, else empty
    raw_output: str = ""  # what the engine said, kept where `rejected`
    family: str = ""  # domain of the template


class InstantiatedSegment(Record, frozen=True):
    """A segment with its pairs, kept and rejected. Topic `instantiated`."""

    matched: MatchedSegment
    engine: str  # e.g. "extractive", "openai"
    model: str
    pairs: list[Pair] = []


class Verdict(Record, frozen=True):
    """What the judge thinks of one pair (by `template_id`; a segment holds each template once)."""

    template_id: str
    score: int  # 1..5; the paper keeps 4 and 5. 0: `unjudged`
    feedback: str = ""
    unjudged: str = ""  # why the judge gave no score, with its words


class JudgedSegment(Record, frozen=True):
    """A segment with the judge's verdicts. Nothing is filtered out: readers select. Topic `judged`."""

    instantiated: InstantiatedSegment
    judge: str  # engine that judged: scores of different judges never share a histogram
    verdicts: list[Verdict] = []


class Dropped(Record, frozen=True):
    """Value of a marker: this position ends here, at that stage, for that reason."""

    stage: str
    reason: str
    detail: str = ""


R = TypeVar("R", bound=Record)

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final[dict[type[Record], msgspec.msgpack.Decoder[Any]]] = {}
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024  # of a message in a topic; ingest makes a stub of what is larger
STUB_HEAD_BYTES: Final = 64 * 1024


def encode(record: Record) -> bytes:
    """Return a record's bytes on the wire."""
    return _ENCODER.encode(record)


def encode_into(record: Record, buffer: bytearray) -> None:
    """Write a record's bytes on the wire into a buffer, which takes their length."""
    _ENCODER.encode_into(record, buffer)


def decode(value: bytes | None, kind: type[R]) -> R:
    """Read a record of the given type; raise `RecordError` where the bytes are none."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(value or b"")  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a {kind.__name__}: {error}") from error


TOPIC_RECORDS: Final[dict[str, type[Record]]] = {
    "raw": RawDocument,
    "chunked": Segment,
    "matched": MatchedSegment,
    "instantiated": InstantiatedSegment,
    "judged": JudgedSegment,
}


def decode_any(topic: str, kind: Kind, value: bytes | None) -> Record:
    """Read a record of a topic whatever its kind: for `topic peek`, the page and the accounts."""
    if kind.marker:
        return decode(value, Dropped)
    if kind is Kind.STUB:
        return decode(value, RawStub)
    return decode(value, TOPIC_RECORDS[topic])
