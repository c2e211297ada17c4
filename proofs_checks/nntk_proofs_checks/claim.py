"""What a claim is, and what running one gives."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from functools import cached_property

import numpy as np

from nntk_accelerated import AcceleratedError
from nntk_proofs_checks.panel import Panel
from nntk_reference import NntkError, QuadratureError, Verdict, validation
from nntk_reference.arithmetic import Array

__all__ = [
    "CheckFunction",
    "Claim",
    "Effort",
    "Evidence",
    "Finding",
    "Inputs",
    "Problem",
    "Result",
    "evaluate",
    "for_its_reason",
    "run",
    "together",
    "unmet",
]


class Evidence(StrEnum):
    """What a verdict rests on (docs/verdicts.md)."""

    EXACT = "exact"
    """Rational or symbolic identities."""
    CERTIFIED = "certified"
    """Enclosures: true or undecided, never wrong."""
    MEASURED = "measured"
    """Statistics, with a stated error rate."""


class Effort(IntEnum):
    """How many cases, at which sizes; the code is the same."""

    QUICK = 0
    DEFAULT = 1
    FULL = 2


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set to verify the claims on: X (M, d) and y (M,), float64, and where they come from.

    `seed` sets which networks are drawn. Equal and hashable by content: two problems with the same numbers, seed and source are
    the same key of a cache. The arrays are copies that cannot be written to.
    Raises InputError for wrong shapes, dtypes and entries that are not finite.
    """

    X: Array
    y: Array
    source: str
    seed: int = 0

    def __post_init__(self) -> None:
        X, y = (np.array(values) for values in validation.data_set(self.X, self.y))
        validation.seed(self.seed)
        for name, values in (("X", X), ("y", y)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    @cached_property
    def _content(self) -> tuple[object, ...]:
        return self.X.shape, self.X.tobytes(), self.y.tobytes(), self.source, self.seed

    def __eq__(self, other: object) -> bool:
        return self._content == other._content if isinstance(other, Problem) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Points X (M, d) without targets, hashable and equal by content: the key of a cache of what depends on nothing else.

    Problems that differ in their targets, seed or source alone share a limit kernel and its spectrum through it.
    Raises InputError as `Problem` does.
    """

    X: Array

    def __post_init__(self) -> None:
        X = np.array(validation.inputs(self.X))
        X.flags.writeable = False
        object.__setattr__(self, "X", X)

    @cached_property
    def _content(self) -> tuple[object, ...]:
        return self.X.shape, self.X.tobytes()

    def __eq__(self, other: object) -> bool:
        return self._content == other._content if isinstance(other, Inputs) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content)


@dataclass(frozen=True)
class Finding:
    """What a check found: the verdict, and the decisive number beside the limit it was held against.

    number     what decided; None where no number did, which reports show as "-".
    relation   how `number` must stand to `limit` for the claim to hold: "≤", "≥", "<", ">" or "="; for a measured
               exponent or mean "≲" (its interval does not lie above the limit) or "≈" (it contains the limit).
    cases      how many cases were run. `why` says what decided, in one sentence.
    applies    False where the claim says nothing about the data set: an assumption is not met, or the case is out of reach.
               The verdict is then undecided, and `why` says which.
    panels     the figure's axes.
    """

    verdict: Verdict
    number: float | None
    relation: str
    limit: float | None
    cases: int
    why: str
    applies: bool = True
    panels: tuple[Panel, ...] = ()

    @classmethod
    def undecided(
        cls,
        why: str,
        *,
        cases: int = 0,
        number: float | None = None,
        relation: str = "",
        limit: float | None = None,
        panels: tuple[Panel, ...] = (),
    ) -> Finding:
        """Neither was established, for the reason `why`; with what number there is."""
        return cls(Verdict.UNDECIDED, number, relation, limit, cases, why, panels=panels)


def unmet(why: str) -> Finding:
    """The finding of a claim that does not apply to the data set."""
    return replace(Finding.undecided(why), applies=False)


def together(parts: Mapping[str, Finding], wanted: Verdict = Verdict.HOLDS) -> Finding:
    """One finding from those of a claim's parts: `wanted` only if every part is; else that of the part furthest from it.

    For a claim, `wanted` is HOLDS; for a control of several parts, each of which has to fail, it is REFUTED. Parts that do not
    apply to the data are left out, and said to be, unless none does.
    """
    applying = {name: f for name, f in parts.items() if f.applies}
    away = {wanted: 0, Verdict.UNDECIDED: 1}
    worst = max((applying or parts).values(), key=lambda f: away.get(f.verdict, 2))
    whys = [f"{name}: {f.why}" for name, f in parts.items() if f.verdict is worst.verdict and f.applies is worst.applies]
    left_out = [f"left out: {name} ({f.why})" for name, f in parts.items() if worst.applies and not f.applies]
    return replace(
        worst,
        cases=sum(f.cases for f in parts.values()),
        why="; ".join(whys + left_out),
        panels=tuple(p for f in parts.values() for p in f.panels),
    )


def for_its_reason(found: Finding, instead: Finding) -> Finding:
    """The finding of a control, whose refutation counts only if `instead` holds: else it is undecided.

    `instead` is what theory puts in the place of the broken statement, or the statement for the same quantity with its
    assumption kept. A quantity that is 0, or noise, contradicts the statement, too, but for another reason.
    """
    if found.verdict is not Verdict.REFUTED:
        return found
    if instead.verdict is not Verdict.HOLDS:
        return Finding.undecided(
            f"{found.why}; but not for the reason stated: {instead.why}", cases=found.cases, panels=found.panels
        )
    return replace(found, why=f"{found.why}; instead, {instead.why}")


CheckFunction = Callable[[Problem, Effort], Finding]


@dataclass(frozen=True)
class Claim:
    """A statement, the check that can refute it, and a negative control: the check where an assumption is broken.

    `control` must come out refuted; `control_reason` says why it must.
    """

    id: str
    statement: str
    assumptions: str
    evidence: Evidence
    check: CheckFunction
    control: CheckFunction
    control_reason: str

    @property
    def theory(self) -> str:
        """Where the statement is derived."""
        return f"docs/theory.md#{self.id}"


@dataclass(frozen=True)
class Result:
    """A claim's finding and its control's; `seconds` is the time of both."""

    claim: Claim
    finding: Finding
    control: Finding
    seconds: float

    @property
    def passed(self) -> bool:
        """Does the claim hold, and is its control refuted? So also where the claim does not apply to the data."""
        if not self.finding.applies:
            return True
        return self.finding.verdict is Verdict.HOLDS and self.control.verdict is Verdict.REFUTED


def run(claim: Claim, problem: Problem, effort: Effort) -> Result:
    """Check a claim and its negative control on a data set. A check that fails leaves its verdict undecided and says why."""
    start = time.perf_counter()
    finding = evaluate(claim.check, problem, effort)
    control = evaluate(claim.control, problem, effort) if finding.applies else unmet("not run: the claim does not apply")
    return Result(claim, finding, control, time.perf_counter() - start)


def evaluate(check: CheckFunction, problem: Problem, effort: Effort) -> Finding:
    """The finding of a check; undecided, with the reason, where it raises."""
    try:
        return check(problem, effort)
    except QuadratureError as error:
        return unmet(f"out of reach: {error}")
    except (NntkError, AcceleratedError) as error:
        why = f"{type(error).__name__}: {error}"
    except Exception as error:  # a fault of the check itself, which must not hide what the other checks find
        if os.environ.get("NNTK_DEBUG") == "1":
            traceback.print_exc()
        why = f"internal error: {type(error).__name__}: {error}"
    return Finding.undecided(why)
