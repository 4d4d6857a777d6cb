"""How one model is spoken to: the same three things for every role, and a table of them by name.

A profile is the form that a model was trained on or that we teach it by examples: what it is sent, the JSON
schema that holds it to that form, and how its words are read. Plain frozen values, so that settings can name
them; another model with another form is another row in its role's table, not a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TypeVar

from streams.errors import SettingsError

P = TypeVar("P")


def named(profiles: Mapping[str, P], setting: str, name: str) -> P:
    """Return a profile by its name; raise `SettingsError` that lists those there are."""
    try:
        return profiles[name]
    except KeyError:
        raise SettingsError(
            f"{setting} = {name!r} is no profile; there are: {', '.join(sorted(profiles))}"
        ) from None


@cache
def wording(name: str) -> str:
    """Return a prompt's text from the folder `prompts`, without its last line break."""
    return resources.files(__package__).joinpath("prompts", f"{name}.md").read_text("utf-8").rstrip("\n")
