"""What a check is, how one is registered, and the cases that most of them are read off.

A check reads numbers off cases: `examine(setting, at)` gives the Reading of one case. The battery runs it on the check's
deterministic cases, small ones first, and then on cases that hypothesis draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from nntk.crosscheck.case import Case
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.setting import Reading, Setting
from nntk_proofs_checks import Effort

__all__ = ["ALL", "EXACT", "NEWTONS", "REGISTERED", "Check", "Examine", "check", "definite", "kinds", "some"]

NEWTONS = frozenset({"exact-newton", "gauss-newton", "approximate-newton"})
EXACT = frozenset({"exact-newton", "gauss-newton"})
ALL = NEWTONS | {"first-order"}

Cases = Callable[[Setting], Sequence[Case]]
Examine = Callable[[Setting, Case], Reading]
Drawn = Literal["any", "definite"] | None
About = Literal["step", "behaviour"]


@dataclass(frozen=True)
class Check:
    """One property of an optimizer.

    profiles     those that it belongs to; in those of `informative` it reports and does not judge.
    cases        the deterministic cases; the drawn ones are of any kind ("any"), with D ≻ 0 ("definite"), or none (None).
    share        how many of the effort's drawn cases it gets: less where a case takes many steps.
    about        "step": it decides whether the optimizer is accepted; "behaviour": it is about something beside its steps.
    """

    id: str
    statement: str
    profiles: frozenset[str]
    cases: Cases
    examine: Examine
    drawn: Drawn = "definite"
    informative: frozenset[str] = frozenset()
    share: float = 1.0
    about: About = "step"


REGISTERED: dict[str, Check] = {}
"""Every check that has been defined, by its id. `registry` puts them in order."""


def check(
    id: str,
    statement: str,
    *,
    profiles: frozenset[str],
    cases: Cases,
    drawn: Drawn = "definite",
    informative: frozenset[str] = frozenset(),
    share: float = 1.0,
    about: About = "step",
) -> Callable[[Examine], Examine]:
    """Register the decorated function, examine(setting, at), as the Check of this id. The function itself stays as it is."""

    def registered(examine: Examine) -> Examine:
        if id in REGISTERED:
            raise ValueError(f"two checks are called {id}")
        REGISTERED[id] = Check(id, statement, profiles, cases, examine, drawn, informative, share, about)
        return examine

    return registered


def some(setting: Setting, quick: int, usual: int, full: int = 12) -> int:
    """How many or how large, by the effort."""
    return {Effort.QUICK: quick, Effort.DEFAULT: usual, Effort.FULL: full}[setting.effort]


def kinds(setting: Setting) -> tuple[str, ...]:
    """The kinds of cases that tell: a nearly singular matrix makes 1/√eps times as much of what a tolerance allows."""
    return ("definite", "indefinite", "ascent") if setting.tolerant else ("definite", "indefinite", "ascent", "nearly singular")


def definite(quick: int, usual: int, least: int = 0) -> Cases:
    """Definite cases of widths from `least` on: so many with the effort quick, so many with the usual one."""
    return lambda setting: ladder("definite", setting.seed, setting.dtype, some(setting, quick, usual), least)
