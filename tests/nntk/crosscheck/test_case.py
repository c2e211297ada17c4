"""What optimizers are tried on, and the limits of a step's forward and backward error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import nntk_accelerated
import nntk_reference
from nntk.crosscheck import CHECKS, PROFILES
from nntk.crosscheck.case import (
    EPS,
    THRESHOLD,
    Case,
    Target,
    activations,
    case,
    family,
    ladder,
    normal_data,
    solved,
    with_activations,
)
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import subject
from nntk_reference import gauss_newton_step, newton_step
from nntk_reference.arithmetic import Array
from tests.nntk import optimizers

KINDS = ("definite", "indefinite", "ascent", "nearly singular")


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("kind", KINDS)
def test_cases_are_of_their_kind(kind: str, dtype: str) -> None:
    for seed in range(3):
        for at in ladder(kind, seed, dtype):
            point = at.start
            assert (point.negative > 0) == (kind in ("indefinite", "ascent")) or kind == "nearly singular"
            assert (point.newton.step @ point.gradient > 0) == (kind == "ascent") or kind in ("indefinite", "nearly singular")
            assert point.newton.limit(dtype) < (1e-4 if dtype == "float64" else 0.2)
            if dtype == "float64":
                assert point.newton.arbiter(point.newton.step) <= point.newton.limit(dtype) / 30
            else:
                assert np.array_equal(at.theta, at.theta.astype(np.float32))


def test_the_targets_are_the_references_steps() -> None:
    at = family(8, *normal_data(2, 4, 3, "float64"), seed=3, dtype="float64")
    objective, net = at.objective, at.start.network
    for target, step in ((at.start.newton, newton_step), (at.start.gauss_newton_target, gauss_newton_step)):
        expected = step(net, objective.X, objective.y, 1.0).update.reshape(-1)
        assert target.error(expected) <= target.limit("float64")


# --- which activations ---------------------------------------------------------------------------------------------------


def test_every_activation_of_the_theory_is_tried_tanh_most_often() -> None:
    """Where there are more of them than rows between those of tanh, the ladder needs rows."""
    names = [at.objective.activation for at in ladder("definite", 0, "float64")]
    assert set(names) == set(activations())
    assert set(names[::2]) == {"tanh"}


def test_an_activation_registered_later_is_tried_and_changes_no_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(k, 1, 1) for k in range(1, 13)]
    before = with_activations(sizes)
    for registry in (nntk_reference.ACTIVATIONS, nntk_accelerated.ACTIVATIONS):
        monkeypatch.setitem(registry, "another", replace(registry["tanh"], name="another"))
    after = with_activations(sizes)
    assert activations()[-1] == "another"
    assert [k for k in range(12) if before[k] != after[k]] == [11]
    assert after[11][3] == "another"
    assert [row[3] for row in with_activations(sizes[:3])] == ["tanh", "another", "tanh"]

    met = set()

    def factory(model: nntk_accelerated.ShallowNet, X: object, y: object, damping: float) -> object:
        met.add(model.activation)
        return optimizers.right_object(model, X, y, damping)

    setting = Setting(subject(factory), PROFILES["exact-newton"])
    assert all(CHECKS["step-matches"].examine(setting, at).ratio <= 1 for at in ladder("indefinite", 0, "float64", 2))
    assert "another" in met


def test_an_activation_outside_the_theory_or_of_one_package_alone_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    before = activations()
    assert "relu" not in before
    entry = nntk_reference.ACTIVATIONS["tanh"]
    monkeypatch.setitem(nntk_reference.ACTIVATIONS, "alone", replace(entry, name="alone"))
    assert activations() == before


# --- the limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", EPS)
def test_both_sides_of_the_limit(dtype: str) -> None:
    for at in ladder("definite", 0, dtype):
        target = at.start.newton
        direction = np.ones(at.theta.size) / math.sqrt(at.theta.size) * np.linalg.norm(target.step)
        limit = target.limit(dtype)
        assert target.error(target.step + 0.9 * limit * direction) <= limit
        assert target.error(target.step + 1.1 * limit * direction) > limit


def targets(dtype: str) -> list[tuple[Case, Target]]:
    cases = [at for kind in ("definite", "indefinite") for at in ladder(kind, 1, dtype, 4, 2)]
    return [(at, target) for at in cases for target in (at.start.newton, at.start.gauss_newton_target)]


def unit_errors(at: Case, dtype: str) -> float:
    """√n eps, what n = P + M rounding errors add up to, times LAPACK's 30."""
    return THRESHOLD * math.sqrt(at.theta.size + len(at.objective.y)) * EPS[dtype]


def absolute_sums(at: Case) -> tuple[Array, Array]:
    """|JᵀJ|/M + |S| + γ_N I and |J|ᵀ(|f| + |y|)/M with each product's terms in absolute values, by a loop over points."""
    start, (N, D) = at.start, at.theta.shape
    M, J = len(at.objective.y), np.abs(start.jacobian)
    f = start.residual + at.objective.y
    matrix = J.T @ J / M + np.abs(start.residual_hessian) + at.objective.damping * np.eye(N * D)
    return matrix, J.T @ (np.abs(f) + np.abs(at.objective.y)) / M


@pytest.mark.parametrize("dtype", EPS)
def test_the_sizes_bound_the_matrix_and_the_gradient_and_not_much_more(dtype: str) -> None:
    for at, _ in targets(dtype):
        matrix, gradient = absolute_sums(at)
        assert 1 <= at.start.matrix_size / np.linalg.norm(matrix, 2) < 30
        assert 0.3 <= at.start.gradient_size / np.linalg.norm(gradient) < 30


@pytest.mark.parametrize("dtype", EPS)
def test_the_forward_limit_is_attained_by_the_worst_errors_of_the_matrix_and_the_gradient(dtype: str) -> None:
    """(A + E)Δ = -(g + e), |E| = 30√n eps a and |e| = 30√n eps G, both along A's weakest direction: 0.8 of the limit."""
    for at, target in targets(dtype):
        limit, size = target.limit(dtype), float(np.linalg.norm(target.step))
        if limit > 0.01:  # not small: beyond the first order
            continue
        left, _, _ = np.linalg.svd(target.matrix)
        along, unit = left[:, -1], unit_errors(at, dtype)
        E = unit * at.start.matrix_size * np.outer(along, target.step) / size
        e = unit * at.start.gradient_size * along
        step = np.linalg.solve(target.matrix + E, -at.start.gradient - e)
        assert 0.8 * limit < target.error(step) <= 1.05 * limit
        twice = np.linalg.solve(target.matrix + 2 * E, -at.start.gradient - 2 * e)
        assert target.error(twice) > limit


def test_a_solve_in_float32_exceeds_the_limits_of_float64_and_keeps_those_of_float32() -> None:
    for at in ladder("definite", 1, "float32", 4, 2):
        target = at.start.newton
        step = np.linalg.solve(target.matrix.astype(np.float32), -at.start.gradient.astype(np.float32)).astype(np.float64)
        assert target.limit("float64") < target.error(step) <= target.limit("float32")
        assert target.backward_error(step, "float32") <= target.backward_limit("float32")


@pytest.mark.parametrize("dtype", EPS)
def test_the_backward_limit_is_that_of_the_condition_of_the_blocks(dtype: str) -> None:
    for at, target in targets(dtype):
        P = at.theta.size
        S = at.start.residual_hessian if target.curvature else np.zeros((P, P))
        inverse = np.linalg.inv(S + at.objective.damping * np.eye(P))
        expected = unit_errors(at, dtype) * max(1.0, at.start.matrix_size * float(np.linalg.norm(inverse, 2)))
        assert target.backward_limit(dtype) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", EPS)
def test_both_sides_of_the_backward_limit(dtype: str) -> None:
    """A residual along A's strongest mode, of 0.9 of what is allowed beside the rounding of θ_next, and of 1.2 of it.

    No step leaves a residual of a |Δ| λ/a or more along a mode of eigenvalue λ. So the cases are those where what is allowed,
    `limit` a |Δ|, is less than half of that for the strongest mode, for which the iteration converges.
    """
    tried = 0
    for at, target in targets(dtype):
        limit = target.backward_limit(dtype)
        eigenvalues, modes = np.linalg.eigh(target.matrix)
        strongest = modes[:, -1]
        if limit * at.start.matrix_size > 0.5 * eigenvalues[-1]:
            continue
        tried += 1
        for share, good in ((0.9, True), (1.2, False)):
            step = target.step
            for _ in range(20):  # what is allowed depends on the step
                scale = at.start.matrix_size * float(np.linalg.norm(step)) + at.start.gradient_size
                rounding = EPS[dtype] * np.abs(target.matrix) @ (np.abs(at.theta.reshape(-1)) + np.abs(step))
                residual = share * limit * scale * strongest + np.copysign(rounding, strongest)
                step = solved(target.matrix, residual - at.start.gradient)
            assert (target.backward_error(step, dtype) <= limit) == good
    assert tried >= 12


def test_the_push_through_form_needs_the_condition_of_the_blocks() -> None:
    """Where D is nearly singular its residual (E13) is a thousand times 30√n eps, and within the limit, with a |D⁻¹| in it."""
    at = case("indefinite", 2, 1, 3, "tanh", seed=4)
    spectrum = np.linalg.eigvalsh(at.start.residual_blocks).reshape(-1)
    at = replace(at, objective=replace(at.objective, damping=float(-spectrum.min() * (1 + 1e-8))))
    target, M, P = at.start.newton, len(at.objective.y), at.theta.size
    D, J = at.start.residual_hessian + at.objective.damping * np.eye(P), at.start.jacobian
    behind = np.linalg.solve(D, J.T)
    step = -behind @ np.linalg.solve(M * np.eye(M) + J @ behind, at.start.residual)
    assert 1000 * unit_errors(at, "float64") < target.backward_error(step, "float64") < target.backward_limit("float64")
