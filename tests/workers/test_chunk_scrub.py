"""Personal data become placeholders, what only looks like some stays, and hostile texts cost linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.settings.extraction import ScrubSettings
from workers.chunk.scrub import EMAIL, IP_ADDRESS, KINDS, PHONE_NUMBER, PLACEHOLDERS, Scrubber

SCRUBBER = Scrubber(ScrubSettings())


def scrubbed(text: str) -> str:
    return SCRUBBER.scrub(text)[0]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Write to bob@site.org.", "Write to [EMAIL]."),
        ("<mailto:Al.Ice+x@mail.site.co.uk>", "<mailto:[EMAIL]>"),
        ("'o'neil@site.ie', (m\u00fcller@stra\u00dfe.de)", "'[EMAIL]', ([EMAIL])"),
        ("a_b-c%d@x-y.museum, a@b.io;c@d.io", "[EMAIL], [EMAIL];[EMAIL]"),
        ("first@one.de@two.de", "first@one.de@two.de"),
        ("..bob@site.org", "..[EMAIL]"),
    ],
)
def test_email_addresses(text, result):
    assert scrubbed(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com someone@mail.example.org root@localhost x@site.test",
        "git@github.com:org/repository hg@bitbucket.org",
        "logo@2x.png main@min.js",
        "follow @user.name or @team",
        "a @ b.com, babel@7.0.0, x@y, @media(print)",
        "[EMAIL]",
    ],
)
def test_what_is_no_persons_email_stays(text):
    assert SCRUBBER.scrub(text) == (text, {})


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("from 93.184.216.34.", "from [IP_ADDRESS]."),
        ("http://93.184.216.34:8080/ 185.199.108.153/22", "http://[IP_ADDRESS]:8080/ [IP_ADDRESS]/22"),
        ("185.199.108.1-185.199.108.9", "[IP_ADDRESS]-[IP_ADDRESS]"),
        (
            "at 2a00:1450:4001:81b::200e, 2606:2800:220:1:248:1893:25c8:1946.",
            "at [IP_ADDRESS], [IP_ADDRESS].",
        ),
        ("[2a00:1450::1]:443", "[[IP_ADDRESS]]:443"),
    ],
)
def test_public_addresses(text, result):
    assert scrubbed(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "10.1.200.3 172.16.254.1 192.168.1.1 127.0.0.1 169.254.9.200 0.0.0.0 255.255.255.255",
        "192.0.2.44 198.51.100.7 203.0.113.99",  # documentation, RFC 5737
        "224.0.0.251 239.255.255.250",
        "Chrome/91.0.244.124 v93.184.216.34 version 93.184.216.34 lib-93.184.216.34.tar",
        "93.184.216.34-beta 1.13.35.2-0",
        "1.2.3.4 8.8.8.8 section 2.10.3.1",  # numbering, or servers that are nobody's
        "256.184.216.34 93.184.216 93.184.216.34.5 093.184.216.034",
        "2001:db8::1 fe80::1 ::1 fc00::7 ff02::1",
        "std::vector a::b dead::beef 12:30:45 2023:10:15 3c:5a:b4:11:22:33",
    ],
)
def test_what_is_no_public_address_stays(text):
    assert SCRUBBER.scrub(text) == (text, {})


@pytest.mark.parametrize(
    "number",
    [
        "+49 (0)30 123-4567",
        "+49 30 / 1234567",
        "+14155550123",
        "+44 20 7946 0958",
        "+33 1 23 45 67 89",
        "+1 (415) 555-0123",
        "+39 06.1234567",
        "0049 30 1234567",
        "(415) 555-0123",
        "(415)555-0123",
        "415-555-0123",
        "415.555.0123",
        "1-800-555-1234",
        "1 (415) 555-0123",
        "(030) 123456",
        "0171/1234567",
        "020 7946 0958",
        "089-12345678",
        "01 23 45 67 89",
    ],
)
def test_phone_numbers(number):
    for frame in ("{}", "Call {}.", "Tel.: {}, daily", "({})", "{}\n{}", "a {} or {};"):
        text = frame.format(number, number)
        result, counts = SCRUBBER.scrub(text)
        assert result == text.replace(number, "[PHONE_NUMBER]")
        assert counts == {PHONE_NUMBER: text.count(number)}


def test_a_number_may_run_into_the_name_behind_it():
    assert (
        scrubbed("(717) 824-3376Widener or 415-555-0123x12") == "[PHONE_NUMBER]Widener or [PHONE_NUMBER]x12"
    )


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Phone: 5551234", "Phone: [PHONE_NUMBER]"),
        ("Tel. 555 12 34 99", "Tel. [PHONE_NUMBER]"),
        ("Fax no.: 030 - 99 88 77\nx", "Fax no.: [PHONE_NUMBER]\nx"),
        ("T\u00e9l: 555.12.34", "T\u00e9l: [PHONE_NUMBER]"),
    ],
)
def test_looser_forms_where_it_is_said_to_be_a_phone(text, result):
    assert SCRUBBER.scrub(text) == (result, {PHONE_NUMBER: 1})


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-31 01/02/2020 01-02-2020 31.12.2020 2019/2020 1990-2000 2020-01-31 09:30:00",
        "12:30 00:12:33 0900-1700 UTC+02:00",
        "1,234,567.89 $415-555-0123 \u20ac030 123456 12.345.678 +100 000 000 people, +1 000 000 000",
        "ISBN 978-0-306-40615-7, 0-306-40615-2, 9780306406157; ISSN 0317-8471",
        "2.10.3 10.1016/j.415.555.0123 RFC 2822 123-45-6789 12345-6789",
        "pages 212-555, 100-200-3000, 5-10-15-20, 1 2 3 4 5 6 7 8 9",
        "0 1 2 3 4 5 6 7 8 9 and 01 02 03 04 05 06 07",
        "phone: 2020-01-31, cell 12, mobile 100",
        "x415-555-0123 415-555-01234 1415-555-0123 415-555-0123_",
        "3.141592653589793 0123456789012345678901234567890",
        "telephone (1876) 2000 2001 2002",
    ],
)
def test_what_is_no_phone_number_stays(text):
    assert SCRUBBER.scrub(text) == (text, {})


def test_kinds_are_switched_and_counted():
    text = "a@b.org 93.184.216.34 415-555-0123 c@d.org"
    assert SCRUBBER.scrub(text)[1] == {EMAIL: 2, IP_ADDRESS: 1, PHONE_NUMBER: 1}
    for off, kind in zip(ScrubSettings.model_fields, KINDS, strict=True):
        result, counts = Scrubber(ScrubSettings(**{off: False})).scrub(text)
        assert set(counts) == set(KINDS) - {kind}
        assert PLACEHOLDERS[kind] not in result
    nothing = Scrubber(ScrubSettings(emails=False, ip_addresses=False, phone_numbers=False))
    assert nothing.scrub(text) == (text, {})


PIECES = st.sampled_from(
    ["a", "bob", "@", ".", "com", "-", " ", "\n", "(", ")", "+", "/", ":", "0", "1", "49", "415", "555",
     "0123", "93", "184", "2a00", "::", "tel", "[EMAIL]", "\u00e9", "'", "_", "%", "v"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=600, deadline=None)
def test_scrubbing_twice_changes_nothing_and_counts_are_the_placeholders(text):
    once, counts = SCRUBBER.scrub(text)
    assert SCRUBBER.scrub(once) == (once, {})
    for kind in KINDS:
        assert once.count(PLACEHOLDERS[kind]) == counts.get(kind, 0) + text.count(PLACEHOLDERS[kind])


@pytest.mark.parametrize(
    "piece",
    ["@", "1", "1.", ".", "0 ", "+1 ", "a@b.", "a@a.aaaa", "(", "93.184.216.34 ", "2a00::1 ", "2000:",
     "01 23 ", "415-555-0123 ", "+49 30 ", "(0", "+1", "1" * 60 + "x", "aa@aa.aa.aa ", "tel 1", "00 11 "],
)  # fmt: skip
def test_half_a_megabyte_of_anything_costs_no_time(piece):
    text = piece * (500_000 // len(piece))
    started = time.process_time()
    SCRUBBER.scrub(text)
    assert time.process_time() - started < 30  # takes 0.2 s at most; a square of the length would take hours
