"""Making a version of a bank: read, leave out what repeats or is a test item, embed, index, commit.

One flow for a new bank and for one that grows: the rows of the version in use come first with the vectors
that they have, so `add` embeds new rows only, and the index is built as a new bank of these rows would
build it. That costs an index's building at each `add` (see `dev/LOG.md` for how long it takes) and gives
one kind of bank; the alternative, adding to the old lists, leaves centres that fit the bank less and less.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import BankError
from streams.settings import ContaminationSettings
from streams.settings.banks import MANIFEST, version_folder
from workers.contamination import ContaminationIndex, load_index
from workers.match import columns, store
from workers.match.bank import Bank, TemplateRow, slots
from workers.match.duplicates import near_duplicates, normalised
from workers.match.index import TemplateIndex, TextEncoder, faiss_library
from workers.match.index_build import build as build_index
from workers.match.index_build import choose_nprobe, fill
from workers.match.index_plan import EXACT_MOST, plan_index
from workers.match.manifest import IndexFacts, Manifest, read_manifest
from workers.match.sampling import CANDIDATES, histogram
from workers.match.template_files import Reader

ENCODED_AT_ONCE: Final = 1024
DEFAULT_RECALL: Final = 0.95
NEAR_LISTS: Final = 32
"""Lists that are looked through for near duplicates, which lie close by."""
DUPLICATE: Final = "repeats a template, once normalised"
NEAR: Final = "nearly repeats a template"
CONTAMINATED: Final = "is a test item of a benchmark"


@dataclass(frozen=True)
class Wanted:
    """What a bank is made of and how."""

    inputs: Sequence[Path]
    columns: Mapping[str, str] = field(default_factory=dict)
    skip_faulty: bool = False
    against: Mapping[str, str] = field(default_factory=dict)  # benchmark -> file or glob
    recall: float = DEFAULT_RECALL
    memory_bytes: int = 0  # of the index; 0: half of this machine's


def make(
    bank: Path, wanted: Wanted, encoder: TextEncoder, say: Callable[[str], None], *, add: bool, dry_run: bool
) -> Manifest:
    """Build a bank, or add to one; return the manifest of the version now in use (dry run: of none).

    Raises `BankError` where an input is faulty, where there is a bank already (or none, with `add`), or where
    its vectors are another encoder's; then the old version stays in use.
    """
    old = _current(bank, encoder, add=add)
    reader = Reader(wanted.columns, skip_faulty=wanted.skip_faulty)
    if old is not None:
        reader.taken(old.ids, "the bank")
    benchmarks = load_index(ContaminationSettings(benchmarks=dict(wanted.against)))
    left_out: Counter[str] = Counter()
    fresh = list(_distinct(reader.read(wanted.inputs), old, benchmarks, left_out))
    left_out += reader.left_out
    say(f"{len(fresh)} new templates, {sum(left_out.values())} left out")
    if not fresh:
        raise BankError(f"there is no new template in the inputs ({_counts(left_out)}): nothing is written")
    if dry_run:
        return _manifest(bank, fresh, old, encoder, left_out, IndexFacts("", 0, 0.0, 0, 0), "")
    with store.making(bank) as folder:
        vectors = _vectors(folder, fresh, old, encoder, say)
        plan = plan_index(vectors.shape[0], vectors.shape[1], _memory(wanted))
        say(f"building the index {plan.factory}, about {plan.bytes / 1e6:.1f} MB")
        index = build_index(vectors, plan, say)
        searcher = TemplateIndex(vectors, index, min(plan.lists, NEAR_LISTS))
        kept = _without_near(fresh, old, vectors, searcher, left_out, say)
        if len(kept) < len(fresh):
            fresh = [fresh[i] for i in kept]
            vectors = _shortened(folder, vectors, len(old) if old else 0, kept)
            index.reset()  # the centres stay
            fill(index, vectors, say)
        if not fresh:
            raise BankError(
                f"there is no new template in the inputs ({_counts(left_out)}): nothing is written"
            )
        facts = choose_nprobe(vectors, index, plan, wanted.recall, CANDIDATES, say)
        faiss_library().write_index(index, str(folder / store.INDEX))
        _write_rows(folder, fresh, old)
        parent = read_manifest(old.folder / MANIFEST) if old and old.folder else None
        manifest = _manifest(bank, fresh, old, encoder, left_out, facts, vectors.dtype.name)
        if parent is not None:
            # Its sampling was measured on other templates, its threshold holds for the encoder.
            manifest = msgspec.structs.replace(
                manifest, calibration=parent.calibration, parent=parent.version, disabled=parent.disabled
            )
        del vectors
        return store.commit(bank, folder, manifest)


def revise(
    bank: Path,
    change: Callable[[Manifest], Manifest],
    keep: NDArray[np.float32] | None = None,
) -> Manifest:
    """Make a version with the same templates, vectors and index, and another manifest or `keep` column."""
    version = version_folder(bank)
    if version is None or version == bank:
        raise BankError(f"{bank} is no built bank: build one with `finestream template build`")
    old = read_manifest(version / MANIFEST)
    with store.making(bank) as folder:
        for name in store.FILES:
            if name != store.TEMPLATES or keep is None:
                store.link(version / name, folder / name)
        if keep is not None:
            columns.write(
                folder / store.TEMPLATES, columns.rows_of(columns.read(version / store.TEMPLATES)), keep
            )
        made = msgspec.structs.replace(change(old), parent=old.version)
        return store.commit(bank, folder, made)


def _current(bank: Path, encoder: TextEncoder, *, add: bool) -> Bank | None:
    version = version_folder(bank) if bank.is_dir() else None
    if not add:
        if version is not None:
            raise BankError(f"{bank} holds a bank already: add to it, or build another folder")
        if bank.is_dir() and any(not path.name.startswith(".") for path in bank.iterdir()):
            raise BankError(f"{bank} is not empty, and no built bank: name an empty or a new folder")
        return None
    if version is None or version == bank:
        raise BankError(f"{bank} is no built bank to add to: `finestream template build` makes one")
    old = store.open_version(version)
    if old.encoder != encoder.name:
        raise BankError(
            f"bank {bank} holds vectors of {old.encoder!r}, not {encoder.name!r}: --encoder {old.encoder}"
        )
    return old


def _distinct(
    rows: Iterable[TemplateRow],
    old: Bank | None,
    benchmarks: ContaminationIndex | None,
    left_out: Counter[str],
) -> Iterable[TemplateRow]:
    """Yield rows that neither repeat another nor hold a test item."""
    seen = {normalised(template) for template in old.templates} if old else set()
    for row in rows:
        text = normalised(row.template)
        if text in seen:
            left_out[DUPLICATE] += 1
        elif benchmarks is not None and _contaminated(row.template, benchmarks):
            left_out[CONTAMINATED] += 1
        else:
            seen.add(text)
            yield row


def _contaminated(template: str, benchmarks: ContaminationIndex) -> bool:
    """Whether a template is a test item, with its slots spelled out or without what they describe."""
    spelled = template.replace("<fi>", "").replace("</fi>", "")
    bare = template
    for description in set(slots(template)):
        bare = bare.replace(f"<fi>{description}</fi>", " ")
    return bool(benchmarks.matches(spelled) or benchmarks.matches(bare))


def _vectors(
    folder: Path,
    fresh: Sequence[TemplateRow],
    old: Bank | None,
    encoder: TextEncoder,
    say: Callable[[str], None],
) -> Any:
    """Write the vectors of all rows and return them, mapped; 16 bits where the index is not exact."""
    before = len(old) if old else 0
    total = before + len(fresh)
    dtype = np.float32 if total <= EXACT_MOST else np.float16
    out = np.lib.format.open_memmap(
        folder / store.VECTORS, mode="w+", dtype=dtype, shape=(total, encoder.dimension)
    )
    if old is not None and old.folder is not None:
        kept = store.open_vectors(old.folder)
        for start in range(0, before, 65_536):
            out[start : min(before, start + 65_536)] = kept[start : start + 65_536]
    for start in range(0, len(fresh), ENCODED_AT_ONCE):
        block = fresh[start : start + ENCODED_AT_ONCE]
        vectors = encoder.encode([row.compatible_document_description for row in block])
        if vectors.shape != (len(block), encoder.dimension) or not np.isfinite(vectors).all():
            raise BankError(f"encoder {encoder.name!r} gave no usable vectors for {block[0].id!r} and after")
        out[before + start : before + start + len(block)] = vectors
        say(f"{start + len(block)} of {len(fresh)} descriptions are embedded")
    out.flush()
    return out


def _without_near(
    fresh: Sequence[TemplateRow],
    old: Bank | None,
    vectors: Any,
    searcher: TemplateIndex,
    left_out: Counter[str],
    say: Callable[[str], None],
) -> list[int]:
    """Return which of the new rows repeat none nearly."""
    before = len(old) if old else 0
    templates = [*(old.templates if old else ()), *(row.template for row in fresh)]
    repeats = near_duplicates(templates, vectors, searcher, before, say)[before:]
    if found := int(repeats.sum()):
        left_out[NEAR] += found
        say(f"{found} templates nearly repeat another and are left out")
    return np.flatnonzero(~repeats).tolist()


def _shortened(folder: Path, vectors: Any, before: int, kept: Sequence[int]) -> Any:
    """Rewrite the vectors without the rows that are left out."""
    part = folder / f"{store.VECTORS}.part"
    out = np.lib.format.open_memmap(
        part, mode="w+", dtype=vectors.dtype, shape=(before + len(kept), vectors.shape[1])
    )
    rows = np.concatenate([np.arange(before), before + np.asarray(kept, dtype=np.int64)])
    for start in range(0, len(rows), 65_536):
        out[start : start + 65_536] = vectors[rows[start : start + 65_536]]
    out.flush()
    part.replace(folder / store.VECTORS)
    return out


def _write_rows(folder: Path, fresh: Sequence[TemplateRow], old: Bank | None) -> None:
    keep: NDArray[np.float32] | None = None
    rows: Iterable[TemplateRow] = fresh
    if old is not None and old.folder is not None:
        table = columns.read(old.folder / store.TEMPLATES)
        rows = (row for part in (columns.rows_of(table), fresh) for row in part)
        if old.keep is not None:
            # What was disabled stays so; thinning goes, it was measured on another bank.
            was = np.where(old.keep > 0, np.float32(1), np.float32(0))
            keep = np.concatenate([was, np.ones(len(fresh), np.float32)])
    columns.write(folder / store.TEMPLATES, rows, keep)


def _manifest(
    bank: Path,
    fresh: Sequence[TemplateRow],
    old: Bank | None,
    encoder: TextEncoder,
    left_out: Counter[str],
    facts: IndexFacts,
    dtype: str,
) -> Manifest:
    languages = Counter(row.language for row in fresh)
    domains = Counter(row.domain for row in fresh)
    counts = np.array([len(slots(row.template)) for row in fresh], dtype=np.int16)
    if old is not None:
        languages.update(old.languages)
        domains.update(old.domains)
        assert old.complexities is not None
        counts = np.concatenate([old.complexities, counts])
    return Manifest(
        name=bank.name,
        count=len(counts),
        encoder=encoder.name,
        dimension=encoder.dimension,
        dtype=dtype,
        index=facts,
        files={},
        languages=dict(sorted(languages.items())),
        domains=dict(sorted(domains.items(), key=lambda item: (-item[1], item[0]))),
        complexity=histogram(counts),
        left_out=dict(sorted(left_out.items())),
    )


def _memory(wanted: Wanted) -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return wanted.memory_bytes or machine // 2


def _counts(left_out: Counter[str]) -> str:
    return ", ".join(f"{count}: {reason}" for reason, count in left_out.most_common()) or "they are empty"
