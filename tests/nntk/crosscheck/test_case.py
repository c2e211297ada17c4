"""What optimizers are tried on, and the limits of a step's forward and backward error."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nntk_accelerated
import nntk_reference
from nntk.crosscheck import CHECKS, PROFILES, cases
from nntk.crosscheck.case import EPS, LEAST, THRESHOLD, Case, Objective, Point, Target, case_at, solved
from nntk.crosscheck.cases import activations, case, family, ladder, normal_data, with_activations
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import subject
from nntk_reference import FLOAT64, gauss_newton_step, newton_step
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


@pytest.mark.parametrize("dtype", EPS)
def test_the_damping_of_a_definite_case_is_twice_what_is_needed_and_some_of_the_scaling_formula(dtype: str) -> None:
    """2 max|λ(S)| + N^(1-2β)/10, rounded to the dtype."""
    for at in ladder("definite", 1, dtype, 4):
        largest = float(np.abs(np.linalg.eigvalsh(at.start.residual_hessian)).max())
        expected = 2 * largest + 0.1 * len(at.theta) ** (1 - 2 * at.objective.beta)
        assert at.objective.damping == pytest.approx(expected, rel=2 * EPS[dtype] + 1e-12)


@pytest.mark.parametrize("kind", ["indefinite", "ascent"])
def test_the_damping_of_an_indefinite_case_is_far_from_singular(kind: str) -> None:
    """No damping of 2 % … 90 % of -λ_min leaves the spectra of A and D much farther from 0."""
    for at in ladder(kind, 1, "float64", 5):
        spectra = np.concatenate([np.linalg.eigvalsh(M) for M in (at.start.hessian, at.start.residual_hessian)])
        lowest = -float(np.linalg.eigvalsh(at.start.hessian)[0])
        assert 0.02 * (1 - 1e-9) <= at.objective.damping / lowest <= 0.9 * (1 + 1e-9)
        gap = float(np.abs(spectra + at.objective.damping).min())
        assert gap > 1e-3 * at.start.matrix_size
        if kind == "indefinite":
            best = max(float(np.abs(spectra + share * lowest).min()) for share in np.geomspace(0.02, 0.9, 2000))
            assert 0.8 * best <= gap <= best * (1 + 1e-9) + 1e-3 * best
        else:
            step, g = at.start.newton.step, at.start.gradient
            assert step @ g > 0.05 * float(np.linalg.norm(step) * np.linalg.norm(g))


@pytest.mark.parametrize("dtype", EPS)
def test_a_nearly_singular_case_is_so_by_half_the_digits_and_its_blocks_are_not(dtype: str) -> None:
    for at in ladder("nearly singular", 1, dtype, 5):
        smallest = float(np.abs(np.linalg.eigvalsh(at.start.newton.matrix)).min())
        assert 0.5 < smallest / (math.sqrt(EPS[dtype]) * at.start.matrix_size) < 2
        assert np.abs(at.start.block_eigenvalues).min() > 0.5e-3 * at.start.matrix_size


def stub(lowest: float, block: float, size: float) -> Any:
    """A point of H = diag(lowest, 1e6) and S = diag(block, 1e6)."""
    return SimpleNamespace(
        hessian=np.diag([lowest, 1e6]),
        residual_blocks=np.array([[block]]),
        matrix_size=size,
        gradient=np.array([1.0, 1.0]),
    )


def test_no_case_is_made_nearer_to_singular_than_a_thousandth() -> None:
    """With λ_min(H) = -1 the best damping is the smallest, 0.02, 0.98 from singular; or, with λ(S) = -1/2, 0.48 from it."""
    for block, gap in ((1e6, 0.98), (-0.5, 0.48)):
        assert cases._between(stub(-1.0, block, 1e3 * gap * 0.9999), uphill=False) == pytest.approx(0.02)
        assert cases._between(stub(-1.0, block, 1e3 * gap * 1.0001), uphill=False) is None
    for lowest, made in ((-1.0001, True), (-0.9999, False)):
        assert (cases._nearly_singular(stub(lowest, 1e6, 1e3), "float64") is not None) == made
    for block, made in ((-8.9999, True), (-9.0001, False)):  # from λ = -10, of a size of 1000
        assert (cases._nearly_singular(stub(-10.0, block, 1e3), "float64") is not None) == made


def test_a_case_at_a_point_is_of_the_kind_that_it_is() -> None:
    for kind in ("definite", "indefinite"):
        at = ladder(kind, 0, "float64", 3)[1]
        again = case_at(at.objective, at.theta, "here")
        assert (again.kind, again.source) == (kind, "here")
        assert np.array_equal(again.theta, at.theta)


@pytest.mark.parametrize("dtype", EPS)
def test_a_family_is_damped_by_the_scaling_formula(dtype: str) -> None:
    data = normal_data(2, 4, 3, dtype)
    for width, beta in ((4, 0.75), (32, 0.6)):
        at = family(width, *data, seed=3, dtype=dtype, beta=beta)
        assert at.theta.shape == (width, 4)
        assert at.objective.damping == pytest.approx(width ** (1 - 2 * beta), rel=EPS[dtype])
        assert (at.kind == "indefinite") == (at.start.negative > 0)
        assert at.objective.X is data[0]
        assert at.objective.y is data[1]


@pytest.mark.parametrize("dtype", EPS)
def test_normal_data_are_normal_and_held_by_the_dtype(dtype: str) -> None:
    X, y = normal_data(3, 4000, 1, dtype)
    assert X.shape == (4000, 3)
    assert y.shape == (4000,)
    for values in (X.ravel(), y):
        assert np.array_equal(values, values.astype(dtype))
        # six standard deviations of the mean of v, v² and v⁴, whose variances are 1, 2 and 96
        for power, mean, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
            assert abs((values**power).mean() - mean) <= 6 * math.sqrt(variance / len(values))
    assert not np.array_equal(X, normal_data(3, 4000, 2, dtype)[0])


def test_a_ladder_has_so_many_cases_evenly_spread_and_none_narrower_than_asked_for() -> None:
    cases = ladder("definite", 0, "float64")
    assert cases[0].size == (3, 1)
    assert {at.objective.X.shape[1] for at in cases} == {1, 2, 3, 4}
    assert {len(at.theta) < len(at.objective.y) for at in cases} == {True, False}
    few = [at.size for at in ladder("definite", 0, "float64", 3)]
    assert [few[0], few[-1]] == [cases[0].size, cases[-1].size]
    assert len(few) == 3
    assert len(ladder("definite", 0, "float64", 12)) == len(ladder("definite", 0, "float64", 13)) == len(cases)
    wide = ladder("definite", 0, "float64", least=4)
    assert [at.size for at in wide] == [at.size for at in cases if len(at.theta) >= 4]
    assert [at.size for at in ladder("indefinite", 0, "float64")] == [at.size for at in cases if len(at.theta) >= 2]


def test_the_residual_of_a_case_is_as_large_as_asked_for() -> None:
    one, ten = (case("definite", 4, 2, 6, "tanh", seed=2, residual=size) for size in (1.0, 10.0))
    np.testing.assert_allclose(ten.start.residual, 10 * one.start.residual, rtol=1e-12)
    assert 0.1 < np.linalg.norm(one.start.residual) / math.sqrt(6) < 3


def test_a_case_says_what_it_is() -> None:
    at = case("definite", 4, 2, 6, "erf", seed=2)
    assert str(at).startswith("N = 4, d = 2, M = 6, erf, ")
    assert str(at).endswith(", definite")
    assert at.size == (16, 6)


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


def summed(point: Point) -> tuple[float, float]:
    """(a, G), term by term: σ, σ', σ'' each with its own error, that of z = Σ wx + η, and that of σ² or σ in its formula."""
    (N, D), of = point.theta.shape, point.objective
    M, scale = len(of.y), N**-of.beta
    z = of.X @ point.theta[:, 1:-1].T + point.theta[:, -1]
    jets = [np.abs(v) for v in nntk_reference.activation(of.activation).jets(z, FLOAT64)]
    matrix, gradient, inputs = np.zeros((N * D, N * D)), np.zeros(N * D), np.hstack([np.abs(of.X), np.ones((M, 1))])
    for m in range(M):
        J, blocks, f = np.zeros((N, D)), np.zeros((N, D, D)), 0.0
        for i in range(N):
            sigma, slope, bend = (float(jet[m, i]) for jet in jets)
            zeta, one = float(inputs[m] @ np.abs(point.theta[i, 1:])), min(sigma, 1.0)
            value, rise, turn = sigma + zeta * slope, slope + zeta * bend + one**2, bend + zeta * (slope + bend) + one
            c = abs(float(point.theta[i, 0]))
            J[i] = scale * np.array([value, *(c * rise * inputs[m])])
            f += scale * c * value
            blocks[i, 0, 1:] = blocks[i, 1:, 0] = scale * rise * inputs[m]
            blocks[i, 1:, 1:] = scale * c * turn * np.outer(inputs[m], inputs[m])
        r = f + abs(float(of.y[m]))
        matrix += np.outer(J.ravel(), J.ravel()) / M
        gradient += r * J.ravel() / M
        for i in range(N):
            matrix[i * D : i * D + D, i * D : i * D + D] += r * blocks[i] / M
    return float(np.linalg.norm(matrix)) + of.damping, float(np.linalg.norm(gradient))


def test_the_sizes_are_the_sums_of_all_terms_in_absolute_values() -> None:
    for at, _ in targets("float64"):
        assert (at.start.matrix_size, at.start.gradient_size) == pytest.approx(summed(at.start), rel=1e-11)


def test_errors_are_relative_to_the_step_and_absolute_where_there_is_none() -> None:
    for at, target in targets("float64"):
        assert target.error(np.zeros(at.theta.size)) == 1
        assert target.error(3 * target.step) == pytest.approx(2, rel=1e-12)
        assert target.arbiter(np.zeros(at.theta.size)) == 1
        assert target.arbiter(3 * target.step) == pytest.approx(2, rel=1e-6)
    silent = at_rest()
    assert silent.error(np.array([3.0, 0.0, 4.0])) == silent.arbiter(np.array([3.0, 0.0, 4.0])) == 5
    assert silent.limit("float64") == 0
    assert silent.backward_error(np.zeros(3), "float64") == 0


def at_rest() -> Target:
    """One neuron that puts out 0, and so it should: g = 0."""
    of = Objective(np.array([[1.0]]), np.zeros(1), 0.75, "tanh", 0.5)
    return of.at(np.array([[0.0, 1.0, 0.5]])).newton


@pytest.mark.parametrize("dtype", EPS)
def test_with_a_step_size_the_rounding_of_the_parameters_weighs_more(dtype: str) -> None:
    """θ_next = θ + αΔ is rounded by eps of itself, seen 1/α times as large beside Δ; nothing else in the limit changes."""
    for at, target in targets(dtype):
        if target.limit(dtype) <= LEAST * EPS[dtype]:
            continue
        rounding = EPS[dtype] * float(np.linalg.norm(np.abs(at.theta.ravel()) + np.abs(target.step)))
        size = float(np.linalg.norm(target.step))
        for rate in (0.5, 1 / 64):
            more = target.limit(dtype, rate) - target.limit(dtype)
            assert more == pytest.approx((1 / rate - 1) * rounding / size, rel=1e-3)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_the_backward_error_is_what_rounding_of_the_parameters_does_not_explain(rate: float) -> None:
    """|A|(|θ| + |Δ|) eps/α is taken from each entry of |AΔ + g|: here half of that is all of an entry, or 3 times that."""
    for at, target in targets("float32"):  # of whose rounding float64 sees the digits
        A, step = target.matrix, target.step
        for _ in range(30):  # what is explained depends on the step
            explained = (EPS["float32"] / rate) * (np.abs(A) @ (np.abs(at.theta.ravel()) + np.abs(step)))
            step = solved(A, np.where(np.arange(at.theta.size) % 2, 3.0, 0.5) * explained - at.start.gradient)
        a, G, _ = at.start.sizes("float32")
        scale = a * float(np.linalg.norm(step)) + G
        expected = 2 * float(np.linalg.norm(explained[1::2])) / scale
        assert target.backward_error(step, "float32", rate) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", EPS)
def test_the_forward_limit_is_attained_by_the_worst_errors_of_the_matrix_and_the_gradient(dtype: str) -> None:
    """(A + E)Δ = -(g + e), |E| = 30√n eps a and |e| = 30√n eps G, both along A's weakest direction: 0.8 of the limit."""
    for at, target in targets(dtype):
        limit, size = target.limit(dtype), float(np.linalg.norm(target.step))
        if limit > 0.01 or limit <= LEAST * EPS[dtype]:  # not small: beyond the first order; or none of these errors
            continue
        left, _, _ = np.linalg.svd(target.matrix)
        along, unit = left[:, -1], unit_errors(at, dtype)
        a, G, _ = at.start.sizes(dtype)
        E = unit * a * np.outer(along, target.step) / size
        e = unit * G * along
        step = np.linalg.solve(target.matrix + E, -at.start.gradient - e)
        assert 0.8 * limit < target.error(step) <= 1.05 * limit
        twice = np.linalg.solve(target.matrix + 2 * E, -at.start.gradient - 2 * e)
        assert target.error(twice) > limit


@pytest.mark.parametrize("dtype", EPS)
def test_three_digits_are_left_to_the_order_of_sums(dtype: str) -> None:
    """Also where one neuron and one point make n = 4, and the matrix is a multiple of the identity but for rounding."""
    of = Objective(np.array([[0.5]]), np.array([1.0]), 0.75, "tanh", 1e3)
    target = of.at(np.array([[0.5, 0.25, -0.5]])).newton
    assert target.backward_limit(dtype) == LEAST * EPS[dtype]
    assert target.limit(dtype) >= LEAST * EPS[dtype]
    assert LEAST == 1024


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
        expected = unit_errors(at, dtype) * max(1.0, at.start.sizes(dtype).matrix * float(np.linalg.norm(inverse, 2)))
        assert target.backward_limit(dtype) == pytest.approx(max(expected, LEAST * EPS[dtype]), rel=1e-6)


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
