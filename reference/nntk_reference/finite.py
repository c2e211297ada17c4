"""Finite width: (E1)-(E8), (E12) for users. Arguments are checked, then the formula is evaluated in the arithmetic asked for.

Data are float64 and taken as the exact numbers they are. `arithmetic` is FLOAT64 (NumPy arrays), Multiprecision(digits) (object
arrays of mpf, `digits` correct digits) or Ball(bits) (object arrays of arb, proved enclosures). All functions raise InputError
before any work when an argument is not fit, and RangeError or PrecisionError rather than return a number that is not finite.

Source of the formulas: arXiv:2605.08352; the labels are those of docs/theory.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nntk_reference import formulas, linalg, validation
from nntk_reference.arithmetic import FLOAT64, Arithmetic, Array
from nntk_reference.errors import InputError
from nntk_reference.network import Network, scaling_exponent

__all__ = [
    "NewtonStep",
    "gauss_newton_nntk",
    "gauss_newton_step",
    "gradient",
    "gradient_descent_step",
    "hessian",
    "jacobian",
    "loss",
    "newton_step",
    "nntk",
    "ntk",
    "outputs",
    "regularization",
    "residual_hessian",
]


@dataclass(frozen=True, eq=False)
class NewtonStep:
    """A step Δ and what is known about it.

    update                (N, d+2), to be added to the parameters (cᵢ, wᵢ, ηᵢ).
    damping               γ_N, the number that was added to the diagonal (E5).
    negative_eigenvalues  of the damped matrix. Zero: it is positive definite. Proved over balls.
    residual              ‖AΔ + α∇L‖ / (‖A‖‖Δ‖ + α‖∇L‖) in max norms, A the damped matrix; an upper bound over balls.
    loss                  (E2) before the step.
    """

    update: Array
    damping: Any
    negative_eigenvalues: int
    residual: float
    loss: Any


def _network(net: Any) -> Network:
    if not isinstance(net, Network):
        raise InputError("net", "an nntk_reference.Network", type(net).__name__)
    return net


def _scalar(value: Any) -> Array:
    out = np.empty((), dtype=np.float64 if isinstance(value, float) else object)
    out[()] = value
    return out


def outputs(net: Network, X: Any, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E1) f(X), (M,)."""
    X = validation.inputs(X, _network(net).dim)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: formulas.outputs(formulas.state(ar, net, X)))


def loss(net: Network, X: Any, y: Any, *, arithmetic: Arithmetic = FLOAT64) -> Any:
    """(E2) L = |f(X) - y|²/(2M), a number."""
    X, y = validation.data_set(X, y, _network(net).dim)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: _scalar(formulas.loss(_at(ar, net, X, y)[1])))[()]


def jacobian(net: Network, X: Any, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E3) ∂f(xₘ)/∂(cᵢ, wᵢ, ηᵢ), (M, N, d+2)."""
    X = validation.inputs(X, _network(net).dim)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: formulas.jacobian(formulas.state(ar, net, X)))


def gradient(net: Network, X: Any, y: Any, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """∇L = Jᵀr/M, (N, d+2)."""
    X, y = validation.data_set(X, y, _network(net).dim)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: formulas.gradient(*_at(ar, net, X, y)))


def residual_hessian(net: Network, X: Any, y: Any, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E4) The blocks Sᵢ, (N, d+2, d+2)."""
    X, y = validation.data_set(X, y, _network(net).dim)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: formulas.residual_hessian(*_at(ar, net, X, y)))


def hessian(net: Network, X: Any, y: Any, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E4) H = JᵀJ/M + S, (P, P) with P = N(d+2), neuron by neuron."""
    X, y = validation.data_set(X, y, _network(net).dim)
    validation.dense_size(net.parameters, validation.arithmetic(arithmetic))
    return arithmetic.evaluate(lambda ar: formulas.hessian(*_at(ar, net, X, y)))


def regularization(gamma: float, width: int, beta: float, *, arithmetic: Arithmetic = FLOAT64) -> Any:
    """(E5) γ_N = γ N^(1-2β), for γ > 0 and β in [1/2, 1]."""
    gamma, width = validation.positive("gamma", gamma), validation.whole_number("width", width)
    beta = scaling_exponent(beta, negative_control=True)
    return validation.arithmetic(arithmetic).evaluate(lambda ar: _scalar(formulas.regularization(ar, gamma, width, beta)))[()]


def newton_step(
    net: Network, X: Any, y: Any, gamma: float, *, alpha: float = 1.0, arithmetic: Arithmetic = FLOAT64
) -> NewtonStep:
    """(E6) Δ = -α (H + γ_N I)⁻¹ Jᵀr/M with γ_N from (E5), by a dense solve of the P×P system.

    The step exists whenever the matrix is nonsingular; where it is indefinite, `negative_eigenvalues` says so. Raises
    SingularSystemError if the matrix is singular or, in float64, indistinguishable from singular; SizeError for P too large.
    """
    return _step(net, X, y, gamma, alpha, arithmetic, curvature=True)


def gauss_newton_step(
    net: Network, X: Any, y: Any, gamma: float, *, alpha: float = 1.0, arithmetic: Arithmetic = FLOAT64
) -> NewtonStep:
    """(E6) without S: Δ = -α (JᵀJ/M + γ_N I)⁻¹ Jᵀr/M. As `newton_step`; the matrix is always positive definite."""
    return _step(net, X, y, gamma, alpha, arithmetic, curvature=False)


def _step(net: Network, X: Any, y: Any, gamma: float, alpha: float, arithmetic: Arithmetic, *, curvature: bool) -> NewtonStep:
    X, y = validation.data_set(X, y, _network(net).dim)
    gamma, alpha = validation.positive("gamma", gamma), validation.positive("alpha", alpha)
    validation.dense_size(net.parameters, validation.arithmetic(arithmetic))

    def compute(ar: Arithmetic) -> tuple[Array, ...]:
        s, r = _at(ar, net, X, y)
        damping = formulas.regularization(ar, gamma, net.width, net.beta)
        matrix = formulas.hessian(s, r) if curvature else formulas.gauss_newton_matrix(s)
        A = formulas.add_diagonal(matrix, damping)
        right = -ar.number(alpha) * formulas.gradient(s, r).reshape(-1)
        step, negative = linalg.symmetric_solve(ar, A, right)
        residual = _scaled_residual(ar, A, step, right)
        update = step.reshape(net.width, -1)
        return update, _scalar(damping), np.asarray(negative), np.asarray(residual), _scalar(formulas.loss(r))

    update, damping, negative, residual, start = validation.arithmetic(arithmetic).evaluate(compute)
    return NewtonStep(update, damping[()], int(negative), float(residual), start[()])


def _scaled_residual(ar: Arithmetic, A: Array, x: Array, b: Array) -> float:
    """‖Ax - b‖/(‖A‖‖x‖ + ‖b‖) in max norms."""
    error = _largest(ar.abs(A @ x - b), "upper")
    scale = _largest(ar.abs(A).sum(axis=1), "lower") * _largest(ar.abs(x), "lower") + _largest(ar.abs(b), "lower")
    if error == 0:
        return 0.0
    if scale == 0:  # balls so wide that A, x and b may vanish
        return math.inf
    ratio = error / scale
    if hasattr(ratio, "upper"):  # float() rounds to nearest, and underflows; the next number above is a bound
        return math.nextafter(float(ratio.upper()), math.inf)
    return float(ratio) if scale < math.inf else math.nan


def _largest(values: Array, end: str) -> Any:
    """The largest of entries that are not negative; over balls, by their upper or lower ends, of which flint's may be."""
    if values.dtype != object:
        return values.max()  # unlike Python's max, this lets no NaN pass
    return max(0, *(getattr(v, end)() if hasattr(v, end) else v for v in values))


def gradient_descent_step(net: Network, X: Any, y: Any, rate: float, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E12) Δ = -η̄ N^(2β-1) ∇L, (N, d+2), to be added to the parameters; `rate` is η̄ > 0."""
    X, y = validation.data_set(X, y, _network(net).dim)
    rate = validation.positive("rate", rate)

    def compute(ar: Arithmetic) -> Array:
        scaled = ar.number(rate) / formulas.regularization(ar, 1.0, net.width, net.beta)
        update: Array = -scaled * formulas.gradient(*_at(ar, net, X, y))
        return update

    return validation.arithmetic(arithmetic).evaluate(compute)


def ntk(net: Network, X: Any, *, normalized: bool = False, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E7) B = JJᵀ/M, (M, M); with `normalized`, B̄ᴺ = N^(2β-1) B, which tends to the limit NTK."""
    X = validation.inputs(X, _network(net).dim)

    def compute(ar: Arithmetic) -> Array:
        B = formulas.ntk(formulas.state(ar, net, X))
        return B / formulas.regularization(ar, 1.0, net.width, net.beta) if normalized else B

    return validation.arithmetic(arithmetic).evaluate(compute)


def nntk(net: Network, X: Any, y: Any, gamma: float, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E8) The Newton NTK 𝓑 = J (H + γ_N I)⁻¹ Jᵀ/M, (M, M), symmetric. Raises SingularSystemError, SizeError."""
    X, y = validation.data_set(X, y, _network(net).dim)
    gamma = validation.positive("gamma", gamma)
    validation.dense_size(net.parameters, validation.arithmetic(arithmetic))

    def compute(ar: Arithmetic) -> Array:
        s, r = _at(ar, net, X, y)
        J = formulas.jacobian(s).reshape(len(X), -1)
        A = formulas.add_diagonal(formulas.hessian(s, r), formulas.regularization(ar, gamma, net.width, net.beta))
        solved, _ = linalg.symmetric_solve(ar, A, J.T.copy())
        return _symmetric(J @ solved / len(X))

    return arithmetic.evaluate(compute)


def gauss_newton_nntk(net: Network, X: Any, gamma: float, *, arithmetic: Arithmetic = FLOAT64) -> Array:
    """(E8) The Gauss–Newton part B(γ_N I + B)⁻¹, (M, M), symmetric."""
    X = validation.inputs(X, _network(net).dim)
    gamma = validation.positive("gamma", gamma)

    def compute(ar: Arithmetic) -> Array:
        B = formulas.ntk(formulas.state(ar, net, X))
        A = formulas.add_diagonal(B, formulas.regularization(ar, gamma, net.width, net.beta))
        return _symmetric(linalg.symmetric_solve(ar, A, B)[0])

    return validation.arithmetic(arithmetic).evaluate(compute)


def _symmetric(K: Array) -> Array:
    """K, known to be symmetric but for rounding, as a matrix that equals its transpose."""
    return (K + K.T) / 2


def _at(ar: Arithmetic, net: Network, X: Array, y: Array) -> tuple[formulas.State, Array]:
    """The state at X and the residuals r = f(X) - y."""
    s = formulas.state(ar, net, X)
    return s, formulas.outputs(s) - ar.array(y)
