"""The registry of activation functions: derivatives, suprema, parity, growth on strips, and that one entry suffices."""

from __future__ import annotations

import math
import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from nntk_reference import (
    ACTIVATIONS,
    FLOAT64,
    Activation,
    Ball,
    InputError,
    Multiprecision,
    Pair,
    QuadratureError,
    Strip,
    UnknownActivationError,
    UnprovedError,
    activation,
    enclose_limit_ntk,
    limit_ntk,
    newton_step,
    register,
    sample_network,
)
from nntk_reference.arithmetic import Arithmetic, Array
from tests.definitions import sigma
from tests.tolerances import THRESHOLD, TINY

NAMES = list(ACTIVATIONS)
SMOOTH = [name for name in NAMES if name != "relu"]
WITH_STRIP = [name for name in NAMES if ACTIVATIONS[name].strip is not None]
POINTS = (-700.0, -40.0, -6.5, -1.5, -0.75, -1e-3, -1e-12, 0.0, 1e-300, 1e-8, 0.3, 1.0, math.sqrt(2), 5.0, 37.0, 700.0)


def balls(values: Any) -> Array:
    return Ball(ctx.prec).array(values)


def jets(name: str, z: Array, arithmetic: Arithmetic) -> tuple[Array, Array, Array]:
    return activation(name).jets(z, arithmetic)


def hull(center: arb, radius: Any) -> Array:
    out = np.empty(1, dtype=object)
    out[0] = center + arb(0, radius)
    return out


def interval(x: float, width: arb) -> Array:
    """[x, x + width]"""
    return hull(arb(x) + width / 2, width / 2)


# -------------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", NAMES)
@given(x=st.floats(-30, 30))
def test_derivatives_are_those_of_the_function(name: str, x: float) -> None:
    """By the mean value theorem, (σ(x+h) - σ(x))/h is a value of σ' on [x, x+h]; so for σ' and σ''."""
    if name == "relu" and abs(x) < 1e-20:
        x += 1.0
    with ctx.workprec(500):
        ar, h = Ball(500), arb(2) ** -120
        left, right = balls([x]), balls([x]) + h
        here, there, between = (jets(name, z, ar) for z in (left, right, interval(x, h)))
        for order in (0, 1):
            quotient = ((there[order] - here[order]) / h)[0]
            derivative = between[order + 1][0]
            assert quotient.overlaps(derivative)
            # the two are narrow, so that overlapping means something
            assert derivative.rad() <= 2**-100
            assert quotient.rad() <= 2**-300


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("x", POINTS)
def test_multiprecision_lies_in_the_ball_to_its_last_digit(name: str, x: float) -> None:
    computed = Multiprecision(50).evaluate(lambda ar: jets(name, ar.array([x]), ar))
    with ctx.workprec(400):
        enclosed = jets(name, balls([x]), Ball(400))
        for mp, ball in zip(computed, enclosed, strict=True):
            assert abs(balls([mp[0]])[0] - ball[0]) <= arb(10) ** -50 * abs(ball[0])


def reachable(name: str, x: float) -> list[arb]:
    """All that σ, σ', σ'' can be when the argument and the result are off by eight units in the last place."""
    eps = arb(2) ** -49
    with ctx.workprec(200):
        z = hull(arb(x), eps * abs(arb(x)))
        return [v[0] * (1 + arb(0, eps)) + arb(0, arb(TINY["float64"])) for v in jets(name, z, Ball(200))]


@pytest.mark.parametrize("name", NAMES)
@given(x=st.one_of(st.floats(-700, 700), st.floats(-40, 40), st.sampled_from(POINTS)))
def test_float64_is_right_to_a_few_units_in_the_last_place(name: str, x: float) -> None:
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        computed = jets(name, np.array([x]), FLOAT64)
    for value, possible in zip(computed, reachable(name, x), strict=True):
        assert possible.contains(arb(float(value[0])))


def test_tails_keep_their_relative_accuracy() -> None:
    """Where 1 - tanh² would be 0: the derivative's own size, 4e^(-2z), to a few units in the last place."""
    z = np.array([20.0, 100.0, 300.0, -300.0])
    with np.errstate(all="raise"):
        slope = jets("tanh", z, FLOAT64)[1]
        np.testing.assert_allclose(slope, 4 * np.exp(-2 * np.abs(z)), rtol=THRESHOLD * 2.0**-52)
        logistic = jets("logistic", z, FLOAT64)
        np.testing.assert_allclose(logistic[1], np.exp(-np.abs(z)), rtol=1e-8)  # up to e^-20
        assert logistic[0][3] == pytest.approx(math.exp(-300), rel=THRESHOLD * 2.0**-52)
    assert (1 - np.tanh(z) ** 2 == 0).all()  # what the plain formula would give


@pytest.mark.parametrize("name", SMOOTH)
def test_shapes_are_kept(name: str) -> None:
    for arithmetic in (FLOAT64, Ball(64)):
        for part in jets(name, arithmetic.array(np.arange(6.0).reshape(2, 3)), arithmetic):
            assert part.shape == (2, 3)


# -------------------------------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize("name", NAMES)
def test_parity_is_as_declared(name: str) -> None:
    z = np.linspace(0.1, 30, 57)
    for arithmetic in (FLOAT64, Ball(100)):
        with ctx.workprec(100):
            right, left = jets(name, arithmetic.array(z), arithmetic), jets(name, arithmetic.array(-z), arithmetic)
            sign = {"odd": -1, "even": 1, None: 0}[activation(name).parity]
            if sign:
                for order in range(3):
                    twin = sign * (-1) ** order * left[order]
                    agree = [a.overlaps(b) if isinstance(a, arb) else a == b for a, b in zip(right[order], twin, strict=True)]
                    assert all(agree)
            else:  # what has a parity should say so: it halves the work
                same = [bool(a == b) for a, b in zip(right[0], left[0], strict=True)]
                opposite = [bool(a == -b) for a, b in zip(right[0], left[0], strict=True)]
                assert not all(same)
                assert not all(opposite)


# ------------------------------------------------------------------------------------------------------------- suprema


def prove_bounded(name: str, order: int, bound: arb, low: float, high: float) -> None:
    """|σ⁽ᵒʳᵈᵉʳ⁾| ≤ bound on [low, high], by enclosures on ever smaller pieces."""
    ar, radius = Ball(80), (high - low) / 1024
    pieces = [low + radius * (2 * k + 1) for k in range(512)]
    for _ in range(30):
        if not pieces:
            return
        z = np.array([arb(x, radius) for x in pieces], dtype=object)
        values = jets(name, z, ar)[order]
        failed = [x for x, v in zip(pieces, values, strict=True) if not abs(v) <= bound]
        assert len(failed) < 20_000, f"{name}: |σ^({order})| ≤ {bound} fails near {failed[0]}"
        radius /= 2
        pieces = [x + s * radius for x in failed for s in (-1, 1)]
    raise AssertionError(f"{name}: |σ^({order})| ≤ {bound} fails near {pieces[0]}")


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", SMOOTH)
def test_suprema_are_upper_bounds_and_are_attained(name: str, order: int) -> None:
    grid = np.linspace(-40, 40, 80 * 64 + 1)
    values = np.abs(jets(name, grid, FLOAT64)[order])
    with ctx.workprec(80):
        supremum = activation(name).suprema(Ball(80))[order]
        if supremum == math.inf:
            assert values.max() > 39  # grows at least like |x|, as the unbounded ones here do
            return
        prove_bounded(name, order, supremum * (1 + arb(2) ** -12), -40.0, 40.0)
        # between neighbours of a grid of step 1/64 a maximum drops by at most |σ⁗| h²/8 < 2^-12 of itself here
        assert values.max() >= float(supremum) * (1 - 2**-10)
        assert values.max() <= float(supremum) * (1 + 2**-50)


@pytest.mark.parametrize("name", NAMES)
def test_suprema_agree_in_the_three_arithmetics(name: str) -> None:
    with ctx.workprec(200):
        exact = activation(name).suprema(Ball(200))
        for arithmetic, rtol in ((FLOAT64, THRESHOLD * 2.0**-52), (Multiprecision(40), 1e-38)):
            for value, true in zip(activation(name).suprema(arithmetic), exact, strict=True):
                if true == math.inf:
                    assert value == math.inf
                else:
                    assert abs(balls([value])[0] - true) <= rtol * true


def test_a_supremum_too_small_would_be_noticed() -> None:
    with ctx.workprec(80), pytest.raises(AssertionError, match="fails near"):
        prove_bounded("tanh", 2, arb("0.7698"), -40.0, 40.0)  # 4/(3√3) = 0.7698003...


# ---------------------------------------------------------------------------------------------- Gaussian expectations


WITH_MOMENTS = [name for name in NAMES if ACTIVATIONS[name].moments is not None]
INPUTS = [([0.5, 1.0], [-0.75, 0.25]), ([1.25, 0.5], [0.25, 0.75]), ([0.5, 0.5], [-0.5, 0.5]), ([1.0, 0.25], [1.0, 0.25])]


def pair_of(x: Any, x2: Any, ar: Arithmetic) -> Pair:
    """Second moments of θ·x and θ·x' for a standard normal θ in the plane."""
    (p, q), (r, s) = ar.array(x), ar.array(x2)
    minor = p * s - q * r
    return Pair(*(np.array([v]) for v in (p * p + q * q, r * r + s * s, p * r + q * s, minor * minor)))


def expectations_by_rule(name: str, x: Any, x2: Any) -> Array:
    """(E[σ(z)σ(z')], E[σ'(z)σ'(z')]) by the trapezoidal rule over θ."""
    h = 1 / 12
    u = np.arange(-9, 9 + h / 2, h)  # e^(-81/2) beyond
    density = np.exp(-u * u / 2) * h / math.sqrt(2 * math.pi)
    z, z2 = (v[0] * u[:, None] + v[1] * u[None, :] for v in (x, x2))
    left, right = jets(name, z, FLOAT64), jets(name, z2, FLOAT64)
    return np.array([density @ (left[order] * right[order]) @ density for order in (0, 1)])


def expectations_by_angle(x: Any, x2: Any) -> Array:
    """Those of relu: the radius integrates to 2 and to 1, and z, z' > 0 is a wedge of angles, on which cos·cos is smooth."""
    angles, sizes = [math.atan2(v[1], v[0]) for v in (x, x2)], [math.hypot(*v) for v in (x, x2)]
    theta = abs((angles[0] - angles[1] + math.pi) % (2 * math.pi) - math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = (math.pi - theta) / 2
    phi = theta / 2 + half * nodes
    wedge = half * (weights * np.cos(phi) * np.cos(phi - theta)).sum()
    return np.array([sizes[0] * sizes[1] * wedge / math.pi, half / math.pi])


@pytest.mark.parametrize(("x", "x2"), INPUTS)
@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_closed_forms_are_the_expectations(name: str, x: list[float], x2: list[float]) -> None:
    moments = ACTIVATIONS[name].moments
    assert moments is not None
    found = np.concatenate(moments(pair_of(x, x2, FLOAT64), FLOAT64))
    expected = expectations_by_angle(x, x2) if name == "relu" else expectations_by_rule(name, x, x2)
    assert np.abs(found - expected).max() <= THRESHOLD * 30 * 2.0**-52  # sums of terms whose sizes add up to little more than 1


@pytest.mark.parametrize("distance", [2.0**-10, 2.0**-30, 2.0**-300])
@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_closed_forms_in_float64_are_right_for_nearly_parallel_inputs(name: str, distance: float) -> None:
    """In float64, where the determinant is known and a·a' - b² would be noise."""
    moments = ACTIVATIONS[name].moments
    assert moments is not None
    for second in ([1.0, distance], *([] if name == "relu" else [[-1.0, distance]])):  # θ near π is none of an augmented input
        found = moments(pair_of([1.0, 0.0], second, FLOAT64), FLOAT64)
        with ctx.workprec(800):
            exact = moments(pair_of([1.0, 0.0], second, Ball(800)), Ball(800))
            for value, true in zip(found, exact, strict=True):
                assert abs(arb(float(value[0])) - true[0]) <= THRESHOLD * arb(2) ** -52


def test_the_closed_form_of_sin_does_not_overflow() -> None:
    """E[sin z sin z'] = (E cos(z - z') - E cos(z + z'))/2 is 1/2 for equal z of a large variance."""
    moments = ACTIVATIONS["sin"].moments
    assert moments is not None
    for sign in (-1, 1):
        value, slope = moments(Pair(*(np.array([v]) for v in (1e4, 1e4, sign * 1e4, 0.0))), FLOAT64)
        assert (value[0], slope[0]) == (sign / 2, 1 / 2)


# --------------------------------------------------------------------------------------------------------------- strips


@pytest.mark.parametrize("fraction", [0.05, 0.4, 0.7, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("name", WITH_STRIP)
def test_growth_on_the_strip_is_bounded_as_declared(name: str, fraction: float) -> None:
    strip = activation(name).strip
    assert strip is not None
    y = fraction * strip.half_width
    with ctx.workprec(100), mpmath.workdps(30):
        A, B = (mpmath.mpf(float(arb(v).upper())) * (1 + mpmath.mpf(2) ** -50) for v in strip.bound(arb(y), Ball(100)))
        assert mpmath.isfinite(A)
        assert mpmath.isfinite(B)
        xs = np.concatenate([np.linspace(-2, 2, 41), np.linspace(-30, 30, 25)])
        for height in (0.0, 0.5 * y, 0.9 * y, y):
            for x in xs:
                z = mpmath.mpc(x, height)
                assert abs(sigma(name)(z)) <= A + B * abs(x)
        # on the real line the complex function is σ itself
        real = jets(name, xs, FLOAT64)[0]
        for x, value in zip(xs, real, strict=True):
            assert abs(sigma(name)(mpmath.mpf(x)) - value) <= 16 * 2.0**-52 * (1 + abs(x))  # |σ|, |xσ'| ≤ 1.2 (1 + |x|)


@pytest.mark.parametrize(("name", "pole"), [("tanh", math.pi / 2), ("logistic", math.pi), ("softplus", math.pi)])
def test_the_strip_ends_before_the_nearest_singularity(name: str, pole: float) -> None:
    strip = activation(name).strip
    assert strip is not None
    with mpmath.workdps(40):
        assert mpmath.mpf(strip.half_width) < mpmath.pi * (pole / math.pi)
    with ctx.workprec(100):  # the bound blows up there, as it must; at softplus' branch point like a logarithm, or faster
        assert strip.bound(arb(strip.half_width) * (1 - arb(2) ** -40), Ball(100))[0] > (2**10 if name == "softplus" else 2**30)


@pytest.mark.parametrize("fraction", [0.4, 0.9, 0.99])  # 0.9 and 0.99 are the strip and the circles of `gaussian`
@pytest.mark.parametrize("name", WITH_STRIP)
def test_ten_times_smaller_the_growth_on_the_strip_is_exceeded(name: str, fraction: float) -> None:
    strip = activation(name).strip
    assert strip is not None
    y = fraction * strip.half_width
    with ctx.workprec(100), mpmath.workdps(20):
        A, B = (mpmath.mpf(float(arb(v).upper())) for v in strip.bound(arb(y), Ball(100)))
        points = [s * x for x in (0.0, 0.3, 1.0, 2.0, 5.0, 1e3) for s in (-1, 1)]
        sizes = [(abs(x), abs(sigma(name)(mpmath.mpc(x, y)))) for x in points]
        assert any(size > A / 10 + B * x for x, size in sizes)
        assert B == 0 or any(size > A + B * x / 10 for x, size in sizes)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
def test_near_the_real_line_the_bound_grows_as_the_function_does(name: str) -> None:
    """sup|σ| + |σ(iy)| but for terms in y²: for erf by ∫₀ʸ e^(t²) dt ≥ y e^(y²)/(1 + 2y²)."""
    strip, y = activation(name).strip, 2.0**-6
    assert strip is not None
    with ctx.workprec(100), mpmath.workdps(30):
        (A, B), (least, none) = (strip.bound(arb(v), Ball(100)) for v in (y, 0))
        assert (B, none) == (0, 0)
        assert abs(least - 1) < 1e-25
        there = float(abs(sigma(name)(mpmath.mpc(0, y))))
        assert there * (1 - 1e-14) <= A - 1 <= there * (1 + 3 * y if name == "sin" else 1 + 3 * y * y)


def test_near_the_real_line_the_bounds_of_the_others_are_the_functions_own() -> None:
    y = 2.0**-6
    with ctx.workprec(100):
        logistic, softplus, gelu = (activation(name).strip for name in ("logistic", "softplus", "gelu"))
        assert logistic is not None
        assert softplus is not None
        assert gelu is not None
        A, B = logistic.bound(arb(y), Ball(100))  # at least the supremum 1; 1/cos(y/2) is 1 + y²/8
        assert B == 0
        assert 1 <= A <= 1 + y * y / 7
        A, B = softplus.bound(arb(y), Ball(100))  # log 2 at 0, and as |x| far out
        assert B == 1
        assert math.log(2) <= A <= 1.5 * math.log(2)
        A, B = gelu.bound(arb(y), Ball(100))  # |zΦ(z)| ≤ (|x| + y) sup|Φ|, and |Φ(iy) - 1/2| = |erf(iy/√2)|/2
        with mpmath.workdps(30):
            there = float(abs(mpmath.erf(mpmath.mpc(0, y) / mpmath.sqrt(2)))) / 2
        assert there * (1 - 1e-14) <= B - 1 <= there * (1 + 2 * y * y)
        assert abs(A - y * B) < 1e-20


def test_beyond_a_quarter_turn_softplus_grows_at_most_as_the_logarithm_of_the_sine() -> None:
    """1 + y + 4(t^(-1/4) - 1) for t = sin y: 4(t^(-1/4) - 1) is at least -log t, and little more where t is near 1."""
    strip = activation("softplus").strip
    assert strip is not None
    with ctx.workprec(100):
        for turn in (0.1, 0.2):
            y = math.pi / 2 + turn
            (A, _), log = strip.bound(arb(y), Ball(100)), -math.log(math.sin(y))
            assert log <= A - 1 - y <= log * (1 + log / 7)


# ---------------------------------------------------------------------------------------------------------- properties


WITH_DERIVATIVES = [name for name in NAMES if ACTIVATIONS[name].derivatives is not None]


def largest_derivatives(name: str, most: int) -> list[float]:
    """The largest |σ^(k)| on a grid of [0, 4], k = 1, 2, … most, from the Taylor coefficients of mpmath's own function."""
    found = [0.0] * most
    with mpmath.workdps(16):  # mpmath takes the differences to many more digits by itself
        for x in np.linspace(0, 4, 41):
            coefficients = mpmath.taylor(sigma(name), mpmath.mpf(float(x)), most)
            for k in range(1, most + 1):
                found[k - 1] = max(found[k - 1], float(abs(coefficients[k]) * mpmath.factorial(k)))
    return found


@pytest.mark.parametrize("name", WITH_DERIVATIVES)
def test_bounds_of_all_derivatives_hold_and_are_nearly_attained(name: str) -> None:
    bound = ACTIVATIONS[name].derivatives
    assert bound is not None
    for k, reached in enumerate(largest_derivatives(name, 16), start=1):
        most = float(bound(k, FLOAT64))
        assert reached <= most * (1 + 1e-14), f"|{name}^({k})| reaches {reached}, bound {most}"
        # Cramér's 1.09 and e^(-x²/2), which the bound leaves out, cost (πk/2)^(1/4) or little more
        assert most <= 3 * reached, f"|{name}^({k})| reaches {reached} only, bound {most}"


def test_the_bound_of_erfs_derivatives_is_cramers_at_the_origin() -> None:
    """|erf^(n+1)(0)| = (2/√π) n!/(n/2)! for even n, (2/√π) √(2ⁿ n!) times √(C(n, n/2)/2ⁿ); Cramér's constant is 1.0864…."""
    bound = ACTIVATIONS["erf"].derivatives
    assert bound is not None
    for n in (0, 2, 6, 20):
        own = 2 / math.sqrt(math.pi) * math.factorial(n) / math.factorial(n // 2) / math.sqrt(math.comb(n, n // 2) / 2**n)
        assert 1.0864 <= float(bound(n + 1, FLOAT64)) / own <= 1.0901


@pytest.mark.parametrize("name", WITH_DERIVATIVES)
def test_bounds_of_all_derivatives_agree_in_every_arithmetic_and_grow_slowly(name: str) -> None:
    bound = ACTIVATIONS[name].derivatives
    assert bound is not None
    with ctx.workprec(80):
        for k in (1, 2, 7, 20, 60):
            ball = bound(k, Ball(80))
            assert abs(arb(float(bound(k, FLOAT64))) - ball) <= 16 * k * arb(2) ** -53 * ball
    # bound(k)/k! falls faster than any power: that is what makes Taylor's series useful on any interval
    assert bound(60, FLOAT64) / math.factorial(60) < 1e-30


def test_the_suprema_are_among_the_bounds_of_the_derivatives() -> None:
    assert {"erf", "sin"} <= set(WITH_DERIVATIVES)
    for name in WITH_DERIVATIVES:
        entry = ACTIVATIONS[name]
        assert entry.derivatives is not None
        for k in (1, 2):
            assert float(entry.suprema(FLOAT64)[k]) <= float(entry.derivatives(k, FLOAT64)) * (1 + 1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_bounded_says_whether_the_function_is(name: str) -> None:
    entry = ACTIVATIONS[name]
    far = max(abs(float(v)) for x in (-1e9, 1e9) for v in jets(name, np.array([x]), FLOAT64)[0])
    assert entry.bounded == (far < 1e3)
    assert far <= entry.suprema(FLOAT64)[0]


@pytest.mark.usefixtures("registries")
def test_enclosed_says_whether_limit_kernels_are_proved() -> None:
    register(SWISH)
    X = np.array([[0.25], [-0.5]])
    for name, entry in ACTIVATIONS.items():
        if entry.enclosed:
            limit_ntk(X, name, Ball(53))
        else:
            with pytest.raises(UnprovedError):
                limit_ntk(X, name, Ball(53))
    assert not ACTIVATIONS["made up"].enclosed
    assert all(ACTIVATIONS[name].enclosed for name in ("tanh", "gelu", "relu"))


# ------------------------------------------------------------------------------------------------------------- registry


def swish_jets(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
    s, complement = ar.expit(z), ar.expit(-z)
    return z * s, s + z * s * complement, s * complement * (2 - z * ar.tanh(z / 2))


SWISH = Activation("made up", swish_jets, lambda ar: (math.inf, ar.number(1.0999), ar.number(0.5)))


@pytest.mark.usefixtures("registries")
def test_a_name_is_given_once() -> None:
    register(SWISH)
    with pytest.raises(InputError, match="made up"):
        register(SWISH)
    with pytest.raises(InputError, match="not yet in use"):
        register(ACTIVATIONS["tanh"])
    assert activation("made up") is SWISH


@pytest.mark.parametrize(("wrong", "offered"), [("tahn", "tanh"), ("Sine", "sin"), ("logstic", "logistic"), ("ReLU", "relu")])
def test_an_unknown_name_is_refused_with_the_nearest(wrong: str, offered: str) -> None:
    with pytest.raises(UnknownActivationError, match=f"did you mean '{offered}'"):
        activation(wrong)


@pytest.mark.parametrize("wrong", ["", "zzzzzz", None, 3, ["tanh"]])
def test_an_unknown_name_without_a_near_one_is_refused(wrong: object) -> None:
    with pytest.raises(UnknownActivationError, match="one of tanh"):
        activation(wrong)
    assert issubclass(UnknownActivationError, InputError)


def test_the_registry_is_left_as_it_was() -> None:
    assert list(ACTIVATIONS) == NAMES
    assert all(entry.name == name for name, entry in ACTIVATIONS.items())
    assert {"relu", "square"} <= {name for name, entry in ACTIVATIONS.items() if not entry.in_theory}


@pytest.mark.usefixtures("registries")
def test_one_entry_makes_a_new_activation_work_everywhere() -> None:
    register(SWISH)
    X, y = np.array([[-0.4], [0.1], [0.9]]), np.array([0.3, -0.2, 0.5])
    net = sample_network(4, 1, beta=0.75, activation="made up", seed=3)
    ball = newton_step(net, X, y, 1.0, arithmetic=Ball(150))
    mp = newton_step(net, X, y, 1.0, arithmetic=Multiprecision(30))
    float64 = newton_step(net, X, y, 1.0)
    assert ball.negative_eigenvalues == mp.negative_eigenvalues == float64.negative_eigenvalues
    with ctx.workprec(200):
        for enclosed, value in zip(ball.update.flat, mp.update.flat, strict=True):
            assert abs(balls([value])[0] - enclosed) <= arb(10) ** -29 * abs(enclosed) + enclosed.rad()
    # float64's update as that of a linear system: the residual over (A, Δ, b) is of rounding size
    assert float64.residual <= THRESHOLD * net.parameters * 2.0**-52

    estimated = enclose_limit_ntk(X, "made up", bits=40)
    assert not estimated.proved
    assert "Hermite" in estimated.method
    with pytest.raises(UnprovedError, match="made up"):
        limit_ntk(X, "made up", Ball(64))
    kernel = limit_ntk(X, "made up")
    assert np.array_equal(kernel, kernel.T)

    # The same with a strip is proved, and must agree. For |Im z| ≤ y < π: |z/(1 + e^(-z))| ≤ (|x| + y)/cos(y/2).
    strip = Strip(math.pi, lambda y, ar: (y / ar.cos(y / 2), 1 / ar.cos(y / 2)))
    register(Activation("made up, with a strip", swish_jets, SWISH.suprema, strip=strip))
    proved = enclose_limit_ntk(X, "made up, with a strip", bits=80)
    assert proved.proved
    for a, b, value in zip(proved.kernel.flat, estimated.kernel.flat, kernel.flat, strict=True):
        assert a.overlaps(b)
        assert abs(arb(float(value)) - a) <= arb(2) ** -53 * abs(a) * (1 + arb(2) ** -2)


@pytest.mark.usefixtures("registries")
def test_an_estimate_that_does_not_settle_is_refused() -> None:
    def jets_of_kink(z: Array, ar: Arithmetic) -> tuple[Array, Array, Array]:
        side = 2 * ar.step(z) - 1
        size = ar.abs(z)
        decay = ar.exp(-size)  # continuous with a kink at 0
        return decay, -side * decay, decay

    register(Activation("kink", jets_of_kink, lambda ar: (ar.number(1), ar.number(1), ar.number(1)), parity="even"))
    X = np.array([[0.0], [0.5]])
    with pytest.raises(QuadratureError, match="kink"):
        limit_ntk(X, "kink")
