"""Three arithmetics behind one set of operators.

Every formula of this package is written once, with `+ - * / @` on NumPy arrays and the functions of an `Arithmetic`. What a
number is decides what the formula computes: `FLOAT64` uses native arrays, `Multiprecision` object arrays of `mpmath.mpf`,
`Ball` object arrays of `flint.arb`, whose every operation encloses the exact result.

Global precision is never left changed: mpmath runs in contexts of its own, and flint's precision is set in `with` blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import mpmath
import numpy as np
import numpy.typing as npt
import scipy.special
from flint import arb, ctx

from nntk_reference.errors import InputError, NntkError, PrecisionError, RangeError, SingularSystemError

__all__ = ["FLOAT64", "MAX_BITS", "MAX_DIGITS", "Arithmetic", "Array", "Ball", "Float64", "Multiprecision", "NotProved"]

Array: TypeAlias = npt.NDArray[Any]
T = TypeVar("T", bound="Array | tuple[Array, ...]")

MAX_DIGITS = 10_000
_GUARD = 15  # decimal guard digits of a first run
MAX_BITS = 33_280  # a little over MAX_DIGITS decimal digits


class NotProved(NntkError):
    """Raised inside an evaluation over balls when an enclosure is too wide; the precision is then raised."""


class Arithmetic(ABC):
    """What a number is, and how an answer is made trustworthy.

    Subclasses give the elementwise functions (`_table`), the exact conversion of float64 data (`array`), an order-of-magnitude
    for pivoting (`magnitude`) and `evaluate`, which runs a formula until its answer can be given.
    """

    @property
    @abstractmethod
    def _table(self) -> dict[str, Callable[[Any], Any]]: ...

    @property
    @abstractmethod
    def pi(self) -> Any:
        """π."""

    @abstractmethod
    def array(self, values: npt.ArrayLike) -> Array:
        """Numbers of this arithmetic, equal to `values` (floats are taken as the exact binary numbers they are)."""

    @abstractmethod
    def from_balls(self, balls: Array) -> Array:
        """The numbers of this arithmetic nearest to the midpoints of balls; balls stay as they are."""

    @abstractmethod
    def magnitude(self, x: Any) -> Any:
        """|x|, or |midpoint|: a comparable size, used to choose pivots and never in an answer."""

    @abstractmethod
    def evaluate(self, compute: Callable[[Arithmetic], T]) -> T:
        """The answer of `compute` (an array or a tuple of arrays), fit to be handed out; see the subclasses."""

    def number(self, value: float) -> Any:
        """One number, equal to `value`."""
        return self.array(np.float64(value))[()]

    def power(self, base: int, exponent: float) -> Any:
        """base^exponent for a positive integer base."""
        return self.number(base) ** self.number(exponent)

    def _apply(self, name: str, x: Any) -> Any:
        return self._table[name](x)

    def abs(self, x: Any) -> Any:
        """|x|."""
        return self._apply("abs", x)

    def sqrt(self, x: Any) -> Any:
        """√x."""
        return self._apply("sqrt", x)

    def exp(self, x: Any) -> Any:
        """Exponential function."""
        return self._apply("exp", x)

    def tanh(self, x: Any) -> Any:
        """Hyperbolic tangent."""
        return self._apply("tanh", x)

    def sin(self, x: Any) -> Any:
        """Sine."""
        return self._apply("sin", x)

    def cos(self, x: Any) -> Any:
        """Cosine."""
        return self._apply("cos", x)

    def asin(self, x: Any) -> Any:
        """Inverse sine on [-1, 1]."""
        return self._apply("asin", x)

    def atan(self, x: Any) -> Any:
        """Inverse tangent."""
        return self._apply("atan", x)

    def erf(self, x: Any) -> Any:
        """Error function."""
        return self._apply("erf", x)

    def erfc(self, x: Any) -> Any:
        """1 - erf(x), without cancellation."""
        return self._apply("erfc", x)

    def expit(self, x: Any) -> Any:
        """1/(1 + e^(-x)), without overflow."""
        return self._apply("expit", x)

    def softplus(self, x: Any) -> Any:
        """log(1 + e^x), without overflow."""
        return self._apply("softplus", x)

    def ramp(self, x: Any) -> Any:
        """max(x, 0)."""
        return self._apply("ramp", x)

    def step(self, x: Any) -> Any:
        """1 for x > 0, else 0; over balls that contain both, the enclosure [0, 1]."""
        return self._apply("step", x)


def _arrays(answer: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _elementwise(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return np.frompyfunc(function, 1, 1)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------------------ float64


@dataclass(frozen=True)
class Float64(Arithmetic):
    """IEEE double precision through NumPy. Answers carry rounding errors; only their finiteness is checked."""

    @property
    def _table(self) -> dict[str, Callable[[Any], Any]]:
        return _FLOAT64_TABLE

    @property
    def pi(self) -> float:
        return float(np.pi)

    def array(self, values: npt.ArrayLike) -> Array:
        return np.asarray(values, dtype=np.float64)

    def from_balls(self, balls: Array) -> Array:
        values = balls.astype(np.float64)
        self._require_finite(values)
        return values

    def magnitude(self, x: Any) -> Any:
        return abs(x)

    def evaluate(self, compute: Callable[[Arithmetic], T]) -> T:
        """Run once; a result that is not finite raises `RangeError` instead of being returned."""
        with np.errstate(all="ignore"):
            answer = compute(self)
        for part in _arrays(answer):
            self._require_finite(part)
        return answer

    @staticmethod
    def _require_finite(values: Array) -> None:
        if not np.all(np.isfinite(values)):
            raise RangeError(
                "result: expected finite numbers, got overflow in float64; rescale the input or ask for Multiprecision or Ball"
            )


_FLOAT64_TABLE: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "expit": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "ramp": lambda x: np.maximum(x, 0.0),
    "step": lambda x: np.where(np.asarray(x) > 0, 1.0, 0.0),
}

FLOAT64 = Float64()


# ------------------------------------------------------------------------------------------------------------ multiprecision


@lru_cache(maxsize=64)
def _context(digits: int) -> Any:
    context = mpmath.MPContext()
    context.dps = digits
    return context


@lru_cache(maxsize=64)
def _mp_table(digits: int) -> dict[str, Callable[[Any], Any]]:
    mp = _context(digits)
    one, zero = mp.mpf(1), mp.mpf(0)
    named = {name: getattr(mp, name) for name in ("sqrt", "exp", "tanh", "sin", "cos", "asin", "atan", "erf", "erfc")}
    table = named | {
        "abs": abs,
        "expit": lambda x: one / (one + mp.exp(-x)),
        "softplus": lambda x: mp.log1p(mp.exp(x)),
        "ramp": lambda x: x if x > 0 else zero,
        "step": lambda x: one if x > 0 else zero,
    }
    return {name: _elementwise(function) for name, function in table.items()}


@dataclass(frozen=True)
class _MpRun(Arithmetic):
    """One run in mpmath, at `digits` working digits."""

    digits: int

    @property
    def _mp(self) -> Any:
        return _context(self.digits)

    @property
    def _table(self) -> dict[str, Callable[[Any], Any]]:
        return _mp_table(self.digits)

    @property
    def pi(self) -> Any:
        return +self._mp.pi

    def array(self, values: npt.ArrayLike) -> Array:
        to_mpf = self._mp.mpf
        return _object_array(to_mpf, values)

    def from_balls(self, balls: Array) -> Array:
        to_mpf = self._mp.mpf
        return _object_array(lambda v: to_mpf(tuple(map(int, v.mid().man_exp()))), balls)

    def magnitude(self, x: Any) -> Any:
        return abs(x)

    def evaluate(self, compute: Callable[[Arithmetic], T]) -> T:
        return compute(self)


@dataclass(frozen=True)
class Multiprecision(_MpRun):
    """mpmath arithmetic. `digits` counts correct decimal digits of the *answer*.

    A formula is run with guard digits, and again over balls of twice the precision. The answer is given when both runs agree
    to `digits` digits in every entry and the balls are narrow enough to prove it: two runs that merely agree may have lost the
    same digits. Otherwise the precision is doubled, up to `max_digits` working digits, and then there is a `PrecisionError`.

    An entry that is exactly zero, or proved to be below 10^-(2·digits) of the largest, is returned as zero.
    """

    max_digits: int = 0  # 0: three doublings of the first run

    def __post_init__(self) -> None:
        _require_int("digits", self.digits, 1, MAX_DIGITS)
        if self.max_digits == 0:
            object.__setattr__(self, "max_digits", 8 * self._first)
        _require_int("max_digits", self.max_digits, self._first, 8 * (MAX_DIGITS + _GUARD))

    @property
    def _first(self) -> int:
        return max(self.digits, 20) + _GUARD  # twenty: a float64 input must be represented exactly

    def evaluate(self, compute: Callable[[Arithmetic], T]) -> T:
        """Run at rising precision until mpmath and balls agree to `digits` digits."""
        working, failure = self._first, None
        while working <= self.max_digits:
            bits = min(MAX_BITS, math.ceil(2 * working * math.log2(10)))
            try:
                current = compute(_MpRun(working))
                self._require_finite(current)
                proof = Ball(bits, bits).evaluate(compute)
            except (SingularSystemError, PrecisionError) as error:
                failure = error
            else:
                with ctx.workprec(bits):
                    pairs = zip(_arrays(current), _arrays(proof), strict=True)
                    settled = [part for values, balls in pairs if (part := self._settled(values, balls)) is not None]
                if len(settled) == len(_arrays(current)):
                    return tuple(settled) if isinstance(current, tuple) else settled[0]  # type: ignore[return-value]
            working *= 2
        if isinstance(failure, SingularSystemError):
            raise failure
        raise PrecisionError(
            f"digits: expected {self.digits} digits to settle within max_digits={self.max_digits}, "
            f"got none that could be proved at {working // 2} digits (an entry may be exactly zero)"
        )

    def _require_finite(self, answer: Array | tuple[Array, ...]) -> None:
        for part in _arrays(answer):
            if part.dtype == object and not all(self._mp.isfinite(v) for v in part.flat):
                raise RangeError("result: expected finite numbers, got a pole or an overflow in multiprecision")

    def _settled(self, values: Array, balls: Array) -> Array | None:
        """`values` at `digits` digits if the balls prove them, else None."""
        if values.dtype != object:  # integers are answers, floats describe the run
            return values if values.dtype.kind == "f" or np.array_equal(values, balls) else None
        tolerance = arb(10) ** -self.digits
        negligible = tolerance * tolerance * max((abs(arb(e)).lower() for e in balls.flat), default=arb(0))
        to_mpf, out = self._mp.mpf, np.empty_like(values)
        for index in np.ndindex(values.shape):
            value: Any = values[index]
            ball = _to_ball(balls[index])
            if ball.is_zero() or (ball.contains(0) and abs(ball).upper() <= negligible):
                out[index] = to_mpf(0)
            elif abs(_to_ball(value) - ball).upper() <= tolerance * abs(ball).lower():
                out[index] = to_mpf(value)
            else:
                return None
        return out


# ---------------------------------------------------------------------------------------------------------------------- balls


def _ball_ramp(x: arb) -> arb:
    if x >= 0:
        return x
    return arb(0) if x <= 0 else x.nonnegative_part()


def _ball_step(x: arb) -> arb:
    if x > 0:
        return arb(1)
    return arb(0) if x <= 0 else arb(0.5, 0.5)


_BALL_TABLE: dict[str, Callable[[Any], Any]] = {
    name: _elementwise(function)
    for name, function in {
        **{n: getattr(arb, n) for n in ("sqrt", "exp", "tanh", "sin", "cos", "asin", "atan", "erf", "erfc")},
        "abs": abs,
        "expit": lambda x: 1 / (1 + (-x).exp()),
        "softplus": lambda x: x.exp().log1p(),
        "ramp": _ball_ramp,
        "step": _ball_step,
    }.items()
}


@dataclass(frozen=True)
class Ball(Arithmetic):
    """python-flint balls: every result encloses the exact value.

    `bits` is the working precision to start from. Where a proof fails at it, the precision is doubled up to `max_bits`, and
    `PrecisionError` is raised past that: an answer is proved, or it is not given.
    """

    bits: int
    max_bits: int = 0  # 0: sixteen times `bits`, at least 4096, at most MAX_BITS

    def __post_init__(self) -> None:
        _require_int("bits", self.bits, 2, MAX_BITS)
        if self.max_bits == 0:
            object.__setattr__(self, "max_bits", min(MAX_BITS, max(4096, 16 * self.bits)))
        _require_int("max_bits", self.max_bits, self.bits, MAX_BITS)

    @property
    def _table(self) -> dict[str, Callable[[Any], Any]]:
        return _BALL_TABLE

    @property
    def pi(self) -> arb:
        return arb.pi()

    def array(self, values: npt.ArrayLike) -> Array:
        return _object_array(_to_ball, values)

    def from_balls(self, balls: Array) -> Array:
        return balls

    def magnitude(self, x: Any) -> Any:
        return abs(arb(x).mid())

    def ladder(self) -> Iterator[int]:
        """Working precisions to try: `bits`, doubled up to and including `max_bits`."""
        bits = self.bits
        while bits < self.max_bits:
            yield bits
            bits *= 2
        yield self.max_bits

    def evaluate(self, compute: Callable[[Arithmetic], T]) -> T:
        """Run at rising precision until every enclosure is finite and every proof inside went through."""
        reason: NntkError | None = None
        for bits in self.ladder():
            with ctx.workprec(bits):
                try:
                    answer = compute(Ball(bits, self.max_bits))
                except (NotProved, SingularSystemError) as error:
                    reason = error
                    continue
                if all(v.is_finite() for part in _arrays(answer) if part.dtype == object for v in part.flat):
                    return answer
        if isinstance(reason, SingularSystemError):
            raise reason
        raise PrecisionError(
            f"bits: expected a finite, proved enclosure within max_bits={self.max_bits}, "
            f"got none{f' ({reason})' if reason else ''}"
        )


def _to_ball(value: Any) -> arb:
    if isinstance(value, arb):  # has an _mpf_, too: its midpoint, without the radius
        return value
    if hasattr(value, "_mpf_"):  # an mpf, taken as the exact number it is
        sign, mantissa, exponent, _ = value._mpf_
        if not mantissa and exponent:  # mpmath's encoding of infinities and nan
            return arb(float(value))
        return arb((-int(mantissa) if sign else int(mantissa), int(exponent)))
    return arb(value)


def _object_array(convert: Callable[[Any], Any], values: Any) -> Array:
    source = np.asarray(values)
    out = np.empty(source.shape, dtype=object)
    out_flat = out.reshape(-1)
    for k, value in enumerate(source.flat):
        out_flat[k] = convert(value.item() if isinstance(value, np.generic) else value)
    return out


def _require_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(name, f"an integer from {low} to {high}", repr(value))
