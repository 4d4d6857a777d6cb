"""A built bank on disk: versions beside each other, each written whole or not at all.

    BANK/CURRENT                 the version in use: its 32 hex digits
    BANK/VERSION/manifest.json   counts, encoder, index, sampling, calibration, digests of the files
                 templates.arrow texts, languages, complexities, keep probabilities
                 vectors.npy     normalised description embeddings [n, d], float32 or float16
                 index.faiss     over those vectors

A version is made in `.making-…`, every file synced, and renamed to its hash; then `CURRENT` is replaced. A
kill at any instant leaves the old version in use and at most a folder that the next build removes. Versions
stay, so that a generation that began with one can end with it; the price is disk, which `add`, `disable` and
`calibrate` keep low by hard links to files that do not change. The alternative, one folder overwritten file
by file, cannot be read while it is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from streams.errors import BankError
from streams.settings.banks import CURRENT, MANIFEST
from workers.match import columns
from workers.match.bank import Bank
from workers.match.manifest import Manifest, Stored, encode, read_manifest, version_of

TEMPLATES: Final = "templates.arrow"
VECTORS: Final = "vectors.npy"
INDEX: Final = "index.faiss"
FILES: Final = (TEMPLATES, VECTORS, INDEX)
VERIFIED_BYTES: Final = 256 * 1024 * 1024
"""Files up to this size together are compared with their digests whenever a bank is opened (some 0.3 s);
larger ones by their sizes and counts, and wholly by `finestream template show --verify`."""

_MAKING: Final = ".making-"


@contextlib.contextmanager
def making(bank: Path) -> Iterator[Path]:
    """Yield an empty folder in which a version can be made; what is left of it goes. See `commit`.

    One process at a time makes a version of a bank; raises `BankError` where another is at work.
    """
    try:
        bank.mkdir(parents=True, exist_ok=True)
        handle = os.open(bank, os.O_RDONLY)
    except OSError as error:
        raise BankError(f"template bank {bank} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when we die
        for left in bank.glob(f"{_MAKING}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=bank))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        raise BankError(f"template bank {bank}: another process is building it; wait for it") from None
    finally:
        os.close(handle)


def commit(bank: Path, made: Path, manifest: Manifest) -> Manifest:
    """Make a folder of files the bank's version in use; return its manifest with digests and version."""
    files = {name: Stored((made / name).stat().st_size, file_digest(made / name)) for name in FILES}
    manifest = msgspec.structs.replace(manifest, files=files)
    manifest = msgspec.structs.replace(
        manifest, version=version_of(manifest), created_at=datetime.now(UTC).isoformat(timespec="seconds")
    )
    (made / MANIFEST).write_bytes(encode(manifest))
    for name in (*FILES, MANIFEST):
        _sync(made / name)
    _sync(made)
    target = bank / manifest.version
    if not target.exists():  # else the very same contents are there already
        made.rename(target)
        # mkdtemp makes folders for one user; a bank is read by whoever runs workers.
        target.chmod(0o755)
    _sync(bank)
    use(bank, manifest.version)
    return manifest


def use(bank: Path, version: str) -> None:
    """Make a version that is there the one in use."""
    handle, part = tempfile.mkstemp(prefix=_MAKING, dir=bank)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(part).chmod(0o644)
    Path(part).replace(bank / CURRENT)
    _sync(bank)


def link(source: Path, target: Path) -> None:
    """Take a file that does not change into a new version: by hard link, else by copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def open_version(folder: Path, *, verify: bool | None = None) -> Bank:
    """Open a version, mapped; raise `BankError` where a file is missing or does not fit the manifest.

    `verify` compares all digests; None: where the files are small.
    """
    manifest = read_manifest(folder / MANIFEST)
    _check_files(folder, manifest, verify=verify)
    table = columns.read(folder / TEMPLATES)
    if len(table) != manifest.count:
        raise BankError(_misfit(folder, TEMPLATES, f"{len(table)} templates", f"{manifest.count}"))
    vectors = open_vectors(folder)
    if vectors.shape != (manifest.count, manifest.dimension) or vectors.dtype.name != manifest.dtype:
        raise BankError(
            _misfit(folder, VECTORS, f"{vectors.dtype.name} of {vectors.shape}",
                    f"{manifest.dtype} of {(manifest.count, manifest.dimension)}")
        )  # fmt: skip
    text = {name: columns.TextColumn(table.column(name).chunks) for name in table.column_names[:6]}
    keep = table.column("keep").to_numpy()
    return Bank(
        name=manifest.name,
        ids=text["id"],
        templates=text["template"],
        descriptions=text["compatible_document_description"],
        domains=text["domain"],
        version=manifest.version,
        rows=columns.RowOf(text["id"]),
        languages=dict(manifest.languages),
        language_codes=text["language"] if len(manifest.languages) > 1 else (),
        complexities=table.column("complexity").to_numpy(),
        keep=keep if (keep < 1).any() else None,
        sampling=manifest.sampling,
        calibration=manifest.calibration,
        encoder=manifest.encoder,
        folder=folder,
        index=manifest.index,
    )


def open_vectors(folder: Path) -> Any:
    """Return a version's vectors, mapped; raise `BankError`."""
    path = folder / VECTORS
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BankError(f"template bank: {path} holds no vectors: {error}") from error


def versions(bank: Path) -> list[Path]:
    """Return the folders of a built bank's versions, oldest first."""
    found = [path.parent for path in bank.glob(f"*/{MANIFEST}")]
    return sorted(found, key=lambda path: (read_manifest(path / MANIFEST).created_at, path.name))


def file_digest(path: Path) -> str:
    """Return 32 hex digits over a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _check_files(folder: Path, manifest: Manifest, *, verify: bool | None) -> None:
    if missing := [name for name in FILES if name not in manifest.files or not (folder / name).is_file()]:
        raise BankError(f"template bank {folder}: {missing[0]} is missing: build the bank again")
    if verify is None:
        verify = sum(stored.bytes for stored in manifest.files.values()) <= VERIFIED_BYTES
    for name, stored in manifest.files.items():
        size = (folder / name).stat().st_size
        if size != stored.bytes:
            raise BankError(_misfit(folder, name, f"{size} bytes", f"{stored.bytes}"))
        if verify and file_digest(folder / name) != stored.blake2b:
            raise BankError(_misfit(folder, name, "other contents", f"the digest {stored.blake2b[:8]}"))


def _misfit(folder: Path, name: str, found: str, wanted: str) -> str:
    return (
        f"template bank {folder}: {name} does not fit its manifest: it holds {found}, the manifest says "
        f"{wanted}. Build the bank again, or name an older version's folder"
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
