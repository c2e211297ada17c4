"""`limit-equation`: networks follow (E11) and none of its neighbours; the control goes through the same code."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, ensemble, limit_equation
from nntk_proofs_checks.claim import Finding
from nntk_proofs_checks.data import default_data
from nntk_proofs_checks.ensemble import BETAS, SEEDS, WIDTHS, Run, Setup, standardized, textbook
from nntk_proofs_checks.statistics import Interval, Rate, asymptotic, judge
from nntk_reference import Verdict, limit_trajectory
from tests.proofs_checks.faults import FAULTS, planted
from tests.proofs_checks.problems import line

PLANTED = [name for name in FAULTS if name.startswith("limit equation")]


SETUP = Setup(BETAS[0], WIDTHS[Effort.DEFAULT], SEEDS[Effort.DEFAULT][0], steps=limit_equation._STEPS)
"""At default effort, of one β; the runs are kept from test to test."""


def followed() -> Finding:
    """What the claim finds of (E11) on the default data."""
    distances = limit_equation._distances(standardized(default_data()), SETUP)
    return judge([limit_equation._followed(SETUP, distances, len(SEEDS[Effort.DEFAULT]))], sum(SETUP.counts))


def mean_difference() -> Interval:
    """The exponent of E[f_t - f*_t] along B̄y, one t after the other: the kernel's first order, of mean 0, is left out."""
    problem, power = standardized(default_data()), 2 * (1 - SETUP.beta)
    gamma, B = ensemble.suitable_gamma(problem, SETUP), ensemble.kernel(problem)
    direction = B @ problem.y / np.linalg.norm(B @ problem.y)
    signed = [
        [limit_equation._beyond(B, gamma, problem.y, run) @ direction for run in c] for c in ensemble.ensemble(problem, SETUP)
    ]
    values = [np.array(column)[:, 1:].mean(axis=1) for column in signed]
    # the next powers are 4(1-β) and 1: the slower of them is the correction, of the size that `sharp-rate` allows
    correction = min(power, 1 - power)
    return asymptotic(SETUP.widths, values, of="mean", correction=correction, size=3 * SETUP.curvature_ratio**2)


def test_the_limit_trajectory_is_the_references() -> None:
    problem = standardized(line(6))
    ours = limit_equation._trajectory(ensemble.kernel(problem), 0.7, problem.y, np.zeros(6))
    theirs = limit_trajectory(problem.X, problem.y, 0.7, limit_equation._STEPS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_networks_follow_the_limit_equation() -> None:
    assert followed().verdict is Verdict.HOLDS


@pytest.mark.parametrize("name", PLANTED)
def test_networks_follow_no_other_equation_at_default_effort(name: str) -> None:
    with planted(FAULTS[name]):
        finding = followed()
    assert finding.verdict is Verdict.REFUTED, finding.why


def test_the_mean_difference_has_the_derived_power() -> None:
    assert Rate("mean", mean_difference(), "≈", -0.8, (-0.4, -0.5)).verdict is Verdict.HOLDS
    with planted(FAULTS["limit equation: γ 5 % larger"]):
        assert mean_difference().low > -0.5


@pytest.mark.parametrize("t", range(1, limit_equation._STEPS + 1))
def test_every_step_counts(t: int) -> None:
    difference = np.zeros((limit_equation._STEPS + 1, 4))
    difference[t] = [3.0, -4.0, 0.0, 0.0]
    assert limit_equation._sup(difference) == 2.5


def run_with(kernel: np.ndarray, outputs: np.ndarray) -> Run:
    return Run(outputs, outputs, kernel, np.ones(1), None, None)


def test_what_is_taken_away_for_the_kernel_is_its_first_order() -> None:
    """Linear dynamics with a kernel ε away from the limit: of order ε itself, and of order ε² beyond the kernel's part."""
    problem, gamma = standardized(line(6)), 0.7
    B = ensemble.kernel(problem)
    change = B[::-1, ::-1] - B + 0.1 * np.eye(6)
    start = 0.1 * problem.y[::-1]

    def distances(size: float) -> tuple[float, float]:
        run = run_with(B + size * change, limit_equation._trajectory(B + size * change, gamma, problem.y, start))
        return limit_equation._against_limit(problem, gamma)(run), limit_equation._sup(
            limit_equation._beyond(B, gamma, problem.y, run)
        )

    (first, second), (half_first, half_second) = distances(1e-3), distances(5e-4)
    assert first / half_first == pytest.approx(2, rel=1e-2)
    assert second / half_second == pytest.approx(4, rel=1e-2)


def test_the_control_is_refuted_for_its_scaling_alone() -> None:
    problem = textbook(default_data())
    assert CLAIMS["limit-equation"].control(problem, Effort.QUICK).verdict is Verdict.REFUTED
    assert limit_equation._scaled(problem, "fixed").verdict is Verdict.REFUTED
    assert limit_equation._scaled(problem, "width").verdict is not Verdict.REFUTED
