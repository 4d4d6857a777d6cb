"""What a document says of itself beside its text: address, dates, licence, and whether it may be used.

All values are claims of a hostile page: bounded, brought into one form, never obeyed. `page_head` finds them.

Keys of `Segment.metadata` that are set here, beside the source's own fields:

`canonical-url`    absolute http(s) address, by `<link rel=canonical>`, else `og:url`
`published`        `2020-01-31`, or `2020-01-31T09:30:00` where no zone is said, or with one in UTC and a `Z`
`modified`         the same
`license`          SPDX name of a Creative Commons licence (`CC-BY-SA-4.0`, `CC0-1.0`), else address or line
`license-source`   who says so: `link-header`, `rel-license`, `meta`, `json-ld`, or `link` for a mere link to
                   Creative Commons, which may mean one picture
`rights`           a line on copyright, as `dcterms.rights`, `copyright` and the like say it
`robots`           directives of robots meta elements and of X-Robots-Tag: lower case, sorted, joined by `, `;
                   what is for one agent alone counts where that agent gathers training data (`AGENTS`)
`tdm-reservation`  `1` or `0`, by the TDM Reservation Protocol (W3C community group, 2024); a 1 beats a 0
`tdm-policy`       address of the policy that goes with it

A field of the same name from the source (a dataset's column) stays as it is, but for the last three: nobody's
opt-out is overruled. `signals` names the opt-outs among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from urllib.parse import urljoin, urlsplit

from workers.chunk import page_head
from workers.chunk.page_head import AGENTS

SIGNALS: Final = ("tdm-reservation", "noai", "noimageai", "noindex", "noarchive", "nosnippet")
"""Closed list of what `signals` finds. The first two are about training on text; `noimageai` is about images;
the others are about search engines, and some publishers mean both."""

MAX_ADDRESS_CHARACTERS: Final = 500
MAX_LINE_CHARACTERS: Final = 200

_DATE: Final = re.compile(
    r"\s*(\d{4})-(\d\d?)-(\d\d?)"
    r"(?:(?:T|\s+)(\d\d):(\d\d)(?::(\d\d)(?:[.,]\d{1,9})?)?\s*(?:(Z|UTC|GMT)|([+-])(\d\d):?(\d\d))?)?(?!\d)",
    re.IGNORECASE,
)
_COMPACT_DATE: Final = re.compile(r"\s*((?:19|20)\d\d)(\d\d)(\d\d)(?!\d)")
_CREATIVE_COMMONS: Final = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/"
    r"(?:licenses/((?:by|nc|nd|sa)(?:-(?:by|nc|nd|sa)){0,3})/(\d\.\d)(?:/([a-z]{2,3})\b)?"
    r"|publicdomain/(zero|mark)/(\d\.\d))",
    re.IGNORECASE,
)
_JURISDICTIONS: Final = frozenset(
    (  # noqa: SIM905 - a word list is easier to read
        "at au br ca ch cn cz de dk ee es fr gb gr hk hr hu ie il in it jp kr lu mk mt mx my nl no nz ph pl "
        "pt ro rs se sg si th tw uk us vn za"
    ).split()
)
"""Of ported licences; what else may follow the version (`/deed.de`, `/legalcode`, a language) is none."""
_LINK_HEADER: Final = re.compile(
    r"""<([^<>\s]{1,500})>\s*;[^<]{0,200}?rel\s*=\s*["']?[^"';,<]{0,60}?\blicense\b"""
)
_DIRECTIVE: Final = re.compile(r"[a-z][a-z_-]{1,30}(?::\s?[\w:-]{1,40})?")
_AGENT: Final = re.compile(r"\s*([a-z][\w-]{1,30})\s*:\s*(.*)", re.IGNORECASE | re.DOTALL)
_WITH_VALUE: Final = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_UNSEEN: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
_PUBLISHED: Final = (
    "json datePublished", "article:published_time", "og:article:published_time", "datepublished",
    "dcterms.issued", "dc.date.issued", "dcterms.created", "dc.date.created", "dc.created",
    "citation_publication_date", "citation_date", "publication_date", "publicationdate", "published_time",
    "pubdate", "publishdate", "publish-date", "parsely-pub-date", "og:release_date", "dcterms.date",
    "dc.date", "sailthru.date", "date",
)  # fmt: skip
_MODIFIED: Final = (
    "json dateModified", "article:modified_time", "og:article:modified_time", "og:updated_time",
    "datemodified", "dcterms.modified", "dc.date.modified", "modified_time", "last-modified", "lastmod",
)  # fmt: skip
_LICENSES: Final = ("dcterms.license", "dc.rights.license", "dc.license", "license", "licence")
_RIGHTS: Final = ("dcterms.rights", "dc.rights", "rights", "copyright")
"""Names as `page_head.find` gives them, the most telling first."""


def from_source(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return a source's fields with what its HTTP header says under the keys above."""
    return _merge({}, "", metadata)


def from_html(html: str, url: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return a source's fields with what its HTTP header and the page say under the keys above."""
    return _merge(page_head.find(html), url, metadata)


def signals(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return which of `SIGNALS` a document's metadata (as `from_html` leaves it) carries, in that order.

    Whether one of them is an opt-out is the caller's choice; `tdm-reservation` and `noai` are meant as one.
    """
    if "robots" not in metadata and "tdm-reservation" not in metadata:
        return ()
    said = {directive.partition(":")[0] for directive in metadata.get("robots", "").split(", ")}
    if "none" in said:  # stands for noindex, nofollow
        said.add("noindex")
    if metadata.get("tdm-reservation") == "1":
        said.add("tdm-reservation")
    return tuple(signal for signal in SIGNALS if signal in said)


def license_name(value: str) -> str:
    """Return the SPDX name of the Creative Commons licence whose address stands in `value`; else empty."""
    found = _CREATIVE_COMMONS.search(value)
    if not found:
        return ""
    parts, version, jurisdiction, tool, tool_version = found.groups()
    if tool:
        return f"{'CC0' if tool.lower() == 'zero' else 'CC-PDM'}-{tool_version}"
    ported = f"-{jurisdiction.upper()}" if (jurisdiction or "").lower() in _JURISDICTIONS else ""
    return f"CC-{parts.upper()}-{version}{ported}"


def iso_date(value: str) -> str:
    """Return the date (and time) at the start of `value` as the module says; empty where there is none."""
    found = _DATE.match(value)
    if not found:
        compact = _COMPACT_DATE.match(value)
        return iso_date("-".join(compact.groups())) if compact else ""
    year, month, day, hour, minute, second, utc, sign, hours, minutes = found.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment.replace(tzinfo=timezone(-offset if sign == "-" else offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    if hour is None:
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat() + ("Z" if utc or sign else "")


def _merge(found: Mapping[str, str], url: str, metadata: Mapping[str, str]) -> dict[str, str]:
    merged = dict(metadata)
    if found:
        claims = {
            "canonical-url": _address(
                found.get("link canonical") or found.get("og:url", ""), url, relative=True
            ),
            "published": _first_date(found.get(name) for name in _PUBLISHED),
            "modified": _first_date(found.get(name) for name in _MODIFIED),
            "rights": _line(_first(found.get(name) for name in _RIGHTS)),
        }
        merged = {key: value for key, value in claims.items() if value} | merged
    if "license" not in metadata and (claim := _license(found, url, metadata.get("link", ""))):
        merged["license"], merged["license-source"] = claim
    if "robots" in found or "x-robots-tag" in metadata or "robots" in metadata:
        said = (
            found.get("robots", ""),
            _for_us(metadata.get("x-robots-tag", "")),
            metadata.get("robots", ""),
        )
        merged.pop("robots", None)
        if robots := _directives(",".join(said)):
            merged["robots"] = robots
    reservations = {claims.get("tdm-reservation", "").strip() for claims in (found, metadata)}
    if reservations & {"0", "1"}:
        merged["tdm-reservation"] = "1" if "1" in reservations else "0"
    if policy := _address(found.get("tdm-policy", ""), url, relative=True):
        merged["tdm-policy"] = policy
    return merged


def _first(values: Iterable[str | None]) -> str:
    return next(filter(None, values), "") or ""


def _first_date(values: Iterable[str | None]) -> str:
    return _first(iso_date(value) for value in values if value)


def _license(found: Mapping[str, str], url: str, link_header: str) -> tuple[str, str] | None:
    header = _LINK_HEADER.search(link_header) if link_header else None
    address = found.get("link license") or found.get("a license", "")
    claims = (
        ("link-header", header[1] if header else ""),
        ("rel-license", _address(address, url, relative=True)),
        ("meta", _first(found.get(name) for name in _LICENSES)),
        ("meta", license_name(_first(found.get(name) for name in _RIGHTS))),
        ("json-ld", found.get("json license", "")),
        ("link", license_name(found.get("creative commons", ""))),
    )
    for source, claim in claims:
        if claim and (name := license_name(claim) or _address(claim, url) or _line(claim)):
            return name, source
    return None


def _address(value: str, base: str, *, relative: bool = False) -> str:
    """Return an absolute http(s) address; empty where it is none, holds white space or is too long.

    `relative`: what looks like no address is one too, since it stands where only addresses do.
    """
    value = value.strip()
    if not value or len(value) > MAX_ADDRESS_CHARACTERS or _UNSEEN.search(value):
        return ""
    try:
        address = urljoin(base, value) if relative or value.startswith(("/", "?", ".")) else value
        parts = urlsplit(address)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return ""
    return address if whole and len(address) <= MAX_ADDRESS_CHARACTERS else ""


def _line(value: str) -> str:
    return _UNSEEN.sub(" ", value[: 4 * MAX_LINE_CHARACTERS]).strip()[:MAX_LINE_CHARACTERS].rstrip()


def _for_us(headers: str) -> str:
    """Return the directives of X-Robots-Tag headers that are for everybody or for one of `AGENTS`.

    An agent's directives reach to the next agent, or to the end of the header (`;`, as ingest joins them).
    """
    kept: list[str] = []
    for header in headers.split(";"):
        ours = True
        for part in header.split(","):
            agent = _AGENT.match(part)
            if agent and agent[1].lower() not in _WITH_VALUE:
                ours = agent[1].lower() in AGENTS
                kept += [agent[2]] if ours else []
            elif ours:
                kept.append(part)
    return ",".join(kept)


def _directives(said: str) -> str:
    """Return robots directives in one form: each once, sorted, as many as there is room for."""
    parts = {part.strip() for part in said[: 10 * MAX_LINE_CHARACTERS].lower().replace(";", ",").split(",")}
    words = {part for part in parts if _DIRECTIVE.fullmatch(part)}
    # Some write them with spaces between.
    words |= {word for part in parts - words for word in part.split() if _DIRECTIVE.fullmatch(word)}
    # What is an opt-out comes first where room is short.
    line: list[str] = []
    for word in sorted(words, key=lambda word: (word not in SIGNALS, word)):
        if sum(map(len, line)) + 2 * len(line) + len(word) <= MAX_LINE_CHARACTERS:
            line.append(word)
    return ", ".join(sorted(line))
