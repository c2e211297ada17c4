"""Cases drawn at random: small, of the right kind, and made smaller where one fails.

Which ones depends on the seed, the effort and the check alone: hypothesis, which draws for the tests of this package, takes
constants from all modules that happen to be loaded, and would draw others for another optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import EPS, Case, Objective, rounded
from nntk.crosscheck.cases import activations
from nntk.crosscheck.checks import Check
from nntk.crosscheck.result import Tally
from nntk.crosscheck.setting import Setting
from nntk_proofs_checks.claim import Effort
from nntk_reference import regularization
from nntk_reference.arithmetic import Array

__all__ = ["draw_cases"]

_DRAWN = {Effort.QUICK: 5, Effort.DEFAULT: 40, Effort.FULL: 300}
_SHRINKS = {Effort.QUICK: 40, Effort.DEFAULT: 150, Effort.FULL: 400}
"""Cases that are tried in search of a smaller one that fails."""

_ATTEMPTS = 200
"""Draws for one case: in float32 few are of the kind that is asked for."""

_SHAPES = ((1, 1, 1), (2, 1, 3), (1, 2, 4), (3, 2, 2), (4, 1, 5), (2, 3, 5))
"""Width, dim, points: few, as an optimizer may compile each of them anew. With full effort there are all up to (4, 3, 5)."""


def draw_cases(check: Check, setting: Setting, tally: Tally) -> None:
    """The check's share of the effort's cases; the smallest that fails is made smaller still. Raises SubjectError."""
    for k in range(math.ceil(check.share * _DRAWN[setting.effort])):
        at = _drawn(check, setting, k)
        if at is not None:
            tally.at = at
            tally.add(check.examine(setting, at), drawn=True)
    if tally.smallest is not None and tally.smallest.failing is not None:
        _shrink(check, setting, tally)


# --- drawing -------------------------------------------------------------------------------------------------------------


def _drawn(check: Check, setting: Setting, k: int) -> Case | None:
    """Case number k of the check, or None where none of the draws is of its kind."""
    rng = np.random.default_rng([setting.seed, k, *check.id.encode()])
    for _ in range(_ATTEMPTS):
        at = _judged(*_objective(rng, setting), setting, check)
        if at is not None:
            return at
    return None


def _objective(rng: np.random.Generator, setting: Setting) -> tuple[Objective, Array]:
    """A small problem in multiples of 1/64, which are short in print and the same in both dtypes.

    Neurons and points are sometimes repeated, neurons sometimes dead.
    """
    if setting.effort is Effort.FULL:
        width, dim, points = (int(rng.integers(1, most + 1)) for most in (4, 3, 5))
    else:
        width, dim, points = _SHAPES[rng.integers(len(_SHAPES))]
    theta, data = (rng.integers(-128, 129, shape) / 64 for shape in ((width, dim + 2), (points, dim + 1)))
    special = rng.choice(["none"] * 6 + ["neuron repeated", "neuron dead", "point repeated"])
    if special == "neuron repeated":
        theta[-1] = theta[0]
    elif special == "neuron dead":
        theta[-1, 0] = 0.0
    elif special == "point repeated":
        data[-1, :-1] = data[0, :-1]
    beta, name = float(rng.choice([0.75, 0.6, 0.9])), str(rng.choice(activations()))
    gamma = 10 ** (int(rng.integers(-8, 9)) / 4)
    damping = float(rounded(regularization(gamma, width, beta), setting.dtype))
    return Objective(data[:, :-1].copy(), data[:, -1].copy(), beta, name, damping), theta


def _judged(objective: Objective, theta: Array, setting: Setting, check: Check) -> Case | None:
    """The case, if it is of the check's kind and the dtype can judge it."""
    dtype, point = setting.dtype, objective.at(theta)
    if not np.linalg.norm(point.gradient) > 1e-3 * point.gradient_size:
        return None
    blocks = point.block_eigenvalues
    if np.abs(blocks).min() <= 1e-3 * point.matrix_size or (check.drawn == "definite" and blocks.min() <= 0):
        return None
    if max(point.newton.limit(dtype), point.gauss_newton_target.limit(dtype)) > math.sqrt(EPS[dtype]):
        return None
    return Case(objective, theta, "indefinite" if point.negative else "definite", "drawn")


# --- making smaller ------------------------------------------------------------------------------------------------------


def _shrink(check: Check, setting: Setting, tally: Tally) -> None:
    """The smallest failing case, as long as one of its smaller ones fails, too. They are shown, and not counted."""
    assert tally.smallest is not None
    assert tally.smallest.failing is not None
    at, left, seen = tally.smallest.failing[0], _SHRINKS[setting.effort], set[str]()
    while left > 0:
        for objective, theta in _smaller(at):
            made = _judged(objective, theta, setting, check)
            print_ = repr((objective.X.tolist(), objective.y.tolist(), theta.tolist()))
            if made is None or print_ in seen:
                continue
            seen.add(print_)
            left -= 1
            tally.at = made
            if tally.show(check.examine(setting, made)):
                at = made
                break
            if left == 0:
                return
        else:
            return


def _smaller(at: Case) -> Iterator[tuple[Objective, Array]]:
    """Without a neuron, a point, an input; with a number that is 0, whole, or of fewer digits."""
    of, theta = at.objective, at.theta
    (N, D), M = theta.shape, len(of.y)
    if N > 1:
        yield from ((of, np.delete(theta, i, 0)) for i in range(N))
    if M > 1:
        yield from ((replace(of, X=np.delete(of.X, m, 0), y=np.delete(of.y, m)), theta) for m in range(M))
    if D > 3:
        yield from ((replace(of, X=np.delete(of.X, k, 1)), np.delete(theta, k + 1, 1)) for k in range(D - 2))
    for digits in (0.0, 1.0, 4.0):
        for name, values in (("theta", theta), ("X", of.X), ("y", of.y)):
            for place in np.ndindex(values.shape):
                simple = np.round(values[place] * digits) / digits if digits else 0.0
                if simple != values[place]:
                    changed = values.copy()
                    changed[place] = simple
                    yield _with(of, theta, name, changed)


def _with(of: Objective, theta: Array, name: str, values: Array) -> tuple[Objective, Array]:
    if name == "theta":
        return of, values
    return (replace(of, X=values) if name == "X" else replace(of, y=values)), theta
