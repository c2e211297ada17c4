"""What an explanation of a step is, and how one is registered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nntk.crosscheck.case import Point
from nntk_reference.arithmetic import Array

__all__ = [
    "REGISTERED",
    "Explanation",
    "Observation",
    "Predict",
    "Prediction",
    "Together",
    "damped",
    "eigen",
    "explanation",
    "kinds_of",
    "told_apart",
]


class Prediction(NamedTuple):
    """A step (P,), in words what was fitted, and the fitted number that the words for all the steps are made from."""

    step: Array
    words: str = ""
    value: float = math.nan


@dataclass(frozen=True, eq=False)
class Observation:
    """A step Δ (P,) seen at a point, with the observations before it in the same run, oldest first.

    evaluations  the calls of the closure in it; 0 where that cannot be counted.
    again        the step of another fresh optimizer from the same start, the global generators elsewhere; None if not taken.
    """

    point: Point
    step: Array
    earlier: tuple[Observation, ...] = ()
    dtype: str = "float64"
    evaluations: int = 1
    again: Array | None = None
    cache: dict[str, Any] = field(default_factory=dict)

    def kept(self, name: str, compute: Callable[[], Any]) -> Any:
        """What is computed once for all the explanations."""
        if name not in self.cache:
            self.cache[name] = compute()
        return self.cache[name]

    @property
    def run(self) -> tuple[Observation, ...]:
        """All of the run so far, this step last."""
        return (*self.earlier, self)

    @property
    def limit(self) -> float:
        """What rounding alone may make of the exact step and of Gauss-Newton's."""
        return float(
            self.kept(
                "limit", lambda: max(self.point.newton.limit(self.dtype), self.point.gauss_newton_target.limit(self.dtype))
            )
        )

    @property
    def noise(self) -> float:
        """How far apart the two steps from the same start are, relative to the step."""
        if self.again is None:
            return 0.0
        return float(np.linalg.norm(self.again - self.step)) / (float(np.linalg.norm(self.step)) or 1.0)


Predict = Callable[[Observation], Iterator[Prediction]]
Together = Callable[[Sequence[Observation], Sequence[float]], str]
"""Words for what was fitted to all the steps of a group; "" where there is nothing to say of them together."""


@dataclass(frozen=True)
class Explanation:
    """An entry of the catalogue. `fitted` is how many numbers its predictions take from the step itself."""

    id: str
    words: str
    fitted: int
    predict: Predict
    together: Together | None = None


REGISTERED: dict[str, Explanation] = {}
"""Every explanation that has been defined, by its id. `registry` puts them in order."""


def explanation(id: str, words: str, *, fitted: int = 0, together: Together | None = None) -> Callable[[Predict], Predict]:
    """Register the decorated function, predict(seen), as the Explanation of this id. The function itself stays as it is."""

    def registered(predict: Predict) -> Predict:
        if id in REGISTERED:
            raise ValueError(f"two explanations are called {id}")
        REGISTERED[id] = Explanation(id, words, fitted, predict, together)
        return predict

    return registered


# --- what several explanations need ----------------------------------------------------------------------------------------


def damped(A: Array, seen: Observation) -> Array:
    """A + γ_N I, with the damping that was asked for."""
    return np.asarray(A + seen.point.objective.damping * np.eye(len(A)))


def eigen(seen: Observation) -> tuple[Array, Array]:
    """Eigenvalues (P,), ascending, and eigenvectors (P, P) of H."""
    values, vectors = seen.kept("eigen", lambda: np.linalg.eigh(seen.point.hessian))
    return values, vectors


def kinds_of(point: Point) -> Array:
    """Which of "c", "w" and "η" each parameter is, (P,)."""
    N, D = point.theta.shape
    return np.tile(np.array(["c", *["w"] * (D - 2), "η"]), N)


def told_apart(value: float, of: float = 1.0) -> str:
    """A number with as many digits as tell it from another one, four at least."""
    if value == of:
        return f"{value:.4g}"
    gap = abs(value - of) / (abs(of) or 1.0)
    if gap < 1e-5:
        return f"{of:.4g} {'+' if value > of else '-'} {abs(value - of):.2g}" if of else f"{value:.2g}"
    return next(text for digits in range(4, 18) if float(text := f"{value:.{digits}g}") != of)
