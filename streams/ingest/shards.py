"""Which of several ingesters reads a file and writes a lane, and how their number is changed.

Ingester i of n reads the files whose hash mod n is i, and writes the lanes i, i + n, i + 2n …: one writer a
lane, without a word between siblings. For each ingester's transactional id the book `sources` holds the n
that it works under, written only by a producer with that id:

1. an ingester works only once it has initialised its id and *then* read that ids 0 … n-1 say n and all
   others say 0; so nobody can change the number without taking its id, which fences it;
2. only ingester 0 changes the number. It initialises the ids of the old and the new set, which fences all
   who hold them; reads the book; refuses where a source is open that was booked under another n (its lanes
   would change); writes the new n as each of the ids. Whoever takes one of them back in between makes that
   write fail, and reads a set that disagrees with itself, in which nobody works;
3. the others wait until the book says their n.

An open source is finished by the n that began it. A lock would be simpler, but somebody paused for an hour
still believes that it holds one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from streams import books
from streams.errors import Fenced, ShardMismatch
from streams.ingest.shard import Shard

if TYPE_CHECKING:
    from streams.ingest.source_book import SourceBook
    from streams.settings import Settings

WAIT_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 120.0
"""How long an ingester that is not the first waits for the first one to change the number."""
TRIES: Final = 5
"""Of changing it, while others change it too."""


def transactional_id(pipeline: str = "main", ingester: int = 0) -> str:
    """Return the transactional id that fences zombies of one ingester."""
    return f"ingest.{pipeline}.{ingester}"


def join(
    settings: Settings,
    book: SourceBook,
    shard: Shard,
    stopping: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
) -> books.BookWriter | None:
    """Take an ingester's place; return its writer, the book read after it was taken.

    None where it should stop while it waits. Raises `ShardMismatch` where another number is at work and may
    not be changed now.
    """
    tries, deadline, said = 0, time.monotonic() + PATIENCE_SECONDS, False
    while True:
        book.catch_up()
        if book.agrees(shard.count):
            writer = books.BookWriter(settings, transactional_id(ingester=shard.index))
            book.catch_up()  # what was written before the id was taken; afterwards nobody can change it
            if book.agrees(shard.count):
                return writer
            writer.close()
            continue
        _require_none_open(book, shard)
        if shard.index == 0:
            tries += 1
            try:
                _change(settings, book, shard)
            except Fenced:  # another number is wished for at the same time
                if tries >= TRIES:
                    raise
                time.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - no secret
            continue
        if not said:
            said = True
            say(f"ingester {shard} waits until ingester 0/{shard.count} has changed the number of ingesters")
        if stopping():
            return None
        if time.monotonic() > deadline:
            raise ShardMismatch(
                f"ingester {shard} waited {PATIENCE_SECONDS:.0f} s for ingester 0/{shard.count}, which "
                f"changes the number of ingesters (now {book.ingesters or 'between two numbers'}); start it"
            )
        time.sleep(WAIT_SECONDS)


def _change(settings: Settings, book: SourceBook, shard: Shard) -> None:
    """Make `shard.count` the number of ingesters. Raises `Fenced` where somebody takes an id meanwhile."""
    ids = range(max(shard.count, book.highest_id + 1))
    writers: list[books.BookWriter] = []
    try:
        for number in ids:  # one by one: those that are open are closed where the next one fails
            writers.append(books.BookWriter(settings, transactional_id(ingester=number)))  # noqa: PERF401
        book.catch_up()  # nobody of the old number can book or finish any more
        _require_none_open(book, shard)
        for number, writer in enumerate(writers):
            book.bind(writer, number, shard.count if number < shard.count else 0)
    finally:
        for writer in writers:
            writer.close()


def _require_none_open(book: SourceBook, shard: Shard) -> None:
    others = [one for one in book.open() if one.booking.ingesters != shard.count]
    if not others:
        return
    booking = others[0].booking
    began = Shard(booking.shard, booking.ingesters)
    how = "" if began.count == 1 else f" --shard {began}"
    raise ShardMismatch(
        f"source {booking.url} is open: it was begun by ingester {began}, and this is ingester {shard}; its "
        f"lanes would change. Finish it first: `finestream ingest{how}` without any path ends when it is done"
    )
