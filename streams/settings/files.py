"""Files that settings name and whose contents shape what a stage writes: which they are, and their digest.

The digest and not the path enters a generation's settings hash: the same benchmark under another path is the
same setting, and another content under the same path is not.
"""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from streams.errors import SettingsError


def named_files(pattern: str) -> list[Path]:
    """Return the files that a path or glob (`**` walks down) names, sorted. Raise `SettingsError`."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute too
    files = [name for name in found if name.is_file()]
    if not files:
        hint = f"it is a folder; name its files, for example {path}/*.jsonl" if path.is_dir() else "give it"
        raise SettingsError(
            f"the settings name {pattern!r}, but no such file is there ({hint}). A relative path counts from "
            f"the folder that the process runs in, now {Path.cwd()}"
        )
    return files


def digest(pattern: str) -> str:
    """Return 16 hex digits over the contents of the files that a path or glob names, in order of name."""
    out = hashlib.blake2b(digest_size=8)
    for path in named_files(pattern):
        try:
            with path.open("rb") as stream:
                out.update(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest())
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    return out.hexdigest()
