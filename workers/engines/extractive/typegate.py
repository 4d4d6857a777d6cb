"""Whether the subject is of the kind that a slot asks for (rule c): by meaning, and by its nouns.

"subject: first sentence" is embedded and compared with all slot descriptions of the bank; a slot's own must
be among the nearest 3 % (15 % where plain nouns agree). A rank, not a cosine: it asks which of the bank's
kinds the subject is most like, so it needs no threshold of the encoder's own. Descriptions outside the bank
are ranked among it. Nearness mixes up what goes together (a test and the disease that it finds), so nouns
of a few plain kinds have a veto.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from workers.encoder import Encoder, FloatArray
from workers.match.bank import Bank, slots
from workers.vector_cache import cached

NEAREST_SHARE: Final = 0.03
AGREED_SHARE: Final = 0.15
"""Enough where the nouns agree: plain descriptions ("a condition") lie behind a hundred exacter ones."""
FIRST_SENTENCE_CHARACTERS: Final = 300


_KINDS: Final[dict[str, frozenset[str]]] = {
    kind: frozenset(nouns.split())
    for kind, nouns in {
        "illness": "disease disorder condition syndrome illness infection cancer tumor tumour "
        "defect deficiency injury symptom "
        "problem complaint pain diagnosis allergy malformation abnormality disability inflammation "
        "virus fever poisoning "
        "dystrophy anemia leukemia epilepsy paralysis rash ache swelling fracture disturbance "
        "stroke attack sensation",
        "care": "test procedure exam examination surgery operation scan therapy treatment "
        "transplant transplantation technique "
        "biopsy imaging screening replacement rehabilitation vaccine vaccination testing device implant",
        "substance": "drug medicine medication supplement vitamin mineral chemical compound element "
        "metal gas food drink substance "
        "hormone protein enzyme antibiotic remedy nutrient carbohydrate ingredient",
        "organism": "animal bird plant species insect bacterium bacteria virus parasite microbe "
        "tree dog cat fish mammal organism "
        "fungus worm mosquito",
        "body": "organ gland bone muscle tissue joint",
        "place": "city country region river lake mountain island state town place park village sea "
        "ocean desert kingdom territory "
        "county canyon coast forest volcano",
        "person": "person scientist artist politician athlete ruler founder inventor author "
        "musician physicist philosopher player "
        "singer leader actor writer president official",
        "organization": "company agency organization organisation museum university school "
        "institution charity business team "
        "broadcaster church parliament",
        "technology": (
            "website app tool software technology api platform browser smartphone algorithm database"
        ),
        "law": "law act treaty policy regulation rule directive memo",
        "field": (
            "field science study theory discipline branch profession subject health safety "
            "wellness nutrition fitness"
        ),
        "event": "war battle event disaster festival game match conference",
        "object": "rock fossil planet star moon galaxy comet crater",
        "work": "novel film book song series album painting play",
    }.items()
}
_KIND_OF: Final = {
    noun: {kind for kind, nouns in _KINDS.items() if noun in nouns}
    for nouns in _KINDS.values()
    for noun in nouns
}
_DEFINES: Final = re.compile(
    r"^(?:\s*\([^)]{1,60}\))?,?\s+(?:is|are|was|were|refers? to|means?)\s+((?:[\w'’-]+[ ,]+){0,9}[\w'’-]+)"
)
_DEFINITION_ENDS: Final = re.compile(
    r"\b(?:that|which|who|in|of|caused|characterized|when|where|with|for|from|to|affecting)\b"
)


_ILLNESS_ENDINGS: Final = re.compile(
    r"(?:oma|omas|itis|osis|oses|pathy|pathies|plasia|plasias|trophy|trophies|[ae]mia|uria|algia|"
    r"iasis|opia|penia|plegia|"
    r"sclerosis|dactyly|cephaly|ataxia)$"
)


def kinds(phrase: str) -> set[str]:
    """Return the plain kinds that a phrase's nouns name."""
    out: set[str] = set()
    for word in re.findall(r"[a-z]+", phrase.lower()):
        for form in (word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)):
            out |= _KIND_OF.get(form, set())
        if _ILLNESS_ENDINGS.search(word):
            out.add("illness")
    return out


def agreement(description: str, name: str, rest_of_sentence: str) -> bool | None:
    """Say whether a slot's description and the subject name a common plain kind; None where one names none.

    The subject's kind is its last noun's ("knee replacement"), else that of what its sentence says it is:
    `rest_of_sentence` is the text behind the subject ("is a disease that …").
    """
    asked = kinds(description)
    head = re.split(r"\s+(?:of|in|with|for|from|on|and|type|\d)", name, maxsplit=1)[0].split()
    found = kinds(head[-1]) if head else set()
    if not found and (match := _DEFINES.match(rest_of_sentence)):
        found = kinds(_DEFINITION_ENDS.split(match.group(1), maxsplit=1)[0])
    return bool(asked & found) if asked and found else None


def passes(place: float, agreed: bool | None) -> bool:
    """Whether a subject may fill a slot: `place` as `TypeGate.places` gives it."""
    return agreed is not False and place <= (AGREED_SHARE if agreed else NEAREST_SHARE)


def probe(name: str, first_sentence: str) -> str:
    """Return the text that stands for a subject."""
    return f"{name}: {first_sentence[:FIRST_SENTENCE_CHARACTERS]}"


class TypeGate:
    """Ranks slot descriptions by nearness to a subject."""

    def __init__(self, bank: Bank, encoder: Encoder) -> None:
        """Embed the bank's distinct slot descriptions (or read them from the user's cache)."""
        known = sorted({d.strip() for template in bank.templates for d in slots(template)})
        digest = hashlib.blake2b("\n".join(known).encode(), digest_size=8).hexdigest()
        self._encoder = encoder
        self._vectors = cached(
            f"slots {digest} {encoder.name}", (len(known), encoder.dimension), lambda: encoder.encode(known)
        )
        self._row = {description: i for i, description in enumerate(known)}

    def places(self, subject: FloatArray, descriptions: Sequence[str]) -> list[float]:
        """Return for each description the share of the bank's that lie nearer to the subject, 0..1."""
        similarities = self._vectors @ subject
        unknown = [d for d in descriptions if d not in self._row]
        extra = dict(zip(unknown, self._encoder.encode(unknown) @ subject, strict=True)) if unknown else {}
        own = [extra[d] if d in extra else similarities[self._row[d]] for d in descriptions]
        return [float(np.count_nonzero(similarities > value)) / max(1, len(similarities)) for value in own]
