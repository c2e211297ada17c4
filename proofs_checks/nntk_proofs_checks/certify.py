"""From enclosures to findings: comparisons that are true, false or undecided, and the precision they are decided at."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from flint import arb, ctx

from nntk_proofs_checks.claim import Effort, Finding, Inputs, Problem, unmet
from nntk_proofs_checks.panel import Series
from nntk_proofs_checks.tried import LAW
from nntk_reference import PrecisionError, UnprovedError, Verdict, enclose_limit_ntk
from nntk_reference.arithmetic import Array, Ball, NotProved
from nntk_reference.linalg import enclose_eigenvalues

__all__ = [
    "BALLS",
    "GRIDS",
    "Comparison",
    "LimitSpectrum",
    "at_rising_precision",
    "cache_clear",
    "conclude",
    "curve",
    "limit_spectrum_at",
    "norm",
    "proved_spectrum",
    "settle",
    "unit_interval",
    "unmet_assumption",
]

BALLS = Ball(64)
"""The functions of ball arithmetic; they work at the flint precision in force."""

GRIDS: Mapping[Effort, tuple[int, ...]] = {Effort.QUICK: (), Effort.DEFAULT: (5, 9, 17), Effort.FULL: (5, 9, 17, 33)}
"""On how many points of [0, 1] claims about limit kernels are checked besides the data; nested, and those of `ntk-decay`."""

_LADDER = (64, 96, 128, 192, 288, 432, 648, 972, 1458)
_MOST_POINTS = {Effort.QUICK: 32, Effort.DEFAULT: 48, Effort.FULL: 96}


def _ball(mid: int, mid_exponent: int, radius: int, radius_exponent: int) -> arb:
    with ctx.workprec(max(64, mid.bit_length())):
        centre, exact = arb((mid, mid_exponent)), arb((radius, radius_exponent))
        if not radius:
            return centre
        # arb rounds a radius up to 30 bits, also one that has no more: a little less comes out as what it was
        ball = arb(centre, exact * (1 - arb(2) ** -31))
        return ball if ball.rad() >= exact else arb(centre, exact)


def _parts(ball: arb) -> tuple[Callable[..., arb], tuple[int, ...] | tuple[str]]:
    if not ball.is_finite():
        return arb, ("nan" if ball.is_nan() else "inf" if ball > 0 else "-inf" if ball < 0 else "[+/- inf]",)
    return _ball, tuple(int(v) for part in (ball.mid(), ball.rad()) for v in part.man_exp())


copyreg.pickle(arb, _parts)  # python-flint does not say how; balls come from a process as they were


@dataclass(frozen=True, eq=False)
class Comparison:
    """`number` must stand in `relation` ("<", ">", "≤", "≥") to `limit`; both are balls. `what` names the number.

    `shown=False` keeps a comparison that holds out of the report's decisive number.
    """

    what: str
    number: arb
    relation: str
    limit: arb
    shown: bool = True

    @property
    def verdict(self) -> Verdict:
        """HOLDS or REFUTED if all numbers in the balls agree on it."""
        smaller = self.relation in "<≤"
        low, high = (self.number, self.limit) if smaller else (self.limit, self.number)
        strict = self.relation in "<>"
        if (low < high) if strict else (low <= high):
            return Verdict.HOLDS
        if (low >= high) if strict else (low > high):
            return Verdict.REFUTED
        return Verdict.UNDECIDED

    def bounds(self) -> tuple[float, float]:
        """(number, limit) at the ends of their balls that are worst for the verdict."""
        towards = (self.relation in "<≤") == (self.verdict is not Verdict.REFUTED)
        ends = (self.number.upper(), self.limit.lower()) if towards else (self.number.lower(), self.limit.upper())
        return float(ends[0]), float(ends[1])

    def margin(self) -> float:
        """How far on the right side, relative to the limit; the least decides."""
        gap = self.limit - self.number if self.relation in "<≤" else self.number - self.limit
        scale = abs(self.limit) if self.limit != 0 else abs(self.number) + 1
        return float((gap / scale).mid())


def conclude(comparisons: Sequence[Comparison], cases: int, holds: str) -> Finding:
    """One finding from many comparisons: refuted if one is, undecided if one is, else holds with the closest of them."""
    for verdict in (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.HOLDS):
        matching = [c for c in comparisons if c.verdict is verdict]
        if matching:
            decisive = min([c for c in matching if c.shown] or matching, key=Comparison.margin)
            number, limit = decisive.bounds()
            shown = f"{decisive.what}: {decisive.number.str(6)} {decisive.relation} {decisive.limit.str(6)}"
            why = {
                Verdict.REFUTED: f"proved false: {shown}",
                Verdict.UNDECIDED: f"the enclosures are too wide to decide {shown}",
                Verdict.HOLDS: f"{holds}; closest: {shown}",
            }[verdict]
            return Finding(verdict, number, decisive.relation, limit, cases, why)
    return Finding.undecided("there was nothing to compare")


def at_rising_precision(attempt: Callable[[int], Finding], first: int = _LADDER[0]) -> Finding:
    """The first decided finding of `attempt(bits)`, run inside flint's precision of bits + 64, up to the last of the ladder.

    `first` is where to begin, on the ladder or between its steps, if those below are known not to be enough.
    """
    finding: Finding | None = None
    reason = ""
    for bits in (min(first, _LADDER[-1]), *(step for step in _LADDER if step > first)):
        with ctx.workprec(bits + 64):
            try:
                finding = attempt(bits)
            except NotProved as error:
                reason = str(error)
                continue
            except PrecisionError as error:
                if not reason and finding is None:
                    raise
                reason = f"{reason}; beyond that, {error}"
                break
        if finding.verdict is not Verdict.UNDECIDED:
            return finding
    return finding or Finding.undecided(f"no proof within {bits} bits: {reason}")


def settle(attempt: Callable[[int], Sequence[Comparison]], first: int = _LADDER[0]) -> Sequence[Comparison]:
    """The comparisons of `attempt(bits)` at the first precision that decides them, or the last at which they could be made.

    For a claim of many cases, each of which needs a precision of its own; `first` as above. Raises NotProved where no
    comparison could be made.
    """
    last: list[Comparison] = []

    def run(bits: int) -> Finding:
        last[:] = attempt(bits)
        return conclude(last, len(last), "")

    finding = at_rising_precision(run, first)
    if not last:
        raise NotProved(finding.why)
    return last


def norm(v: Array) -> arb:
    """The Euclidean norm of a vector of balls."""
    root: arb = BALLS.sqrt(BALLS.ramp((v * v).sum()))
    return root


def unit_interval(points: int) -> Problem:
    """Equally spaced points of [0, 1], with the targets of the default data set."""
    x = np.linspace(0.0, 1.0, points)
    return Problem(x[:, None], 2 * x + 0.4 * np.sin(5 * np.pi * x), f"{points} points of [0, 1]")


def curve(
    label: str, x: Iterable[float], y: Iterable[arb], *, style: Literal["points", "line", "dashed"] = "points", colour: int = 0
) -> Series:
    """A figure's series from enclosures; points carry their ends as error bars."""
    balls = list(y)
    low, high = (tuple(float(v) for v in ends) for ends in ([v.lower() for v in balls], [v.upper() for v in balls]))
    middle = tuple(float(v.mid()) for v in balls)
    xs = tuple(float(v) for v in x)
    if style != "points":
        return Series(label, xs, middle, style=style, colour=colour)
    return Series(label, xs, middle, low, high, colour=colour)


def unmet_assumption(problem: Problem, effort: Effort, *, targets: bool = True) -> Finding | None:
    """What claims about the limit spectrum, and `targets` to learn, assume and the data set does not offer; None if nothing."""
    X, y, most = problem.X, problem.y, _MOST_POINTS[effort]
    if len(X) > most:
        why = f"out of reach: {len(X)} points, and a spectrum is enclosed for at most {most} at effort {effort.name.lower()}"
    elif len(np.unique(X, axis=0)) < len(X):
        why = "assumption not met: the inputs have duplicates, so the limit kernel is singular"
    elif targets and not y.any():
        why = "assumption not met: all targets are zero, so there is nothing to learn from f₀ = 0"
    else:
        return None
    return unmet(why)


@dataclass(frozen=True, eq=False)
class LimitSpectrum:
    """The limit NTK and its eigenvalues, enclosed, descending."""

    kernel: Array
    eigenvalues: Array

    @property
    def smallest(self) -> arb:
        """λ_min of the limit NTK."""
        value: arb = self.eigenvalues[-1]
        return value


def limit_spectrum_at(X: Array, activation: str, bits: int) -> LimitSpectrum:
    """The enclosed limit NTK of X at `bits`, with its spectrum.

    Raises NotProved where λ_min has no proved sign at these bits.
    """
    spectrum = _cached_spectrum(Inputs(X), activation, bits)
    if not all(v > 0 for v in spectrum.eigenvalues):
        raise NotProved(f"the smallest eigenvalue has no proved sign at {bits} bits")
    return spectrum


def proved_spectrum(X: Array, activation: str) -> LimitSpectrum:
    """The limit NTK of X with its spectrum, at the first precision of the ladder that proves λ_min > 0. Raises NotProved."""
    found: list[LimitSpectrum] = []

    def attempt(bits: int) -> list[Comparison]:
        found[:] = [limit_spectrum_at(X, activation, bits)]
        return [Comparison("λ_min", found[0].smallest, ">", arb(0))]

    settle(attempt)
    return found[0]


@lru_cache(maxsize=128)  # also those without a proved sign: every claim climbs the same ladder
def _cached_spectrum(inputs: Inputs, activation: str, bits: int) -> LimitSpectrum:
    limit = enclose_limit_ntk(inputs.X, activation, bits=bits, law=LAW)
    if not limit.proved:
        raise UnprovedError(f"activation: expected one whose limit kernel is enclosed, got {activation!r}, which is estimated")
    return LimitSpectrum(limit.kernel, enclose_eigenvalues(limit.kernel))


def cache_clear() -> None:
    """Forget all spectra: for tests that plant faults."""
    _cached_spectrum.cache_clear()
