"""A pair as the text a model is trained on: the paper's chat template, in one f-string.

The alternative, a template engine or two `replace` calls, would read the crawl: an instruction that holds
the text `{{answer}}` would be filled in. Here both parts are only ever copied.
"""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = "Instruction: {{instruction}}\n\nAnswer: {{answer}}"
"""The paper's template, as it is written into exported tokenizers and model cards (section 5)."""


def render(instruction: str, answer: str) -> str:
    """Return the training text of a pair (paper section 5). Both parts go in as they are."""
    return f"Instruction: {instruction}\n\nAnswer: {answer}"
