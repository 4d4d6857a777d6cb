"""Where a template bank's name leads, and what stands for its contents in a generation's settings hash.

Here and not beside the stage, since a settings hash must need no model library. A built bank is named by its
version, a hash over all that it holds, which its `CURRENT` file names; a bank of JSONL files by their digest.
So a bank that is rebuilt under a running generation is another setting, and its workers refuse to start. The
alternative, the bank's path as the setting, would let two workers of a generation run with different banks.
"""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path
from typing import Final

from streams.errors import SettingsError
from streams.settings.files import digest

SHIPPED: Final = Path(__file__).resolve().parents[2] / "workers" / "match" / "banks"
"""Folder of the banks that come with the project, one subfolder each."""
CURRENT: Final = "CURRENT"
"""File of a built bank that names the version in use; replaced in one step."""
MANIFEST: Final = "manifest.json"
SAMPLING: Final = "sampling.json"
"""Beside the JSONL files of a bank: what a built bank has in its manifest."""

_VERSION: Final = re.compile(r"[0-9a-f]{32}")


def shipped_banks() -> list[str]:
    """Return the names of the banks that come with the project."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())


def bank_folder(bank: str) -> Path:
    """Return the folder that a bank's name means: a shipped one, else a path. Raise `SettingsError`."""
    if bank in (names := shipped_banks()):
        return SHIPPED / bank
    folder = Path(bank).expanduser()
    if not folder.is_dir():
        raise SettingsError(
            f"match.bank = {bank!r} is neither a shipped bank ({', '.join(names)}) nor a folder: a bank that "
            "`finestream template build` wrote, one version of it, or a folder of *.jsonl files"
        )
    return folder


def version_folder(folder: Path) -> Path | None:
    """Return the folder of the version in use of a built bank; None where this is a bank of JSONL files.

    A folder with a manifest is a version itself, so that an older one can be named. Raises `SettingsError`
    where `CURRENT` names no version that is there.
    """
    if (folder / MANIFEST).is_file():
        return folder
    try:
        named = (folder / CURRENT).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"template bank {folder}: {CURRENT} cannot be read: {error.strerror}") from error
    if not _VERSION.fullmatch(named) or not (folder / named / MANIFEST).is_file():
        raise SettingsError(
            f"template bank {folder}: {CURRENT} names {named[:40]!r}, which is no version in that folder; "
            "build the bank again, or write the name of a version that is there into it"
        )
    return folder / named


def _version(manifest: Path) -> str:
    """Return the hash that a manifest says it has; opening the bank checks that it is its contents' own."""
    try:
        version = json.loads(manifest.read_bytes())["version"]
    except OSError as error:
        raise SettingsError(f"template bank: {manifest} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"template bank: {manifest} is no manifest: build the bank again") from error
    if not isinstance(version, str):
        raise SettingsError(f"template bank: {manifest} is no manifest: build the bank again")
    return version


def bank_digest(bank: str) -> str:
    """Return the digest of a bank's contents, whatever its path. Raise `SettingsError`."""
    folder = bank_folder(bank)
    if (version := version_folder(folder)) is not None:
        return f"built {_version(version / MANIFEST)}"
    texts = digest(f"{glob.escape(str(folder))}/*.jsonl")
    return f"{texts} {digest(str(folder / SAMPLING))}" if (folder / SAMPLING).is_file() else texts
