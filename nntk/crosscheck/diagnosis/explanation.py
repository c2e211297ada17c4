"""What an explanation of a step is, and how one is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nntk.crosscheck.case import Point
from nntk_reference.arithmetic import Array

__all__ = ["REGISTERED", "Explanation", "Observation", "Predict", "Prediction", "damped", "explanation"]

Prediction = tuple[Array, str]
"""A step (P,), and in words what was fitted."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A step Δ (P,) seen at a point, with the observations before it in the same run, oldest first.

    `evaluations` counts the calls of the closure in it.
    """

    point: Point
    step: Array
    earlier: tuple[Observation, ...] = ()
    dtype: str = "float64"
    evaluations: int = 1
    cache: dict[str, Any] = field(default_factory=dict)


Predict = Callable[[Observation], Iterator[Prediction]]


@dataclass(frozen=True)
class Explanation:
    """An entry of the catalogue. `fitted` is how many numbers its predictions take from the step itself."""

    id: str
    words: str
    fitted: int
    predict: Predict


REGISTERED: dict[str, Explanation] = {}
"""Every explanation that has been defined, by its id. `registry` puts them in order."""


def explanation(id: str, words: str, *, fitted: int = 0) -> Callable[[Predict], Predict]:
    """Register the decorated function, predict(seen), as the Explanation of this id. The function itself stays as it is."""

    def registered(predict: Predict) -> Predict:
        if id in REGISTERED:
            raise ValueError(f"two explanations are called {id}")
        REGISTERED[id] = Explanation(id, words, fitted, predict)
        return predict

    return registered


def damped(A: Array, seen: Observation) -> Array:
    """A + γ_N I, with the damping that was asked for."""
    return np.asarray(A + seen.point.objective.damping * np.eye(len(A)))
