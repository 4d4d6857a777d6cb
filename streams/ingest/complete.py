"""Is a local file whole? By its name, and by how its last bytes end what its format began.

Nobody tells a reader that a writer has finished. A name or a closed gzip member says it; time alone does not,
since a crawler may pause for longer than anyone would like to wait. Where the end of a large file cannot be
told cheaply, only a longer silence is left. The alternative, asking the kernel who has the file open, fails
across machines and needs rights.
"""

from __future__ import annotations

import json
import time
import zlib
from typing import Any, Final

from streams.ingest.source import Compression, Kind, Source
from streams.ingest.stored import StoredFile
from streams.ingest.zstd_frames import FrameWalk

UNFINISHED_SUFFIXES: Final = (
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".open",
    ".crdownload",
    ".download",
    ".filepart",
    ".incomplete",
    ".swp",
    "~",
)
"""Writers put one behind a name until they have finished; `.open` is Heritrix's."""
TAIL_BYTES: Final = 16 * 1024 * 1024
"""How far from its end the last gzip member of a file is looked for."""
WALK_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Of a longer zstd file the frames are not walked."""
WALK_SECONDS: Final = 1.0
"""For the records of a plain WARC file."""
_MEMBER: Final = b"\x1f\x8b\x08"
_OPEN_MEMBER: Final = "its last gzip member is not closed"
_ARROW_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_LINE_BYTES: Final = 64 * 1024

UNTOLD: Final = "its end cannot be told cheaply"
"""The one answer that a moderate silence outweighs."""


def name_says_unfinished(location: str) -> str:
    """Say by which suffix a name calls itself unfinished; empty where it does not."""
    name = location.rpartition("/")[2].lower()
    return next((suffix for suffix in UNFINISHED_SUFFIXES if name.endswith(suffix)), "")


def why_unfinished(file: StoredFile, source: Source) -> str:
    """Say why an open local file does not look whole; empty where it does, or where its format cannot tell.

    Bounded: some megabytes are read, or a second passes, however large the file is; of a zstd file up to
    2 GB are walked. Whether it is *damaged* is not asked: its reader finds that out.
    """
    if file.size == 0:
        return "it is empty"
    look = _COMPRESSED.get(source.compression) or _PLAIN.get(source.kind)
    return look(file) if look is not None else ""


def _last(file: StoredFile, length: int) -> bytes:
    return b"".join(file.stored(max(file.size - length, 0), length))


def _gzip(file: StoredFile) -> str:
    """Look, from the end, for a member that reaches it, or for one that another, open one follows.

    A member's checksum leaves no doubt, so a false begin costs a look and no more; a file that is one member
    longer than the tail has none in there.
    """
    start = max(file.size - TAIL_BYTES, 0)
    tail = memoryview(b"".join(file.stored(start, file.size - start)))
    text = tail.obj
    assert isinstance(text, bytes)
    at = text.rfind(_MEMBER)
    deadline = time.monotonic() + WALK_SECONDS
    while at >= 0 and time.monotonic() < deadline:
        closed, ended = _members(tail[at:])
        if closed:
            return "" if ended else _OPEN_MEMBER
        at = text.rfind(_MEMBER, 0, at)
    return UNTOLD if start or at >= 0 else _OPEN_MEMBER


def _members(data: memoryview) -> tuple[int, bool]:
    """Return how many whole members stand at the begin of some bytes, and whether nothing follows them."""
    closed = 0
    rest: Any = data
    try:
        while len(rest):
            inflater = zlib.decompressobj(wbits=31)
            inflater.decompress(rest, 1 << 20)
            while not inflater.eof and inflater.unconsumed_tail:
                inflater.decompress(inflater.unconsumed_tail, 1 << 20)
            if not inflater.eof:
                return closed, False
            closed += 1
            rest = inflater.unused_data
    except zlib.error:
        # Behind whole members: nothing that a writer would still mend, so its reader says what it is.
        return closed, closed > 0
    return closed, True


def _zstd(file: StoredFile) -> str:
    if file.size > WALK_BYTES:
        return UNTOLD
    walk = FrameWalk()
    try:
        for piece in file.stored(0, file.size):
            walk.feed(piece)
    except OSError as error:
        if error.errno is not None:
            raise
        return ""  # no file that a writer will mend: its reader says what is wrong
    # What is no frame will not become one: the same.
    return "" if walk.closed or walk.lost else "its last zstd frame is not closed"


def _warc(file: StoredFile) -> str:
    """Go from record to record by their lengths: two line ends may well stand in the middle of one."""
    at, body_end, deadline = 0, 0, time.monotonic() + WALK_SECONDS
    while at < file.size:
        if time.monotonic() > deadline:
            return UNTOLD
        head = b"".join(file.stored(at, 8192))
        skipped = len(head) - len(head.lstrip(b"\r\n"))
        head = head[skipped:]
        if not head:
            at += skipped
            continue
        length = _content_length(head)
        if length is None:
            # Either it ends within a header, or no length is where one should be: the reader's to say.
            cut = b"\r\n\r\n" not in head and at + skipped + len(head) == file.size
            return "its last record has no end" if cut else ""
        at = body_end = at + skipped + head.index(b"\r\n\r\n") + 4 + length
    whole = file.size - body_end >= 4 and _last(file, 4) == b"\r\n\r\n"
    return "" if whole else "its last record has no end"


def _content_length(head: bytes) -> int | None:
    fields, found, _ = head.partition(b"\r\n\r\n")
    if not found or not fields.startswith(b"WARC/"):
        return None
    for line in fields.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value) if value.strip().isdigit() else None
    return None


def _jsonl(file: StoredFile) -> str:
    tail = _last(file, _LINE_BYTES)
    if tail.endswith((b"\n", b"\r")):
        return ""
    line = tail.rpartition(b"\n")[2]
    if len(line) == len(tail) < file.size:
        return UNTOLD
    try:
        json.loads(line)
    except ValueError:
        return "its last line has no end"
    return ""


def _parquet(file: StoredFile) -> str:
    return "" if file.size >= 12 and _last(file, 4) == b"PAR1" else "its Parquet footer is missing"


def _arrow(file: StoredFile) -> str:
    ended = _last(file, 8) == _ARROW_END or _last(file, 6) == b"ARROW1"
    return "" if ended else "its Arrow stream has no end"


_COMPRESSED: Final = {Compression.GZIP: _gzip, Compression.ZSTD: _zstd}
_PLAIN: Final = {Kind.WARC: _warc, Kind.JSONL: _jsonl, Kind.PARQUET: _parquet, Kind.ARROW: _arrow}
