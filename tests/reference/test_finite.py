"""The finite-width reference: derivatives, steps and kernels against independent computations, symmetries and limits.

Where balls are compared, the tolerance is their radius: both contain the exact number, so they must overlap. That would be
empty for wide balls, so `overlap` also asks that they are narrow. Where float64 is compared, the bound is stated in the test.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nntk.strategies import problems
from nntk_reference import (
    ACTIVATIONS,
    FLOAT64,
    Arithmetic,
    Ball,
    Multiprecision,
    Network,
    PrecisionError,
    SingularSystemError,
    SizeError,
    Verdict,
    eigenvalues,
    gauss_newton_nntk,
    gauss_newton_step,
    gradient,
    gradient_descent_step,
    hessian,
    inertia,
    jacobian,
    loss,
    newton_step,
    nntk,
    ntk,
    outputs,
    positive_definite,
    regularization,
    residual_hessian,
    sample_network,
    solve,
)
from tests.definitions import sigma
from tests.tolerances import EPS, THRESHOLD, TINY

IN_THEORY = [name for name, entry in ACTIVATIONS.items() if entry.in_theory]
ODD = [name for name in IN_THEORY if ACTIVATIONS[name].parity == "odd"]
PRECISE = Ball(256)
Example = tuple[Network, np.ndarray, np.ndarray, float]
STEPS = {"newton": newton_step, "gauss-newton": gauss_newton_step}


def regular(problem: Example) -> bool:
    """Can a sharp answer be expected? Simple numbers are singular, or cancel, more often than one would think.

    H + γ_N I must be nonsingular to 64 bits, and the residuals sharp: with y = f(X) rounded and η = 1e-100, tanh(η) - y is
    1e-300. What is returned there is the subject of tests of their own.
    """
    net, X, y, gamma = problem
    try:
        newton_step(net, X, y, gamma, arithmetic=Ball(64, max_bits=64))
    except (SingularSystemError, PrecisionError):
        return False
    return sharp_residuals(net, X, y)


def sharp_residuals(net: Network, X: np.ndarray, y: np.ndarray) -> bool:
    """Are the residuals zero, or known to 150 of 256 bits?"""
    with ctx.workprec(256):
        r = outputs(net, X, arithmetic=Ball(256)) - np.array([arb(float(v)) for v in y], dtype=object)
    return all(v == 0 or v.rel_accuracy_bits() >= 150 for v in r)


small = problems(max_width=4, max_dim=2, max_points=4, extreme=False).filter(regular)
tiny = problems(max_width=2, max_dim=2, max_points=2, extreme=False).filter(regular)
high_dimensional = problems(max_width=2, min_dim=3, max_points=3, extreme=False).filter(regular)

either_step = pytest.mark.parametrize("kind", STEPS)


@pytest.fixture(autouse=True, scope="module")
def precision_of_the_tests_own_arithmetic() -> Iterator[None]:
    """flint's precision is global; it concerns the operators in this file, not the functions under test."""
    with ctx.workprec(PRECISE.bits):
        yield


def flat(values: Any) -> list[Any]:
    return list(np.asarray(values, dtype=object).reshape(-1))


def narrow(values: Any, bits: int = 100) -> bool:
    """Is every radius below 2^-bits of the largest entry, or of 1?"""
    size = max([arb(1), *(abs(v.mid()) for v in flat(values))], key=lambda v: v.mid())
    return all(v.rad() <= size * arb(2) ** -bits for v in flat(values))


def overlap(a: Any, b: Any) -> bool:
    """Are balls narrow, and do they have numbers in common, entry by entry?"""
    assert np.shape(a) == np.shape(b)
    assert narrow(a)
    assert narrow(b)
    return all(v.overlaps(w) for v, w in zip(flat(a), flat(b), strict=True))


def exact(values: Any) -> np.ndarray:
    """float64 numbers as the balls that they are."""
    return np.vectorize(lambda v: arb(float(v)), otypes=[object])(values)


def from_mpf(value: Any) -> arb:
    """An mpf as the ball that it is, or a ball of 1024 bits around it."""
    with ctx.workprec(1024):
        return arb((int(value.man) * (-1 if value < 0 else 1), int(value.exp)))


def middle(values: Any) -> np.ndarray:
    """Midpoints of balls, as float64."""
    return np.array([float(v.mid()) for v in flat(values)]).reshape(np.shape(values))


def upper_norm(values: Any) -> arb:
    """An upper bound of the Frobenius norm, and so of the spectral norm, of balls."""
    return sum((abs(v).upper() ** 2 for v in flat(values)), arb(0)).sqrt().upper()


def damped(net: Network, X: np.ndarray, y: np.ndarray, gamma: float, *, curvature: bool = True) -> np.ndarray:
    """H + γ_N I, or without S, over balls."""
    H = hessian(net, X, y, arithmetic=PRECISE)
    if not curvature:
        J = jacobian(net, X, arithmetic=PRECISE).reshape(len(X), -1)
        H = J.T @ J / len(X)
    return H + np.eye(len(H), dtype=int) * regularization(gamma, net.width, net.beta, arithmetic=PRECISE)


def smallest_eigenvalue(A: np.ndarray) -> arb:
    """A lower bound of min |λ|."""
    return min((abs(v).lower() for v in eigenvalues(A, PRECISE)), key=lambda v: v.mid())


# --- derivatives, against differences of a loss written out once more --------------------------------------------------------

MP = mpmath.MPContext()
MP.dps = 100
H_STEP = MP.mpf(10) ** -20


def theta(net: Network) -> list[Any]:
    return [MP.mpf(float(v)) for v in net.theta.flat]


def mp_outputs(net: Network, X: np.ndarray, parameters: list[Any]) -> list[Any]:
    """(E1), in nothing but mpmath."""
    function, size = sigma(net.activation, MP), net.dim + 2
    answer = []
    for x in X:
        total = MP.mpf(0)
        for i in range(net.width):
            c, *w, eta = parameters[i * size : (i + 1) * size]
            total += c * function(sum((a * MP.mpf(float(b)) for a, b in zip(w, x, strict=True)), eta))
        answer.append(total * MP.power(net.width, -MP.mpf(net.beta)))
    return answer


def mp_loss(net: Network, X: np.ndarray, y: np.ndarray, parameters: list[Any]) -> Any:
    """(E2)."""
    f = mp_outputs(net, X, parameters)
    return sum((a - MP.mpf(float(b))) ** 2 for a, b in zip(f, y, strict=True)) / (2 * len(y))


def fourth_derivative_bound(net: Network, X: np.ndarray, y: np.ndarray) -> float:
    """A bound of all third and fourth partial derivatives of L near the network.

    Up to the fourth order, σ's derivatives are below 5 for the activations here (the largest, of erf, is 4.4; for square they
    are 2|z| and 2). Each derivative of f by parameters of one neuron is σ's times |c| or 1 times at most four inputs, and mixed
    ones vanish: |∂ᵏf| ≤ F. Leibniz' rule for r²/2 then gives 8F² + |r|F.
    """
    z = np.abs(X) @ np.abs(net.w).T + np.abs(net.eta)
    largest = (1 + z.max()) ** 2
    F = (5 + largest) * (1 + np.abs(net.c).max()) * max(1.0, np.abs(X).max()) ** 4
    r = np.abs(net.c).sum() * largest + np.abs(y).max()
    return float(8 * F * F + r * F)


def moved(parameters: list[Any], *shifts: tuple[int, Any]) -> list[Any]:
    out = list(parameters)
    for k, h in shifts:
        out[k] += h
    return out


with_square = problems(max_width=2, max_dim=2, max_points=2, activations=[*IN_THEORY, "square"], extreme=False)


@given(with_square)
def test_outputs_and_loss_are_e1_and_e2(problem: Example) -> None:
    net, X, y, _ = problem
    for ours, expected in (
        (outputs(net, X, arithmetic=PRECISE), mp_outputs(net, X, theta(net))),
        ([loss(net, X, y, arithmetic=PRECISE)], [mp_loss(net, X, y, theta(net))]),
    ):
        for ball, value in zip(flat(ours), expected, strict=True):
            # the arbiter's own error: 100 digits, less the few that are lost in sums of terms below 10^4
            assert (ball + arb(0, 1e-90)).overlaps(from_mpf(value))


@given(with_square)
def test_gradient_is_the_central_difference_of_the_loss(problem: Example) -> None:
    net, X, y, _ = problem
    start = theta(net)
    ours = gradient(net, X, y, arithmetic=Multiprecision(30))
    # h² times the third derivative, over 6; the loss is rounded at 10^-100, which division by h makes 10^-80
    tolerance = H_STEP**2 * MP.mpf(fourth_derivative_bound(net, X, y))
    largest = max(abs(v) for v in ours.flat)
    for k, value in enumerate(ours.flat):
        up, down = (mp_loss(net, X, y, moved(start, (k, h))) for h in (H_STEP, -H_STEP))
        difference = (up - down) / (2 * H_STEP)
        assert abs(value - difference) <= tolerance + abs(difference) * MP.mpf(10) ** -30 + largest * MP.mpf(10) ** -60


@given(with_square)
def test_hessian_is_the_second_central_difference_of_the_loss(problem: Example) -> None:
    net, X, y, _ = problem
    start = theta(net)
    H = hessian(net, X, y, arithmetic=Multiprecision(30))
    # h² times the fourth derivative, over 3; rounding at 10^-100 becomes 10^-60
    tolerance = H_STEP**2 * MP.mpf(fourth_derivative_bound(net, X, y))
    largest = max(abs(v) for v in H.flat)
    for a, b in zip(*np.triu_indices(len(H)), strict=True):
        corners = [s * t * mp_loss(net, X, y, moved(start, (a, s * H_STEP), (b, t * H_STEP))) for s in (1, -1) for t in (1, -1)]
        difference = sum(corners) / (4 * H_STEP**2)
        allowed = tolerance + abs(difference) * MP.mpf(10) ** -30 + largest * MP.mpf(10) ** -60
        assert abs(H[a, b] - difference) <= allowed, (a, b)
        assert H[a, b] == H[b, a]


@pytest.mark.parametrize("arithmetic", [FLOAT64, Multiprecision(15), Ball(64)], ids=str)
def test_one_neuron_by_hand(arithmetic: Arithmetic) -> None:
    # f = c tanh(wx + η) at c = 2, w = η = 0, x = 3, with y = 1 and N = 1: σ = 0, σ' = 1, σ'' = 0, r = -1
    net, X, y = Network([2.0], [[0.0]], [0.0], 0.75), [[3.0]], [1.0]
    J = np.array([0.0, 6.0, 2.0])
    S = -np.array([[0.0, 3.0, 1.0], [3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    expected: list[tuple[Any, Any]] = [
        (outputs(net, X, arithmetic=arithmetic), [0.0]),
        (loss(net, X, y, arithmetic=arithmetic), 0.5),
        (jacobian(net, X, arithmetic=arithmetic), [[J]]),
        (gradient(net, X, y, arithmetic=arithmetic), [-J]),
        (residual_hessian(net, X, y, arithmetic=arithmetic), [S]),
        (hessian(net, X, y, arithmetic=arithmetic), np.outer(J, J) + S),
        (ntk(net, X, arithmetic=arithmetic), [[40.0]]),
        (gauss_newton_nntk(net, X, 10.0, arithmetic=arithmetic), [[0.8]]),
    ]
    for ours, value in expected:
        assert np.shape(ours) == np.shape(value)
        for v, w in zip(flat(ours), flat(value), strict=True):
            # the numbers are exact in binary, all but 0.8
            assert v.contains(w) or w == 0.8 if isinstance(v, arb) else abs(v - w) <= EPS["float64"] * abs(w)


def test_data_sets_average() -> None:
    # the factor 1/M, seen without any formula: two points are the mean of each alone
    net = sample_network(3, 2, beta=0.7, seed=5)
    X, y = np.array([[0.5, -1.0], [0.25, 2.0]]), np.array([1.0, -0.5])
    for quantity in (gradient, residual_hessian, hessian):
        alone = [quantity(net, X[m : m + 1], y[m : m + 1], arithmetic=PRECISE) for m in range(2)]
        assert overlap(quantity(net, X, y, arithmetic=PRECISE), (alone[0] + alone[1]) / 2)


# --- the step solves its system, in every arithmetic -------------------------------------------------------------------------


@either_step
@given(problem=st.one_of(small, high_dimensional))
def test_step_solves_its_system_over_balls(kind: str, problem: Example) -> None:
    # the definition, put together here from H or J, γ_N and the gradient
    net, X, y, gamma = problem
    step = STEPS[kind](net, X, y, gamma, alpha=0.5, arithmetic=PRECISE)
    A = damped(net, X, y, gamma, curvature=kind == "newton")
    b = -gradient(net, X, y, arithmetic=PRECISE).reshape(-1) / 2
    error = A @ step.update.reshape(-1) - b
    assert narrow(error)
    assert all(v.contains(0) for v in error)
    assert step.residual <= 2.0**-50 or upper_norm(b) <= arb(2) ** -100  # a gradient that cancels is known to no such digits
    assert overlap([step.loss], [loss(net, X, y, arithmetic=PRECISE)])
    assert overlap([step.damping], [regularization(gamma, net.width, net.beta, arithmetic=PRECISE)])
    assert overlap(step.update.reshape(-1), solve(A, b, PRECISE))


@either_step
@given(problem=st.one_of(small, high_dimensional))
def test_float64_step_is_backward_stable_and_inside_the_widened_ball(kind: str, problem: Example) -> None:
    """The float64 answer x̂ against the exact A and b.

    Ax̂ - b is the solver's residual, at most 30·P·eps relative (LAPACK's own threshold), plus what rounding A and b adds. The
    latter is read off an evaluation over balls at 53 bits, whose radii follow the rounding errors of these formulas to first
    order; elementary functions that err by a few units and other orders of summation are covered by the same threshold.
    And x̂ - x = A⁻¹(Ax̂ - b), so that the enclosure of x, widened by |A⁻¹||Ax̂ - b|, contains x̂.
    """
    net, X, y, gamma = problem
    try:
        step = STEPS[kind](net, X, y, gamma)
    except SingularSystemError:
        assume(False)
    like_float64 = Ball(53, max_bits=53)
    x = exact(step.update.reshape(-1))
    A, b = damped(net, X, y, gamma, curvature=kind == "newton"), -gradient(net, X, y, arithmetic=PRECISE).reshape(-1)
    error = A @ x - b
    P, norm = len(b), np.abs(middle(A)).sum(axis=1).max()
    scale = norm * np.abs(step.update).max() + np.abs(middle(b)).max()
    rounded = np.array([[float(v.rad()) for v in row] for row in hessian(net, X, y, arithmetic=like_float64)])
    rounded_b = np.array([float(v.rad()) for v in flat(gradient(net, X, y, arithmetic=like_float64))])
    from_data = rounded.sum(axis=1).max() * np.abs(step.update).max() + rounded_b.max()
    assert np.abs(middle(error)).max() <= THRESHOLD * (P * EPS["float64"] * scale + from_data) + TINY["float64"]
    assert step.residual <= THRESHOLD * P * EPS["float64"]

    widening = upper_norm(error) / smallest_eigenvalue(A)
    enclosure = STEPS[kind](net, X, y, gamma, arithmetic=PRECISE).update.reshape(-1)
    assert all((v + arb(0, widening.upper())).contains(w) for v, w in zip(enclosure, x, strict=True))


@pytest.mark.parametrize("quantity", [outputs, jacobian, gradient, residual_hessian, hessian, ntk], ids=lambda f: f.__name__)
@given(problem=small)
def test_float64_quantities_round_as_their_formulas_must(quantity: Any, problem: Example) -> None:
    # tolerance as in the test before: the radii of the same formula over balls of 53 bits, times LAPACK's threshold
    net, X, y, _ = problem
    data = (X,) if quantity in (outputs, jacobian, ntk) else (X, y)
    ours = quantity(net, *data)
    balls, rough = (quantity(net, *data, arithmetic=a) for a in (PRECISE, Ball(53, max_bits=53)))
    for value, ball, wide in zip(flat(ours), flat(balls), flat(rough), strict=True):
        assert abs(arb(float(value)) - ball) <= arb(THRESHOLD) * wide.rad() + arb(TINY["float64"])


@settings(max_examples=100)
@given(problems(max_width=3, max_dim=2, max_points=3))
def test_float64_refuses_only_what_is_nearly_singular(problem: Example) -> None:
    # LAPACK's estimate of |A⁻¹| never exceeds it, so a refusal at n·eps means a true reciprocal condition number no larger than
    # that, up to the rounding error of the factors it is estimated from
    net, X, y, gamma = problem
    try:
        step = newton_step(net, X, y, gamma)
    except SingularSystemError:
        A = damped(net, X, y, gamma)
        smallest = min(abs(v.mid()) for v in eigenvalues(A, PRECISE))
        assert smallest <= upper_norm(A) * THRESHOLD * len(A) * EPS["float64"]
    else:
        assert step.residual <= THRESHOLD * net.parameters * EPS["float64"]


@given(small)
def test_residual_is_an_upper_bound_over_balls_also_below_the_smallest_double(problem: Example) -> None:
    net, X, y, gamma = problem
    step = newton_step(net, X, y, gamma, arithmetic=Ball(4096))
    assert step.residual < 1e-300
    assert step.residual > 0 or not any(v.rad() > 0 for v in step.update.flat)


def test_the_residual_of_balls_is_divided_by_the_least_that_they_allow() -> None:
    """|Ax - b| from its upper end, |A|, |x| and |b| from their lower ones: no member of the balls has a larger ratio."""
    from nntk_reference.finite import _scaled_residual

    A = np.array([[arb(2, 1), arb(0)], [arb(0), arb(1)]], dtype=object)
    x, b = np.array([arb(3, 1), arb(0)], dtype=object), np.array([arb(1, 0.5), arb(0)], dtype=object)
    with ctx.workprec(80):
        # 3·4 - 1/2 over 1·2 + 1/2
        assert _scaled_residual(Ball(80), A, x, b) == pytest.approx(11.5 / 2.5, rel=1e-6)
        members = [(3.0, 4.0, 0.5), (1.0, 2.0, 1.5), (3.0, 2.0, 0.5)]
        assert all(abs(a * v - w) / (a * v + w) <= 11.5 / 2.5 for a, v, w in members)
        # a zero inside A, whose absolute value flint encloses by a ball that reaches below 0, leaves b alone below
        wide = np.array([[arb(0, 2)]], dtype=object)
        assert _scaled_residual(Ball(80), wide, x[:1], b[:1]) == pytest.approx(9.5 / 0.5, rel=1e-6)
        assert _scaled_residual(Ball(80), wide, x[:1], wide[0]) == math.inf


def test_residual_is_never_lost_to_overflow() -> None:
    # |A||x| is beyond the largest double; a ratio with infinity below would be a residual of exactly zero
    from nntk_reference.finite import _scaled_residual

    A, x, b = np.array([[1e200]]), np.array([1e200]), np.array([1.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert math.isnan(_scaled_residual(FLOAT64, A, x, b))
        assert math.isnan(_scaled_residual(FLOAT64, A, np.array([math.nan]), b))


# --- multiprecision ----------------------------------------------------------------------------------------------------------


def agrees(values: Any, balls: Any, digits: int) -> bool:
    """Are mpf numbers right to `digits` digits, or zero where the exact number is below 10^-(2·digits) of the largest?"""
    with ctx.workprec(1024):
        size = max(abs(v).upper() for v in flat(balls))
        for value, ball in zip(flat(values), flat(balls), strict=True):
            # one unit for the agreement of two runs, and one for rounding to the digits
            allowed = 2 * abs(ball).upper() * arb(10) ** -digits
            if value == 0:
                allowed = size * arb(10) ** (-2 * digits)
            if not abs(from_mpf(value) - ball) <= allowed + ball.rad():
                return False
    return True


@given(small)
def test_multiprecision_answers_lie_in_the_balls(problem: Example) -> None:
    net, X, y, gamma = problem
    digits, arithmetic, ball = 20, Multiprecision(20), Ball(400)
    assert agrees(outputs(net, X, arithmetic=arithmetic), outputs(net, X, arithmetic=ball), digits)
    assert agrees(hessian(net, X, y, arithmetic=arithmetic), hessian(net, X, y, arithmetic=ball), digits)
    ours, balls = (newton_step(net, X, y, gamma, arithmetic=a) for a in (arithmetic, ball))
    assert agrees(ours.update, balls.update, digits)
    assert agrees(ours.loss, balls.loss, digits)
    assert agrees(ours.damping, balls.damping, digits)
    assert ours.negative_eigenvalues == balls.negative_eigenvalues


@given(tiny)
def test_thirty_digits_are_the_first_thirty_of_sixty(problem: Example) -> None:
    net, X, y, gamma = problem
    few, many = (newton_step(net, X, y, gamma, arithmetic=Multiprecision(d)).update for d in (30, 60))
    largest = max(abs(v) for v in many.flat)
    for a, b in zip(few.flat, many.flat, strict=True):
        # either may be zero where it is noise, so 10^-60 of the largest; else one unit each for agreement and rounding
        assert abs(MP.mpf(a) - MP.mpf(b)) <= 2 * abs(MP.mpf(b)) * MP.mpf(10) ** -30 + largest * MP.mpf(10) ** -60


@pytest.mark.parametrize("eta", [1e-10, 1e-40, 1e-60])
def test_multiprecision_does_not_take_a_cancellation_for_zero(eta: float) -> None:
    # tanh(η) - η = -η³/3, which a run needs 2·log10(1/η) digits to see: two runs may agree on zero before that
    net, X, y = Network([1.0], [[0.0]], [eta], 0.75), [[0.0]], [eta]
    assert agrees(loss(net, X, y, arithmetic=Multiprecision(20)), loss(net, X, y, arithmetic=Ball(1000)), 20)
    assert agrees(gradient(net, X, y, arithmetic=Multiprecision(20)), gradient(net, X, y, arithmetic=Ball(1000)), 20)


def test_multiprecision_does_not_take_agreement_for_accuracy() -> None:
    # w·x + η = 2^240 + 1 needs 73 digits: runs at fewer than that lose the same 1, and agree on another sine
    net = Network([1.0], [[2.0**240]], [1.0], 0.75, "sin")
    assert agrees(outputs(net, [[1.0]], arithmetic=Multiprecision(15)), outputs(net, [[1.0]], arithmetic=Ball(1000)), 15)


@given(problems(max_width=3, max_dim=1, max_points=3).filter(lambda problem: sharp_residuals(*problem[:3])))
def test_multiprecision_holds_at_extreme_scales(problem: Example) -> None:
    net, X, y, _ = problem
    ours, balls = (gradient(net, X, y, arithmetic=a) for a in (Multiprecision(15), Ball(2000)))
    assert agrees(ours, balls, 15)


# --- doubling the precision --------------------------------------------------------------------------------------------------


@given(small)
@example((Network([0.0], [[1.0]], [0.0], 0.75, "logistic"), np.array([[6.67706609e-233]]), np.array([0.0]), 1.0))
def test_balls_nest_as_the_precision_doubles(problem: Example) -> None:
    # The exact number lies within the fine ball, and the coarse one leaves far more room around it than the fine one takes, or
    # the coarse one is finer than its own precision already: σ(1e-233) = σ(0) ± 1e-233 in any.
    net, X, y, gamma = problem
    runs = []
    for bits in (64, 128, 256):
        ball = Ball(bits)
        step = newton_step(net, X, y, gamma, arithmetic=ball)
        kernel = nntk(net, X, y, gamma, arithmetic=ball)
        parts = outputs(net, X, arithmetic=ball), hessian(net, X, y, arithmetic=ball), kernel, step.update, step.loss
        runs.append((bits, [v for part in parts for v in flat(part)], step.negative_eigenvalues))
    for (_, coarse, counts), (bits, fine, counts2) in itertools.pairwise(runs):
        assert counts == counts2
        for a, b in zip(coarse, fine, strict=True):
            finest = max(abs(b) * arb(2) ** -bits, arb(2) ** -1000)
            assert a.contains(b) or (a.overlaps(b) and b.rad() <= max(a.rad(), finest))
            assert b.rad() <= max(a.rad() * arb(2) ** -32, finest)


# --- inertia -----------------------------------------------------------------------------------------------------------------


@given(problems(max_width=4, max_dim=2, max_points=3, max_gamma=10.0, extreme=False).filter(regular))
def test_negative_eigenvalues_are_the_same_in_every_arithmetic(problem: Example) -> None:
    net, X, y, gamma = problem
    A = damped(net, X, y, gamma)
    proved = inertia(A, PRECISE)
    assert proved.undecided == 0
    for arithmetic in (PRECISE, Multiprecision(15)):
        assert newton_step(net, X, y, gamma, arithmetic=arithmetic).negative_eigenvalues == proved.negative
    spectrum = np.linalg.eigvalsh(middle(A))
    # eigenvalues beyond the backward errors of LAPACK's factorization and eigensolver, both below 30·n·eps·|A|, keep their sign
    if np.abs(spectrum).min() > 2 * THRESHOLD * len(A) * EPS["float64"] * np.abs(spectrum).max():
        assert newton_step(net, X, y, gamma).negative_eigenvalues == (spectrum < 0).sum() == proved.negative
    assert gauss_newton_step(net, X, y, gamma, arithmetic=PRECISE).negative_eigenvalues == 0


@pytest.mark.parametrize("arithmetic", [FLOAT64, Multiprecision(15), Ball(64)], ids=str)
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("dim", [1, 3])
def test_known_inertia_on_both_sides_of_the_threshold(arithmetic: Arithmetic, width: int, dim: int) -> None:
    # All parameters 0, x = 0, y = 1: H consists of N blocks with eigenvalues ±N^(-β) and zeros. γ_N = γN^(1-2β) exceeds
    # N^(-β) for γ > N^(β-1): one side is indefinite with N negative eigenvalues, the other positive definite.
    beta = 0.75
    net = Network(np.zeros(width), np.zeros((width, dim)), np.zeros(width), beta)
    X, y, threshold = np.zeros((1, dim)), [1.0], width ** (beta - 1)
    for gamma, negative in ((0.99 * threshold, width), (1.01 * threshold, 0)):
        assert newton_step(net, X, y, gamma, arithmetic=arithmetic).negative_eigenvalues == negative
        assert gauss_newton_step(net, X, y, gamma, arithmetic=arithmetic).negative_eigenvalues == 0


@pytest.mark.parametrize("arithmetic", [FLOAT64, Multiprecision(15), Ball(64)], ids=str)
def test_an_exactly_singular_system_is_refused(arithmetic: Arithmetic) -> None:
    net = Network([0.0], [[0.0]], [0.0], 0.75)  # H has eigenvalues -1, 0, 1 there, and γ_N = γ
    for function in (newton_step, nntk):
        with pytest.raises(SingularSystemError):
            function(net, [[0.0]], [1.0], 1.0, arithmetic=arithmetic)
    assert gauss_newton_step(net, [[0.0]], [1.0], 1.0, arithmetic=arithmetic).negative_eigenvalues == 0


def test_ball_matrices_stand_for_every_matrix_inside() -> None:
    wide = np.array([[arb(1, 2)]], dtype=object)  # from -1 to 3
    assert positive_definite(wide) == Verdict.UNDECIDED
    assert inertia(wide).undecided == 1
    assert eigenvalues(wide, Ball(64))[0].contains(arb(1, 2))
    assert positive_definite(np.array([[arb(3, 2)]], dtype=object)) == Verdict.HOLDS
    assert positive_definite(np.array([[arb(-3, 2)]], dtype=object)) == Verdict.REFUTED


# --- invariances -------------------------------------------------------------------------------------------------------------


def changed(net: Network, *, c: Any = None, w: Any = None, eta: Any = None) -> Network:
    parts = (new if new is not None else old for new, old in ((c, net.c), (w, net.w), (eta, net.eta)))
    return Network(*parts, net.beta, net.activation)


@either_step
@given(problem=small, data=st.data())
def test_permuting_neurons_permutes_the_step(kind: str, problem: Example, data: st.DataObject) -> None:
    net, X, y, gamma = problem
    order = data.draw(st.permutations(range(net.width)))
    other = changed(net, c=net.c[order], w=net.w[order], eta=net.eta[order])
    step, permuted = (STEPS[kind](n, X, y, gamma, arithmetic=PRECISE) for n in (net, other))
    assert overlap(permuted.update, step.update[order])
    assert permuted.negative_eigenvalues == step.negative_eigenvalues
    assert overlap(outputs(other, X, arithmetic=PRECISE), outputs(net, X, arithmetic=PRECISE))
    assert overlap(residual_hessian(other, X, y, arithmetic=PRECISE), residual_hessian(net, X, y, arithmetic=PRECISE)[order])


@either_step
@given(problem=small, data=st.data())
def test_permuting_or_repeating_the_data_changes_no_step(kind: str, problem: Example, data: st.DataObject) -> None:
    net, X, y, gamma = problem
    order = data.draw(st.permutations(range(len(y))))
    times = data.draw(st.integers(2, 3))
    step = STEPS[kind](net, X, y, gamma, arithmetic=PRECISE)
    for X2, y2 in ((X[order], y[order]), (np.tile(X, (times, 1)), np.tile(y, times))):
        other = STEPS[kind](net, X2, y2, gamma, arithmetic=PRECISE)
        assert overlap(other.update, step.update)
        assert overlap([other.loss], [step.loss])
        assert other.negative_eigenvalues == step.negative_eigenvalues
    K = nntk(net, X, y, gamma, arithmetic=PRECISE)
    assert overlap(nntk(net, X[order], y[order], gamma, arithmetic=PRECISE), K[np.ix_(order, order)])


@either_step
@given(problem=problems(max_width=3, max_dim=2, max_points=3, activations=ODD, extreme=False).filter(regular), data=st.data())
def test_flipping_a_neuron_of_an_odd_activation_flips_its_step(kind: str, problem: Example, data: st.DataObject) -> None:
    # cσ(z) = (-c)σ(-z)
    net, X, y, gamma = problem
    signs = np.array(data.draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=net.width, max_size=net.width)))
    other = changed(net, c=signs * net.c, w=signs[:, None] * net.w, eta=signs * net.eta)
    assert np.array_equal(outputs(other, X), outputs(net, X))  # negation is exact in float64, too
    step, flipped = (STEPS[kind](n, X, y, gamma, arithmetic=PRECISE) for n in (net, other))
    assert overlap(flipped.update, step.update * signs.astype(int)[:, None])
    assert overlap(nntk(other, X, y, gamma, arithmetic=PRECISE), nntk(net, X, y, gamma, arithmetic=PRECISE))


@either_step
@given(problem=problems(max_width=3, max_dim=4, max_points=3, extreme=False).filter(regular), data=st.data())
def test_rotating_inputs_with_the_weights_rotates_the_step(kind: str, problem: Example, data: st.DataObject) -> None:
    # Signed permutations of the coordinates are the rotations that float64 data bear exactly. (Others: over the rationals,
    # in test_formulas_sympy.)
    net, X, y, gamma = problem
    order = data.draw(st.permutations(range(net.dim)))
    signs = np.array(data.draw(st.lists(st.sampled_from([1, -1]), min_size=net.dim, max_size=net.dim)))
    step = STEPS[kind](net, X, y, gamma, arithmetic=PRECISE)
    rotated = STEPS[kind](changed(net, w=signs * net.w[:, order]), signs * X[:, order], y, gamma, arithmetic=PRECISE)
    expected = step.update.copy()
    expected[:, 1:-1] = signs * step.update[:, 1:-1][:, order]
    assert overlap(rotated.update, expected)


@either_step
@given(problem=small, exponent=st.integers(-20, 20), alpha=st.floats(0.1, 10.0))
def test_step_is_linear_in_alpha(kind: str, problem: Example, exponent: int, alpha: float) -> None:
    net, X, y, gamma = problem
    one, scaled = (STEPS[kind](net, X, y, gamma, alpha=a, arithmetic=PRECISE) for a in (1.0, alpha))
    assert overlap(scaled.update, one.update * arb(alpha))
    assert scaled.negative_eigenvalues == one.negative_eigenvalues
    # Powers of two are exact in float64: not an ulp apart, but for numbers that underflow.
    try:
        once, times = (STEPS[kind](net, X, y, gamma, alpha=a).update for a in (1.0, 2.0**exponent))
    except SingularSystemError:
        return
    assert (np.abs(times - once * 2.0**exponent) <= 2.0**20 * TINY["float64"] / EPS["float64"] ** -1).all()


@either_step
def test_alpha_is_one_unless_told_otherwise(kind: str) -> None:
    net, X, y = sample_network(2, 1, beta=0.75, seed=2), np.array([[0.5], [-1.0]]), np.array([2.0, 1.0])
    default, one = STEPS[kind](net, X, y, 1.0), STEPS[kind](net, X, y, 1.0, alpha=1.0)
    assert np.array_equal(default.update, one.update)
    assert one.update.any()


@pytest.mark.parametrize(("arithmetic", "most"), [(FLOAT64, 20_000), (Ball(64), 2_000)], ids=str)
def test_dense_matrices_that_are_too_large_are_refused_before_any_work(arithmetic: Arithmetic, most: int) -> None:
    net = sample_network(most // 3 + 1, 1, beta=0.75, seed=0)
    X, y = np.array([[0.5]]), np.array([1.0])
    for call in (
        lambda: hessian(net, X, y, arithmetic=arithmetic),
        lambda: newton_step(net, X, y, 1.0, arithmetic=arithmetic),
        lambda: gauss_newton_step(net, X, y, 1.0, arithmetic=arithmetic),
        lambda: nntk(net, X, y, 1.0, arithmetic=arithmetic),
    ):
        with pytest.raises(SizeError, match=f"P = N\\(d\\+2\\) = {net.parameters}"):
            call()
    assert ntk(net, X, arithmetic=arithmetic).shape == (1, 1)  # what holds no such matrix goes on
    assert gauss_newton_nntk(net, X, 1.0, arithmetic=arithmetic).shape == (1, 1)


# --- large and small regularization ------------------------------------------------------------------------------------------


@given(small, st.integers(1, 40))
def test_large_gamma_turns_newton_into_gradient_descent(problem: Example, exponent: int) -> None:
    # (H + γ_N)⁻¹ = 1/γ_N - H/γ_N² + (H + γ_N)⁻¹H²/γ_N², and |(H + γ_N)⁻¹| ≤ 1/(γ_N - |H|): the distance from gradient descent
    # with rate α/γ_N falls as γ_N^-2, and what it is to leading order is known.
    net, X, y, _ = problem
    H, g = hessian(net, X, y, arithmetic=PRECISE), gradient(net, X, y, arithmetic=PRECISE).reshape(-1)
    norm = upper_norm(H)
    gamma = 2.0**exponent * max(1.0, float(norm)) * net.width
    alpha = arb(0.5)
    step = newton_step(net, X, y, gamma, alpha=0.5, arithmetic=PRECISE)
    damping = step.damping
    assert damping > norm
    first = step.update.reshape(-1) + g * (alpha / damping)
    second = first - H @ g * (alpha / damping / damping)
    rest = upper_norm(g) * norm / (damping * (damping - norm)) * alpha
    rounding = (upper_norm(g) + 1) / damping * arb(2) ** -100  # of these lines, where g may cancel
    assert upper_norm(first) <= (rest + rounding).upper()
    assert upper_norm(second) <= (rest * norm / damping + rounding).upper()
    assert step.negative_eigenvalues == 0


@given(small, st.floats(1e-3, 1e3))
def test_gradient_descent_step_is_e12(problem: Example, rate: float) -> None:
    net, X, y, _ = problem
    scale = arb(net.width) ** (2 * arb(net.beta) - 1)
    expected = -arb(rate) * scale * gradient(net, X, y, arithmetic=PRECISE)
    assert overlap(gradient_descent_step(net, X, y, rate, arithmetic=PRECISE), expected)
    # float64: a quotient of two results whose factors round, each a few times
    ours, bound = gradient_descent_step(net, X, y, rate), gradient_descent_step(net, X, y, rate, arithmetic=Ball(53, 53))
    for value, ball, wide in zip(ours.flat, expected.flat, bound.flat, strict=True):
        assert abs(arb(float(value)) - ball) <= arb(THRESHOLD) * wide.rad() + arb(TINY["float64"] / EPS["float64"])


@given(st.integers(1, 10**6), st.floats(0.5, 1.0), st.floats(1e-6, 1e6))
def test_regularization_is_e5(width: int, beta: float, gamma: float) -> None:
    exact_value = MP.mpf(gamma) * MP.power(width, 1 - 2 * MP.mpf(beta))
    # four roundings, and the power's own unit, which squaring doubles
    assert abs(regularization(gamma, width, beta) - exact_value) <= 8 * EPS["float64"] * exact_value
    assert agrees(
        regularization(gamma, width, beta, arithmetic=Multiprecision(30)),
        regularization(gamma, width, beta, arithmetic=Ball(300)),
        30,
    )
    value = regularization(gamma, width, beta, arithmetic=Multiprecision(60))
    assert abs(MP.mpf(value) - exact_value) <= 2 * exact_value * MP.mpf(10) ** -60


def test_regularization_vanishes_as_the_theory_says() -> None:
    assert regularization(3.0, 10**4, 0.75) == pytest.approx(3.0 / 100, rel=8 * EPS["float64"])
    assert regularization(3.0, 10**4, 0.5) == 3.0  # β = 1/2: not at all
    assert regularization(3.0, 10**4, 1.0) == pytest.approx(3.0e-4, rel=8 * EPS["float64"])


# --- kernels -----------------------------------------------------------------------------------------------------------------


@given(small)
def test_ntk_is_e7_and_its_normalization(problem: Example) -> None:
    net, X, _, _ = problem
    J = jacobian(net, X, arithmetic=PRECISE).reshape(len(X), -1)
    B = ntk(net, X, arithmetic=PRECISE)
    assert overlap(B, J @ J.T / len(X))
    scale = arb(net.width) ** (2 * arb(net.beta) - 1)
    assert overlap(ntk(net, X, normalized=True, arithmetic=PRECISE), B * scale)


@given(small)
def test_nntk_is_e8_and_symmetric(problem: Example) -> None:
    net, X, y, gamma = problem
    J = jacobian(net, X, arithmetic=PRECISE).reshape(len(X), -1)
    K = nntk(net, X, y, gamma, arithmetic=PRECISE)
    assert overlap(K, J @ solve(damped(net, X, y, gamma), J.T.copy(), PRECISE) / len(X))
    assert overlap(K, K.T)
    # to first order, what a step does to the outputs: JΔ = -α𝓑r
    r = outputs(net, X, arithmetic=PRECISE) - exact(y)
    step = newton_step(net, X, y, gamma, alpha=0.5, arithmetic=PRECISE)
    change = J @ step.update.reshape(-1) + K @ r / 2
    assert narrow(change)
    assert all(v.contains(0) for v in change)


@pytest.mark.parametrize("arithmetic", [FLOAT64, Multiprecision(15), Ball(128)], ids=str)
@given(problem=small)
def test_kernels_and_hessian_equal_their_transpose_in_every_arithmetic(arithmetic: Arithmetic, problem: Example) -> None:
    # entry by entry (balls: they overlap), or `eigenvalues` and `inertia` would not take them
    net, X, y, gamma = problem
    matrices = [ntk(net, X, arithmetic=arithmetic), hessian(net, X, y, arithmetic=arithmetic)]
    matrices.append(gauss_newton_nntk(net, X, gamma, arithmetic=arithmetic))
    try:
        matrices.append(nntk(net, X, y, gamma, arithmetic=arithmetic))
    except SingularSystemError:
        assert arithmetic == FLOAT64
    for K in matrices:
        if not isinstance(arithmetic, Ball):
            assert (K == K.T).all()
        inertia(K)  # takes it


@given(small)
def test_gauss_newton_nntk_has_eigenvalues_lambda_over_gamma_plus_lambda(problem: Example) -> None:
    net, X, _, gamma = problem
    damping = regularization(gamma, net.width, net.beta, arithmetic=PRECISE)
    B, K = ntk(net, X, arithmetic=PRECISE), gauss_newton_nntk(net, X, gamma, arithmetic=PRECISE)
    # the map λ/(γ_N+λ) is increasing: the k-th goes to the k-th
    for b, k in zip(eigenvalues(B, PRECISE), eigenvalues(K, PRECISE), strict=True):
        assert k.overlaps(b / (damping + b))
        assert k.rad() <= arb(2) ** -64
        assert k < 1


@given(small)
def test_without_residuals_the_nntk_is_its_gauss_newton_part(problem: Example) -> None:
    net, X, y, gamma = problem
    silent = changed(net, c=0 * net.c)
    K = nntk(silent, X, 0 * y, gamma, arithmetic=PRECISE)
    assert overlap(K, gauss_newton_nntk(silent, X, gamma, arithmetic=PRECISE))
    step = newton_step(silent, X, 0 * y, gamma, arithmetic=PRECISE)
    assert not any(v != 0 or v.rad() > 0 for v in step.update.flat)
    assert step.residual == 0
    assert step.loss == 0


def test_with_residuals_the_nntk_is_not_its_gauss_newton_part() -> None:
    net = sample_network(3, 1, beta=0.75, seed=1)
    X, y = np.array([[0.5], [-1.0]]), np.array([2.0, 1.0])
    full, part = nntk(net, X, y, 1.0, arithmetic=PRECISE), gauss_newton_nntk(net, X, 1.0, arithmetic=PRECISE)
    assert not any(a.overlaps(b) for a, b in zip(full.flat, part.flat, strict=True))


@given(small)
def test_push_through_in_multiprecision(problem: Example) -> None:
    """(E13) (H + γ_N I)⁻¹Jᵀ/M = D⁻¹Jᵀ(MI + JD⁻¹Jᵀ)⁻¹, the right side in mpmath from J and S alone, block by block.

    At 160 digits: D may be as near to singular as 10^-100 and still leave thirty digits.
    """
    net, X, y, gamma = problem
    mp = mpmath.MPContext()
    mp.dps = 160
    arithmetic = Multiprecision(120)
    J = mp.matrix(jacobian(net, X, arithmetic=arithmetic).reshape(len(X), -1).tolist())
    S = residual_hessian(net, X, y, arithmetic=arithmetic)
    damping = regularization(gamma, net.width, net.beta, arithmetic=arithmetic)
    P, size, M = net.parameters, net.dim + 2, len(X)
    solved = mp.matrix(P, M)
    for i in range(net.width):
        D = mp.matrix(S[i].tolist()) + damping * mp.eye(size)
        assume(abs(mp.det(D)) > mp.mpf(10) ** -60)
        rows = mp.inverse(D) * J[:, i * size : (i + 1) * size].T
        for a in range(size):
            for m in range(M):
                solved[i * size + a, m] = rows[a, m]
    core = M * mp.eye(M) + J * solved
    assume(abs(mp.det(core)) > mp.mpf(10) ** -60)
    r = mp.matrix([v - mp.mpf(float(t)) for v, t in zip(outputs(net, X, arithmetic=arithmetic), y, strict=True)])
    expected = -(solved * mp.inverse(core)) * r
    step = newton_step(net, X, y, gamma, arithmetic=Multiprecision(30)).update.reshape(-1)
    largest = max(abs(v) for v in expected)
    assert all(abs(mp.mpf(a) - b) <= 2 * largest * mp.mpf(10) ** -30 for a, b in zip(step, expected, strict=True))
