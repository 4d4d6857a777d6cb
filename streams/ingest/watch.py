"""Looking, again and again, at folders, globs and stores that grow: which files are new, and which are whole.

A local file is whole once its size and time have not changed for a while and its end is what its format
demands; an object is whole when it is listed. Looking is polling: notices of the kernel are not sent across
network file systems and would still need the first look, and their queue overflows. A look at a million
known files takes seconds, so the pause between looks grows with what a look takes.

In memory are only files that are new and not whole yet, at most `MOST_CANDIDATES`; the others of a great
crowd are found by the next look.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.errors import SourceError
from streams.ingest.backoff import Backoff
from streams.ingest.booking import POSTPONED, entry_location, files_of
from streams.ingest.complete import UNTOLD, name_says_unfinished, why_unfinished
from streams.ingest.inputs import (
    PATH_LIST_SUFFIXES,
    Input,
    Listed,
    bundled,
    list_input,
    read_path_list,
)
from streams.ingest.report import SourceReport
from streams.ingest.shard import ALONE, Shard
from streams.ingest.source import Source, bundle, document_type, identify, inspect, printable
from streams.ingest.source_book import SourceBook
from streams.ingest.stored import Identity, LocalFile, is_remote
from streams.settings import IngestSettings

MOST_CANDIDATES: Final = 50_000
UNTOLD_SECONDS: Final = 60.0
"""Without a change, for a file whose end cannot be told cheaply."""
OLD_SECONDS: Final = 60.0
"""A file that was changed longer ago, by its own account, need not be watched. More than clocks differ."""
SHARE: Final = 2
"""The pause after a look is at least so many times what the look took."""


@dataclass(slots=True)
class _Candidate:
    """A file that is new."""

    location: str
    identity: Identity | None  # None: whoever listed it did not tell
    since: float  # monotonic: not changed since
    look: int  # the number of the look that saw it last
    origin: str  # the input that it was found under
    why: str = ""
    checked: bool = False  # whether `why` is about its end, in this state
    restless: bool = False  # whether `why` is that it was written to just now
    ready_at: float = 0.0  # monotonic; 0: it is not whole


@dataclass(slots=True)
class _Listing:
    """An input, and when it is looked at."""

    text: str
    due: float = 0.0
    future: Future[list[Listed]] | None = None
    problem: str = ""


class Watch:
    """What is followed. `base` is put before the relative lines of path lists."""

    def __init__(
        self, inputs: Iterable[str], settings: IngestSettings, shard: Shard = ALONE, base: str = ""
    ) -> None:
        self.backoff = Backoff()
        self._settings = settings
        self._shard = shard
        self._base = base
        self._listings = [_Listing(text) for text in inputs]
        self._candidates: dict[str, _Candidate] = {}
        self._asked: set[int] = set()  # hashes of locations whose state no listing tells, and that are done
        self._lists: dict[str, tuple[Identity | None, list[str]]] = {}
        self._look = 0
        self._queue: deque[tuple[float, str]] = deque()  # whole and not begun: since when, oldest first

    # -- looking -----------------------------------------------------------------------------------------

    def ready(self, book: SourceBook) -> list[Input]:
        """Look at what is due; return the new sources that are whole, oldest first, documents in bundles."""
        now = time.monotonic()
        for listing in self._listings:
            if is_remote(listing.text):
                self._look_remote(listing, book, now)
            elif listing.due <= now:
                self._look_local(listing, book)
        whole = [one for one in self._candidates.values() if self._whole(one, now)]
        whole.sort(key=lambda one: (one.ready_at, one.location))
        self._queue = deque((one.ready_at, one.location) for one in whole)
        files: list[Input] = [one.location for one in whole if not self._is_document(one)]
        documents = [Listed(one.location, one.identity) for one in whole if self._is_document(one)]
        return [*files, *bundled(sorted(documents))]

    @property
    def due(self) -> float:
        """When to call `ready` again, as `time.monotonic` tells it."""
        times = [listing.due for listing in self._listings if listing.future is None]
        if any(listing.future is not None for listing in self._listings):
            times.append(time.monotonic() + 0.2)
        quiet = self._settings.quiet_seconds
        times += [one.since + quiet for one in self._candidates.values() if one.restless]
        return min(times, default=time.monotonic() + 1.0)

    def _look_local(self, listing: _Listing, book: SourceBook) -> None:
        began = time.monotonic()
        self._look += 1
        try:
            for found in list_input(listing.text):
                self._found(found, listing.text, book, began)
            listing.problem = ""
        except (OSError, SourceError) as error:
            listing.problem = str(error)
        self._forget(listing.text)
        now = time.monotonic()
        listing.due = now + max(self._settings.follow_seconds, SHARE * (now - began))

    def _look_remote(self, listing: _Listing, book: SourceBook, now: float) -> None:
        """Take what a listing in its thread has found, and begin the next one: a store may not answer."""
        if listing.future is None:
            if listing.due <= now and self.backoff.due(listing.text, now):
                listing.future = _listing_of(listing.text)
            return
        if not listing.future.done():
            return
        future, listing.future = listing.future, None
        listing.due = now + self._settings.remote_seconds
        self._look += 1
        try:
            for found in future.result():
                self._found(found, listing.text, book, now)
        except SourceError as error:
            listing.problem = str(error)
            self.backoff.failed(listing.text, now)
            return
        listing.problem = ""
        self._forget(listing.text)

    def _found(self, found: Listed, origin: str, book: SourceBook, now: float) -> None:
        """Keep what is new of a file that was found."""
        location, identity = found
        if location.endswith(PATH_LIST_SUFFIXES):
            for named in self._path_list(location, identity):
                self._found(Listed(named, None if is_remote(named) else identify(named)), origin, book, now)
            return
        if not self._shard.owns(location):
            return
        if identity is None:
            # A name that is gone, or no file; of a store, what its listing does not tell.
            if not is_remote(location) or hash(location) in self._asked:
                return
        elif book.number(location, identity) is not None or book.refused(location, identity):
            return
        known = self._candidates.get(location)
        if known is not None and known.identity == identity:
            known.look = self._look
            return
        if known is None and len(self._candidates) >= MOST_CANDIDATES:
            return
        since = now
        if identity is not None and time.time() - identity.mtime_ns / 1e9 > OLD_SECONDS:
            since = now - (time.time() - identity.mtime_ns / 1e9)
        self._candidates[location] = _Candidate(location, identity, since, self._look, origin)

    def _forget(self, origin: str) -> None:
        """Drop candidates that a look at their input no longer saw: they are gone, or known."""
        gone = [
            one.location
            for one in self._candidates.values()
            if one.origin == origin and one.look != self._look
        ]
        for location in gone:
            del self._candidates[location]

    def _path_list(self, location: str, identity: Identity | None) -> list[str]:
        before = self._lists.get(location)
        if before is None or identity is None or before[0] != identity:
            before = self._lists[location] = (identity, read_path_list(location, self._base))
        return before[1]

    # -- is it whole -------------------------------------------------------------------------------------

    def _is_document(self, one: _Candidate) -> bool:
        return bool(document_type(one.location)) and one.identity is not None

    def _whole(self, one: _Candidate, now: float) -> bool:
        if not self.backoff.due(one.location, now):
            one.why = one.why or "its store cannot be read now"
            one.restless = False
            return False
        if not one.ready_at:
            one.why = "" if is_remote(one.location) else self._why_waiting(one, now)
            if one.why:
                return False
            one.ready_at = now
        return True

    def _why_waiting(self, one: _Candidate, now: float) -> str:
        """Say why a local file is not taken; empty where it may be."""
        if suffix := name_says_unfinished(one.location):
            return f"its name ends in {suffix}"
        quiet = now - one.since
        one.restless = quiet < self._settings.quiet_seconds
        if one.restless:
            return f"it was written to in the last {self._settings.quiet_seconds:g} s"
        if not os.access(one.location, os.R_OK):
            return "it may not be read: permission denied"
        if quiet >= self._settings.incomplete_seconds:
            return ""
        if not one.checked:
            one.why, one.checked = _unfinished(one), True
        return "" if one.why == UNTOLD and quiet >= UNTOLD_SECONDS else one.why

    def still(self, one: Input) -> Input | None:
        """Return what is as it was of an input that was ready: reading those before it may take hours."""
        if isinstance(one, Source):
            same = [entry for entry in one.entries if self._same(entry_location(one.location, entry.name))]
            return bundle(one.location, same) if same else None
        return one if self._same(one) else None

    def _same(self, location: str) -> bool:
        if self._queue and self._queue[0][1] == location:
            self._queue.popleft()
        candidate = self._candidates.get(location)
        if candidate is None:
            return False
        if candidate.identity is None or is_remote(location) or identify(location) == candidate.identity:
            return True
        del self._candidates[location]  # the next look watches it anew
        return False

    # -- what became of it -------------------------------------------------------------------------------

    def became(self, one: Input, report: SourceReport | None) -> None:
        """Note what became of an input that was ready."""
        now = time.monotonic()
        locations = [one] if isinstance(one, str) else [location for location, _ in files_of(one)]
        if report is not None and report.outcome == POSTPONED:
            self.backoff.failed(locations[0], now)
            if not report.sequence:  # else the book says what is left
                for location in locations:
                    if candidate := self._candidates.get(location):
                        candidate.why, candidate.ready_at = report.reason, 0.0
                return
        else:
            self.backoff.worked(locations[0])
        for location in locations:
            candidate = self._candidates.pop(location, None)
            if candidate is not None and candidate.identity is None:
                self._asked.add(hash(location))
        while self._queue and self._queue[0][1] not in self._candidates:
            self._queue.popleft()

    # -- what is waited for ------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many new files are not whole yet."""
        return sum(not one.ready_at or bool(one.why) for one in self._candidates.values())

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest source that is whole and not begun. May be asked by another thread."""
        queue = self._queue
        try:
            return time.monotonic() - queue[0][0]
        except IndexError:
            return 0.0

    def why_waiting(self, most: int) -> Iterator[dict[str, Any]]:
        """Yield some of the files that are waited for, with the reason and since when."""
        now = time.monotonic()
        for one in self._candidates.values():
            if one.why:
                yield {
                    "source": printable(one.location),
                    "why": one.why,
                    "seconds": round(now - one.since),
                }
                most -= 1
                if not most:
                    return

    def problems(self) -> dict[str, str]:
        """Return the inputs that cannot be looked at, with the reason."""
        return {printable(one.text): one.problem for one in self._listings if one.problem}


def _listing_of(text: str) -> Future[list[Listed]]:
    """List an input in a thread that nobody waits for at the end: a store may not answer for minutes."""
    future: Future[list[Listed]] = Future()

    def run() -> None:
        try:
            future.set_result(list(list_input(text)))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="list", daemon=True).start()
    return future


def _unfinished(one: _Candidate) -> str:
    try:
        source = inspect(one.location)
    except SourceError:
        # Refused by its name or its first bytes; an empty one may still get some.
        return "it is empty" if one.identity is not None and not one.identity.size else ""
    try:
        file = LocalFile(str(Path(one.location)))
    except OSError:
        return ""
    try:
        return why_unfinished(file, source)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    finally:
        file.close()
