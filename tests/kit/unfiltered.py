"""Settings for tests whose texts are made up: prose that repeats itself is what the quality filters find."""

from typing import Any, Final

UNFILTERED: Final[dict[str, Any]] = {
    family: {"mode": "off"} for family in ("fineweb", "gopher_quality", "c4", "gopher_repetition")
}
"""For `chunk.filters`. Blocklists and opt-outs stay on."""
