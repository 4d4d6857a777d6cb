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


def test_personal_data_are_placeholders_in_what_is_cut_and_hashed():
    contacts = (
        "Write to anna@clinic.org or ben@clinic.org, call 415-555-0123, from 93.184.216.34 to 10.0.0.1."
    )
    others = "Write to carl@clinic.org or dora@clinic.org, call 212-555-0199, from 93.184.216.35 to 10.0.0.1."
    stage = opened(segment_tokens=64)
    ours, theirs = stage.process(
        [
            document(f"{contacts}\n\n{PROSE}\n\n{contacts}", title="Anna <anna@clinic.org>"),
            document(f"{others}\n\n{PROSE}\n\n{others}"),
        ]
    )
    scrubbed = "Write to [EMAIL] or [EMAIL], call [PHONE_NUMBER], from [IP_ADDRESS] to 10.0.0.1."
    whole = f"{scrubbed}\n\n{PROSE}\n\n{scrubbed}"
    assert len(ours) > 1
    for segment in ours:
        assert whole[segment.start : segment.start + len(segment.text)] == segment.text
        assert segment.scrubbed == {"email": 5, "ip_address": 2, "phone_number": 2}
    assert ours[0].title == "Anna <[EMAIL]>"
    assert theirs[0].scrubbed == {"email": 4, "ip_address": 2, "phone_number": 2}
    assert ours[0].content_hash == theirs[0].content_hash  # of the text with placeholders
    [[kept]] = opened(scrub={"emails": False}).process([document(f"{contacts} {PROSE}")])
    assert "anna@clinic.org" in kept.text
    assert kept.scrubbed == {"ip_address": 1, "phone_number": 1}
    [[clean]] = STAGE.process([document(PROSE)])
    assert clean.scrubbed == {}


def test_what_a_page_says_of_itself_is_in_its_segments():
    html = (
        '<html><head><title>Measles</title><link rel="canonical" href="/measles">'
        '<meta name="robots" content="noarchive">'
        '<meta property="article:published_time" content="2024-05-06T07:08:09+02:00"></head><body><main>'
        f'<p>{PROSE}</p></main><a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC</a>'
    )
    [[segment]] = STAGE.process([document(html, content_type="text/html", metadata={"row": "7"})])
    assert segment.metadata == {
        "row": "7",
        "canonical-url": "https://health.example/measles",
        "published": "2024-05-06T05:08:09Z",
        "license": "CC-BY-4.0",
        "license-source": "rel-license",
        "robots": "noarchive",
    }
    reserved = {"x-robots-tag": "noai", "tdm-reservation": "1"}
    [drop] = STAGE.process([document(html, content_type="text/html", metadata=reserved)])
    assert drop.reason.startswith("opt_out")
    kept = opened(filters={**UNFILTERED, "opt_out": {"mode": "flag"}})
    [[segment]] = kept.process([document(PROSE, metadata=reserved)])
    assert segment.metadata == {**reserved, "robots": "noai"}


def test_too_short_is_asked_of_the_text_with_placeholders():
    address = "a.very.long.address.of.somebody@department.of.a.university.example-university.edu"
    stage = opened(min_characters=100)
    text = f"It is a short text about the disease {address}, and it is here."
    assert len(text) > 100
    [drop] = stage.process([document(text)])
    assert drop.reason == "too_short"
