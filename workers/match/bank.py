"""The template bank as all stages see it: templates, the documents each one fits, how it is sampled.

Two forms give the same `Bank`. A folder of JSONL files is written by hand and small (thousands of rows): it
is read whole and checked whole when a worker starts, so a broken row is found then, by file and line, and not
as a strange pair a million documents later. A built bank (`store.py`) was checked when it was built and is
mapped into memory. The alternative, skipping bad rows with a warning, would let two workers of one generation
run with different banks.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError
from streams.settings.banks import SAMPLING, SHIPPED, bank_folder, version_folder
from workers.match.manifest import Calibration, IndexFacts, Sampling

MAX_TEMPLATE_CHARACTERS: Final = 4_000
"""Longest template (our choice: template and answer share a context of 4,096 tokens with the segment)."""
MAX_DESCRIPTION_CHARACTERS: Final = 2_000
MAX_ID_CHARACTERS: Final = 200
DEFAULT_LANGUAGE: Final = "en"
"""Of a template that names none: the paper's and the shipped ones are English."""

_TAG: Final = re.compile(r"</?fi>")
_SLOT: Final = re.compile(r"<fi>(.*?)</fi>", re.DOTALL)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")

__all__ = ["SHIPPED", "Bank", "TemplateRow", "fault_of", "folder", "load", "read", "slots", "tag_fault"]


class TemplateRow(msgspec.Struct, frozen=True):
    """One line of a bank file; further fields are the file's own affair."""

    id: str
    template: str
    compatible_document_description: str
    domain: str = ""
    language: str = DEFAULT_LANGUAGE
    source: str = ""


class SampledBank(msgspec.Struct, frozen=True):
    """`sampling.json` beside JSONL files: what a built bank has in its manifest and its `keep` column."""

    sampling: Sampling
    keep: dict[str, float] = {}  # template id -> probability, where it is below 1


@dataclass(frozen=True)
class Bank:
    """A checked bank: columns of the same length; of JSONL files in the order of their names and lines."""

    name: str
    ids: Sequence[str]
    templates: Sequence[str]
    descriptions: Sequence[str]
    """Compatible document descriptions: what is embedded and indexed (paper section 2)."""
    domains: Sequence[str]
    """Rough subject of each template; empty where the bank names none."""
    version: str
    """Hex digits over all that the bank holds: equal exactly where row numbers mean the same templates."""
    rows: Mapping[str, int] = field(repr=False)
    """Row number by id."""
    languages: Mapping[str, int] = field(default_factory=dict)
    """Templates a language; empty: unknown, every language is matched."""
    language_codes: Sequence[str] = field(default=(), repr=False)
    """Language of each template; empty where there is but one."""
    complexities: NDArray[np.int16] | None = field(default=None, repr=False)
    """Slots of each template."""
    keep: NDArray[np.float32] | None = field(default=None, repr=False)
    """Probability with which a template is a candidate at all: below 1 to cap its use, 0 if disabled."""
    sampling: Sampling | None = None
    calibration: Calibration | None = None
    encoder: str = ""
    """Whose vectors the bank carries; empty: it carries none."""
    folder: Path | None = None
    """Of a built bank's version."""
    index: IndexFacts | None = None

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


def fault_of(row: TemplateRow) -> str:
    """Say what is wrong with a row, or return an empty string."""
    description = row.compatible_document_description
    checks = (
        (not row.id.strip(), "`id` is empty"),
        (len(row.id) > MAX_ID_CHARACTERS, f"`id` is longer than {MAX_ID_CHARACTERS} characters"),
        (
            not description.strip(),
            "`compatible_document_description` is empty: it is what documents are matched with",
        ),
        (
            len(row.template) > MAX_TEMPLATE_CHARACTERS,
            f"`template` has {len(row.template)} characters, more than {MAX_TEMPLATE_CHARACTERS}",
        ),
        (
            len(description) > MAX_DESCRIPTION_CHARACTERS,
            f"`compatible_document_description` is longer than {MAX_DESCRIPTION_CHARACTERS} characters",
        ),
        (
            _LANGUAGE.fullmatch(row.language) is None,
            f"`language` is {row.language[:20]!r}, not a code such as en",
        ),
    )
    fault = next((words for wrong, words in checks if wrong), "")
    tags = "" if fault else tag_fault(row.template)
    return f"`template` has {tags}" if tags else fault


def folder(bank: str) -> Path:
    """Return the folder that a bank's name means: a shipped one, else a path. Raise `SettingsError`."""
    return bank_folder(bank)


def read(directory: Path) -> Bank:
    """Read and check every `*.jsonl` of a folder; raise `BankError` that names file, line and fault."""
    found = _rows(directory)
    if not found:
        raise BankError(f"template bank {directory} has no *.jsonl file with a template in it")
    version = hashlib.blake2b(digest_size=8)
    for row in found:
        version.update(msgspec.msgpack.encode(row))
    rows = {row.id: i for i, row in enumerate(found)}
    sampled = _sampled(directory, rows)
    if sampled is not None:
        version.update(msgspec.msgpack.encode(sampled, order="deterministic"))
    languages = Counter(row.language for row in found)
    return Bank(
        name=directory.name,
        ids=tuple(row.id for row in found),
        templates=tuple(row.template for row in found),
        descriptions=tuple(row.compatible_document_description for row in found),
        domains=tuple(row.domain for row in found),
        version=version.hexdigest(),
        rows=rows,
        languages=dict(languages),
        language_codes=tuple(row.language for row in found) if len(languages) > 1 else (),
        complexities=np.array([len(slots(row.template)) for row in found], dtype=np.int16),
        keep=_keep(sampled, rows) if sampled else None,
        sampling=sampled.sampling if sampled else None,
    )


def _rows(directory: Path) -> list[TemplateRow]:
    decoder = msgspec.json.Decoder(TemplateRow)
    seen: dict[str, str] = {}
    found: list[TemplateRow] = []
    for path in sorted(directory.glob("*.jsonl")):
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise BankError(f"template bank {directory}: {path.name}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BankError(f"template bank {directory}: {place}: {error}") from None
            if fault := fault_of(row):
                raise BankError(f"template bank {directory}: {place} (id {row.id!r}): {fault}")
            if row.id in seen:
                raise BankError(
                    f"template bank {directory}: {place}: id {row.id!r} is taken by {seen[row.id]}"
                )
            seen[row.id] = place
            found.append(row)
    return found


def _sampled(directory: Path, rows: Mapping[str, int]) -> SampledBank | None:
    path = directory / SAMPLING
    try:
        sampled = msgspec.json.decode(path.read_bytes(), type=SampledBank)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BankError(f"template bank {directory}: {SAMPLING}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BankError(f"template bank {directory}: {SAMPLING}: {error}") from None
    if strangers := sorted(sampled.keep.keys() - rows.keys()):
        raise BankError(
            f"template bank {directory}: {SAMPLING} speaks of {strangers[0]!r}, which is no template of it: "
            "it belongs to another bank; delete it or measure it again"
        )
    return sampled


def _keep(sampled: SampledBank, rows: Mapping[str, int]) -> NDArray[np.float32]:
    keep = np.ones(len(rows), dtype=np.float32)
    for template, probability in sampled.keep.items():
        keep[rows[template]] = probability
    return keep


@cache
def load(bank: str = "seed") -> Bank:
    """Return a bank by name, read once a process; raise `SettingsError` or `BankError`."""
    directory = bank_folder(bank)
    version = version_folder(directory)
    if version is None:
        return read(directory)
    from workers.match.store import open_version  # noqa: PLC0415 - a bank of JSONL files needs no Arrow

    return open_version(version)
