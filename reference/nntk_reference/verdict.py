"""The three values of every verdict."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Verdict"]


class Verdict(StrEnum):
    """HOLDS and REFUTED are results; UNDECIDED says that neither was established.

    A verdict has no truth value, so that nobody takes undecided for either.
    """

    HOLDS = "holds"
    REFUTED = "refuted"
    UNDECIDED = "undecided"

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three values; compare it with Verdict.HOLDS, REFUTED or UNDECIDED")
