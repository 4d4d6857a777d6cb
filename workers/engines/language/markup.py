"""What must not be left in a finished pair: our tags, chat templates' control tokens, the training frame.

A tag in an answer is a model's slip or a document's trap; a control token or a line that begins with
"Answer:" would end the pair early for whoever trains on it. All of it is refused rather than cleaned: a pair
with such a thing in it is seldom right otherwise.
"""

from __future__ import annotations

import re
from typing import Final

GAP: Final = re.compile(r"<[ ]?(?:\.\.\.|\u2026)[ ]?>")
"""What stands between the first and the last words of an abbreviated excerpt."""
TAG: Final = re.compile(r"<[ ]?(/?)[ ]?excerpt[ ]?>", re.IGNORECASE)

_LEFT: Final = re.compile(
    r"</?[ ]?(?:fi|excerpt)\b|\bexcerpt>|&lt;/?(?:fi|excerpt)\b|<[ ]?(?:\.\.\.|\u2026)[ ]?>"  # ours
    r"|<[|\uff5c][^\s<>|\uff5c]{1,60}[|\uff5c]>"  # most chat templates (and no pipe of R or Elixir)
    r"|</?s>|<(?:start|end)_of_turn>|<<?/?SYS>|<(?:bos|eos|pad|unk)>|<(?:begin|end)_of_text>"
    r"|\[/?INST\]|\[gMASK\]|</?think>|</?tool_call>"
    r"|^[ \t]*(?-i:Instruction|Answer):",  # the training frame (paper section 5)
    re.IGNORECASE | re.MULTILINE,
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def has_markup(text: str) -> bool:
    """Whether a text holds a tag of ours, a control token, or a line that begins like the training frame."""
    return bool(_LEFT.search(text))


def is_broken(text: str) -> bool:
    """Whether a text holds what no UTF-8 text should: half surrogates, control characters."""
    return bool(_UNPRINTABLE.search(text))
