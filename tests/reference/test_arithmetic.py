"""What the three arithmetics promise: exact data, delivered digits, proved enclosures, global precision left alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from nntk_reference import FLOAT64, Ball, InputError, Multiprecision, PrecisionError, RangeError, SingularSystemError
from nntk_reference.arithmetic import MAX_BITS, MAX_DIGITS, Arithmetic, NotProved

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ELEMENTARY = {
    "abs": abs,
    "sqrt": mpmath.sqrt,
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "asin": mpmath.asin,
    "atan": mpmath.atan,
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "ramp": lambda x: max(x, mpmath.mpf(0)),
    "step": lambda x: mpmath.mpf(x > 0),
}
DOMAIN = {"sqrt": (0.0, 1e6), "asin": (-1.0, 1.0)}


def exact(value: Any) -> Fraction:
    """The number that a finite mpf or an exact arb is."""
    if isinstance(value, arb):
        assert value.is_exact()
        man, exp = (int(v) for v in value.man_exp())
    else:
        sign, man, exp, _ = value._mpf_
        man, exp = (-1) ** sign * int(man), int(exp)
    return Fraction(man) * Fraction(2) ** exp


def as_ball(value: Fraction) -> arb:
    return arb(value.numerator) / value.denominator


def one(value: Any) -> np.ndarray:
    out = np.empty(1, dtype=float if isinstance(value, float) else object)
    out[0] = value
    return out


# ------------------------------------------------------------------------------------------------------------ numbers


@given(FINITE)
def test_numbers_are_the_exact_binary_numbers_given(x: float) -> None:
    assert FLOAT64.number(x) == x
    assert exact(Multiprecision(20).number(x)) == Fraction(x)
    assert exact(Ball(2).number(x)) == Fraction(x)  # whatever the precision: converting does not round
    assert exact(Ball(2).array([Multiprecision(20).number(x)])[0]) == Fraction(x)


def test_arrays_keep_their_shape_and_large_integers_their_value() -> None:
    values = [[1, 2**53], [-3, 0]]
    for arithmetic in (FLOAT64, Multiprecision(20), Ball(64)):
        array = arithmetic.array(values)
        assert array.shape == (2, 2)
        assert array[0, 1] == 2**53
        assert arithmetic.array(np.float64(3)).shape == ()
    assert exact(Ball(2).array(np.array([10**100], dtype=object))[0]) == 10**100


def test_balls_stay_as_they_are() -> None:
    """An arb offers its midpoint as an mpf, too; taking that would lose the radius, and with it every proof."""
    wide = one(arb(1, 0.5))
    for ball in (Ball(64).array(wide)[0], Ball(64).from_balls(wide)[0]):
        assert ball.contains(0.5)
        assert ball.contains(1.5)
        assert not ball.contains(1.6)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_never_becomes_one(value: str) -> None:
    for source in (mpmath.mpf(value), float(value)):
        ball = Ball(64).array(one(source))[0]
        assert not ball.is_finite()
        assert not (ball > 0 and value != "inf")
        assert not ball.contains(0) or value == "nan"


@given(st.integers(1, 2**20), st.floats(-4, 4))
def test_power_is_enclosed_and_the_other_arithmetics_agree(base: int, exponent: float) -> None:
    with ctx.workprec(300):
        ball = Ball(300).power(base, exponent)
        with mpmath.workdps(60):
            true = as_ball(exact(mpmath.power(base, exponent)))
        assert abs(true - ball) <= arb(10) ** -58 * abs(ball)
        (mp,) = Multiprecision(40).evaluate(lambda ar: one(ar.power(base, exponent)))
        assert abs(as_ball(exact(mp)) - ball) <= arb(10) ** -40 * abs(ball)
        # the C library's pow is within one unit in the last place
        assert abs(arb(float(FLOAT64.power(base, exponent))) - ball) <= arb(2) ** -52 * abs(ball)


@pytest.mark.parametrize("name", ELEMENTARY)
@given(st.data())
def test_elementary_functions_agree_in_the_three_arithmetics(name: str, data: st.DataObject) -> None:
    low, high = DOMAIN.get(name, (-700.0, 700.0))
    x = data.draw(st.floats(low, high))
    with mpmath.workdps(800):  # exp(-700) is 304 digits below 1, and log(1 + that) must see it
        true = ELEMENTARY[name](mpmath.mpf(x))
        (mp,) = Multiprecision(50).evaluate(lambda ar: getattr(ar, name)(ar.array([x])))
        assert abs(mp - true) <= mpmath.mpf(10) ** -50 * abs(true)
        with ctx.workprec(200):
            ball = getattr(Ball(200), name)(Ball(200).array([x]))[0]
        # the true value, to 800 digits, lies in the ball; the slack is its own rounding
        with ctx.workprec(3000):
            assert ball.overlaps(as_ball(exact(true)) * (1 + arb(0, arb(10) ** -790)))
        assert ball.rel_accuracy_bits() > 150 or true == 0 or name in ("softplus", "expit")
        # the input is exact: only the function's own rounding is left, a few units in the last place for SciPy's expit; its
        # erfc rounds x² before e^(-x²)
        value = float(getattr(FLOAT64, name)(np.array([x]))[0])
        own = 30 * 2.0**-52 + (2.0**-53 * x * x if name == "erfc" and x > 0 else 0)
        assert abs(value - true) <= own * abs(true) + mpmath.mpf(2) ** -1074


def test_ramp_and_step_enclose_both_sides() -> None:
    ar = Ball(64)
    straddling, touching = one(arb(0.5, 1.5)), one(arb(0.5, 0.5))  # [-1, 2], [0, 1]
    (ramp,), (step,) = ar.ramp(straddling), ar.step(straddling)
    assert ramp.contains(0)
    assert ramp.contains(2)
    assert not ramp.contains(-0.001)
    assert step.contains(0)
    assert step.contains(1)
    (ramp,), (step,) = ar.ramp(touching), ar.step(touching)
    assert ramp.contains(0)
    assert ramp.contains(1)
    assert step.contains(0)
    assert step.contains(1)
    for value, expected in ((-3.0, 0), (0.0, 0), (3.0, 1)):
        for arithmetic in (FLOAT64, Multiprecision(20), ar):
            x = arithmetic.array([value])
            assert arithmetic.step(x)[0] == expected
            assert arithmetic.ramp(x)[0] == max(value, 0.0)
    assert not step.contains(-0.001)
    assert not step.contains(1.001)
    nan = one(arb("nan"))
    assert not ar.ramp(nan)[0].is_finite()
    assert ar.step(nan)[0].contains(0)
    assert ar.step(nan)[0].contains(1)


@given(st.integers(-24, 24), st.integers(0, 24))
def test_ramp_and_step_of_a_ball_reach_its_ends_and_no_further(eighths: int, radius: int) -> None:
    ball, middle = arb(eighths / 8, radius / 8), eighths / 8
    (ramp,), (step,) = Ball(64).ramp(one(ball)), Ball(64).step(one(ball))
    low, high = (float(arb(end).mid()) for end in (ball.lower(), ball.upper()))
    for end in (low, middle, high):
        assert ramp.contains(max(end, 0.0))
        assert step.contains(end > 0)
    assert not ramp.contains(-1e-6)
    assert not ramp.contains(max(high, 0.0) + 1e-6)
    assert step.is_exact() == (low > 0 or high <= 0)
    assert (ramp == 0) == (high <= 0)


def test_float64_functions_do_not_overflow_on_the_way() -> None:
    x = np.array([-1e4, -750.0, 750.0, 1e4])
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        np.testing.assert_array_equal(FLOAT64.expit(x), [0, 0, 1, 1])
        np.testing.assert_array_equal(FLOAT64.softplus(x), [0, 0, 750, 1e4])
        assert np.all(np.isfinite(FLOAT64.tanh(x)))


# -------------------------------------------------------------------------------------------------- evaluate: float64


def test_float64_refuses_what_is_not_finite() -> None:
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(RangeError, match="finite"):
            FLOAT64.evaluate(lambda ar, value=value: (np.zeros(2), np.array([1.0, value])))
    with pytest.raises(RangeError):  # and warns of nothing on the way
        FLOAT64.evaluate(lambda ar: ar.exp(ar.array([1000.0])))
    assert FLOAT64.evaluate(lambda ar: ar.array([2.0]))[0] == 2.0
    with pytest.raises(RangeError):
        FLOAT64.from_balls(one(arb(10) ** 400))
    assert FLOAT64.from_balls(one(arb("1.0")))[0] == 1.0


# ------------------------------------------------------------------------------------------- evaluate: multiprecision


def rump(ar: Arithmetic) -> np.ndarray:
    """Rump's polynomial: terms near 10³⁷ cancel to -54767/66192."""
    a, b = ar.array([77617.0]), ar.array([33096.0])
    b2 = b * b
    b6 = b2 * b2 * b2
    return 333.75 * b6 + a * a * (11 * a * a * b2 - b6 - 121 * b2 * b2 - 2) + 5.5 * b6 * b2 + a / (2 * b)


RUMP = Fraction(-54767, 66192)


@pytest.mark.parametrize("digits", [5, 30, 200])
def test_multiprecision_delivers_its_digits_in_spite_of_cancellation(digits: int) -> None:
    (value,) = Multiprecision(digits).evaluate(rump)
    assert abs(exact(value) - RUMP) <= Fraction(1, 10**digits) * abs(RUMP)
    # a single run with as many digits is wrong in the first one; that is what the second run is for
    naive = rump(FLOAT64)[0]
    assert abs(naive - float(RUMP)) > abs(float(RUMP))


def test_multiprecision_resolves_a_difference_far_below_its_first_run() -> None:
    def small(ar: Arithmetic) -> np.ndarray:
        x = ar.array([1e30])
        return ar.sqrt(x * x + 1) - x  # 5e-31, from numbers of 1e30

    (value,) = Multiprecision(25).evaluate(small)
    true = 1 / (2 * Fraction(10**30))  # up to a factor 1 - x^-2/4
    assert Fraction(1e30) == 10**30 + (Fraction(1e30) - 10**30)
    true = 1 / (2 * Fraction(1e30))
    assert abs(exact(value) - true) <= Fraction(1, 10**25) * true


def test_multiprecision_returns_what_is_proved_negligible_as_zero() -> None:
    def cancels(ar: Arithmetic) -> np.ndarray:
        x = ar.array([0.3])[0]
        return np.array([ar.array([1.0])[0], ar.sin(2 * x) - 2 * ar.sin(x) * ar.cos(x)], dtype=object)

    one_, zero = Multiprecision(20).evaluate(cancels)
    assert (one_, zero) == (1, 0)
    with pytest.raises(PrecisionError, match="exactly zero"):  # nothing to be negligible beside
        Multiprecision(20).evaluate(lambda ar: cancels(ar)[1:])
    (exact_zero,) = Multiprecision(20).evaluate(lambda ar: 0 * ar.array([0.3]))
    assert exact_zero == 0


def test_multiprecision_keeps_small_entries() -> None:
    def graded(ar: Arithmetic, exponents: tuple[int, ...]) -> np.ndarray:
        return np.array([ar.array([1.0])[0] / ar.array([10.0])[0] ** k for k in exponents], dtype=object)

    for value, k in zip(Multiprecision(20).evaluate(lambda ar: graded(ar, (0, 39, 80))), (0, 39, 80), strict=True):
        assert abs(exact(value) * 10**k - 1) <= Fraction(1, 10**20)


@pytest.mark.parametrize(("exponent", "settles"), [(-100.0, True), (-10000.0, False)])
def test_accuracy_is_not_faked_by_a_cancellation_that_all_runs_lose(exponent: float, settles: bool) -> None:
    def lost(ar: Arithmetic) -> np.ndarray:
        return (1 + ar.exp(ar.array([exponent]))) - 1

    arithmetic = Multiprecision(20)
    if settles:  # 44 digits below 1: the second pair of runs sees it
        (value,) = arithmetic.evaluate(lost)
        with mpmath.workdps(60):
            assert abs(value / mpmath.exp(exponent) - 1) <= mpmath.mpf(10) ** -20
    else:  # 4343 digits below 1, past the cap: mpmath runs agree on 0, and are wrong
        with pytest.raises(PrecisionError):
            arithmetic.evaluate(lost)


def working_digits(ar: Any) -> int:
    """35, 70, 140 … in the runs of mpmath, and twice that in their balls."""
    return int(ar.digits if hasattr(ar, "digits") else ar.bits / np.log2(10))


def unsettled(ar: Any) -> np.ndarray:
    return ar.array([float(working_digits(ar))])


@pytest.mark.parametrize(
    ("arithmetic", "runs"),
    [
        (Multiprecision(1), [35, 70, 140, 280]),  # as if twenty digits were asked for
        (Multiprecision(20), [35, 70, 140, 280]),
        (Multiprecision(30), [45, 90, 180, 360]),
        (Multiprecision(20, max_digits=35), [35]),
        (Multiprecision(20, max_digits=69), [35]),
        (Multiprecision(20, max_digits=70), [35, 70]),
    ],
)
def test_multiprecision_doubles_its_digits_up_to_and_including_its_cap(arithmetic: Multiprecision, runs: list[int]) -> None:
    seen: list[int] = []

    def compute(ar: Any) -> np.ndarray:
        if hasattr(ar, "digits"):
            seen.append(ar.digits)
        return unsettled(ar)

    with pytest.raises(PrecisionError, match=f"at {runs[-1]} digits"):
        arithmetic.evaluate(compute)
    assert seen == runs


def off_by(relative: Fraction | int, beside: Any) -> Callable[[Any], np.ndarray]:
    """3, which mpmath has wrong by a share of it that the balls know; and `beside`, which the balls give in place of 0."""

    def compute(ar: Any) -> np.ndarray:
        if isinstance(ar, Ball):
            return np.array([arb(3), beside], dtype=object)
        three, zero = ar.array([3.0, 0.0])
        return np.array([three + three * relative.numerator / relative.denominator, zero], dtype=object)

    return compute


def test_two_runs_agree_to_the_digits_asked_for_and_no_more_is_wanted() -> None:
    for share, settles in ((Fraction(9, 10), True), (Fraction(11, 10), False)):
        for sign in (-1, 1):
            compute = off_by(sign * share / 10**20, arb(0))
            if settles:
                assert abs(exact(Multiprecision(20).evaluate(compute)[0]) / 3 - 1) <= Fraction(1, 10**20)
            else:
                with pytest.raises(PrecisionError):
                    Multiprecision(20).evaluate(compute)


def test_negligible_is_what_twice_the_digits_do_not_show_beside_the_largest() -> None:
    with ctx.workprec(300):
        unit = 3 * arb(10) ** -40
        for share, settles in (("0.9", True), ("1.1", False)):
            compute = off_by(0, arb(0, (unit * arb(share)).mid()))
            if settles:
                assert Multiprecision(20).evaluate(compute)[1] == 0
            else:
                with pytest.raises(PrecisionError):
                    Multiprecision(20).evaluate(compute)


def test_many_digits_are_proved_by_balls_at_their_cap() -> None:
    (third,) = Multiprecision(9_000).evaluate(lambda ar: 1 / ar.array([3.0]))  # twice as many would be beyond it
    assert abs(exact(third) * 3 - 1) <= Fraction(1, 10**9_000)


def test_multiprecision_gives_up_at_its_cap() -> None:
    with pytest.raises(PrecisionError, match="max_digits=70"):
        Multiprecision(20, max_digits=70).evaluate(unsettled)
    with pytest.raises(PrecisionError):  # settled numbers, but an integer that depends on the precision
        Multiprecision(20).evaluate(lambda ar: (ar.array([1.0]), np.asarray(working_digits(ar))))
    with pytest.raises(PrecisionError):  # one correct entry does not excuse another
        Multiprecision(20).evaluate(lambda ar: np.concatenate([ar.array([1.0]), unsettled(ar)]))
    # integers are answers, floats describe the run
    value, count, note = Multiprecision(20).evaluate(
        lambda ar: (ar.array([1.5]), np.asarray(3), np.asarray(working_digits(ar) / 2))
    )
    assert (value[0], int(count)) == (1.5, 3)
    assert note.dtype == np.float64


def test_multiprecision_retries_a_singular_run_and_reports_it_if_it_stays_singular() -> None:
    seen: list[int] = []

    def singular(ar: Any, until: float) -> np.ndarray:
        seen.append(working_digits(ar))
        if seen[-1] < until:
            raise SingularSystemError("zero pivot")
        return ar.array([0.25])

    assert Multiprecision(20).evaluate(lambda ar: singular(ar, 100))[0] == 0.25
    assert seen == [35, 70, 140, 280]
    with pytest.raises(SingularSystemError, match="zero pivot"):
        Multiprecision(20).evaluate(lambda ar: singular(ar, math.inf))


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_multiprecision_refuses_what_is_not_finite(value: str) -> None:
    with pytest.raises(RangeError):
        Multiprecision(20).evaluate(lambda ar: np.concatenate([ar.array([1.0]), ar.array([float(value)])]))


@given(FINITE, st.integers(1, 60))
def test_multiprecision_rounds_a_ball_to_its_digits(x: float, digits: int) -> None:
    with ctx.workprec(400):
        ball = arb(x) * arb.pi()
        middle = exact(ball.mid())
    (value,) = Multiprecision(digits).from_balls(one(ball))
    assert abs(exact(value) - middle) <= abs(middle) / 10**digits


# ------------------------------------------------------------------------------------------------------ evaluate: balls


def test_ball_evaluate_encloses() -> None:
    for bits in (8, 64, 200, 400):
        (value,) = Ball(bits).evaluate(rump)
        with ctx.workprec(1000):
            assert value.overlaps(as_ball(RUMP))
    (value,) = Ball(400).evaluate(rump)
    assert value.rel_accuracy_bits() > 200


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [
        (Ball(16, max_bits=100), [16, 32, 64, 100]),
        (Ball(64, max_bits=64), [64]),
        (Ball(64, max_bits=128), [64, 128]),
        (Ball(1024), [1024, 2048, 4096, 8192, 16384]),
        (Ball(MAX_BITS), [MAX_BITS]),
    ],
)
def test_ball_ladder_doubles_up_to_its_cap(arithmetic: Ball, expected: list[int]) -> None:
    assert list(arithmetic.ladder()) == expected


@pytest.mark.parametrize(("bits", "most"), [(2, 4096), (256, 4096), (257, 16 * 257), (2080, 33_280), (2081, 33_280)])
def test_the_cap_is_sixteen_times_the_bits_within_limits(bits: int, most: int) -> None:
    assert Ball(bits).max_bits == most


def test_ball_evaluate_climbs_until_a_proof_goes_through() -> None:
    def proof(need: float, error: Callable[[str], Exception] = NotProved) -> tuple[list[int], Any]:
        seen: list[int] = []

        def compute(ar: Arithmetic) -> np.ndarray:
            assert isinstance(ar, Ball)
            assert ctx.prec == ar.bits
            seen.append(ar.bits)
            if ar.bits < need:
                raise error("too wide")
            return ar.array([1.0])

        try:
            return seen, Ball(16, max_bits=100).evaluate(compute)
        except (PrecisionError, SingularSystemError) as failure:
            return seen, failure

    seen, answer = proof(60)
    assert (seen, answer[0]) == ([16, 32, 64], 1)
    seen, answer = proof(101)
    assert seen == [16, 32, 64, 100]
    assert isinstance(answer, PrecisionError)
    assert "too wide" in str(answer)
    seen, answer = proof(101, SingularSystemError)
    assert seen == [16, 32, 64, 100]
    assert isinstance(answer, SingularSystemError)


def test_ball_evaluate_never_returns_an_infinite_enclosure() -> None:
    for value in ("nan", "inf", "[+/- inf]"):
        with pytest.raises(PrecisionError):
            Ball(16, max_bits=32).evaluate(lambda ar, value=value: np.array([arb(1), arb(value)], dtype=object))
    # finite only from 32 bits on
    (value,) = Ball(8).evaluate(lambda ar: 1 / (1 + ar.exp(ar.array([-12.0])) - 1))
    with mpmath.workdps(30):
        assert value.contains(arb(12).exp())


# -------------------------------------------------------------------------------------------------- global precision


def test_global_precision_is_left_as_it_was() -> None:
    class Boom(Exception):
        pass

    def boom(ar: Arithmetic) -> np.ndarray:
        raise Boom

    before = ctx.prec, mpmath.mp.prec
    for arithmetic in (FLOAT64, Multiprecision(60), Ball(300)):
        arithmetic.evaluate(lambda ar: ar.exp(ar.array([1.0])))
        assert (ctx.prec, mpmath.mp.prec) == before
        with pytest.raises(Boom):
            arithmetic.evaluate(boom)
        assert (ctx.prec, mpmath.mp.prec) == before
    with ctx.workprec(77), mpmath.workdps(33):
        inside = ctx.prec, mpmath.mp.prec
        Ball(300).evaluate(lambda ar: ar.exp(ar.array([1.0])))
        Multiprecision(60).evaluate(lambda ar: ar.exp(ar.array([1.0])))
        assert (ctx.prec, mpmath.mp.prec) == inside


def test_answers_keep_their_digits_outside_the_evaluation() -> None:
    (ball,) = Ball(500).evaluate(lambda ar: ar.exp(ar.array([1.0])))
    assert ball.rel_accuracy_bits() > 490
    (mp,) = Multiprecision(100).evaluate(lambda ar: ar.exp(ar.array([1.0])))
    with mpmath.workdps(120):
        assert abs(mp - mpmath.e) <= mpmath.mpf(10) ** -100 * mpmath.e


# -------------------------------------------------------------------------------------------------------- construction


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ball(1),
        lambda: Ball(True),
        lambda: Ball(64.0),  # type: ignore[arg-type]
        lambda: Ball(64, max_bits=63),
        lambda: Ball(MAX_BITS + 1),
        lambda: Multiprecision(0),
        lambda: Multiprecision(MAX_DIGITS + 1),
        lambda: Multiprecision(20, max_digits=34),  # one run of 35 digits is the least
        lambda: Multiprecision("20"),  # type: ignore[arg-type]
    ],
)
def test_construction_refuses(make: Callable[[], Arithmetic]) -> None:
    with pytest.raises(InputError):
        make()


def test_construction_takes_both_ends() -> None:
    for bits, most in ((2, 2), (2, 33_280), (33_280, 33_280)):
        assert (Ball(bits, most).bits, Ball(bits, most).max_bits) == (bits, most)
    assert MAX_BITS == 33_280
    assert MAX_DIGITS * math.log2(10) <= MAX_BITS
    for digits, most in ((1, 35), (20, 35), (10_000, 10_015), (10_000, 80_120)):  # three doublings of the largest first run
        assert (Multiprecision(digits, most).digits, Multiprecision(digits, most).max_digits) == (digits, most)
    for digits, most in ((10_000, 10_014), (10_000, 80_121), (10_001, 80_120)):
        with pytest.raises(InputError):
            Multiprecision(digits, most)


def test_arithmetics_are_values() -> None:
    assert Ball(64) == Ball(64)
    assert Ball(64) != Ball(65)
    assert Multiprecision(20) == Multiprecision(20)
    assert Multiprecision(20) != FLOAT64
    assert len({Ball(64), Ball(64), FLOAT64, Multiprecision(20)}) == 3
