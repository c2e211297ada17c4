"""Which explanation a group of steps has: the simplest one that is as good as the best, within a factor of three."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Explanation, Observation
from nntk.crosscheck.diagnosis.registry import EXPLANATIONS
from nntk_reference.arithmetic import Array

__all__ = ["Diagnosis", "explain"]


@dataclass(frozen=True)
class Diagnosis:
    """What the steps of one group are.

    group     "definite", "indefinite" or "consecutive".
    id        of the nearest explanation; "refused" where every step was refused, "mixed" where steps differ in kind, "unknown".
    words     the sentence to report.
    error     the largest relative error of the explanation over the group's steps; None without an explanation.
    explained whether it explains them to rounding.
    """

    group: str
    id: str
    words: str
    error: float | None
    explained: bool
    steps: int


def explain(group: str, observations: Sequence[Observation]) -> Diagnosis:
    """The simplest explanation of all the steps that is as good as the best."""
    table = {e.id: [_best(e, seen) for seen in observations] for e in EXPLANATIONS}
    worst = {id: max(error for error, _ in row) for id, row in table.items()}
    best = min(worst.values())
    floors = [_rounding(seen) for seen in observations]
    if best > max(floors):
        mixed = _mixture(group, observations, table, floors)
        if mixed is not None:
            return mixed
    chosen = next(
        e
        for e in EXPLANATIONS
        if worst[e.id] <= 3 * best or all(error <= floor for (error, _), floor in zip(table[e.id], floors, strict=True))
    )
    explained = all(error <= floor for (error, _), floor in zip(table[chosen.id], floors, strict=True))
    words = _sentence(chosen, table[chosen.id])
    error = worst[chosen.id]
    if chosen.id == "newton" and not explained and error < 0.5:
        return Diagnosis(group, *_inexact(observations, error), error, False, len(observations))
    if explained:
        return Diagnosis(group, chosen.id, f"{words}, to {error:.1e}", error, True, len(observations))
    if error < 0.05:
        return Diagnosis(
            group, chosen.id, f"nearest: {words}, but for a relative error of {error:.2g}", error, False, len(observations)
        )
    return Diagnosis(
        group,
        "unknown",
        f"{_angles(observations)}; nearest in the catalogue: {words} (relative error {error:.2g})",
        error,
        False,
        len(observations),
    )


def _best(entry: Explanation, seen: Observation) -> tuple[float, str]:
    """(relative error of its best prediction, what was fitted)."""
    size = float(np.linalg.norm(seen.step))
    best = (math.inf, "")
    with np.errstate(all="ignore"):
        for predicted, words in entry.predict(seen):
            error = float(np.linalg.norm(predicted - seen.step)) / (size or max(float(np.linalg.norm(predicted)), 1e-300))
            if error < best[0]:
                best = (error, words)
    if size == 0:
        return (0.0 if entry.id == "zero" else math.inf, best[1])
    return best


def _rounding(seen: Observation) -> float:
    """What rounding alone may make of any of these steps: ten times the exact steps' limits."""
    return 10 * max(seen.point.newton.limit(seen.dtype), seen.point.gauss_newton_target.limit(seen.dtype))


def _mixture(
    group: str, observations: Sequence[Observation], table: dict[str, list[tuple[float, str]]], floors: Sequence[float]
) -> Diagnosis | None:
    """Steps of several kinds, each explained to rounding."""
    labels, error = [], 0.0
    for k, floor in enumerate(floors):
        good = [e for e in EXPLANATIONS if table[e.id][k][0] <= floor]
        if not good:
            return None
        labels.append(_sentence(good[0], [table[good[0].id][k]]))
        error = max(error, table[good[0].id][k][0])
    counts = Counter(labels)
    words = "; ".join(f"{count} of {len(labels)} steps: {label}" for label, count in counts.most_common(4))
    return Diagnosis(group, "mixed", words, error, True, len(observations))


def _sentence(entry: Explanation, row: Sequence[tuple[float, str]]) -> str:
    """The explanation with what was fitted; of different values the first and how they vary."""
    details = list(dict.fromkeys(words for _, words in row if words))
    shown = details[0] if details else ""
    if len(details) > 1:
        shown += f" (elsewhere: {'; '.join(details[1:3])}{'; …' if len(details) > 3 else ''})"
    return " ".join(filter(None, (entry.words, shown)))


def _inexact(observations: Sequence[Observation], error: float) -> tuple[str, str]:
    """(id, words) of steps that are Newton's but for an error: float32 inside, an unfinished solve, or noise."""
    single = [seen.point.newton.matrix.astype(np.float32) for seen in observations]
    lost = [
        float(np.linalg.norm(solved(A, -seen.point.gradient.astype(np.float32)).astype(np.float64) - seen.point.newton.step))
        / float(np.linalg.norm(seen.point.newton.step))
        for A, seen in zip(single, observations, strict=True)
    ]
    errors = [seen.point.newton.error(seen.step) for seen in observations]
    bits = all(np.array_equal(seen.step, seen.step.astype(np.float32)) for seen in observations)
    ratios = [e / max(s, 2.0**-26) for e, s in zip(errors, lost, strict=True)]
    dtype = observations[0].dtype
    if dtype == "float64" and (bits or 0.1 < float(np.median(ratios)) < 10) and max(errors) < 1e-3:
        return "float32", f"Newton in float32: the step is exact to {error:.1e} only, as a float32 solve would be"
    residual = max(
        float(np.linalg.norm(seen.point.newton.matrix @ seen.step + seen.point.gradient) / np.linalg.norm(seen.point.gradient))
        for seen in observations
    )
    return "inexact", f"Newton, not solved exactly or with noise: relative error {error:.1e}, relative residual {residual:.1e}"


def _angles(observations: Sequence[Observation]) -> str:
    def cosine(a: Array, b: Array) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0))

    newton = [cosine(seen.step, seen.point.newton.step) for seen in observations]
    descent = [cosine(seen.step, -seen.point.gradient) for seen in observations]
    calls = max(seen.evaluations for seen in observations)
    often = f", with up to {calls} evaluations of the loss in one step" if calls > 1 else ""
    return (
        f"no step of the catalogue{often} (cosine to Newton's {float(np.median(newton)):.2f}, "
        f"to the negative gradient {float(np.median(descent)):.2f}, medians)"
    )
