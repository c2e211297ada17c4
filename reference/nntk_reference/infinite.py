"""Infinite width: (E9)-(E12).

Every quantity is enclosed in balls, with quadrature errors included, and then handed out in the arithmetic asked for:
FLOAT64 and Multiprecision(digits) answers are rounded from enclosures narrow enough that all their digits are correct;
Ball(bits) answers are the enclosures, worked at `bits` bits. Where an activation allows only an estimate of the quadrature
error, a Ball answer is refused (UnprovedError). All functions raise InputError before any work when an argument is not fit.

The initial law, an InitialLaw or the name of c's law, enters through second moments only: E[c²], and the variances of w and η.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flint import arb, ctx

from nntk_reference import formulas, gaussian, linalg, validation
from nntk_reference.activations import activation as activation_entry
from nntk_reference.arithmetic import FLOAT64, MAX_BITS, Arithmetic, Array, Ball, Multiprecision, NotProved
from nntk_reference.errors import DegenerateKernelError, PrecisionError, RangeError, UnprovedError
from nntk_reference.laws import InitialLaw, initial_law

__all__ = [
    "LimitKernel",
    "Modes",
    "contraction_factors",
    "enclose_limit_ntk",
    "gradient_descent_trajectory",
    "limit_nntk",
    "limit_ntk",
    "limit_spectrum",
    "limit_trajectory",
]

_PAPER = InitialLaw()
_FLOAT64_BITS = 56  # a little over float64's 53: the rounding to it is then the only error


@dataclass(frozen=True, eq=False)
class LimitKernel:
    """The limit NTK with what is known of its error.

    kernel  (M, M) of arb: enclosures, or estimates with their estimated error as radius.
    error   (M, M) float64: the radius of each entry.
    proved  is the error proved (closed form, or quadrature with proved bounds), or estimated by refinement?
    method  how it was computed.
    """

    kernel: Array
    error: Array
    proved: bool
    method: str


class Modes(NamedTuple):
    """Eigenvalues λ of the limit NTK, descending, and each mode's error factor per step, all (M,).

    newton = 1 - αλ/(γ+λ) (E10, E11); gradient_descent = 1 - η̄λ (E12).
    """

    eigenvalues: Array
    newton: Array
    gradient_descent: Array


def enclose_limit_ntk(
    X: Any, activation: str = "tanh", *, bits: int = 128, law: InitialLaw | str = _PAPER, closed_form: bool = True
) -> LimitKernel:
    """(E9) B̄(x,x') = (1/M)(E[σ(z)σ(z')] + E[c²] E[σ'(z)σ'(z')] (x·x'+1)) with an error of about 2^-bits in every entry.

    X (M, d), any d. `closed_form=False` uses the quadrature also for activations that have a closed form.
    Raises InputError, UnknownActivationError, QuadratureError.
    """
    X = validation.inputs(X)
    entry = activation_entry(activation)
    bits = validation.whole_number("bits", bits, 2, MAX_BITS)
    law = initial_law(law)
    ar = Ball(min(MAX_BITS, max(bits, 64) + 64))  # at least 128: products of float64 numbers are exact
    with ctx.workprec(ar.bits):
        inputs = formulas.augmented(ar.array(X))
        scales = ar.array([law.w_scale] * X.shape[1] + [law.eta_scale])
        moments = gaussian.expectations(entry, inputs * scales, bits, closed_form=closed_form)
        second = law.output.second_moment
        B = (moments.value + arb(second.numerator) / second.denominator * moments.slope * (inputs @ inputs.T)) / len(X)
        error = np.array([float(v.rad()) for v in B.flat]).reshape(B.shape)
    return LimitKernel(B, error, moments.proved, moments.method)


def limit_ntk(X: Any, activation: str = "tanh", arithmetic: Arithmetic = FLOAT64, *, law: InitialLaw | str = _PAPER) -> Array:
    """(E9) The limit NTK B̄ on X (M, d), as (M, M). See `enclose_limit_ntk` for its error.

    Raises InputError, UnknownActivationError, QuadratureError (inputs too large for the accuracy), UnprovedError.
    """
    return _deliver(arithmetic, lambda bits: _kernel(X, activation, law, bits, arithmetic))


def limit_nntk(
    X: Any, gamma: float, activation: str = "tanh", arithmetic: Arithmetic = FLOAT64, *, law: InitialLaw | str = _PAPER
) -> Array:
    """(E10) 𝓑* = B̄(γI + B̄)⁻¹ for X (M, d), as (M, M), symmetric. Raises as `limit_ntk`."""
    gamma = validation.positive("gamma", gamma)
    return _deliver(arithmetic, lambda bits: _nntk(_kernel(X, activation, law, bits, arithmetic), gamma))


def limit_trajectory(
    X: Any,
    y: Any,
    gamma: float,
    steps: int,
    activation: str = "tanh",
    arithmetic: Arithmetic = FLOAT64,
    *,
    alpha: float = 1.0,
    initial: Any = None,
    law: InitialLaw | str = _PAPER,
) -> Array:
    """(E11) f*₀, …, f*_T with f*ₜ₊₁ = f*ₜ + α𝓑*(y - f*ₜ), as (T+1, M).

    X (M, d), y (M,); `initial` is f*₀ (M,), zero unless given. Raises as `limit_ntk`.
    """
    X, y = validation.data_set(X, y)
    gamma, alpha = validation.positive("gamma", gamma), validation.positive("alpha", alpha)
    steps, start = validation.whole_number("steps", steps, 0, 10**6), _start(initial, len(y))

    def enclose(bits: int) -> Array:
        operator = _nntk(_kernel(X, activation, law, bits, arithmetic), gamma)
        return _iterate(arb(alpha) * operator, y, start, steps)

    return _deliver(arithmetic, enclose)


def gradient_descent_trajectory(
    X: Any,
    y: Any,
    rate: float,
    steps: int,
    activation: str = "tanh",
    arithmetic: Arithmetic = FLOAT64,
    *,
    initial: Any = None,
    law: InitialLaw | str = _PAPER,
) -> Array:
    """(E12) Gradient descent in the limit, fₜ₊₁ = fₜ + η̄ B̄ (y - fₜ), as (T+1, M); `rate` is η̄. As `limit_trajectory`."""
    X, y = validation.data_set(X, y)
    rate = validation.positive("rate", rate)
    steps, start = validation.whole_number("steps", steps, 0, 10**6), _start(initial, len(y))
    return _deliver(
        arithmetic,
        lambda bits: _iterate(arb(rate) * _kernel(X, activation, law, bits, arithmetic), y, start, steps),
    )


def limit_spectrum(
    X: Any, activation: str = "tanh", arithmetic: Arithmetic = FLOAT64, *, law: InitialLaw | str = _PAPER
) -> Array:
    """Eigenvalues of the limit NTK, descending, (M,), each to the relative accuracy of the arithmetic.

    However small: FLOAT64 gives λ₁₆ = 1.65…e-16 of a kernel with λ₁ near 1 to all its digits. Ball(bits) gives enclosures with
    about `bits` correct bits. The precision is raised until that is so.
    Raises DegenerateKernelError for duplicate inputs (an eigenvalue is exactly zero), and as `limit_ntk`.
    """
    return _deliver(arithmetic, lambda bits: _spectrum(X, activation, law, bits, arithmetic), relative=True)


def contraction_factors(
    X: Any,
    gamma: float,
    activation: str = "tanh",
    arithmetic: Arithmetic = FLOAT64,
    *,
    alpha: float = 1.0,
    rate: float | None = None,
    law: InitialLaw | str = _PAPER,
) -> Modes:
    """(E10)-(E12) Per mode: λ, Newton's factor 1 - αλ/(γ+λ) and gradient descent's 1 - η̄λ.

    `rate` is η̄, by default 1/λ₁: the largest for which no mode overshoots. Raises as `limit_spectrum`.
    """
    gamma, alpha = validation.positive("gamma", gamma), validation.positive("alpha", alpha)
    rate = None if rate is None else validation.positive("rate", rate)

    def enclose(bits: int) -> Array:
        values = _spectrum(X, activation, law, bits, arithmetic)
        top = 1 / values[0] if rate is None else arb(rate)
        newton = (arb(gamma) + (1 - arb(alpha)) * values) / (arb(gamma) + values)
        descent = 1 - top * values
        if rate is None:
            descent[0] = arb(0)
        return np.stack([values, newton, descent])

    # not `relative`: factors may be exactly zero, and eigenvalues, proved positive, get their digits anyway
    return Modes(*_deliver(arithmetic, enclose))


# --------------------------------------------------------------------------------------------------------------- how it is done


def _kernel(X: Any, activation: str, law: InitialLaw | str, bits: int, arithmetic: Arithmetic) -> Array:
    limit = enclose_limit_ntk(X, activation, bits=bits, law=law)
    if isinstance(arithmetic, Ball) and not limit.proved:
        raise UnprovedError(
            f"arithmetic: expected FLOAT64 or Multiprecision for activation {activation!r}, got Ball: its registry entry has "
            "neither moments nor strip, so the quadrature error is an estimate and no enclosure can be proved"
        )
    return limit.kernel


def _nntk(B: Array, gamma: float) -> Array:
    A = formulas.add_diagonal(B, arb(gamma))
    solved = linalg.symmetric_solve(Ball(ctx.prec), A, B)[0]
    lower = np.tril_indices(len(B))
    solved[lower] = solved.T[lower]  # one enclosure for each pair: symmetric also after rounding
    return solved


def _spectrum(X: Any, activation: str, law: InitialLaw | str, bits: int, arithmetic: Arithmetic) -> Array:
    X = validation.inputs(X)
    if len(np.unique(X, axis=0)) < len(X):
        raise DegenerateKernelError(
            "X: expected distinct inputs, got duplicates: the kernel has an eigenvalue that is exactly zero"
        )
    values = linalg.enclose_eigenvalues(_kernel(X, activation, law, bits, arithmetic))
    if not all(v > 0 for v in values):
        raise NotProved(f"an eigenvalue has no proved sign at {bits} bits")
    return values


def _start(initial: Any, count: int) -> Array:
    if initial is None:
        return np.zeros(count)
    return validation.real_array("initial", initial, (count,))


def _iterate(step: Array, y: Array, start: Array, steps: int) -> Array:
    ar = Ball(ctx.prec)
    target, path = ar.array(y), [ar.array(start)]
    for _ in range(steps):
        path.append(path[-1] + step @ (target - path[-1]))
    return np.stack(path)


def _deliver(arithmetic: Arithmetic, enclose: Callable[[int], Array], *, relative: bool = False) -> Array:
    """Run `enclose(bits)` at rising precision until its balls are narrow enough for the arithmetic, and round them to it.

    An entry is narrow enough when it has the wanted bits, or, unless `relative`, when it contains zero and is smaller than
    4^-bits of the largest entry: it is then returned as zero.
    """
    arithmetic = validation.arithmetic(arithmetic)
    if isinstance(arithmetic, Ball):
        wanted, first, cap = (arithmetic.bits if relative else 0), arithmetic.bits, arithmetic.max_bits
    elif isinstance(arithmetic, Multiprecision):
        wanted = math.ceil(arithmetic.digits * math.log2(10)) + 2
        first, cap = min(MAX_BITS, wanted + 12), min(MAX_BITS, max(4096, 16 * wanted))
    else:
        wanted, first, cap = _FLOAT64_BITS, _FLOAT64_BITS + 12, 4096
    bits, reason = first, "no run"
    while bits <= cap:
        with ctx.workprec(min(MAX_BITS, bits + 64)):
            try:
                balls = enclose(bits)
                missing = _missing_bits(balls, wanted, relative)
            except NotProved as error:
                missing, reason = bits, str(error)
            if missing <= 0:
                break
            reason = f"{missing} bits missing at {bits} working bits" if missing < bits else reason
        bits = cap if bits < cap < bits + missing + 8 else bits + missing + 8
    else:
        raise PrecisionError(
            f"arithmetic: expected {wanted} correct bits within {cap} working bits, got {reason}; "
            "the quantity may be zero, or the inputs nearly equal"
        )
    if isinstance(arithmetic, Ball):
        return balls
    if relative:
        values = arithmetic.from_balls(balls)
        if arithmetic == FLOAT64 and np.any((np.abs(values) < np.finfo(np.float64).tiny) & (balls != 0)):
            raise RangeError(
                "result: expected numbers of at least 2.3e-308, got one that float64 cannot hold to full accuracy; "
                "ask for Multiprecision or Ball"
            )
        return values
    settled = np.array([arb(0) if v.contains(0) else v for v in balls.flat], dtype=object)
    return arithmetic.from_balls(settled.reshape(balls.shape))


def _missing_bits(balls: Array, wanted: int, relative: bool) -> int:
    if not all(v.is_finite() for v in balls.flat):
        raise NotProved("an enclosure is not finite")
    size = max((abs(v).upper() for v in balls.flat), default=arb(0))
    negligible = size * arb(2) ** (-2 * wanted)
    missing = 0
    for v in balls.flat:
        if v.is_exact() or (not relative and v.contains(0) and abs(v).upper() <= negligible):
            continue
        have = v.rel_accuracy_bits()
        missing = max(missing, wanted - have if have > 0 else max(wanted, 2))
    return missing if wanted else 0
