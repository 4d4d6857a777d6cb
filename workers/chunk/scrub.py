"""Personal data to placeholders: e-mail addresses, public IP addresses, phone numbers, counted by kind.

E-mail and public IP addresses go as in datatrove's `PIIFormatter` (FineWeb), with three differences of ours:
fixed placeholders instead of made-up addresses, which somebody may own; what is no person's stays
(`user@example.com`, `logo@2x.png`, `git@host`); a dotted version number is no address.
Phone numbers, which datatrove leaves, are our choice: international, North American and European forms, and
looser ones behind a word such as "phone". All rules prefer to miss: a text full of placeholders for dates and
part numbers teaches worse than a number that slips through. No rule finds names or postal addresses.

Time is linear: each pattern begins with a character class and is bounded, and what stands before an `@` is
looked at backwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from streams.settings.extraction import ScrubSettings

EMAIL: Final = "email"
IP_ADDRESS: Final = "ip_address"
PHONE_NUMBER: Final = "phone_number"
KINDS: Final = (EMAIL, IP_ADDRESS, PHONE_NUMBER)
"""Keys of `Segment.scrubbed`."""
PLACEHOLDERS: Final = {EMAIL: "[EMAIL]", IP_ADDRESS: "[IP_ADDRESS]", PHONE_NUMBER: "[PHONE_NUMBER]"}
"""Square brackets, since angle brackets are our own tags (`<fi>`, `<excerpt>`) and control tokens. No rule
finds anything in a placeholder, so that scrubbing twice changes nothing."""

_LONGEST_LOCAL_PART: Final = 64  # RFC 5321
_DOMAIN: Final = re.compile(r"@(?=\w)((?:[\w-]{1,63}+\.){1,8}[^\W\d_]{2,24})(?![\w@])")
_LOCAL_BACKWARDS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+")
_NOT_FIRST: Final = ".!#$%&'*+/=?^`{|}~-"
_RESERVED_DOMAIN: Final = re.compile(
    r"(?:^|\.)(?:example(?:\.(?:com|net|org|edu))?|test|invalid|localhost|local)$", re.IGNORECASE
)
_FILE_ENDINGS: Final = frozenset(
    (  # noqa: SIM905 - a word list is easier to read
        "png jpg jpeg gif svg webp avif ico bmp css js mjs ts html htm php asp aspx xml json pdf zip gz"
    ).split()
)
_NOBODY: Final = frozenset({"git", "hg", "svn"})

_IPV4: Final = re.compile(
    r"[0-9](?<![\w.][0-9])(?<![A-Za-z)][/_-][0-9])[0-9]{0,2}+(?:\.[0-9]{1,3}+){3}(?!\w|\.\w|-(?![0-9]{1,3}\.)\w)"
)
_LIKE_IPV4: Final = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_IPV6: Final = re.compile(
    r"[23](?<![\w:.][23])[0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:]|\.\w)"
)
"""Global unicast begins with 2 or 3."""
_LIKE_LONG_IPV6: Final = re.compile(r":(?:[0-9a-fA-F]{1,4}:){6}")
"""Searched first, since a search for a fixed character is much faster; an IPv6 address has this or `::`."""
_VERSION: Final = re.compile(
    r"(?:\b(?:v|ver|version|release|build|firmware|driver|section|chapter|clause|rule|update|rev|revision|no)\b"
    r"[.:#]?|[\u00a7#])\s*\Z",
    re.IGNORECASE,
)
_LOOK_BACK: Final = 24
"""Characters before a number that may say what it is."""
_NUMBERING: Final = 32
"""Four numbers below it are a version or a section: few addresses are such, and few of those a person's."""

_BREAK: Final = r"(?:[ .\u2010\u2011]|\)[ -]?| ?[/(\u2012\u2013-] ?)"
_RUN: Final = re.compile(r"[+(0-9][0-9 ()./\u2010-\u2013-]{6,}+")
"""No phone number reaches beyond such a run, and few texts have many."""
_PHONE: Final = re.compile(
    # A first character of its own lets the search skip whatever is none; what stands before it comes then.
    r"[+(0-9](?<![\w./+$\u20ac\u00a3=-][+(0-9])(?<![0-9][:,][+(0-9])(?:"
    # +49 (0)30 123-4567, +33 1 23 45 67 89, +14155550123
    r"(?<=\+)(?P<international>[1-9][0-9]{0,3}+(?:[ .-]?\(0\) ?)?+(?:[ .][1-9](?=[ .][0-9]))?+"
    r"(?:" + _BREAK + r"?[0-9]{2,10}+){1,6}+)(?! [0-9])"
    # 0049 30 1234567
    r"|(?<=0)(?P<dialled>0[1-9][0-9]{0,2}+(?:" + _BREAK + r"[0-9]{2,10}+){2,5}+)(?! [0-9]|[^\W0-9_])"
    # (415) 555-0123
    r"|(?<=\()[2-9][0-9]{2}\)[ -]{0,2}[2-9][0-9]{2}[ .-][0-9]{4}"
    # 1-415-555-0123, 1 (415) 555-0123
    r"|(?<=1)[ .-]\(?[2-9][0-9]{2}(?:\)[ -]?|[.-])[2-9][0-9]{2}[ .-][0-9]{4}"
    # 415-555-0123, 415.555.0123
    r"|(?<=[2-9])[0-9]{2}(?:-[2-9][0-9]{2}-|\.[2-9][0-9]{2}\.)[0-9]{4}"
    # 01 23 45 67 89, and not in a row of numbers
    r"|(?<=0)(?<![0-9][ .]0)[1-9](?:[ .][0-9]{2}){4}(?![ -][0-9]|[^\W0-9_])"
    # (030) 123456
    r"|(?<=\()(?P<bracketed>0[1-9][0-9]{1,4}+\)[ -]?[0-9]{3,9}+(?:[ -][0-9]{2,8}+){0,3}+)(?! [0-9])"
    # 0171/1234567, 020 7946 0958
    r"|(?<=0)(?<![0-9][ .]0)(?P<trunk>[1-9][0-9]{1,4}+(?: ?[/-] ?| )[0-9]{3,9}+(?:[ -][0-9]{2,8}+){0,3}+)"
    r"(?! [0-9]|[^\W0-9_])"
    # Pages run a number into the name behind it.
    r")(?![0-9_%]|[./:-][0-9]|,[0-9])"
)
_DIGITS: Final = {"international": (8, 15), "dialled": (9, 17), "bracketed": (9, 12), "trunk": (9, 12)}
"""Least and most digits of a form that says nothing about its length (E.164 allows 15)."""
_LOOSE: Final = re.compile(r"[(0-9](?<![\w.,/+$-][(0-9])[0-9() ./-]{5,22}(?<=[0-9])(?![\w%])")
_SAID: Final = re.compile(
    r"\b(?:(?:tele)?phone|tel|telefon|t\u00e9l|fax|telefax|mobile|mobil|handy|cell|whatsapp|hotline)"
    r"(?: ?(?:no|nr|number|nummer))?\.?:?\s{0,2}\Z",
    re.IGNORECASE,
)
_DATE: Final = re.compile(
    r"(?:19|20)[0-9]{2}[./-][01]?[0-9][./-][0-3]?[0-9]\b|[0-3]?[0-9][./][01]?[0-9][./](?:19|20)"
)


class Scrubber:
    """Replaces what its settings name."""

    def __init__(self, settings: ScrubSettings) -> None:
        wanted = (
            (EMAIL, settings.emails, _scrub_emails),
            (IP_ADDRESS, settings.ip_addresses, _scrub_addresses),
            (PHONE_NUMBER, settings.phone_numbers, _scrub_phones),
        )
        self._rules: list[tuple[str, Callable[[str], tuple[str, int]]]] = [
            (kind, rule) for kind, on, rule in wanted if on
        ]

    def scrub(self, text: str) -> tuple[str, dict[str, int]]:
        """Return the text with placeholders, and how many of each kind there were (only kinds that were)."""
        counts: dict[str, int] = {}
        for kind, rule in self._rules:
            text, count = rule(text)
            if count:
                counts[kind] = count
        return text, counts


def _scrub_emails(text: str) -> tuple[str, int]:
    if "@" not in text:
        return text, 0
    parts: list[str] = []
    done = 0
    for found in _DOMAIN.finditer(text):
        at, end = found.span()
        window = text[max(done, at - _LONGEST_LOCAL_PART) : at]
        backwards = _LOCAL_BACKWARDS.match(window[::-1])
        local = backwards[0][::-1].lstrip(_NOT_FIRST) if backwards else ""
        start = at - len(local)
        if local and _personal(local, found[1]) and text[start - 1 : start] != "@":
            parts += (text[done:start], PLACEHOLDERS[EMAIL])
            done = end
    return ("".join([*parts, text[done:]]) if parts else text), len(parts) // 2


def _personal(local: str, domain: str) -> bool:
    return (
        domain.rpartition(".")[2].lower() not in _FILE_ENDINGS
        and local.lower() not in _NOBODY
        and not _RESERVED_DOMAIN.search(domain)
    )


def _scrub_addresses(text: str) -> tuple[str, int]:
    count4 = count6 = 0
    if _LIKE_IPV4.search(text):
        text, count4 = _replace(text, filter(_public_ipv4, _IPV4.finditer(text)), IP_ADDRESS)
    if "::" in text or _LIKE_LONG_IPV6.search(text):
        text, count6 = _replace(text, filter(_public_ipv6, _IPV6.finditer(text)), IP_ADDRESS)
    return text, count4 + count6


def _public_ipv4(found: re.Match[str]) -> bool:
    octets = found[0].split(".")
    if max(map(int, octets)) < _NUMBERING:
        return False
    start = found.start()
    return _is_public(found[0]) and not _VERSION.search(found.string[max(0, start - _LOOK_BACK) : start])


def _public_ipv6(found: re.Match[str]) -> bool:
    return _is_public(found[0])


@lru_cache(maxsize=4096)
def _is_public(address: str) -> bool:
    """Whether an address is one of the internet's: not private, for documentation or for many."""
    try:
        it = IPv6Address(address) if ":" in address else IPv4Address(address)
    except AddressValueError:
        return False
    return it.is_global and not it.is_multicast


def _scrub_phones(text: str) -> tuple[str, int]:
    return _replace(text, _phones(text), PHONE_NUMBER)


def _phones(text: str) -> Iterator[re.Match[str]]:
    for run in _RUN.finditer(text):
        start, end = run.span()
        end += 2  # what may not follow is seen, too
        found = [number for number in _PHONE.finditer(text, start, end) if _plausible(number)]
        yield from found or filter(_said_to_be_one, _LOOSE.finditer(text, start, end))


def _plausible(found: re.Match[str]) -> bool:
    form = found.lastgroup
    if form is None:
        return True
    digits = "".join(filter(str.isdigit, found[0]))
    least, most = _DIGITS[form]
    if form == "trunk" and "/" not in found[0]:
        least += 1  # with hyphens and spaces alone, part numbers look like that too
    return least <= len(digits) <= most and not digits.endswith("0" * 6)


def _said_to_be_one(found: re.Match[str]) -> bool:
    start = found.start()
    if not _SAID.search(found.string[max(0, start - _LOOK_BACK) : start]) or _DATE.match(found[0]):
        return False
    return 7 <= sum(map(str.isdigit, found[0])) <= 15


def _replace(text: str, found: Iterable[re.Match[str]], kind: str) -> tuple[str, int]:
    parts: list[str] = []
    done = 0
    for one in found:
        parts += (text[done : one.start()], PLACEHOLDERS[kind])
        done = one.end()
    return ("".join([*parts, text[done:]]) if parts else text), len(parts) // 2
