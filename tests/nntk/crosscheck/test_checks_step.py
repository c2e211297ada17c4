"""The damping that explains a step best, and its error bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nntk.crosscheck import PROFILES
from nntk.crosscheck.case import Case, solved
from nntk.crosscheck.cases import case, ladder
from nntk.crosscheck.checks.step import angle, damping_honoured, fitted_damping
from nntk.crosscheck.setting import Reading, Setting
from nntk.crosscheck.subject import subject
from nntk_reference.arithmetic import Array


def stay(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
    return theta


def setting(profile: str = "exact-newton", step: Callable[..., Array] = stay) -> Setting:
    return Setting(subject(step), PROFILES[profile])


@pytest.mark.parametrize("factor", [1e-3, 0.5, 1.0, 1.001, 2.0, 1e3])
def test_the_damping_of_a_step_is_found_within_its_error_bar(factor: float) -> None:
    for at in ladder("definite", 4, "float64", 6, 2):
        mu = factor * at.objective.damping
        step = solved(at.start.hessian + mu * np.eye(at.theta.size), -at.start.gradient)
        found, bar = fitted_damping(setting(), at, step)
        assert abs(found - mu) <= bar
        assert bar < 1e-3 * mu or factor < 1


def test_a_step_size_is_no_damping() -> None:
    for at in ladder("definite", 4, "float64", 6, 3):
        found, bar = fitted_damping(setting(), at, 0.7 * at.start.newton.step)
        assert abs(found - at.objective.damping) <= bar


def worst(at: Case, step: Array) -> Array:
    """The unit residual e that moves the fitted damping most: along the weaker of the two directions of [Δ/|Δ|, g/|g|]."""
    g = at.start.gradient
    columns = np.column_stack([step / np.linalg.norm(step), g / np.linalg.norm(g)])
    left, _, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, -1])


def test_the_error_bar_is_attained_to_a_factor_of_two_and_a_larger_error_exceeds_it() -> None:
    """HΔ + μΔ + g = e with the largest e that a right step may leave; and with three times as much."""
    seen = 0
    for at in ladder("definite", 4, "float64", 6, 3):
        here, A = setting(), at.start.newton.matrix
        g = at.start.gradient
        step = at.start.newton.step
        if np.linalg.svd(np.column_stack([step / np.linalg.norm(step), g / np.linalg.norm(g)]))[1][-1] <= 0.1:
            continue
        bars, errors = [], []
        for share in (0.95, 3.0):
            planted = at.start.newton.step
            most = here.slack(at.start.newton, solved(A, 1e-3 * worst(at, step) - g))  # of a bad step: all that is allowed
            planted = solved(A, share * most * worst(at, step) - g)
            found, bar = fitted_damping(here, at, planted)
            bars.append(bar)
            errors.append(abs(found - at.objective.damping))
        assert 0.5 * bars[0] < errors[0] <= bars[0]
        assert errors[1] > bars[1]
        seen += 1
    assert seen >= 3


def test_where_the_step_lies_along_the_gradient_the_step_size_is_one() -> None:
    """Gauss–Newton's, on one point: the bar is attained by an error along the step."""
    at = case("definite", 4, 2, 1, "tanh", seed=0)
    here, target = setting("gauss-newton"), at.start.gauss_newton_target
    assert angle(target.step, at.start.gradient) < 1e-12
    found, bar = fitted_damping(here, at, target.step)
    assert abs(found - at.objective.damping) <= bar
    along = target.step / np.linalg.norm(target.step)
    most = here.slack(target, solved(target.matrix, 1e-3 * along - at.start.gradient))
    for share, within in ((0.95, True), (1.1, False)):
        found, bar = fitted_damping(here, at, solved(target.matrix, share * most * along - at.start.gradient))
        error = abs(found - at.objective.damping)
        assert (error <= bar) == within
        assert error > 0.9 * bar


def test_no_damping_explains_a_step_of_no_length() -> None:
    at = ladder("definite", 0, "float64", 2)[1]
    for step in (np.zeros(at.theta.size), np.full(at.theta.size, math.nan)):
        assert fitted_damping(setting(), at, step) is None


@pytest.mark.parametrize(("off", "passes"), [(0.0, True), (1e-9, False), (1e-3, False)])
def test_damping_honoured_tells_a_billionth(off: float, passes: bool) -> None:
    at = case("definite", 4, 2, 5, "tanh", seed=0)

    def newton(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        objective = replace(at.objective, damping=damping * (1 + off))
        return theta + objective.at(theta.reshape(at.theta.shape)).newton.step

    reading: Reading = damping_honoured(setting(step=newton), at)
    assert (reading.ratio <= 1) == passes
    assert len(reading.panels[0].series) == 2
