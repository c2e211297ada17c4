"""What can be said of a step that no entry of the catalogue explains: noise, float32 inside, an error that repeats, angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Observation
from nntk_reference.arithmetic import Array

__all__ = ["LARGE", "Repeated", "angles", "inexact", "repeated"]


LARGE = 0.3
"""Beyond this relative error a step is not called another one but for something."""


@dataclass(frozen=True)
class Repeated:
    """How far apart steps from the same start are, relative to them; None where none was taken again."""

    noise: float | None
    seen: bool

    @property
    def words(self) -> str:
        """What to add to a sentence about the steps."""
        return f"; started again, it takes steps that differ by {self.noise:.2g}" if self.seen else ""

    def explains(self, error: float) -> bool:
        """Can an error of this size be noise?"""
        return self.seen and self.noise is not None and error <= min(10 * self.noise, LARGE)


def repeated(observations: Sequence[Observation]) -> Repeated:
    """What repetition shows."""
    again = [one for one in observations if one.again is not None]
    if not again:
        return Repeated(None, False)
    return Repeated(max(one.noise for one in again), any(one.noise > one.limit for one in again))


def inexact(observations: Sequence[Observation], error: float, again: Repeated) -> tuple[str, str]:
    """(id, words) of steps that are Newton's but for an error: noise, float32 inside, or an error without a name."""
    residual = max(
        float(np.linalg.norm(seen.point.newton.matrix @ seen.step + seen.point.gradient) / np.linalg.norm(seen.point.gradient))
        for seen in observations
    )
    if again.explains(error):
        size = f"the same start gives steps that differ by {again.noise:.2g}"
        return "noise", f"Newton's step with noise: {size}, relative error up to {error:.2g}"
    if _single(observations):
        return "float32", f"Newton in float32: the step is exact to {error:.1e} only, as a float32 solve would be"
    same = ", the same when started again" if again.noise is not None else ""
    sizes = f"a relative error of {error:.2g} (relative residual {residual:.2g})"
    return "inexact", f"Newton's step but for {sizes}{same}; no step of the catalogue explains it"


def _single(observations: Sequence[Observation]) -> bool:
    """Do the steps of a float64 run have the numbers, or the errors, of a float32 solve?"""
    if observations[0].dtype != "float64":
        return False
    errors = [seen.point.newton.error(seen.step) for seen in observations]
    if all(np.array_equal(seen.step, seen.step.astype(np.float32)) for seen in observations):
        return max(errors) < 1e-3
    lost = []
    for seen in observations:
        A, g, step = seen.point.newton.matrix, seen.point.gradient, seen.point.newton.step
        there = solved(A.astype(np.float32), -g.astype(np.float32)).astype(np.float64)
        lost.append(float(np.linalg.norm(there - step) / np.linalg.norm(step)))
    ratios = [e / max(s, 2.0**-26) for e, s in zip(errors, lost, strict=True)]
    return 0.1 < float(np.median(ratios)) < 10 and max(errors) < 1e-3


def angles(observations: Sequence[Observation]) -> str:
    """Where the steps of no kind point to."""

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
