"""Which of a registry's entries a command is to run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from nntk_reference import InputError

__all__ = ["UnknownIdError", "choose"]


class UnknownIdError(InputError):
    """No entry has this id; the message offers the nearest one."""


def choose(option: str, entries: Sequence[str], registry: Iterable[str]) -> list[str]:
    """The ids that `entries` name, in the registry's order; an entry is an id, or several with commas between.

    Raises UnknownIdError, which names the option.
    """
    known = list(registry)
    ids = [id.strip() for entry in entries for id in entry.split(",")]
    for id in ids:
        if id not in known:
            (near,) = difflib.get_close_matches(id.lower(), known, n=1, cutoff=0)
            raise UnknownIdError(option, f"one of {', '.join(known)}", f"{id!r} (did you mean {near!r}?)")
    return [id for id in known if id in ids]
