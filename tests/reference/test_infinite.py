"""Infinite width, (E9)-(E12): against independent integration, sampled networks, invariances, and other precisions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.stats
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from nntk_reference import (
    ACTIVATIONS,
    FLOAT64,
    Ball,
    DegenerateKernelError,
    InitialLaw,
    InputError,
    LimitKernel,
    Multiprecision,
    PrecisionError,
    QuadratureError,
    RangeError,
    UnknownActivationError,
    UnprovedError,
    activation,
    contraction_factors,
    eigenvalues,
    enclose_limit_ntk,
    gradient_descent_trajectory,
    inertia,
    infinite,
    limit_nntk,
    limit_ntk,
    limit_spectrum,
    limit_trajectory,
    ntk,
    sample_network,
)
from nntk_reference.arithmetic import MAX_BITS, Array, NotProved
from nntk_reference.infinite import _deliver, _missing_bits
from tests.tolerances import THRESHOLD

EPS = 2.0**-52
X = np.array([[0.5, -1.0], [1.25, 0.25], [-0.5, 0.75]])
Y = np.array([1.0, -0.5, 0.25])
GRID = np.linspace(0, 1, 16)[:, None]
ENCLOSED = [name for name, entry in ACTIVATIONS.items() if entry.enclosed]
LAWS = [
    InitialLaw(),
    InitialLaw("rademacher"),
    InitialLaw("normal", w_scale=0.7, eta_scale=1.3),
    InitialLaw("uniform", w_scale=1.5, eta_scale=0.25),
]
SECOND_MOMENT = {"uniform": 1 / 3, "rademacher": 1.0, "normal": 1.0}


def overlap(a: Array, b: Array) -> bool:
    with ctx.workprec(2000):
        return all(Ball(2000).array(x)[()].overlaps(y) for x, y in zip(a.flat, b.flat, strict=True))


def assert_rounded(values: Array, balls: Array) -> None:
    """Each float64 is the ball's number, rounded: off by half a unit in the last place, and what 56 bits leave of it.

    A zero stands for a number that is zero as far as 112 bits of the largest entry can tell.
    """
    assert values.dtype == np.float64
    assert values.shape == balls.shape
    with ctx.workprec(500):
        for value, ball in zip(values.flat, balls.flat, strict=True):
            if value == 0:
                assert ball.contains(0)
                assert abs(ball) <= arb(2) ** -112 * float(np.abs(values).max())
                continue
            assert abs(arb(float(value)) - ball) <= arb(float(np.spacing(abs(value)))) * (arb("0.5") + arb(2) ** -3)


def assert_digits(values: Array, balls: Array, digits: int) -> None:
    with ctx.workprec(2000):
        for value, ball in zip(values.flat, balls.flat, strict=True):
            assert abs(Ball(2000).array(value)[()] - ball) <= arb(10) ** -digits * abs(ball)


# --------------------------------------------------------------------------------------------- (E9), computed another way


def naive_limit_ntk(points: Array, name: str, law: InitialLaw) -> Array:
    """(E9) as it stands: for each pair a plain trapezoidal rule over two independent normals."""
    M = len(points)
    h = 1 / 24
    u = np.arange(-9, 9 + h / 2, h)
    density = np.exp(-u * u / 2) * h / math.sqrt(2 * math.pi)
    B = np.empty((M, M))
    for m in range(M):
        for n in range(M):
            scaled = [np.append(law.w_scale * points[k], law.eta_scale) for k in (m, n)]
            along = math.sqrt(scaled[0] @ scaled[0])
            common = scaled[0] @ scaled[1] / along
            across = math.sqrt(max(scaled[1] @ scaled[1] - common**2, 0.0))
            z, z2 = along * u[:, None], common * u[:, None] + across * u[None, :]
            left, right = (activation(name).jets(v, FLOAT64) for v in (z, z2))
            value = density @ (left[0] * right[0]) @ density
            slope = density @ (left[1] * right[1]) @ density
            B[m, n] = (value + SECOND_MOMENT[law.c] * slope * (points[m] @ points[n] + 1)) / M
    return B


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "relu"])
def test_kernel_agrees_with_plain_integration(name: str, law: InitialLaw) -> None:
    kernel, plain = limit_ntk(X, name, law=law), naive_limit_ntk(X, name, law)
    # sums of 433 terms of up to |σσ'| ≤ (9·2.3)⁴ density, each accurate to about ten units: relative to the largest entry
    assert np.abs(kernel - plain).max() <= THRESHOLD * 30 * EPS * np.abs(plain).max()


@pytest.mark.parametrize("name", ["erf", "sin", "gelu"])
@pytest.mark.parametrize("law", LAWS[::3], ids=str)
def test_closed_forms_and_quadrature_overlap(name: str, law: InitialLaw) -> None:
    for dim in (1, 2, 5):
        points = np.random.default_rng(dim).standard_normal((4, dim))
        points[3] = points[0] * (1 + 2.0**-30)  # nearly a duplicate
        closed = enclose_limit_ntk(points, name, bits=60, law=law)
        series = enclose_limit_ntk(points, name, bits=60, law=law, closed_form=False)
        assert overlap(closed.kernel, series.kernel)
        assert (closed.proved, series.proved) == (True, True)
        assert closed.method == "closed form" != series.method
        assert series.error.max() <= 2.0**-60 * (1 + (points**2).sum(axis=1).max())  # x·x'+1 multiplies half of it


ALARM = 1e-6  # chance that any test of this kind fails although the kernel is right
CASES = [("tanh", law) for law in LAWS] + [("relu", LAWS[0]), ("softplus", LAWS[1]), ("logistic", LAWS[2]), ("gelu", LAWS[3])]


@pytest.mark.parametrize(("name", "law"), CASES, ids=str)
def test_kernel_is_the_mean_of_sampled_networks(name: str, law: InitialLaw) -> None:
    """E B̄ᴺ = B̄ exactly, at every width. Student's t over 64 independent networks, Bonferroni over entries and cases."""
    replicates, width = 64, 2000
    rng = np.random.default_rng(20260)
    beta = 0.75
    samples = np.array(
        [
            ntk(sample_network(width, 2, beta=beta, activation=name, seed=rng, law=law), X, normalized=True)[np.triu_indices(3)]
            for _ in range(replicates)
        ]
    )
    kernel = limit_ntk(X, name, law=law)[np.triu_indices(3)]
    error = samples.std(axis=0, ddof=1) / math.sqrt(replicates)
    limit = scipy.stats.t.isf(ALARM / (2 * len(kernel) * len(CASES)), replicates - 1)
    assert np.all(np.abs(samples.mean(axis=0) - kernel) <= limit * error)
    # and the test is sharp enough to notice a hundredth part: E[c²], 1/M and the variances cannot hide
    assert np.all(limit * error <= 0.05 * np.sqrt(np.outer(*[np.diag(limit_ntk(X, name, law=law))] * 2)[np.triu_indices(3)]))


# ------------------------------------------------------------------------------------------------- precisions, arithmetics


@pytest.mark.parametrize("name", ENCLOSED)
def test_enclosures_shrink_into_one_another(name: str) -> None:
    runs = [enclose_limit_ntk(X, name, bits=bits) for bits in (16, 32, 64, 128)]
    for bits, run in zip((16, 32, 64, 128), runs, strict=True):
        assert isinstance(run, LimitKernel)
        assert run.proved
        assert run.error.max() <= 2.0**-bits
        assert run.error.shape == run.kernel.shape == (3, 3)
        assert all(e == float(v.rad()) for e, v in zip(run.error.flat, run.kernel.flat, strict=True))
    for coarse, fine in itertools.pairwise(runs):
        assert overlap(coarse.kernel, fine.kernel)
        assert fine.error.max() <= coarse.error.max()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float64_kernels_are_rounded_enclosures(name: str) -> None:
    kernel = limit_ntk(X, name)
    assert_rounded(kernel, enclose_limit_ntk(X, name, bits=120).kernel)
    assert np.array_equal(kernel, kernel.T)


@pytest.mark.parametrize("k", [10, 20, 45])
@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_small_entries_of_a_kernel_are_right_to_the_last_digit(name: str, k: int) -> None:
    """x·x' + 1 = 2^-k: for an odd σ the entry is that small, and a first run, accurate absolutely, is not enough."""
    points = np.array([[1.0], [-1 + 2.0**-k]])
    kernel = limit_ntk(points, name)
    assert 0 < kernel[0, 1] < 2.0**-k
    assert_rounded(kernel, enclose_limit_ntk(points, name, bits=140).kernel)


def test_ball_kernels_are_the_enclosures() -> None:
    balls = limit_ntk(X, arithmetic=Ball(90))
    direct = enclose_limit_ntk(X, bits=90).kernel
    assert all(a.mid() == b.mid() and a.rad() == b.rad() for a, b in zip(balls.flat, direct.flat, strict=True))
    assert max(float(v.rad()) for v in balls.flat) <= 2.0**-90


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_fifty_digits_are_the_first_of_a_hundred(name: str) -> None:
    points = X[:2]
    fifty, hundred = (limit_ntk(points, name, Multiprecision(d)) for d in (50, 100))
    with mpmath.workdps(120):
        assert all(abs(a - b) <= mpmath.mpf(10) ** -50 * abs(b) for a, b in zip(fifty.flat, hundred.flat, strict=True))
    assert_digits(hundred, enclose_limit_ntk(points, name, bits=360).kernel, 100)


def test_multiprecision_up_to_its_largest() -> None:
    value = limit_ntk(np.array([[0.0]]), "relu", Multiprecision(10_000))[0, 0]  # 1/2 + 1/3·1/2
    with mpmath.workdps(10_010):
        assert abs(value * 3 / 2 - 1) <= mpmath.mpf(10) ** -9_999


def test_a_kernel_that_float64_cannot_hold_is_refused() -> None:
    with pytest.raises(RangeError):
        limit_ntk(np.array([[1e100]]), "square")  # E[z⁴] = 3e400
    with mpmath.workdps(30):
        assert limit_ntk(np.array([[1e100]]), "square", Multiprecision(20))[0, 0] > mpmath.mpf(10) ** 400


# ---------------------------------------------------------------------------------------------------------------- spectra


def test_the_sixteenth_eigenvalue_of_the_grid() -> None:
    """Below float64's noise of λ₁·16·eps, and right to the last digit."""
    values = limit_spectrum(GRID)
    assert f"{values[-1]:.6e}" == "1.656915e-16"
    proved = limit_spectrum(GRID, arithmetic=Ball(80))
    assert_rounded(values, proved)
    assert np.all(np.diff(values) < 0)
    assert all(v > 0 and v.rel_accuracy_bits() >= 80 for v in proved)


@pytest.mark.parametrize("name", ENCLOSED)
def test_spectra_are_the_eigenvalues_of_the_kernel(name: str) -> None:
    balls = eigenvalues(limit_ntk(X, name, Ball(200)), Ball(200))
    assert overlap(limit_spectrum(X, name, Ball(60)), balls)
    assert_rounded(limit_spectrum(X, name), balls)
    assert_digits(limit_spectrum(X, name, Multiprecision(30)), balls, 30)
    assert inertia(limit_ntk(X, name, Ball(200))) == (0, 0, 3, 0)


def test_duplicates_make_the_kernel_exactly_singular() -> None:
    twice = np.vstack([X, X[1]])
    for name, law in itertools.product(("gelu", "tanh"), (LAWS[0], LAWS[2])):
        for arithmetic in (FLOAT64, Multiprecision(30)):
            kernel = limit_ntk(twice, name, arithmetic, law=law)
            assert np.array_equal(kernel[1], kernel[3])
        for arithmetic in (Ball(20), Ball(90)):
            kernel = limit_ntk(twice, name, arithmetic, law=law)
            assert overlap(kernel[1], kernel[3])
            assert max(float(v.rad()) for v in kernel.flat) <= 2.0**-arithmetic.bits
        for arithmetic in (FLOAT64, Ball(64), Multiprecision(20)):
            with pytest.raises(DegenerateKernelError, match="duplicates"):
                limit_spectrum(twice, name, arithmetic, law=law)
            with pytest.raises(DegenerateKernelError):
                contraction_factors(twice, 1.0, name, arithmetic, law=law)
        smallest = eigenvalues(limit_ntk(twice, name, Ball(120), law=law), Ball(120))[-1]
        assert smallest.contains(0)
        assert smallest.rad() < arb(2) ** -100
    with pytest.raises(DegenerateKernelError):
        limit_spectrum(np.array([[0.0], [-0.0]]))


def test_nearly_equal_inputs_are_resolved() -> None:
    close = np.array([[0.25], [0.25 + 2.0**-40]])
    values = limit_spectrum(close, "tanh")
    assert 0 < values[1] < 2.0**-79  # second order in the distance
    assert_rounded(values, limit_spectrum(close, "tanh", Ball(90)))


def test_a_spectrum_that_float64_cannot_hold_is_refused() -> None:
    close = np.array([[0.0], [1e-200]])
    with pytest.raises(RangeError, match=r"2\.3e-308"):
        limit_spectrum(close, "erf")
    first, second = limit_spectrum(close, "erf", Multiprecision(20))
    with mpmath.workdps(30):
        assert 0 < second < first * mpmath.mpf(10) ** -399


def test_a_spectrum_past_the_cap_is_refused() -> None:
    with pytest.raises(PrecisionError, match="within 128 working bits"):
        limit_spectrum(np.array([[0.0], [1e-60]]), "erf", Ball(64, max_bits=128))
    assert limit_spectrum(np.array([[0.0], [1e-60]]), "erf", Ball(64))[1] > 0
    # (x·x')²-type kernels have finite rank: zero is never proved, and never returned
    with pytest.raises(PrecisionError):
        limit_spectrum(np.linspace(0, 1, 8)[:, None], "square", Ball(64, max_bits=256))


# ----------------------------------------------------------------------------------------------- how precision is raised


def losing(lost: int, seen: list[int], value: float = math.pi) -> Callable[[int], Array]:
    """π or so, of which an enclosure at any number of bits misses the last `lost`."""

    def enclose(bits: int) -> Array:
        seen.append(bits)
        return np.array([arb(1), arb(value, abs(value) * arb(2) ** (lost - bits))], dtype=object)

    return enclose


@pytest.mark.parametrize("lost", [12, 13, 40])  # one bit too many, two, many
def test_one_more_run_makes_good_what_a_first_has_lost(lost: int) -> None:
    for arithmetic, wanted in ((FLOAT64, 56), (Multiprecision(40), 135)):  # 40 log₂10 = 132.9, and two for the rounding
        seen: list[int] = []
        one, value = _deliver(arithmetic, losing(lost, seen))
        assert (one, value) == (1, math.pi)
        assert len(seen) == 2
        assert wanted + lost <= seen[-1] <= wanted + lost + 24


def test_what_is_known_well_enough_is_computed_once() -> None:
    for arithmetic, first in ((FLOAT64, 56 + 12), (Multiprecision(40), 135 + 12)):
        seen: list[int] = []
        _deliver(arithmetic, losing(5, seen))
        assert len(seen) == 1
        assert seen[0] <= first
    for relative in (False, True):
        seen = []
        _deliver(Ball(70), losing(-3, seen), relative=relative)
        assert seen == [70]  # the bits asked for
    seen = []
    assert _deliver(Ball(70), losing(60, seen))[1].rad() > 2.0**-12  # as it is, unless its own size is what counts
    assert seen == [70]


def test_the_cap_is_tried_before_giving_up_and_nothing_beyond() -> None:
    seen: list[int] = []
    assert _deliver(Ball(64, max_bits=100), losing(33, seen), relative=True)[1].rel_accuracy_bits() >= 64
    assert seen == [64, 100]
    seen = []
    with pytest.raises(PrecisionError, match=r"64 correct bits within 100 working bits, got \d bits missing at 100 working"):
        _deliver(Ball(64, max_bits=100), losing(40, seen), relative=True)
    assert seen == [64, 100]
    for arithmetic, cap in ((FLOAT64, 4096), (Multiprecision(20), 4096), (Multiprecision(100), 16 * 335)):
        seen = []
        with pytest.raises(PrecisionError, match=f"within {cap} working bits"):
            _deliver(arithmetic, losing(10**4, seen))
        assert seen[-1] == cap == max(seen)


def test_what_is_not_proved_is_tried_with_twice_the_bits() -> None:
    seen: list[int] = []

    def enclose(bits: int) -> Array:
        seen.append(bits)
        raise NotProved("no sign")

    with pytest.raises(PrecisionError, match="got no sign"):
        _deliver(FLOAT64, enclose)
    assert all(2 * a <= b for a, b in itertools.pairwise(seen[:-1]))
    assert seen[-1] == 4096


def test_enclosures_are_worked_at_the_precision_of_their_run() -> None:
    def enclose(bits: int) -> Array:
        assert ctx.prec >= min(MAX_BITS, bits + 32)
        return np.array([arb(1) / 3], dtype=object)

    for bits in (64, 1000):
        assert _deliver(Ball(bits), enclose, relative=True)[0].rel_accuracy_bits() >= bits
    assert _deliver(Ball(MAX_BITS), enclose)[0].rel_accuracy_bits() >= MAX_BITS - 2


def test_entries_that_contain_zero_are_zeros_but_in_balls() -> None:
    tiny = np.array([[arb(1), arb(0, 2.0**-200)]], dtype=object)
    for arithmetic in (FLOAT64, Multiprecision(20)):
        found = _deliver(arithmetic, lambda bits: tiny)
        assert found.shape == (1, 2)
        assert (found[0, 0], found[0, 1]) == (1, 0)
        with pytest.raises(PrecisionError):  # a spectrum's entries have a size of their own
            _deliver(arithmetic, lambda bits: tiny, relative=True)
    assert _deliver(Ball(64), lambda bits: tiny)[0, 1].rad() > 0


def test_bits_are_missing_where_the_worst_entry_misses_them() -> None:
    with ctx.workprec(400):
        good, bad, none = arb(1, 2.0**-60), arb(1, 2.0**-11), arb(0, 1)
        have = [v.rel_accuracy_bits() for v in (good, bad)]
        for balls, wanted, missing in (
            ([good, arb(3)], 50, 0),
            ([good, arb(0)], 60, 60 - have[0]),
            ([bad, good], 40, 40 - have[1]),
            ([good, bad], 40, 40 - have[1]),
            ([good, none], 40, 40),
            ([good, none], 0, 0),
            ([bad], 5, 0),
        ):
            assert _missing_bits(np.array(balls, dtype=object), wanted, relative=True) == missing
        beside_zero = arb(-1, 1 + 2.0**-50)  # contains zero, and is no small number
        assert _missing_bits(np.array([arb(1), beside_zero], dtype=object), 10, relative=False) == 10
        with pytest.raises(NotProved, match="not finite"):
            _missing_bits(np.array([good, arb("nan")], dtype=object), 0, relative=False)


def test_a_spectrum_down_to_the_smallest_normal_number_is_handed_out() -> None:
    for smallest, held in ((2.0**-1022, True), (2.0**-1022 * (1 - 2.0**-52), False)):
        balls = np.array([arb(1), arb(smallest)], dtype=object)
        if held:
            assert _deliver(FLOAT64, lambda bits, balls=balls: balls, relative=True)[1] == smallest
        else:
            with pytest.raises(RangeError, match=r"2\.3e-308"):
                _deliver(FLOAT64, lambda bits, balls=balls: balls, relative=True)
    assert _deliver(FLOAT64, lambda bits: np.array([arb(1), arb(0)], dtype=object), relative=True)[1] == 0


def test_a_kernel_has_128_bits_unless_told_otherwise() -> None:
    for a, b in zip(enclose_limit_ntk(X[:2]).kernel.flat, enclose_limit_ntk(X[:2], "tanh", bits=128).kernel.flat, strict=True):
        assert (a.mid(), a.rad()) == (b.mid(), b.rad())


@pytest.mark.parametrize("function", [limit_trajectory, gradient_descent_trajectory])
def test_a_million_steps_are_the_most(function: Callable[..., Array], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infinite, "_iterate", lambda step, y, start, steps: np.array([arb(steps)], dtype=object))
    assert function(X, Y, 1.0, 10**6)[0] == 10**6
    with pytest.raises(InputError, match="steps"):
        function(X, Y, 1.0, 10**6 + 1)


# ------------------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("name", ["tanh", "softplus", "erf", "relu"])
def test_kernels_follow_a_permutation_of_the_inputs(name: str) -> None:
    order = [2, 0, 1]
    plain, permuted = (limit_ntk(points, name, Ball(80)) for points in (X, X[order]))
    assert overlap(permuted, plain[np.ix_(order, order)])
    assert_rounded(limit_ntk(X[order], name), plain[np.ix_(order, order)])


@pytest.mark.parametrize("name", ["tanh", "softplus", "gelu", "relu"])
def test_kernels_are_invariant_under_rotations_of_the_inputs(name: str) -> None:
    points = 5 * np.array([[3, -2], [1, 7], [-4, 1]]) / 32  # multiples of 5, so that rotation by (3, 4)/5 is exact
    rotated = (points @ np.array([[3, 4], [-4, 3]])) / 5
    assert np.array_equal((rotated**2).sum(axis=1), (points**2).sum(axis=1))
    assert overlap(limit_ntk(points, name, Ball(80)), limit_ntk(rotated, name, Ball(80)))
    assert overlap(limit_ntk(points, name, Ball(80)), limit_ntk(-points, name, Ball(80)))
    assert overlap(limit_ntk(points, name, Ball(80)), limit_ntk(np.hstack([points, np.zeros((3, 1))]), name, Ball(80)))
    assert not overlap(limit_ntk(points, name, Ball(80)), limit_ntk(points + 1, name, Ball(80)))  # but not under shifts


def test_a_subset_of_the_inputs_has_the_submatrix_times_m() -> None:
    whole, part = limit_ntk(X, arithmetic=Ball(80)), limit_ntk(X[:2], arithmetic=Ball(80))
    with ctx.workprec(120):
        assert overlap(3 * whole[:2, :2], 2 * part)


def test_the_law_enters_through_the_variances_of_z() -> None:
    """At x = 0, where E[z²] = eta_scale², the closed form is short."""
    wide = limit_ntk(np.zeros((1, 1)), "erf", law=InitialLaw("uniform", 1.0, 2.0))[0, 0]
    value = 2 / math.pi * math.asin(8 / 9)  # a = 4
    slope = 4 / math.pi / math.sqrt(81 - 64)
    assert wide == pytest.approx(value + slope / 3, rel=8 * EPS)
    assert limit_ntk(np.zeros((1, 1)), "erf", law=InitialLaw("normal", 1.0, 2.0))[0, 0] == pytest.approx(
        value + slope, rel=8 * EPS
    )


# --------------------------------------------------------------------------------------------------------- (E10), (E11), (E12)


@pytest.mark.parametrize("gamma", [1e-6, 0.5, 30.0])
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_limit_nntk_has_the_eigenvalues_of_the_formula(name: str, gamma: float) -> None:
    operator = limit_nntk(X, gamma, name, Ball(150))
    with ctx.workprec(150):
        expected = [v / (gamma + v) for v in limit_spectrum(X, name, Ball(150))]
        for value, true in zip(eigenvalues(operator, Ball(100)), expected, strict=True):
            assert value.overlaps(true)
            assert value.rel_accuracy_bits() > 60
            assert 0 < value < 1
        kernel = limit_ntk(X, name, Ball(150))
        residual = operator @ (kernel + gamma * np.eye(3)) - kernel  # 𝓑*(γI + B̄) = B̄
        assert all(v.contains(0) and v.rad() < 1e-30 for v in residual.flat)
    rounded = limit_nntk(X, gamma, name)
    assert_rounded(rounded, operator)
    assert np.array_equal(rounded, rounded.T)
    assert_digits(limit_nntk(X, gamma, name, Multiprecision(25)), operator, 25)


def test_limit_nntk_is_exactly_symmetric_in_every_arithmetic() -> None:
    points = np.random.default_rng(5).standard_normal((6, 2))
    for arithmetic in (FLOAT64, Multiprecision(20), Ball(64)):
        operator = limit_nntk(points, 0.01, "erf", arithmetic)
        for a, b in zip(operator.flat, operator.T.flat, strict=True):
            assert ((a.mid(), a.rad()) == (b.mid(), b.rad())) if isinstance(a, arb) else a == b


def test_limits_of_large_and_small_gamma() -> None:
    """‖γ𝓑* - B̄‖ ≤ ‖B̄‖²/γ and ‖I - 𝓑*‖ ≤ γ/λ_min, entry by entry a fortiori."""
    with ctx.workprec(400):
        kernel, spectrum = limit_ntk(X, "erf", Ball(200)), limit_spectrum(X, "erf", Ball(200))
        for gamma in (1e2, 1e8, 1e30):
            difference = arb(gamma) * limit_nntk(X, gamma, "erf", Ball(300)) - kernel
            assert all(abs(v) <= spectrum[0] ** 2 / gamma + arb(2) ** -190 for v in difference.flat)
        for gamma in (1e-2, 1e-8, 1e-30):
            difference = limit_nntk(X, gamma, "erf", Ball(300)) - np.eye(3)
            assert all(abs(v) <= arb(gamma) / spectrum[-1] for v in difference.flat)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 1.7])
def test_limit_trajectory_satisfies_its_equation_and_its_closed_form(alpha: float) -> None:
    steps, gamma, start = 6, 0.5, np.array([0.5, 0.25, -1.0])
    path = limit_trajectory(X, Y, gamma, steps, arithmetic=Ball(150), alpha=alpha, initial=start)
    assert path.shape == (steps + 1, 3)
    operator = limit_nntk(X, gamma, arithmetic=Ball(150))
    with ctx.workprec(200):
        identity = Ball(200).array(np.eye(3))
        factor, power = identity - arb(alpha) * operator, identity
        for t in range(steps + 1):
            closed = Y - power @ (Y - start)  # y - f_t = (I - α𝓑*)^t (y - f_0)
            assert overlap(path[t], closed)
            assert max(float(v.rad()) for v in (*path[t], *closed)) < 1e-30
            if t < steps:
                assert overlap(path[t + 1], path[t] + arb(alpha) * (operator @ (Y - path[t])))
            power = power @ factor
    assert overlap(path[0], start)
    rounded = limit_trajectory(X, Y, gamma, steps, alpha=alpha, initial=start)
    assert np.array_equal(rounded[0], start)
    assert_rounded(rounded, path)
    assert_digits(limit_trajectory(X, Y, gamma, steps, "tanh", Multiprecision(25), alpha=alpha, initial=start), path, 25)


def test_trajectories_start_at_zero_unless_told_otherwise() -> None:
    assert np.array_equal(limit_trajectory(X, Y, 1.0, 0), np.zeros((1, 3)))
    assert np.array_equal(gradient_descent_trajectory(X, Y, 0.1, 0), np.zeros((1, 3)))
    fixed = limit_trajectory(X, Y, 1.0, 4, initial=Y)  # the data are a fixed point
    assert np.array_equal(fixed, np.tile(Y, (5, 1)))
    assert np.array_equal(gradient_descent_trajectory(X, Y, 0.1, 4, initial=Y), np.tile(Y, (5, 1)))


def test_gradient_descent_trajectory_satisfies_its_equation() -> None:
    steps, rate, start = 6, 0.75, np.array([0.5, 0.25, -1.0])
    path = gradient_descent_trajectory(X, Y, rate, steps, arithmetic=Ball(150), initial=start)
    kernel = limit_ntk(X, arithmetic=Ball(150))
    with ctx.workprec(200):
        power = Ball(200).array(np.eye(3))
        factor = power - arb(rate) * kernel
        for t in range(steps + 1):
            assert overlap(path[t], Y - power @ (Y - start))
            assert max(float(v.rad()) for v in path[t]) < 1e-30
            power = power @ factor
    assert_rounded(gradient_descent_trajectory(X, Y, rate, steps, initial=start), path)


def test_a_trajectory_contracts_by_the_factors_of_its_modes() -> None:
    """‖y - f_t‖ ≤ max|factor|^t ‖y - f_0‖, and no faster than min|factor|^t."""
    gamma, steps = 0.5, 5
    modes = contraction_factors(X, gamma)
    for path, factors in (
        (limit_trajectory(X, Y, gamma, steps), modes.newton),
        (gradient_descent_trajectory(X, Y, float(1 / modes.eigenvalues[0]), steps), modes.gradient_descent),
    ):
        size = np.linalg.norm(Y - path, axis=1)
        slack = 1 + THRESHOLD * 3 * EPS * np.arange(steps + 1)
        assert np.all(size <= np.abs(factors).max() ** np.arange(steps + 1) * size[0] * slack)
        assert np.all(size * slack >= np.abs(factors).min() ** np.arange(steps + 1) * size[0])


@pytest.mark.parametrize(("alpha", "rate"), [(1.0, None), (1.0, 0.25), (0.5, None), (1.5, 0.25)])
def test_contraction_factors_are_the_formulas(alpha: float, rate: float | None) -> None:
    gamma = 0.125
    modes = contraction_factors(X, gamma, "tanh", Ball(120), alpha=alpha, rate=rate)
    spectrum = limit_spectrum(X, "tanh", Ball(150))
    with ctx.workprec(200):
        top = 1 / spectrum[0] if rate is None else arb(rate)
        assert overlap(modes.eigenvalues, spectrum)
        assert overlap(modes.newton, 1 - arb(alpha) * spectrum / (gamma + spectrum))
        assert overlap(modes.gradient_descent, 1 - top * spectrum)
    if rate is None:
        assert modes.gradient_descent[0] == 0
    rounded = contraction_factors(X, gamma, alpha=alpha, rate=rate)
    for values, balls in zip(rounded, modes, strict=True):
        assert_rounded(values, balls)
    if alpha == 1.0:
        assert np.all((rounded.newton > 0) & (rounded.newton < 1))


def test_newtons_factors_keep_their_digits_where_gamma_is_tiny() -> None:
    """1 - λ/(γ+λ) cancels; γ/(γ+λ) does not."""
    modes = contraction_factors(X, 1e-40)
    np.testing.assert_allclose(modes.newton, 1e-40 / modes.eigenvalues, rtol=THRESHOLD * EPS)


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["tanh", "logistic", "softplus"])
@pytest.mark.parametrize("points", [[[1e6], [2e6]], [[1e6]], [[0.0], [1e200]]])
def test_inputs_too_large_for_the_quadrature_are_refused(name: str, points: Any) -> None:
    with pytest.raises(QuadratureError, match="rescale the inputs"):
        limit_ntk(np.array(points), name)


def test_inputs_too_large_for_the_quadrature_are_fine_where_a_closed_form_exists() -> None:
    for name in ("erf", "relu", "gelu"):
        kernel = limit_ntk(np.array([[1e6], [2e6]]), name)
        assert np.all(np.isfinite(kernel))
        assert_rounded(kernel, enclose_limit_ntk(np.array([[1e6], [2e6]]), name, bits=200).kernel)


def test_an_estimate_is_not_handed_out_as_a_proof() -> None:
    estimate = enclose_limit_ntk(X, "square", bits=20, closed_form=False)
    assert not estimate.proved
    assert enclose_limit_ntk(X, "square", bits=20).proved
    assert overlap(estimate.kernel, enclose_limit_ntk(X, "square", bits=60).kernel)


FUNCTIONS: list[Callable[..., Any]] = [
    lambda points=X, **kw: limit_ntk(points, **kw),
    lambda points=X, **kw: limit_nntk(points, 1.0, **kw),
    lambda points=X, **kw: limit_spectrum(points, **kw),
    lambda points=X, **kw: contraction_factors(points, 1.0, **kw),
    lambda points=X, **kw: limit_trajectory(points, Y[: len(points)], 1.0, 1, **kw),
    lambda points=X, **kw: gradient_descent_trajectory(points, Y[: len(points)], 1.0, 1, **kw),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_arguments_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(UnknownActivationError, match="tanh"):
        function(activation="tahn")
    for arithmetic in (None, "float64", 53):
        with pytest.raises(InputError, match="arithmetic"):
            function(arithmetic=arithmetic)
    with pytest.raises(InputError, match="law"):
        function(law="unifrm")
    for points in (np.array([[np.nan]]), np.zeros((0, 1)), np.zeros(3)):
        with pytest.raises(InputError, match="X"):
            function(points)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1", True])
def test_parameters_that_must_be_positive(value: Any) -> None:
    for call in (
        lambda: limit_nntk(X, value),
        lambda: limit_trajectory(X, Y, value, 1),
        lambda: limit_trajectory(X, Y, 1.0, 1, alpha=value),
        lambda: gradient_descent_trajectory(X, Y, value, 1),
        lambda: contraction_factors(X, value),
        lambda: contraction_factors(X, 1.0, alpha=value),
        lambda: contraction_factors(X, 1.0, rate=value),
        lambda: InitialLaw(w_scale=value),
    ):
        with pytest.raises(InputError):
            call()


def test_other_arguments_are_checked() -> None:
    for call in (
        lambda: enclose_limit_ntk(X, bits=1),
        lambda: enclose_limit_ntk(X, bits=64.0),  # type: ignore[arg-type]
        lambda: limit_trajectory(X, Y[:2], 1.0, 1),
        lambda: limit_trajectory(X, Y, 1.0, -1),
        lambda: limit_trajectory(X, Y, 1.0, 1, initial=Y[:2]),
        lambda: limit_trajectory(X, Y, 1.0, 1, initial=[0, math.nan, 0]),
        lambda: InitialLaw("cauchy"),
    ):
        with pytest.raises(InputError):
            call()


def test_precision_is_left_as_it_was() -> None:
    before = ctx.prec, mpmath.mp.prec
    limit_spectrum(X, arithmetic=Ball(200))
    limit_ntk(X, arithmetic=Multiprecision(40))
    for call in (lambda: limit_spectrum(np.vstack([X, X])), lambda: limit_ntk(np.array([[1e6], [2e6]]))):
        with pytest.raises((DegenerateKernelError, QuadratureError)):
            call()
    assert (ctx.prec, mpmath.mp.prec) == before


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=4, unique=True),
    st.sampled_from(["erf", "sin", "gelu", "relu"]),
    st.floats(1e-3, 1e3),
)
def test_kernels_anywhere_are_positive_semidefinite_and_contract(
    points: list[tuple[float, float]], name: str, gamma: float
) -> None:
    inputs = np.array(points)
    counts = inertia(limit_ntk(inputs, name, Ball(400)))
    assert (counts.negative, counts.zero) == (0, 0)
    operator = limit_nntk(inputs, gamma, name, Ball(200))
    assert inertia(operator).negative == 0
    with ctx.workprec(264):
        rest = Ball(264).array(np.eye(len(inputs))) - operator
    assert inertia(rest) == (0, 0, len(inputs), 0)  # 𝓑* < I


def test_unproved_is_a_kind_of_precision_error() -> None:
    assert issubclass(UnprovedError, PrecisionError)
    assert issubclass(QuadratureError, PrecisionError)


def test_factors_that_vanish_do_not_climb_the_ladder() -> None:
    """x = ±1: the kernel is a multiple of the identity, so that gradient descent at 1/λ₁ ends every mode in one step."""
    modes = contraction_factors(np.array([[1.0], [-1.0]]), 1.0)
    assert modes.eigenvalues[0] == modes.eigenvalues[1] > 0
    assert np.array_equal(modes.gradient_descent, [0.0, 0.0])
    assert np.allclose(modes.newton, 1 / (1 + modes.eigenvalues), rtol=1e-15)


@pytest.mark.parametrize("wanted", [4, 30])
def test_what_counts_as_zero_is_small_beside_the_largest(wanted: int) -> None:
    """An entry that contains zero is one from 4^-bits of the largest downwards, and not ten times further up."""
    with ctx.workprec(200):
        limit = 3 * arb(4) ** -wanted
        for radius, missing in ((limit * 0.99, False), (limit * 1.5, True)):
            balls = np.array([arb(3), arb(0, radius)], dtype=object)
            assert (_missing_bits(balls, wanted, relative=False) > 0) == missing
            assert _missing_bits(balls, wanted, relative=True) > 0
