"""Addresses that are not wanted: lists of domains, whole addresses, words, substrings; in settings or files.

Domains and addresses are looked up in sets, words in the set of the address's words, substrings in one
pattern: the time does not grow with the lists but for that pattern. datatrove's URL filter works the same
way, with an automaton for substrings; a list of thousands of them would want one here too.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from streams.errors import SettingsError
from streams.settings.files import named_files
from streams.settings.filters import UrlSettings
from workers.chunk.filters.reasons import FilterReason, Finding

MAX_ENTRIES: Final = 20_000_000
"""Of one list: what domain lists of the field have, several times over; some 2 GB."""
MAX_ENTRY_CHARACTERS: Final = 2000
MAX_FILE_BYTES: Final = 1 << 30
"""Unpacked."""
MAX_SUBSTRINGS: Final = 10_000
_MAX_ADDRESS: Final = 8192
_MAX_HOST: Final = 253
"""What the name system allows; of a longer one the end is looked at."""
_MAX_LINE_BYTES: Final = 16 * 1024

_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_HOST: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[^/?#:]+)")
_HOST_ENTRY: Final = re.compile(r"(?:\[[0-9a-f:.]+\]|[^\s/?#:@]+)\Z")
_GZIP: Final = b"\x1f\x8b"


class Blocklist:
    """The lists of one section, read once."""

    def __init__(self, settings: UrlSettings) -> None:
        """Read them; raise `SettingsError` that names file and line where an entry is none."""
        self._domains = _collect("domains", settings.domains, settings.domain_files, _domain)
        self._urls = _collect("urls", settings.urls, settings.url_files, _address)
        self._words = _collect("words", settings.words, settings.word_files, _plain)
        parts = _collect("substrings", settings.substrings, settings.substring_files, _plain)
        if len(parts) > MAX_SUBSTRINGS:
            raise SettingsError(
                f"chunk.filters.url.substrings has {len(parts)} entries, {MAX_SUBSTRINGS} are allowed: "
                f"use domains or words, which cost nothing a document"
            )
        # The longest first, so that the detail names the most telling one.
        ordered = sorted(parts, key=lambda part: (-len(part), part))
        self._parts = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __bool__(self) -> bool:
        return bool(self._domains or self._urls or self._words or self._parts)

    def find(self, url: str) -> Finding | None:
        """Return the first list that an address is on, None where it is on none."""
        if not self or not url:
            return None
        address = _scheme_off(url[:_MAX_ADDRESS].strip().lower())
        if self._domains and (domain := self._listed_domain(url)):
            return Finding(FilterReason.DOMAIN, domain)
        if self._urls and address in self._urls:
            return Finding(FilterReason.URL, address[:200])
        if self._words:
            for word in _NOT_PLAIN.split(address):
                if word in self._words:
                    return Finding(FilterReason.URL_WORD, word)
        if self._parts and (found := self._parts.search(_NOT_PLAIN.sub("", address))):
            return Finding(FilterReason.URL_SUBSTRING, found[0])
        return None

    def _listed_domain(self, url: str) -> str:
        host = _host(url)
        while host:
            if host in self._domains:
                return host
            host = host.partition(".")[2]
        return ""


def _host(url: str) -> str:
    found = _HOST.match(url[:_MAX_ADDRESS].strip().lower())
    return _ascii(found[1].strip(".")[-_MAX_HOST:]) if found else ""


def _ascii(host: str) -> str:
    """Return a host as name servers know it; as it stands where it has no such form."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _scheme_off(address: str) -> str:
    return address.partition("://")[2] or address


def _domain(entry: str) -> str:
    host = _host(entry) if "://" in entry else entry.lower().removeprefix("*.").strip(".")
    return _ascii(host) if _HOST_ENTRY.match(host) else ""


def _address(entry: str) -> str:
    return _scheme_off(entry.lower())


def _plain(entry: str) -> str:
    return _NOT_PLAIN.sub("", entry.lower())


def _collect(
    name: str, given: Iterable[str], files: Iterable[str], read: Callable[[str], str]
) -> frozenset[str]:
    """Return a list's entries in the form that is compared."""
    out: set[str] = set()
    for place, line in _lines(name, given, files):
        if place.startswith("chunk."):
            entry = line.strip()
        else:
            entry = line.partition("#")[0].strip() if name != "urls" else line.strip()
            if not entry or entry.startswith("#"):
                continue
        kept = read(entry) if len(entry) <= MAX_ENTRY_CHARACTERS else ""
        if not kept:
            raise SettingsError(f"{place}: {entry[:80]!r} is no entry for a list of {name}")
        out.add(kept)
        if len(out) > MAX_ENTRIES:
            raise SettingsError(f"{place}: a list may have {MAX_ENTRIES} entries; split the list")
    return frozenset(out)


def _lines(name: str, given: Iterable[str], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in given:
        yield f"chunk.filters.url.{name}", entry
    for path in (path for pattern in files for path in named_files(pattern)):
        for number, line in _file_lines(path):
            yield f"{path} line {number}", line


def _file_lines(path: Path) -> Iterator[tuple[int, str]]:
    number = size = 0
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == _GZIP
            plain.seek(0)
            with gzip.open(plain) if packed else plain as stream:
                while raw := stream.readline(_MAX_LINE_BYTES):
                    number += 1
                    size += len(raw)
                    if len(raw) == _MAX_LINE_BYTES:
                        raise SettingsError(
                            f"{path} line {number}: too long for an entry; one a line is read"
                        )
                    if size > MAX_FILE_BYTES:
                        raise SettingsError(f"{path} line {number}: over {MAX_FILE_BYTES} bytes; split it")
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} line {number}: not UTF-8 ({error.reason}); convert the file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"{path}: cannot be read behind line {number}: {error}") from error
