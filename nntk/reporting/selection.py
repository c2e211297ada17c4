"""Which of a registry's entries a command is to run."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from nntk_reference import InputError

__all__ = ["UnknownIdError", "choose", "known"]

_NEAR = 0.6
"""How like (difflib's ratio) an id must be to be offered for another."""


class UnknownIdError(InputError):
    """No entry has this id; the message offers one that is near."""


def choose(argument: str, entries: Sequence[str], registry: Collection[str]) -> list[str]:
    """The ids that `entries` name, in the registry's order; an entry is an id, or several with commas between.

    Blanks around an id do not count. Raises UnknownIdError, which names the argument, also for an id that is empty.
    """
    ids = [known(argument, id.strip(), registry) for entry in entries for id in entry.split(",")]
    return [id for id in registry if id in ids]


def known(argument: str, id: str, registry: Collection[str], where: str = "") -> str:
    """The id, if it is one of the registry's. Raises UnknownIdError; `where` says where it was found."""
    if id not in registry:
        near = difflib.get_close_matches(id.lower(), registry, n=1, cutoff=_NEAR)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UnknownIdError(argument, f"one of {', '.join(registry)}", where + (f"{id!r}{hint}" if id else "an empty id"))
    return id
