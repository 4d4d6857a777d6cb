"""The template bank: instruction templates with the kind of document that each one fits, from JSONL files.

A bank is small (thousands of rows), so it is read whole and checked whole when a worker starts: a broken row
is found then, by file and line, and not as a strange pair a million documents later. The alternative,
skipping bad rows with a warning, would let two workers of one generation run with different banks.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from streams.errors import SettingsError

SHIPPED: Final = Path(__file__).parent / "banks"
"""Folder of the banks that come with the project, one subfolder each."""
MAX_TEMPLATE_CHARACTERS: Final = 4_000
"""Longest template (our choice: template and answer share a context of 4,096 tokens with the segment)."""
MAX_DESCRIPTION_CHARACTERS: Final = 2_000

_TAG: Final = re.compile(r"</?fi>")
_SLOT: Final = re.compile(r"<fi>(.*?)</fi>", re.DOTALL)


class _Row(msgspec.Struct, frozen=True):
    """One line of a bank file; further fields are the bank's own affair."""

    id: str
    template: str
    compatible_document_description: str
    domain: str = ""


@dataclass(frozen=True)
class Bank:
    """A checked bank: four columns of the same length, in the order of the files' names and lines."""

    name: str
    ids: tuple[str, ...]
    templates: tuple[str, ...]
    descriptions: tuple[str, ...]
    """Compatible document descriptions: what is embedded and indexed (paper section 2)."""
    domains: tuple[str, ...]
    """Rough subject of each template; empty where the bank names none."""
    version: str
    """16 hex digits over all columns: equal exactly where row numbers mean the same templates."""
    rows: dict[str, int] = field(repr=False)
    """Row number by id."""

    def __len__(self) -> int:
        return len(self.ids)


def slots(template: str) -> list[str]:
    """Return the descriptions inside a template's `<fi>…</fi>` tags, in order, repeats included.

    The length is the template's complexity (paper section 2). A slot that stands twice carries the same
    description twice and takes the same value (paper section 1).
    """
    return _SLOT.findall(template)


def tag_fault(template: str) -> str:
    """Say what is wrong with a template's tags, or return an empty string where they are whole."""
    inside = False
    for tag in _TAG.findall(template):
        if (tag == "<fi>") == inside:
            return "a <fi> inside another <fi>" if inside else "a </fi> without its <fi>"
        inside = not inside
    if inside:
        return "a <fi> without its </fi>"
    descriptions = slots(template)
    if not descriptions:
        return "no <fi>…</fi> slot: it would ask every document the same"
    return "" if all(d.strip() for d in descriptions) else "an empty <fi></fi>"


def _fault(row: _Row) -> str:
    if not row.id.strip():
        return "`id` is empty"
    if not row.compatible_document_description.strip():
        return "`compatible_document_description` is empty: it is what documents are matched with"
    if len(row.template) > MAX_TEMPLATE_CHARACTERS:
        return f"`template` has {len(row.template)} characters, more than {MAX_TEMPLATE_CHARACTERS}"
    if len(row.compatible_document_description) > MAX_DESCRIPTION_CHARACTERS:
        return f"`compatible_document_description` is longer than {MAX_DESCRIPTION_CHARACTERS} characters"
    fault = tag_fault(row.template)
    return f"`template` has {fault}" if fault else ""


def folder(bank: str) -> Path:
    """Return the folder that a bank's name means: a shipped one, else a path. Raise `SettingsError`."""
    shipped = sorted(p.name for p in SHIPPED.iterdir() if p.is_dir())
    if bank in shipped:
        return SHIPPED / bank
    if not Path(bank).is_dir():
        raise SettingsError(
            f"match.bank = {bank!r} is neither a shipped bank ({', '.join(shipped)}) "
            "nor a folder of *.jsonl files"
        )
    return Path(bank)


def read(directory: Path) -> Bank:
    """Read and check every `*.jsonl` of a folder; raise `SettingsError` that names file, line and fault."""
    decoder = msgspec.json.Decoder(_Row)
    seen: dict[str, str] = {}
    found: list[_Row] = []
    for path in sorted(directory.glob("*.jsonl")):
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise SettingsError(f"template bank {directory}: {path.name}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise SettingsError(f"template bank {directory}: {place}: {error}") from None
            if fault := _fault(row):
                raise SettingsError(f"template bank {directory}: {place} (id {row.id!r}): {fault}")
            if row.id in seen:
                raise SettingsError(
                    f"template bank {directory}: {place}: id {row.id!r} is taken by {seen[row.id]}"
                )
            seen[row.id] = place
            found.append(row)
    if not found:
        raise SettingsError(f"template bank {directory} has no *.jsonl file with a template in it")
    digest = hashlib.blake2b(digest_size=8)
    for row in found:
        digest.update(msgspec.msgpack.encode(row))
    return Bank(
        name=directory.name,
        ids=tuple(row.id for row in found),
        templates=tuple(row.template for row in found),
        descriptions=tuple(row.compatible_document_description for row in found),
        domains=tuple(row.domain for row in found),
        version=digest.hexdigest(),
        rows={row.id: i for i, row in enumerate(found)},
    )


@cache
def load(bank: str = "seed") -> Bank:
    """Return a bank by name, read once a process; see `folder` and `read` for errors."""
    return read(folder(bank))
