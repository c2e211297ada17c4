"""Gaussian expectations: series against closed forms and independent quadrature, and every error term where it dominates."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import herme2poly

from nntk_reference import ACTIVATIONS, FLOAT64, Activation, Ball, QuadratureError, Strip, activation, gaussian
from nntk_reference.arithmetic import Arithmetic, Array
from nntk_reference.gaussian import Expectations, expectations, pairs
from tests.tolerances import THRESHOLD
from tests.weakened import Term, check_tight, every

EPS = 2.0**-52
CLOSED = ["erf", "sin", "gelu"]  # a closed form and a strip
WITH_STRIP = [name for name, entry in ACTIVATIONS.items() if entry.strip is not None]
ANALYTIC = [name for name in ACTIVATIONS if name != "relu"]


def inputs_of(X: Any, scale: float = 1.0) -> Array:
    """x̃ = scale·(x, 1), exactly."""
    return Ball(300).array(scale * np.hstack([X, np.ones((len(X), 1))]))


def both(name: str, inputs: Array, bits: int) -> tuple[Expectations, Expectations]:
    entry = activation(name)
    return expectations(entry, inputs, bits, closed_form=False), expectations(entry, inputs, 2 * bits + 40)


def assert_overlap(series: Expectations, closed: Expectations) -> None:
    with ctx.workprec(600):
        for a, b in zip((series.value, series.slope), (closed.value, closed.slope), strict=True):
            assert all(x.overlaps(y) for x, y in zip(a.flat, b.flat, strict=True))


def worst(e: Expectations) -> float:
    return max(float(v.rad()) for v in [*e.value.flat, *e.slope.flat])


# -------------------------------------------------------------------------------------------------- series, closed forms

NEAR = [[0.3, -0.2], [0.3 + 2.0**-30, -0.2], [0.3, -0.2 - 2.0**-45]]


@pytest.mark.parametrize("bits", [24, 70])
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("name", CLOSED)
def test_series_and_closed_form_overlap(name: str, dim: int, bits: int) -> None:
    X = np.random.default_rng(dim).standard_normal((4, dim))
    series, closed = both(name, inputs_of(X), bits)
    assert_overlap(series, closed)
    assert worst(series) <= 2.0**-bits
    assert series.proved
    assert closed.proved
    assert closed.method == "closed form"
    assert "Hermite" in series.method


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("scale", [2.0**-10, 0.125, 1.0, 3.0])
def test_series_and_closed_form_overlap_for_nearly_equal_inputs_at_every_scale(name: str, scale: float) -> None:
    series, closed = both(name, inputs_of(NEAR, scale), 50)
    assert_overlap(series, closed)
    assert worst(series) <= 2.0**-49


@pytest.mark.parametrize("name", CLOSED)
def test_inputs_of_very_different_sizes_share_one_rule(name: str) -> None:
    """The strip of the smallest input is hundreds of times wider than that of the largest; e^(s²/2) must not ruin the bound."""
    with ctx.workprec(200):
        inputs = Ball(200).array([[0.0, 2.0**-9], [1.0, 2.0**-9], [-0.75, 0.5]])
    series, closed = both(name, inputs, 60)
    assert_overlap(series, closed)
    assert worst(series) <= 2.0**-60


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=3), st.sampled_from(CLOSED))
def test_series_and_closed_form_overlap_anywhere(points: list[tuple[float, float]], name: str) -> None:
    series, closed = both(name, inputs_of(np.array(points)), 30)
    assert_overlap(series, closed)


@pytest.mark.parametrize("name", WITH_STRIP)
def test_doubling_the_bits_shrinks_the_enclosures_into_one_another(name: str) -> None:
    inputs = inputs_of(np.array([[0.5, -1.0], [1.25, 0.25], [-0.5, 0.75]]))
    runs = [expectations(activation(name), inputs, bits, closed_form=False) for bits in (16, 32, 64, 128)]
    for k, (coarse, fine) in enumerate(itertools.pairwise(runs)):
        assert_overlap(coarse, fine)
        assert worst(coarse) <= 2.0 ** -(16 * 2**k)
        assert worst(fine) < worst(coarse)
    assert worst(runs[-1]) <= 2.0**-128
    assert all(run.proved for run in runs)


@pytest.mark.parametrize("name", WITH_STRIP)
def test_an_estimate_agrees_with_the_proof(name: str) -> None:
    inputs = inputs_of(np.array([[0.5], [-0.75]]))
    bare = dataclasses.replace(activation(name), strip=None, moments=None)
    estimate = expectations(bare, inputs, 40)
    assert not estimate.proved
    assert_overlap(estimate, expectations(activation(name), inputs, 80))
    assert worst(estimate) <= 2.0**-39


# ------------------------------------------------------------------------------------------------- independent quadrature


def naive(name: str, x: Array, x2: Array) -> tuple[float, float, float, float]:
    """E[σσ'], E[σ'σ'] by a plain two-dimensional trapezoidal rule, and the sums of the terms' sizes."""
    a, a2, b = x @ x, x2 @ x2, x @ x2
    h = 1 / 24
    u = np.arange(-9, 9 + h / 2, h)  # e^(-81/2) beyond; aliasing e^(-2π·24·s), s ≥ 1/2 for the inputs here
    density = np.exp(-u * u / 2) * h / math.sqrt(2 * math.pi)
    weights = np.outer(density, density)
    z = np.broadcast_to(math.sqrt(a) * u[:, None], weights.shape)
    z2 = b / math.sqrt(a) * u[:, None] + math.sqrt(max(a2 - b * b / a, 0.0)) * u[None, :]
    left, right = (activation(name).jets(v, FLOAT64) for v in (z, z2))
    values, slopes = weights * left[0] * right[0], weights * left[1] * right[1]
    return values.sum(), slopes.sum(), np.abs(values).sum(), np.abs(slopes).sum()


@pytest.mark.parametrize("name", ANALYTIC)
def test_expectations_agree_with_a_plain_two_dimensional_rule(name: str) -> None:
    X = np.array([[0.5, -1.0, 1.0], [1.25, 0.25, 1.0], [0.0, 0.0, 1.0]])
    result = expectations(activation(name), Ball(128).array(X), 70)
    for i in range(3):
        for j in range(3):
            value, slope, size, slope_size = naive(name, X[i], X[j])
            # pairwise summation of 2·10⁵ terms, each of about ten roundings: under 30 units of the sum of sizes, for
            # activations that are relatively accurate at these arguments to a condition number of |z| < 30
            assert abs(value - float(result.value[i, j])) <= THRESHOLD * 30 * EPS * size
            assert abs(slope - float(result.slope[i, j])) <= THRESHOLD * 30 * EPS * slope_size


@given(st.tuples(*[st.floats(-3, 3)] * 4))
def test_relu_agrees_with_an_integral_over_the_angle(point: tuple[float, ...]) -> None:
    """In polar coordinates the radius integrates to 2 and 1, and z, z' > 0 is a wedge of angles."""
    x, x2 = np.array([*point[:2], 1.0]), np.array([*point[2:], 1.0])
    a, a2 = x @ x, x2 @ x2
    theta = math.atan2(float(np.linalg.norm(np.cross(x, x2))), float(x @ x2))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    low, high = theta - math.pi / 2, math.pi / 2
    phi = (low + high) / 2 + (high - low) / 2 * nodes
    wedge = (high - low) / 2 * (weights * np.cos(phi) * np.cos(phi - theta)).sum()
    result = expectations(activation("relu"), Ball(128).array(np.array([x, x2])), 70)
    scale = math.sqrt(a * a2)
    assert abs(float(result.value[0, 1]) - scale / math.pi * wedge) <= THRESHOLD * 40 * EPS * scale
    assert abs(float(result.slope[0, 1]) - (high - low) / (2 * math.pi)) <= THRESHOLD * 40 * EPS
    assert abs(float(result.value[0, 0]) - a / 2) <= THRESHOLD * EPS * a
    assert float(result.slope[1, 1]) == 0.5


# ------------------------------------------------------------------------------------------------------------------ pairs


def test_pairs_know_equal_inputs_exactly() -> None:
    rough = [[0.1, 0.7, 0.3], [0.1, 0.7, 0.3], [0.2, 1.4, 0.6]]
    for bits in (8, 64, 256):  # also where products are rounded
        with ctx.workprec(bits):
            pair, i, j = pairs(Ball(bits).array(rough))
            zero = {(int(p), int(q)) for p, q, d in zip(i, j, pair.determinant, strict=True) if d == 0}
            assert {(0, 0), (1, 1), (2, 2), (0, 1)} <= zero
            assert all(d >= 0 for d in pair.determinant)


@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6))
def test_pairs_are_the_second_moments(values: list[float]) -> None:
    x = np.array(values).reshape(2, 3)
    with ctx.workprec(400):
        pair, i, j = pairs(Ball(400).array(x))
        k = int(np.flatnonzero((i == 0) & (j == 1))[0])
        u, v = (Ball(400).array(row) for row in x)
        assert (u @ u).overlaps(pair.a[k])
        assert (v @ v).overlaps(pair.a2[k])
        assert (u @ v).overlaps(pair.b[k])
        assert ((u @ u) * (v @ v) - (u @ v) * (u @ v)).overlaps(pair.determinant[k])  # Lagrange's identity


# ------------------------------------------------------------------------- every term of the error, where it is the largest


class Forced(gaussian._Series):
    """The series with a number of terms, a step or a reach of our choosing instead of good ones."""

    forced_terms: int | None = None
    forced_step: float | None = None
    forced_reach: float | None = None

    def _enough_terms(self, half_width: float) -> int:
        return self.forced_terms or super()._enough_terms(half_width)

    used_step = 0.0

    def _dyadic(self, h: float) -> float:  # type: ignore[override]
        self.used_step = self.forced_step or gaussian._Series._dyadic(h)
        return self.used_step

    @property
    def reach(self) -> float:
        return self.forced_reach or self._reach

    @reach.setter
    def reach(self, value: float) -> None:
        self._reach = value


def forced(
    entry: Activation, inputs: Array, *, terms: int | None = None, step: float | None = None, reach: float | None = None
) -> tuple[Array, Array]:
    """(value, slope) over the pairs i ≤ j."""
    with ctx.workprec(200):
        series = Forced(entry, *pairs(inputs), 120)
        series.forced_terms, series.forced_step, series.forced_reach = terms, step, reach
        return series.proved()


def truth(entry: Activation, inputs: Array) -> tuple[Array, Array]:
    assert entry.moments is not None
    with ctx.workprec(300):
        return entry.moments(pairs(inputs)[0], Ball(300))


def assert_contains_truth(entry: Activation, inputs: Array, least_radius: float, **choice: Any) -> None:
    enclosures, exact = forced(entry, inputs, **choice), truth(entry, inputs)
    with ctx.workprec(300):
        for part, true in zip(enclosures, exact, strict=True):
            assert max(float(v.rad()) for v in part) >= least_radius  # the error that was provoked is there
            assert all(v.overlaps(t) for v, t in zip(part, true, strict=True))


SMALL = Ball(200).array([[0.125, 0.0], [0.0390625, 0.1171875]])  # a ≈ a' ≈ 1/64, ρ ≈ 0.32


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", CLOSED)
def test_terms_left_out_are_accounted_for(name: str, terms: int) -> None:
    """For small a the first term left out is nearly all of the rest, and its bound |ρ|^(K+1) √(ττ') nearly attained."""
    assert_contains_truth(activation(name), SMALL, 1e-20, terms=terms)
    assert_contains_truth(activation(name), inputs_of([[1.0], [0.25], [-2.0]]), 1e-6, terms=terms)


def test_the_bound_on_the_terms_left_out_is_nearly_attained() -> None:
    """So that a power of ρ too many would show: erf has no second term, and after the first the third is the largest."""
    entry = activation("erf")
    (value, slope), (true, true_slope) = forced(entry, SMALL, terms=2), truth(entry, SMALL)
    with ctx.workprec(300):
        k = 1  # the pair (0, 1)
        for enclosed, exact in ((value[k], true[k]), (slope[k], true_slope[k])):
            error, radius = abs(enclosed.mid() - exact), enclosed.rad()
            assert 0.8 * radius < error < radius


@pytest.mark.parametrize("step", [0.5, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("name", CLOSED)
def test_aliasing_is_accounted_for(name: str, step: float) -> None:
    assert_contains_truth(activation(name), inputs_of([[1.0], [0.25], [-2.0]]), 1e-9, step=step, terms=8)


@pytest.mark.parametrize("reach", [1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("name", CLOSED)
def test_nodes_left_out_are_accounted_for(name: str, reach: float) -> None:
    assert_contains_truth(activation(name), inputs_of([[1.0], [0.25], [-2.0]]), 1e-4, reach=reach, terms=8)


def test_cauchys_bound_for_the_derivative_is_needed() -> None:
    """sin 8z: its derivative is eight times as large, on the strip too, and aliasing shows the square of that."""
    omega = 8

    def jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
        return ar.sin(omega * z), omega * ar.cos(omega * z), -(omega**2) * ar.sin(omega * z)

    def bound(y: Any, ar: Arithmetic) -> tuple[Any, Any]:
        return ar.exp(omega * y), 0

    entry = Activation("fast sine", jets, lambda ar: (1, omega, omega**2), parity="odd", strip=Strip(2.0, bound))
    inputs = Ball(200).array([[1.0]])
    _, (slope,) = forced(entry, inputs, terms=1, step=0.353515625)  # 2π/h - 2·8 is about the strip's 1.8: the best s there is
    with ctx.workprec(200):
        true = omega**2 * (1 + arb(-2 * omega**2).exp()) / 2  # E[64 cos² 8u]
        assert slope.overlaps(true)
        assert abs(slope.mid() - true) > 1  # the rule itself is far off


@pytest.mark.parametrize("name", WITH_STRIP)
@pytest.mark.parametrize("choice", [{"terms": 3}, {"step": 1.0, "terms": 6}, {"reach": 2.0, "terms": 6}])
def test_a_forced_run_encloses_a_good_one(name: str, choice: dict[str, Any]) -> None:
    """Also where there is no closed form."""
    inputs = inputs_of([[1.0], [0.25]])
    value, slope = forced(activation(name), inputs, **choice)
    good = expectations(activation(name), inputs, 64, closed_form=False)
    i, j = np.triu_indices(2)
    with ctx.workprec(200):
        assert all(a.overlaps(b) for a, b in zip(value, good.value[i, j], strict=True))
        assert all(a.overlaps(b) for a, b in zip(slope, good.slope[i, j], strict=True))


def test_hermite_values_and_their_normalization() -> None:
    series = Forced(activation("tanh"), *pairs(inputs_of([[0.0]])), 100)
    with ctx.workprec(140):
        normalize = series._inverse_root_factorials(30)
        for n in (0, 1, 7, 40):
            values = series._hermite(0.25 * n, 30)
            for k in (0, 1, 2, 5, 30):
                assert normalize[k].overlaps(1 / arb(math.factorial(k)).sqrt())
                if k <= 5:  # NumPy's coefficients are small integers, exact in float64
                    exact = sum(arb(float(c)) * arb(0.25 * n) ** p for p, c in enumerate(herme2poly([0.0] * k + [1.0])))
                    assert values[k].overlaps(exact)
                assert values[k].rel_accuracy_bits() > 80 or values[k].contains(0)
                # Cramér's inequality, from which the nodes left out are bounded
                assert abs(values[k] * normalize[k]) <= arb("1.09") * (arb(0.25 * n) ** 2 / 4).exp()


@pytest.mark.parametrize("u", [0.25, 3.0, 10.0, 25.0])
def test_hermite_values_are_as_accurate_as_the_sums_need(u: float) -> None:
    """To the working precision of the bound |heₖ| ≤ 1.09 e^(u²/4), for all terms, though the recurrence loses digits."""
    K, bits = 1000, 64
    series = Forced(activation("tanh"), *pairs(inputs_of([[0.0]])), bits)
    with ctx.workprec(bits + 40):
        allowed = arb("1.09") * (arb(u) ** 2 / 4).exp() * arb(2) ** (-bits - 40)
        values = series._hermite(u, K)
        assert len(values) == K + 1
        assert all(v.rad() * scale <= allowed for v, scale in zip(values, series._inverse_root_factorials(K), strict=True))


@given(st.floats(1e-30, 4.0))
def test_steps_are_rounded_down_to_numbers_whose_multiples_are_exact(h: float) -> None:
    rounded = gaussian._Series._dyadic(h)
    assert h * (15 / 16 if h > 2**-8 else 1 / 2) < rounded <= h
    mantissa, _ = math.frexp(rounded)
    assert (mantissa * 2**15).is_integer()  # times a number of nodes below 2^38 it is a float64


@pytest.mark.parametrize(
    ("terms", "hope"), [(160_000, 0.0), (153_000, 2 * 2**0.5), (77_000, 2 * 2**0.5), (76_000, 2 * 2**0.5 + 4), (9_000, None)]
)
def test_an_estimate_hopes_for_twice_the_bits_that_the_work_left_can_gain(terms: int, hope: float | None) -> None:
    """√2 times as many in each doubling of K up to K^(3/2) = 6·10⁷, K = 153 262: one from 76 631, two from 38 315."""
    series = Forced(activation("tanh"), *pairs(inputs_of([[0.0]])), 60)
    if hope is None:  # five of them
        hope = sum(2 * 2 ** (k / 2) for k in range(1, 6))
    for gain in (arb(2), arb(1000)):
        for share, settles in ((-0.01, True), (0.01, False)):
            assert series._can_settle(gain, (gain.log() * (hope + share)).exp(), terms) is settles
    assert series._can_settle(arb("inf"), arb(10) ** 300, terms)  # nothing is known after the first two runs


def test_an_estimate_is_as_wide_as_each_part_moved_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the last change, of E[σσ] and of E[σ'σ'] apart."""
    for moved in ((2.0**-65, 2.0**-67), (0.0, 2.0**-65)):
        series = Forced(activation("tanh"), *pairs(inputs_of([[0.0]])), 60)
        with ctx.workprec(100):
            sums = iter([tuple(np.array([arb(1) + k * by], dtype=object) for by in moved) for k in range(2)])
        monkeypatch.setattr(series, "_sums", lambda h, K: ())
        monkeypatch.setattr(series, "_pair_sums", lambda *args, sums=sums, **options: next(sums))
        with ctx.workprec(100):
            found = series.estimated()
        assert [float(part[0].rad()) for part in found] == pytest.approx([10 * by for by in moved], rel=1e-8, abs=0)


# ------------------------------------------------------------------------------------- as accurate as asked for, and the work

SWEEP = {  # x̃ of two inputs: near 1, nearly parallel, small and nearly parallel, tiny, of sizes far apart
    "one": [[0.5, 1.0], [-1.0, 1.0]],
    "parallel": [[0.5, 0.02], [-1.0, 0.02]],
    "close": [[0.02, 1.0], [0.01, 1.0]],
    "tiny": [[0.02, 0.02], [0.01, 0.02]],
    "apart": [[3.0, 1.0], [0.1, 0.05]],
}


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("name", WITH_STRIP)
def test_errors_are_below_what_was_asked_for(name: str, bits: int) -> None:
    """Few bits most of all, where a constant that was left out would count."""
    for points in SWEEP.values():
        assert worst(expectations(activation(name), Ball(200).array(points), bits, closed_form=False)) <= 2.0**-bits


@pytest.mark.parametrize("case", ["one", "parallel", "close"])
@pytest.mark.parametrize("name", ["tanh", "erf", "softplus"])
def test_with_half_of_the_terms_or_fewer_nodes_errors_would_be_larger(name: str, case: str) -> None:
    """What was spent was needed but for half of the terms, a third of the nodes in an interval, or of the interval's square."""
    bits, inputs = 48, Ball(200).array(SWEEP[case])
    with ctx.workprec(bits + 40):
        series = Forced(activation(name), *pairs(inputs), bits)
        series.proved()
        terms, step, reach = series.terms, series.used_step, series.reach
        assert step > 0
        for choice in ({"terms": terms // 2}, {"step": 1.5 * step}, {"reach": reach / math.sqrt(1.5)}):
            less = Forced(activation(name), *pairs(inputs), bits)
            for part, value in choice.items():
                setattr(less, f"forced_{part}", value)
            radius = max(float(v.rad()) for part in less.proved() for v in part)
            assert radius > 2.0**-bits, choice


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "_MOST_VALUES", 20_000)


@pytest.mark.usefixtures("little_work")
def test_work_out_of_reach_is_refused() -> None:
    with pytest.raises(QuadratureError, match=r"X: expected inputs .* for 2\^-200"):
        expectations(activation("tanh"), inputs_of([[0.0], [1.0]]), 200)
    bare = dataclasses.replace(activation("tanh"), strip=None)
    with pytest.raises(QuadratureError, match="'tanh'"):
        expectations(bare, inputs_of([[0.0], [1.0]]), 200)
    assert expectations(activation("tanh"), inputs_of([[0.0], [1.0]]), 8).proved


def test_an_estimate_without_hope_is_given_up_early() -> None:
    """relu's coefficients decay like k^(-5/4): no number of terms within reach gives 60 bits."""
    bare = dataclasses.replace(activation("relu"), moments=None)
    with pytest.raises(QuadratureError, match=r"'relu'.*2\^-60") as refused:
        expectations(bare, inputs_of([[0.0], [1.0]]), 60)
    terms = int(str(refused.value).split(" after ")[1].split()[0])
    assert terms <= 2048


def test_every_registered_closed_form_is_used_unless_declined() -> None:
    checked: list[str] = []
    for name, entry in ACTIVATIONS.items():
        result = expectations(entry, inputs_of([[0.5]]), 20)
        assert (result.method == "closed form") == (entry.moments is not None)
        checked.append(name)
    assert checked == list(ACTIVATIONS)


# ------------------------------------------------------------------------ ten times smaller, and the enclosure misses the truth


class Sums(Forced):
    """A forced run that stops at the integrals: (cₖ, E[σ²], E[σ'²]) with all that is added for aliasing and nodes left out."""

    def _pair_sums(self, C: Array, square: Array, square_slope: Array, *, tails: bool) -> Any:
        return C, square, square_slope


def one_input(entry: Activation, **choice: Any) -> tuple[Array, Array, Array]:
    with ctx.workprec(200):
        series = Sums(entry, *pairs(Ball(200).array([[1.0]])), 120)
        series.forced_terms, series.forced_step, series.forced_reach = choice["terms"], choice["step"], choice["reach"]
        found: Any = series.proved()
        return found  # type: ignore[no-any-return]


def missed(ball: arb, true: arb) -> float:
    """|mid - truth| over the radius."""
    with ctx.workprec(200):
        return float(abs(ball.mid() - true) / ball.rad())


def sine(omega: float) -> Activation:
    """sin ωz, whose bound e^(ωy) on the strip is nearly that of each of its two exponentials."""

    def jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
        return ar.sin(omega * z), omega * ar.cos(omega * z), -(omega**2) * ar.sin(omega * z)

    return Activation(
        "fast sine", jets, lambda ar: (1, omega, omega**2), strip=Strip(2.0, lambda y, ar: (ar.exp(omega * y), 0))
    )


def monomial(degree: int) -> Activation:
    """1 or z, whose bounds 1 and |x| hold on the real line; the strip is wide, so that aliasing counts for nothing."""

    def jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
        return (z if degree else 1 + 0 * z), float(degree) + 0 * z, 0 * z

    return Activation("monomial", jets, lambda ar: (1, 1, 0), strip=Strip(2.0, lambda y, ar: (arb(1 - degree), arb(degree))))


STRIP = 0.9 * 2.0  # the part of the strip that is used, and the best s where 2π/h exceeds the frequency by it


def coefficient_alias() -> float:
    C, _, _ = one_input(sine(8), terms=1, step=2 * math.pi / (8 + STRIP), reach=12.0)
    with ctx.workprec(200):
        return missed(C[1][0], 8 * arb(-32).exp())  # E[sin(8u) u]


def square_alias() -> float:
    _, square, _ = one_input(sine(8), terms=1, step=2 * math.pi / (16 + STRIP), reach=12.0)
    with ctx.workprec(200):
        return missed(square[0], (1 - arb(-128).exp()) / 2)


def slope_alias() -> float:
    omega = 5.5  # 1/radius of Cauchy's circle: there its estimate is e times what is estimated
    _, _, slope = one_input(sine(omega), terms=1, step=2 * math.pi / (2 * omega + STRIP), reach=12.0)
    with ctx.workprec(200):
        return missed(slope[0], omega**2 * (1 + arb(-2 * omega**2).exp()) / 2)


def coefficient_rest(degree: int, reach: float) -> Callable[[], float]:
    def ratio() -> float:
        k = 2 - degree  # 1 has no second coefficient, z has 1 for its first
        C, _, _ = one_input(monomial(degree), terms=2, step=2.0**-6, reach=reach)
        return missed(C[k][0], arb(degree))

    return ratio


def square_rest(degree: int, reach: float) -> Callable[[], float]:
    def ratio() -> float:
        _, square, _ = one_input(monomial(degree), terms=2, step=2.0**-6, reach=reach)
        return missed(square[0], arb(1))

    return ratio


TIGHT = [
    Term(gaussian._Series, "proved", "alias * norm * self.ar.exp(s_each * arb(k).sqrt())", coefficient_alias),
    Term(gaussian._Series, "proved", "alias * (P + Q * self.root) * (P + Q * self.root)", square_alias),
    # a function that attained Cauchy's estimate at one point would not at others: e² of it, for a sine
    Term(gaussian._Series, "proved", "alias * (P + Q * self.root) * (P + Q * self.root)", slope_alias, 0.02),
    Term(gaussian._Series, "proved", "(-U * U / 4).exp() * («A» + B * self.root)", coefficient_rest(0, 1.5)),
    Term(gaussian._Series, "proved", "(-U * U / 4).exp() * (A + «B * self.root»)", coefficient_rest(1, 1.5)),
    Term(gaussian._Series, "proved", "«P * P» + Q * Q * self.a", square_rest(0, 0.5)),
    Term(gaussian._Series, "proved", "P * P + «Q * Q * self.a»", square_rest(1, 0.5)),
    Term(gaussian._Series, "_pair_sums", "last * abs(self.rho) * self._mixed(rest)", lambda: first_term_left_out(0)),
    Term(gaussian._Series, "_pair_sums", "last * self._mixed(rest_slope)", lambda: first_term_left_out(1)),
]


def first_term_left_out(which: int) -> float:
    entry = activation("erf")
    return missed(forced(entry, SMALL, terms=2)[which][1], truth(entry, SMALL)[which][1])


@every(TIGHT)
def test_ten_times_smaller_the_truth_is_missed(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tight(monkeypatch, term)
