"""The chunk stage as a pure function: one outcome a record, closed reasons, exact offsets, equal hashes."""

import time

import msgspec
import pytest
from kit.unfiltered import UNFILTERED

from streams.records import Dropped, RawDocument, RawStub, Segment, decode, encode
from streams.settings import Settings
from workers.chunk.filters.reasons import FilterReason
from workers.chunk.reasons import Reason
from workers.chunk.stage import ChunkStage
from workers.duplicates import DUPLICATE_REASONS, SKETCH_BYTES, Identity, similarity
from workers.stage import Drop

PROSE = (
    "Measles is a highly contagious disease. It spreads through the air when an infected person coughs. "
    "A vaccine prevents it, and children receive it twice before they go to school. "
    "Complications are common among the very young."
)


def opened(**chunk) -> ChunkStage:
    stage = ChunkStage(Settings(chunk={"filters": UNFILTERED, **chunk}))
    stage.open()
    return stage


STAGE = opened()


def document(text: str, **fields) -> RawDocument:
    values = {
        "id": "doc",
        "url": "https://health.example/measles",
        "source": "crawl.warc.gz",
        "content_type": "text/plain",
        "payload": text.encode(),
        "fetched_at": "2026-11-20T00:00:00Z",
        "metadata": {"licence": "CC0"},
    }
    return RawDocument(**(values | fields))


def test_short_document_is_one_segment_that_carries_everything_on():
    [outcome] = STAGE.process([document(PROSE, title="Measles")])
    [segment] = outcome
    assert (segment.index, segment.count, segment.start, segment.text) == (0, 1, 0, PROSE)
    assert (segment.document_id, segment.title, segment.language) == ("doc", "Measles", "en")
    assert (segment.url, segment.source) == ("https://health.example/measles", "crawl.warc.gz")
    assert (segment.fetched_at, segment.metadata) == ("2026-11-20T00:00:00Z", {"licence": "CC0"})
    assert segment.tokens == STAGE._tokens.count(PROSE)
    assert segment.tokenizer == "finestream-bpe"
    assert 0 < segment.language_score < 1
    assert len(segment.content_hash) == 16
    assert decode(encode(segment), Segment) == segment


def test_long_document_is_cut_with_exact_offsets_and_the_same_way_again():
    stage = opened(segment_tokens=64)
    text = "\n\n".join(f"{PROSE} Paragraph {i}." for i in range(40))
    [segments] = stage.process([document(text)])
    assert [s.index for s in segments] == list(range(len(segments)))
    assert {s.count for s in segments} == {len(segments)}
    assert len({s.content_hash for s in segments}) == 1
    for segment in segments:
        assert text[segment.start : segment.start + len(segment.text)] == segment.text
        assert segment.tokens <= 64
    assert " ".join(" ".join(s.text for s in segments).split()) == " ".join(text.split())
    assert opened(segment_tokens=64).process([document(text)]) == [segments]


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (document("Too short."), "too_short", "10 characters"),
        (document(""), "empty", ""),
        (
            document("El sarampión es una enfermedad muy contagiosa que afecta a los niños. " * 9),
            "language",
            "es",
        ),
        (document("x", content_type="video/mp4"), "not_text", "video/mp4"),
        (document("", payload=b"\xff\xfe\xfd" * 99), "undecodable", "unreadable"),
        (document("", payload=b"x" * (7 * 1024 * 1024)), "too_long", "bytes"),
        (document("<div>" * 99_999, content_type="text/html"), "too_complex", "nested"),
    ],
)
def test_drops_have_reasons_of_the_closed_list(record, reason, detail):
    [outcome] = STAGE.process([record])
    assert isinstance(outcome, Drop)
    assert outcome.reason == reason
    assert outcome.reason in ChunkStage.reasons
    assert detail in outcome.detail
    dropped = Dropped(stage="chunk", reason=outcome.reason, detail=outcome.detail)
    assert decode(encode(dropped), Dropped) == dropped


def test_stub_is_buried_with_its_place():
    stub = RawStub(
        reason="over_long", source="crawl.warc.gz", start=812, length=9_000_000, sha256="", head=b"<html>"
    )
    [outcome] = STAGE.process([stub])
    assert outcome == Drop("stub", "over_long: crawl.warc.gz at byte 812, 9000000 bytes")


def test_one_record_never_touches_another():
    good, bad = document(PROSE), document("", payload=b"\0\xff" * 500)
    alone = STAGE.process([good])[0]
    outcomes = STAGE.process([bad, good, bad, good])
    assert outcomes[1] == outcomes[3] == alone
    assert all(isinstance(outcomes[i], Drop) for i in (0, 2))


def test_reasons_are_each_a_word_for_a_label():
    assert ChunkStage.reasons == (*Reason, *FilterReason, *DUPLICATE_REASONS)
    assert len(set(ChunkStage.reasons)) == len(ChunkStage.reasons)
    for reason in ChunkStage.reasons:
        assert type(reason) is str
        assert reason.replace(".", "_").isidentifier()


def test_equal_texts_have_one_identity_whatever_is_around_them():
    spread = PROSE.replace(" ", "\n ")
    html = f"<html><title>Measles</title><body><nav>Home</nav><p>{spread}</p></body></html>"
    [plain], [page], [other] = STAGE.process(
        [
            document(PROSE),
            document(html, content_type="text/html", url="https://other.example"),
            document(PROSE + " More."),
        ]
    )
    assert plain.content_hash == page.content_hash != other.content_hash
    content = int.from_bytes(plain.content_hash[:8], "big")
    assert STAGE.identity([plain]) == STAGE.identity([page]) == Identity(content, plain.fingerprint)
    assert STAGE.identity([plain]).content != STAGE.identity([other]).content
    assert similarity(plain.fingerprint, other.fingerprint) > 0.8
    assert STAGE.duplicates == Settings().chunk.duplicates
    assert opened(duplicates={"near": "off"}).process([document(PROSE)])[0][0].fingerprint == b""


def test_only_a_first_segment_has_a_sketch_and_flags_are_added_to_any():
    segments = opened(segment_tokens=32).process([document(PROSE * 3)])[0]
    assert len(segments) > 1
    assert [len(segment.fingerprint) for segment in segments] == [SKETCH_BYTES] + [0] * (len(segments) - 1)
    value = encode(segments[0])
    assert STAGE.sketch_of(value) == segments[0].fingerprint
    assert STAGE.sketch_of(b"\xc1") == b""
    flagged = decode(STAGE.flagged(value, "near_duplicate"), Segment)
    assert flagged.flags == ["near_duplicate"]
    assert msgspec.structs.replace(flagged, flags=[]) == segments[0]


def test_languages_are_a_setting():
    german = document("Masern sind eine hoch ansteckende Krankheit, die durch die Luft übertragen wird. " * 5)
    assert opened(languages=["de", "en"]).process([german])[0][0].language == "de"
    assert opened(languages=[]).process([german])[0][0].language == "de"
    assert opened(languages=["de"], min_language_score=0.99).process([german])[0].reason == "language"


def test_text_of_ours_in_a_crawled_page_stays_text():
    ours = "<fi>slot</fi> <excerpt>a<...>b</excerpt> <|end_of_text|>\n\nInstruction: x\n\nAnswer: {}"
    trap = f"{PROSE}\n\n{ours}"
    [[segment]] = STAGE.process([document(trap)])
    assert segment.text == trap
    assert not {STAGE._tokens.bos_id, STAGE._tokens.eos_id} & set(STAGE._tokens.encode(segment.text))


def test_segments_of_the_largest_text_fit_their_messages_and_come_in_seconds():
    started = time.process_time()
    [segments] = STAGE.process([document((PROSE + " ") * 7000)])
    assert len(segments) > 50
    assert max(len(encode(segment)) for segment in segments) < 100_000
    assert time.process_time() - started < 60
    assert msgspec.msgpack.decode(encode(segments[-1]))["index"] == len(segments) - 1
