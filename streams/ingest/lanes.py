"""Which lane a document goes to: a stable hash of its canonical URL.

Exact duplicates are only sought within a lane, so the spellings of one address must meet in one lane: scheme,
`www.`, user, default port, letter case of the host, and fragment don't count; path and query do. A hash of
the *content* would make that deduplication complete, but would put a page's revisions into different lanes
(our choice; the share that is missed is measured by the accounts).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

LANE_HASH_VERSION: Final = 1
"""Booked with each source: raise it when a URL would get another lane."""

_URL: Final = re.compile(
    r"\s*<?(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(?:www\.)?([^/?#:]+)(?::(?:80|443)?(?=[/?#]|$))?([^#]*)",
    re.IGNORECASE,
)


def canonical_url(url: str) -> str:
    """Return the form of a URL that names its lane; of what is no URL, the text before any `#`."""
    match = _URL.match(url)
    if match is None:
        return url.partition("#")[0].strip()
    rest = match[2].rstrip("> \t\r\n")
    return match[1].lower() + (rest if rest[:1] == "/" else "/" + rest)


def lane_of(key: str, lanes: int) -> int:
    """Return the lane of a canonical URL (or of an id, where a document has no URL)."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % lanes
