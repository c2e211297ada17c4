"""Cases that reach further than the ladder, and dampings that make no case singular."""

from __future__ import annotations

import numpy as np
import pytest

from nntk.crosscheck.case import EPS, NEARLY_SINGULAR, case_at
from nntk.crosscheck.cases import activations, case, damping_near, ladder, reach


@pytest.mark.parametrize("seed", range(3))
def test_the_reach_is_what_is_documented(seed: int) -> None:
    found = reach(seed, "float64")
    sizes = [(*at.theta.shape, *at.objective.X.shape) for at in found]
    assert max(N for N, _, _, _ in sizes) == 70
    assert {M for _, _, M, _ in sizes} >= {1, 3, 11, 13, 17, 67}
    assert max(d for _, _, _, d in sizes) == 8
    assert {at.objective.activation for at in found} == set(activations())
    assert {at.objective.beta for at in found} == {0.6, 0.75, 0.9}
    assert {"definite", "indefinite"} == {at.kind for at in found}
    rms = [float(np.sqrt(np.mean(at.objective.y**2))) for at in found]
    assert max(rms) > 3e3
    assert 0 in rms
    assert any(1e-5 < size < 1e-3 for size in rms)
    assert max(float(np.abs(at.objective.X).max()) for at in found) > 10
    gradients = [float(np.linalg.norm(at.start.gradient)) for at in found]
    assert min(gradients) == 0
    assert sorted(gradients)[1] < 1e-5
    repeated = [len(np.unique(at.objective.X, axis=0)) < len(at.objective.X) for at in found]
    assert sum(repeated) == 1
    for at in found:
        assert case_at(at.objective, at.theta, "").kind == at.kind
        assert at.start.newton.limit("float64") < 1e-4


def test_what_tells_the_weight_of_each_point_has_more_parameters_than_points() -> None:
    for at in reach(0, "float64", whole=True):
        P, M = at.size
        assert P >= M + 3
    assert max(at.size[1] for at in reach(0, "float64", whole=True)) == 67


def test_without_a_gradient_the_step_is_zero_and_nothing_else_is_within_the_limit() -> None:
    at = case("definite", 3, 1, 4, "tanh", seed=0, special="no gradient")
    target = at.start.newton
    assert not target.step.any()
    assert target.limit("float64") == 0
    assert target.error(np.zeros(9)) == 0
    assert target.error(np.full(9, 1e-100)) > 0


@pytest.mark.parametrize("dtype", EPS)
def test_a_damping_near_an_eigenvalue_of_minus_h_is_moved_away_from_it(dtype: str) -> None:
    for at in ladder("indefinite", 0, dtype, 6):
        for value in np.linalg.eigvalsh(at.start.hessian):
            if value < -1e-3 * at.start.matrix_size:
                damping = damping_near(at.start, -float(value))
                spectrum = np.linalg.eigvalsh(at.start.hessian) + damping
                assert 0.6 < damping / -value < 1.6
                assert np.abs(spectrum).min() > 0.02 * damping


@pytest.mark.parametrize("dtype", EPS)
def test_a_case_that_has_lost_half_of_its_digits_is_nearly_singular(dtype: str) -> None:
    at = ladder("nearly singular", 0, dtype, 3)[1]
    assert case_at(at.objective, at.theta, "", dtype).kind == "nearly singular"
    other = ladder("definite", 0, dtype, 3)[1]
    assert case_at(other.objective, other.theta, "", dtype).kind == "definite"
    assert NEARLY_SINGULAR < 1
