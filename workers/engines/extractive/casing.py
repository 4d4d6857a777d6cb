"""How a title's words are written inside a sentence: "Back Pain" is "back pain", "Duane Syndrome" is not.

The text itself has the first word; where it never uses a word inside a sentence, a table decides: 15,500
words that the documents it was made from (NOTICE) write in lower case at least four times in five.
A word that is in neither stays as it stands, which is right for names and a blemish on rare terms.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib import resources
from typing import Final

_TERM_ENDINGS: Final = re.compile(
    r"(?:uria|[ae]?emia|osis|itis|oma|omas|pathy|pathies|plasia|plasias|trophy|trophies|algia|iasis|"
    r"opia|penia|"
    r"cytosis|cephaly|dactyly|plegia|paresis|phobia|mania|rrhea|ectomy|otomy|plasty|scopy|ectasia|"
    r"ectasis|stenosis|"
    r"sclerosis|dysplasia|philia|genesis|lysis|megaly|malacia|ptosis|esthesia|kinesia|taxia|"
    r"trichosis|keratosis|"
    r"dontia|somia|blastoma|carcinoma|sarcoma|dystonia|myotonia|toxicity|gram|graphy|(?:oid|itar|al|"
    r"ut|ic)ism)$"
)


@cache
def _table() -> frozenset[str]:
    data = resources.files(__package__).joinpath("lowercase.txt.gz").read_bytes()
    return frozenset(gzip.decompress(data).decode("utf-8").split())


_ADJECTIVE_ENDINGS: Final = re.compile(
    r"[a-z]{4,}(?:al|ic|ous|ive|ary|lar|oid|ate|ated|ized|genous|sion|tion|ity|ness|ance|ence|ing)$"
)
_NAMES: Final = frozenset(
    [
        "catholic",
        "islamic",
        "baltic",
        "nordic",
        "arabic",
        "hispanic",
        "atlantic",
        "pacific",
        "olympic",
        "antarctic",
        "arctic",
        "celtic",
        "gaelic",
        "slavic",
        "germanic",
        "republic",
        "portugal",
        "senegal",
        "montreal",
        "judaic",
        "hebraic",
        "balinese",
        "sterling",
        "fleming",
        "browning",
        "pickering",
        "wyoming",
        "beijing",
    ]
)
_TERM_HEADS: Final = re.compile(
    r"\b(?:syndrome|disease|disorder|deficiency|anemia|cancer|palsy|ataxia|dystrophy)s?\b", re.IGNORECASE
)


def common_word(word: str) -> bool:
    """Whether a word is written in lower case inside a sentence, as far as table and endings know."""
    first, *rest = re.split(r"[-–]", word)
    if any(part[:1].isupper() for part in rest):
        return False  # "Burn-McKeown"
    lower = first.lower()
    prefix = lower.endswith("o") and len(lower) > 3 and len(word) > len(lower)  # "Septo-optic"
    return (
        prefix
        or lower in _table()
        or bool(_TERM_ENDINGS.search(lower))
        or bool(_ADJECTIVE_ENDINGS.fullmatch(lower) and lower not in _NAMES)
    )


def running(title: str) -> str:
    """Return a title's words as a sentence would write them, where nothing but the words is known.

    Word by word for a medical term ("Duane Syndrome" becomes "Duane syndrome"); anything else with one word
    that is not common is a name and stays as it stands.
    """
    words = re.findall(r"[A-Za-z][A-Za-z’']*", title)
    if (
        not _TERM_HEADS.search(title)
        and len(words) > 1
        and not all(common_word(word) for word in words if word[0].isupper() and len(word) > 3)
    ):
        return title
    return re.sub(r"[A-Za-z][A-Za-z’'-]*", lambda m: _word(m.group()), title)


def _word(word: str) -> str:
    if "-" in word:
        parts = word.split("-")
        known = all(common_word(part) or part.islower() or len(part) < 2 for part in parts)
        return "-".join(map(_word, parts)) if known else word
    plain = word[:1].isupper() and word[1:].islower()
    return word.lower() if plain and common_word(word.removesuffix("'s").removesuffix("’s")) else word
