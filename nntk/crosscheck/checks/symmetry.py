"""Checks of symmetries: cases that are the same to the theory take the same step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import Case, rounded
from nntk.crosscheck.checks.check import ALL, NEWTONS, Examine, check, definite
from nntk.crosscheck.setting import Reading, Setting, one_step
from nntk_reference.arithmetic import Array

__all__: list[str] = []

Transform = Callable[[Case, np.random.Generator], tuple[Case, Callable[[Array], Array]]]
"""A case and an equivalent one, with what takes the step of the second (N, d+2) back to the first's."""


def same_step(what: str) -> Callable[[Transform], Examine]:
    """The examine function that compares the steps of a case and of the equivalent one that the transform makes of it."""

    def of(transform: Transform) -> Examine:
        def examine(setting: Setting, at: Case) -> Reading:
            other, back = transform(at, np.random.default_rng([3, at.theta.size]))
            other = replace(
                other,
                theta=rounded(other.theta, setting.dtype),
                objective=replace(other.objective, X=rounded(other.objective.X, setting.dtype)),
            )
            step = one_step(setting.start(at))
            image = back(one_step(setting.start(other)).reshape(at.theta.shape)).reshape(-1)
            size = float(np.linalg.norm(step)) or 1.0
            off = float(np.linalg.norm(image - step)) / size
            limit = (setting.tolerance(at) + setting.tolerance(other)) / 2
            if setting.rtol is not None:
                limit = max(limit, 2 * setting.rtol)
            return Reading(off, limit, f"{what}: relative difference of the steps {off:.3g} ({at})", (at, 1))

        return examine

    return of


@check(
    "neuron-permutation",
    "Neurons in another order take the same steps",
    profiles=ALL,
    cases=definite(2, 5, 2),
)
@same_step("neurons in another order")
def neuron_permutation(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    order = _shuffled(len(at.theta), rng)
    return replace(at, theta=at.theta[order]), lambda step: step[np.argsort(order)]


@check(
    "data-permutation",
    "Data in another order give the same step",
    profiles=ALL,
    cases=definite(2, 5, 2),
)
@same_step("data in another order")
def data_permutation(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    objective, order = at.objective, _shuffled(len(at.objective.y), rng)
    return replace(at, objective=replace(objective, X=objective.X[order], y=objective.y[order])), lambda step: step


@check(
    "data-duplication",
    "Every data point twice gives the same step",
    profiles=ALL,
    cases=definite(2, 5),
)
@same_step("every point twice")
def data_duplication(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    objective = at.objective
    return replace(
        at,
        objective=replace(
            objective, X=np.concatenate([objective.X, objective.X]), y=np.concatenate([objective.y, objective.y])
        ),
    ), lambda step: step


@check(
    "sign-symmetry",
    "(c, w, X, y) with the opposite sign takes the opposite step",
    profiles=ALL,
    cases=definite(2, 5),
)
@same_step("opposite signs")
def sign_symmetry(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    """(c, y) → (-c, -y) and (w, X) → (-w, -X): the loss is the same."""
    objective, D = at.objective, at.theta.shape[1]
    signs = np.array([-1.0] * (D - 1) + [1.0])
    return replace(
        at, theta=at.theta * signs, objective=replace(objective, X=-objective.X, y=-objective.y)
    ), lambda step: step * signs


@check(
    "joint-rotation",
    "Inputs and weights rotated together take the rotated step",
    profiles=NEWTONS,
    cases=definite(2, 5, 3),
)
@same_step("inputs and weights rotated")
def joint_rotation(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    """(w, X) → (wQ, XQ) for an orthogonal Q."""
    objective, d = at.objective, at.objective.X.shape[1]
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    theta = at.theta.copy()
    theta[:, 1:-1] = theta[:, 1:-1] @ Q

    def back(step: Array) -> Array:
        out = step.copy()
        out[:, 1:-1] = out[:, 1:-1] @ Q.T
        return out

    return replace(at, theta=theta, objective=replace(objective, X=objective.X @ Q)), back


def _shuffled(count: int, rng: np.random.Generator) -> Array:
    """A permutation that leaves no place as it is, if there is more than one."""
    order = rng.permutation(count)
    places = np.empty(count, int)
    places[order] = np.roll(order, 1)
    return places
