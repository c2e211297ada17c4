"""`limit-equation`: networks follow (E11) and none of its neighbours; the control goes through the same code."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nntk_proofs_checks import CLAIMS, Effort, Problem, ensemble, limit_equation
from nntk_proofs_checks.claim import Finding
from nntk_proofs_checks.data import default_data
from nntk_proofs_checks.ensemble import BETAS, SEEDS, WIDTHS, Run, Setup, kernel, standardized, textbook
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


# ------------------------------------------------------------------------------------------------------------ what is measured


def _starts(rng: np.random.Generator, data: Problem, counts: tuple[int, ...]) -> list[list[Any]]:
    M = len(data.y)
    return [
        [
            SimpleNamespace(
                beta=BETAS[k % 3],
                outputs=N ** (0.5 - BETAS[k % 3]) * (1 + 1e-3 * rng.standard_normal(M)),
                kernel=kernel(data) * (1 + N**-0.5 * (1 if k % 2 else -1)),
            )
            for k in range(n)
        ]
        for N, n in zip(limit_equation.START_WIDTHS, counts, strict=True)
    ]


def test_the_parts_before_training_have_their_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = standardized(line(4)), []
    columns = _starts(np.random.default_rng(0), data, (12, 12, 12, 18))
    monkeypatch.setattr(limit_equation, "starts", lambda problem, runs: (asked.append(runs), columns)[1])
    rates, cases = limit_equation._before_training(data, Effort.QUICK, 12, 1)
    assert (asked, cases) == ([12], 54)
    initial, *by_kernel = rates
    assert (initial.relation, initial.claimed, initial.alternatives) == ("≲", 0.0, (pytest.approx(0.2),))
    assert initial.interval.value == pytest.approx(0, abs=1e-2)
    assert [rate.what for rate in by_kernel] == [f"kernel's part, squared, β = {beta}" for beta in BETAS]
    for rate in by_kernel:
        assert (rate.relation, rate.claimed, rate.alternatives) == ("≈", -1.0, (-1.4, -0.6))
        assert rate.interval.value == pytest.approx(-1, abs=0.05)


def test_the_kernels_part_is_the_square_of_the_largest_distance() -> None:
    data, gamma = standardized(line(4)), 0.7
    columns = _starts(np.random.default_rng(0), data, (2, 1, 1, 1))
    found = limit_equation._kernel_part(data, columns, gamma)
    assert [len(values) for values in found] == [2, 1, 1, 1]

    def path(B: np.ndarray) -> np.ndarray:
        f, out = np.zeros(4), [np.zeros(4)]
        for _ in range(3):
            f = f + B @ np.linalg.inv(B + gamma * np.eye(4)) @ (data.y - f)
            out.append(f)
        return np.array(out)

    for values, column in zip(found, columns, strict=True):
        for value, start in zip(values, column, strict=True):
            off = path(start.kernel) - path(kernel(data))
            assert value == pytest.approx(max((row**2).mean() for row in off), rel=1e-9)


def test_the_check_counts_all_networks_and_takes_every_beta(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def before(problem: Problem, effort: Effort, runs: int, looks: int) -> tuple[list[Rate], int]:
        seen.append((problem.y.tolist(), runs))
        return [Rate("a", Interval(0.0, -0.1, 0.1), "≈", 0.0, (1.0,))], 11

    def during(problem: Problem, effort: Effort, beta: float, seeds: int, looks: int) -> tuple[list[Rate], None]:
        seen.append((problem.y.tolist(), beta, seeds))
        return [Rate("b", Interval(0.0, -0.1, 0.1), "≈", 0.0, (1.0,))], None

    monkeypatch.setattr(limit_equation, "_before_training", before)
    monkeypatch.setattr(limit_equation, "_while_training", during)
    found = limit_equation.check(line(), Effort.QUICK)
    y = standardized(line()).y.tolist()
    assert seen == [(y, 150), *[(y, beta, 16) for beta in BETAS]]
    assert (found.verdict, found.cases) == (Verdict.HOLDS, 11 + 3 * 3 * 16)
    assert len(found.panels) == 3
    assert not limit_equation.check(replace(line(), y=0 * line().y), Effort.QUICK).applies


@pytest.mark.parametrize(("power", "verdict"), [(1.02, Verdict.HOLDS), (0.98, Verdict.REFUTED)])
def test_the_parts_while_training_are_held_against_their_rate(
    power: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself: the nonlinear part, and the distance without what the kernel makes of it."""
    data, asked = standardized(line(4)), []

    def made(problem: Problem, setup: Any) -> list[list[Any]]:
        asked.append((setup.beta, setup.widths, setup.counts, setup.steps, setup.features))
        limit = limit_equation._trajectory(kernel(data), ensemble.suitable_gamma(data, setup), data.y, np.zeros(4))
        out = []
        for N, n in zip(setup.widths, setup.counts, strict=True):
            off = N ** (power * (setup.beta - 1))
            column = []
            for k in range(n):
                moved = limit.copy()
                moved[1 + k % 3] += off * (1 + 1e-4 * (k % 5))
                column.append(SimpleNamespace(outputs=moved, linear=limit, kernel=kernel(data)))
            out.append(column)
        return out

    monkeypatch.setattr(limit_equation, "ensemble", made)
    rates, panel = limit_equation._while_training(data, Effort.QUICK, 0.6, 16, 1)
    assert set(asked) == {(0.6, ensemble.WIDTHS[Effort.QUICK], (16, 16, 16), 3, True)}
    assert [rate.verdict for rate in rates] == [verdict] * 2
    for rate in rates:
        assert (rate.relation, rate.claimed, rate.alternatives) == ("≲", -0.4, (-0.2,))
        assert rate.interval.value == pytest.approx(-0.4 * power, abs=1e-3)
    assert len(panel.series) == 6
