"""What a user names to ingest, to sources: paths, globs, folders, path lists, URLs of any store.

A folder (or a prefix in a store) means every file below it, hidden ones left out. Files that are one document
each are bundled: a number and two book entries for every small page would cost more than the page.
"""

from __future__ import annotations

import glob
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from streams.errors import SourceError
from streams.ingest.source import Entry, Source, bundle, document_type, identify, printable
from streams.ingest.stored import Identity, identity_of_info, is_remote, open_stored, store_of

PATH_LIST_SUFFIXES: Final = (".paths", ".paths.gz")
"""As Common Crawl publishes its lists: one path a line, relative to the crawl's root."""
MAX_LIST_BYTES: Final = 256 * 1024 * 1024
BUNDLE_FILES: Final = 1000
"""Of one bundle: its booking holds their names, and stays well below what a message may hold."""
_HIDDEN: Final = (".", "_")


class Listed(NamedTuple):
    """A file that was found."""

    location: str
    identity: Identity | None  # None where finding it did not tell: it is asked for when its turn comes


Input: TypeAlias = str | Source
"""A location to inspect, or a bundle."""


def expand(inputs: Iterable[str], base: str = "") -> list[Input]:
    """Return what paths, globs (`**` too), folders, path lists and URLs name: sorted, each once.

    `base` is put before the relative lines of path lists; without it they are relative to the list itself.
    Raises `SourceError` for a name that matches no file.
    """
    return bundled(list_files(inputs, base))


def list_files(inputs: Iterable[str], base: str = "") -> list[Listed]:
    """Return the files that `inputs` name, sorted by location, each once. Raises `SourceError`.

    Path lists are read where a name or glob means them. One that merely lies in a folder is a file like any
    other there: whoever may write into the folder must not name files of the whole machine to be read.
    """
    found: dict[str, Listed] = {}
    for text in inputs:
        listed = list(list_input(text))
        if not listed:
            raise SourceError(f"no file matches {printable(text)!r}")
        is_folder = text.endswith("/") if is_remote(text) else Path(text).expanduser().is_dir()
        for file in listed:
            if not is_folder and file.location.endswith(PATH_LIST_SUFFIXES):
                found |= {
                    location: Listed(location, None) for location in read_path_list(file.location, base)
                }
            else:
                found[file.location] = file
    return [found[location] for location in sorted(found)]


def list_input(text: str) -> Iterator[Listed]:
    """Yield the files that one path, glob, folder or URL names; a path list counts as a file.

    Of a store all are asked for at once. Raises `SourceError` where it cannot be asked.
    """
    return _list_remote(text) if is_remote(text) else _list_local(text)


def bundled(files: Sequence[Listed]) -> list[Input]:
    """Put files that are one document each into bundles, folder by folder; the rest stays as it is."""
    documents = [file for file in files if document_type(file.location)]
    documents.sort(key=lambda file: file.location.rpartition("/"))  # a folder's together, below it none
    inputs: list[Input] = [file.location for file in files if not document_type(file.location)]
    for folder, group in groupby(documents, key=lambda file: file.location.rpartition("/")[0]):
        entries = []
        for location, found in group:
            identity = found or identify(location)
            if identity is None:
                inputs.append(location)  # its turn will tell that it has vanished
                continue
            entries.append(Entry(os.fsencode(location[len(folder) + 1 :]), *identity))
        inputs += [bundle(folder or "/", part) for part in _batches(entries)]
    return sorted(inputs, key=lambda one: one if isinstance(one, str) else one.location)


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), BUNDLE_FILES):
        yield entries[start : start + BUNDLE_FILES]


def total_bytes(inputs: Iterable[Input]) -> int:
    """Return the bytes of all that can be told without asking a store."""
    total = 0
    for one in inputs:
        if isinstance(one, Source):
            total += one.identity.size
        elif not is_remote(one) and (identity := identify(one)) is not None:
            total += identity.size
    return total


def read_path_list(location: str, base: str = "") -> list[str]:
    """Return the locations that a path list names. Raises `SourceError` where it cannot be read."""
    try:
        data = _read_all(location)
        text = (_gunzip(data, location) if data.startswith(b"\x1f\x8b") else data).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{printable(location)} is no readable path list: {error}") from error
    root = base or location.rpartition("/")[0]
    lines = (line.strip() for line in text.splitlines())
    return [
        line if is_remote(line) or line.startswith("/") else f"{root.rstrip('/')}/{line}"
        for line in lines
        if line and not line.startswith("#")
    ]


def _read_all(location: str) -> bytes:
    file = open_stored(location)
    try:
        if file.size > MAX_LIST_BYTES:
            raise SourceError(f"{printable(location)} is too long for a path list: {file.size} bytes")
        return b"".join(file.stored(0, file.size))
    finally:
        file.close()


def _gunzip(data: bytes, location: str) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(data, MAX_LIST_BYTES)
    except zlib.error as error:
        raise SourceError(f"{printable(location)} is no readable path list: {error}") from error
    if not inflater.eof:
        raise SourceError(f"{printable(location)} is cut, or expands beyond {MAX_LIST_BYTES} bytes")
    return text


def _list_local(text: str) -> Iterator[Listed]:
    path = Path(text).expanduser()
    # What exists is meant literally: a file may be called `a[1].warc.gz`.
    names = [str(path)] if os.path.lexists(path) else glob.glob(str(path), recursive=True)  # noqa: PTH207 - takes absolute ones
    for name in names:
        # Not resolve(): a link that is turned to another file is another state of the same name.
        absolute = os.path.abspath(name)  # noqa: PTH100
        if not Path(absolute).is_dir():
            yield Listed(absolute, identify(absolute))
        elif absolute == os.path.abspath(path):  # noqa: PTH100 - one that a glob meets is stepped over
            yield from _walk(absolute)


def _walk(folder: str) -> Iterator[Listed]:
    """Yield the files below a folder, hidden ones left out; of a saved data set, its tables."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        for name in _tables(here) if "state.json" in names else sorted(names):
            location = os.path.join(here, name)  # noqa: PTH118 - names may be no UTF-8
            if not name.startswith(_HIDDEN) and (identity := identify(location)) is not None:
                yield Listed(location, identity)


def _tables(folder: str) -> list[str]:
    """Return the tables of a data set that Hugging Face's `save_to_disk` wrote; its caches are none."""
    try:
        state = json.loads((Path(folder) / "state.json").read_bytes())
        return [str(Path(file["filename"]).name) for file in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return sorted(os.listdir(folder))  # noqa: PTH208


def _list_remote(url: str) -> Iterator[Listed]:
    store, path = store_of(url)
    try:
        store.invalidate_cache()  # a store that is followed changes
        if any(mark in path for mark in "*?["):
            found = store.glob(path, detail=True)
        elif url.endswith("/"):
            found = store.find(path, detail=True)
        else:
            yield Listed(url, None)
            return
    except Exception as error:  # each store has errors of its own
        raise SourceError(f"{url} cannot be listed: {type(error).__name__} {error}; try again") from error
    for name, info in found.items():
        own = name.rpartition("/")[2]
        if info.get("type") != "directory" and own and not own.startswith(_HIDDEN):
            yield Listed(_url(store, name), _listed_identity(info))


def _url(store: Any, name: str) -> str:
    return name if is_remote(name) else str(store.unstrip_protocol(name))


def _listed_identity(info: dict[str, Any]) -> Identity | None:
    """Return the state where the listing tells as much as asking for the object itself would."""
    return identity_of_info(info) if info.get("ETag") or info.get("etag") else None
