"""Which explanation a group of steps has: the simplest one to rounding, or as good as the best within a factor of three."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nntk.crosscheck.diagnosis.explanation import Explanation, Observation
from nntk.crosscheck.diagnosis.inexact import LARGE, angles, inexact, repeated
from nntk.crosscheck.diagnosis.registry import EXPLANATIONS

__all__ = ["VAGUE", "Diagnosis", "explain"]

VAGUE = 0.1
"""A limit above this judges nothing."""
_TELLING = 0.01
"""A step whose limit is above this tells nothing of what it is, unless it is a prescribed one."""
_PRESCRIBED = ("newton", "gauss-newton")
"""The steps that have a limit of their own."""
_NEAR = 0.05
_BETTER = 10.0
"""So much less than the exact step must an entry leave unexplained to be named beside it, where neither does to rounding."""


@dataclass(frozen=True)
class Diagnosis:
    """What the steps of one group are.

    group     "definite", "indefinite" or "consecutive"; or the id of a failed check, whose smallest failing case it is.
    id        of the nearest explanation; "refused" where every step was refused, "mixed" where steps differ in kind, "unknown".
    words     the sentence to report.
    error     the largest relative error of the explanation over the group's steps; None without an explanation.
    explained whether it explains them to rounding.
    refuses   whether a step of the group is not the profile's within its limit, or none could be looked at.
    """

    group: str
    id: str
    words: str
    error: float | None
    explained: bool
    steps: int
    refuses: bool = False


class _Fit(NamedTuple):
    """An entry's best prediction of one step: its relative error, and what was fitted."""

    error: float
    words: str
    value: float


class _Table:
    """What each entry makes of each step, computed when it is asked for."""

    def __init__(self, seen: Sequence[Observation]) -> None:
        self.seen = seen
        self.fits: dict[tuple[str, int], _Fit] = {}

    def fit(self, entry: Explanation, k: int) -> _Fit:
        if (entry.id, k) not in self.fits:
            self.fits[entry.id, k] = _best(entry, self.seen[k])
        return self.fits[entry.id, k]

    def row(self, entry: Explanation) -> list[_Fit]:
        return [self.fit(entry, k) for k in range(len(self.seen))]

    def worst(self, entry: Explanation) -> float:
        return max(fit.error for fit in self.row(entry))

    def explained(self, entry: Explanation, k: int) -> bool:
        return self.fit(entry, k).error <= _floor(entry, self.seen[k])

    def explains(self, entry: Explanation) -> bool:
        return all(self.explained(entry, k) for k in range(len(self.seen)))

    def sentence(self, entry: Explanation, chosen: Sequence[int]) -> str:
        """The explanation with what was fitted to some of the steps; of different values the first and how they vary."""
        row = [self.fit(entry, k) for k in chosen]
        if entry.together is not None and all(math.isfinite(fit.value) for fit in row):
            together = entry.together([self.seen[k] for k in chosen], [fit.value for fit in row])
            if together:
                return f"{entry.words} {together}"
        details = list(dict.fromkeys(fit.words for fit in row if fit.words))
        shown = details[0] if details else ""
        if len(details) > 1:
            shown += f" (elsewhere: {'; '.join(details[1:3])}{'; …' if len(details) > 3 else ''})"
        return " ".join(filter(None, (entry.words, shown)))


def explain(group: str, observations: Sequence[Observation], first: Sequence[str] = ()) -> Diagnosis:
    """The simplest explanation of all the steps that is as good as the best. Entries of `first` are tried before the others."""
    seen = [one for one in observations if one.limit <= _TELLING] or list(observations)
    table, count, everything = _Table(seen), len(observations), range(len(seen))
    exact, *others = sorted(EXPLANATIONS, key=lambda entry: (entry.id != "newton", entry.id not in first, entry.fitted))
    telling = seen[0].limit <= _TELLING
    near = all(table.fit(exact, k).error <= 10 * _floor(exact, seen[k]) for k in everything)
    prescribed = [entry for entry in others if entry.id in _PRESCRIBED]
    for entry in [exact, *([] if near else others if telling else prescribed)]:
        if table.explains(entry):
            error = table.worst(entry)
            return Diagnosis(group, entry.id, f"{table.sentence(entry, everything)}, to {error:.1e}", error, True, count)
    if not near and not telling:
        return Diagnosis(group, "unknown", f"rounding alone may change these steps by {seen[0].limit:.2g}", None, False, count)
    if not near and (mixed := _mixture(group, table, exact, count)) is not None:
        return mixed
    best = min(map(table.worst, EXPLANATIONS)) if not near else table.worst(exact)
    chosen = next(entry for entry in EXPLANATIONS if table.worst(entry) <= 3 * best)
    off, again = table.worst(exact), repeated(seen)
    if (off < _NEAR and off <= _BETTER * best) or again.explains(off):
        return Diagnosis(group, *inexact(seen, off, again), off, False, count)
    error = table.worst(chosen)
    words = table.sentence(chosen, everything)
    if error < _NEAR:
        told = f"nearest: {words}, but for a relative error of {error:.2g}{again.words}"
        return Diagnosis(group, chosen.id, told, error, False, count)
    if chosen is exact:
        return Diagnosis(group, "unknown", f"{angles(seen)}{again.words}", error, False, count)
    named = f"; nearest in the catalogue: {words} (relative error {error:.2g})" if error < LARGE else ""
    return Diagnosis(group, "unknown", f"{angles(seen)}{again.words}{named}", error, False, count)


def _best(entry: Explanation, seen: Observation) -> _Fit:
    size = float(np.linalg.norm(seen.step))
    best = _Fit(math.inf, "", math.nan)
    with np.errstate(all="ignore"):
        for predicted, words, value in entry.predict(seen):
            error = float(np.linalg.norm(predicted - seen.step)) / (size or max(float(np.linalg.norm(predicted)), 1e-300))
            if error < best.error:
                best = _Fit(error, words, value)
    if size == 0:
        return best._replace(error=0.0 if entry.id == "zero" else math.inf)
    target = {"newton": seen.point.newton, "gauss-newton": seen.point.gauss_newton_target}.get(entry.id)
    if target is not None and seen.dtype == "float64" and _floor(entry, seen) < best.error < 10 * _floor(entry, seen):
        return best._replace(error=target.arbiter(seen.step))  # in balls, lest the reference's own rounding decide
    return best


def _floor(entry: Explanation, seen: Observation) -> float:
    """What rounding alone may make of a step: the exact ones' own limit; of others, which have none, ten times the larger."""
    if entry.id == "newton":
        return seen.point.newton.limit(seen.dtype)
    if entry.id == "gauss-newton":
        return seen.point.gauss_newton_target.limit(seen.dtype)
    return 10 * seen.limit


def _mixture(group: str, table: _Table, exact: Explanation, count: int) -> Diagnosis | None:
    """Steps of several kinds, each explained to rounding; None where one of them is not."""
    kinds: dict[str, tuple[Explanation, list[int]]] = {}
    error = 0.0
    for k, seen in enumerate(table.seen):
        if _floor(exact, seen) < table.fit(exact, k).error <= 10 * _floor(exact, seen):
            return None
        known = [entry for entry, _ in kinds.values()]
        entry = next((entry for entry in (*known, *EXPLANATIONS) if table.explained(entry, k)), None)
        if entry is None:
            return None
        kinds.setdefault(entry.id, (entry, []))[1].append(k)
        error = max(error, table.fit(entry, k).error)
    ordered = sorted(kinds.values(), key=lambda kind: -len(kind[1]))
    words = [f"{len(chosen)} of {len(table.seen)} steps: {table.sentence(entry, chosen)}" for entry, chosen in ordered[:4]]
    if len(ordered) > 4:
        words.append(f"and {len(ordered) - 4} other kinds")
    return Diagnosis(group, "mixed", "; ".join(words), error, True, count)
