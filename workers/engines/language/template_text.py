"""A template as its parts: the words around its slots, and the slots' descriptions.

The one reading of `<fi>description</fi>` that validation goes by: a tag that is open, nested or empty makes
the whole template no template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_TAG: Final = re.compile(r"<(/?)fi>")


@dataclass(frozen=True, slots=True)
class TemplateText:
    """`words[0] slots[0] words[1] … slots[-1] words[-1]`: one more piece of words than there are slots."""

    words: tuple[str, ...]
    slots: tuple[str, ...]  # descriptions, in order, repeats included

    def filled(self, values: dict[str, str]) -> str:
        """Return the text with each description replaced by its value."""
        parts = [self.words[0]]
        for description, words in zip(self.slots, self.words[1:], strict=True):
            parts += (values[description], words)
        return "".join(parts)


@lru_cache(maxsize=4096)
def read_template(template: str) -> TemplateText | None:
    """Return a template's parts, or None where its tags are not balanced, nested, empty or none at all."""
    words: list[str] = []
    slots: list[str] = []
    done = 0
    inside = False
    for tag in _TAG.finditer(template):
        if bool(tag[1]) is not inside:
            return None
        part = template[done : tag.start()]
        if inside:
            if not part.strip():
                return None
            slots.append(part.strip())
        else:
            words.append(part)
        inside = not inside
        done = tag.end()
    if inside or not slots:
        return None
    return TemplateText((*words, template[done:]), tuple(slots))
