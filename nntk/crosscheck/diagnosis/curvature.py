"""Explanations by the matrix that is solved with: Newton's and its approximations, at the damping asked for or another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Observation, Predict, Prediction, damped, explanation
from nntk_reference.arithmetic import Array

__all__ = ["scaled"]

Matrix = Callable[[Observation], Array]


def curvature(id: str, words: str, *, fits: bool = False) -> Callable[[Matrix], Matrix]:
    """Register (A + γ_N I)Δ = -g for the matrix A (P, P) that the decorated function gives.

    With `fits` also `id-damping`, the same at another damping, and `scaled-id`, the same at another step size.
    """

    def registered(matrix: Matrix) -> Matrix:
        explanation(id, words)(at_damping(matrix))
        if fits:
            explanation(f"{id}-damping", words, fitted=1)(at_own_damping(matrix))
            explanation(f"scaled-{id}", words, fitted=1)(scaled(at_damping(matrix)))
        return matrix

    return registered


def at_damping(matrix: Matrix) -> Predict:
    """(A + γ_N I)Δ = -g, with the damping that was asked for."""

    def predict(seen: Observation) -> Iterator[Prediction]:
        yield solved(damped(matrix(seen), seen), -seen.point.gradient), ""

    return predict


def at_own_damping(matrix: Matrix, *, rate: bool = False) -> Predict:
    """(A + μI)Δ = -αg: least squares for μ, and for α where `rate`."""

    def predict(seen: Observation) -> Iterator[Prediction]:
        A, g = matrix(seen), seen.point.gradient
        columns = np.column_stack([seen.step, g] if rate else [seen.step])
        right = -(A @ seen.step) - (0 if rate else g)
        fit, *_ = np.linalg.lstsq(columns, right, rcond=None)
        mu, alpha = float(fit[0]), float(fit[1]) if rate else 1.0
        asked = seen.point.objective.damping
        words = f"at {_times(mu / asked)} the damping asked for{_cause(mu / asked, len(seen.point.objective.y))}"
        if rate:
            words += f" and step size {alpha:.4g}"
        yield solved(A + mu * np.eye(len(A)), -alpha * g), words

    return predict


def _times(ratio: float) -> str:
    if abs(ratio) <= 1e-9:
        return "0 times"
    return f"{ratio:.6g} times" if abs(ratio - 1) > 1e-5 else f"(1 {'+' if ratio > 1 else '-'} {abs(ratio - 1):.2g}) times"


def _cause(ratio: float, points: int) -> str:
    causes = (
        (1 / points, "the loss is summed over the points, not averaged"),
        (0.5, "the loss lacks the factor 1/2"),
        (0.0, "it is ignored"),
    )
    return next((f" ({why})" for value, why in causes if points > 1 and abs(ratio - value) < 1e-6), "")


def scaled(predict: Predict, note: str = "") -> Predict:
    """The predicted step times a number: least squares."""

    def times(seen: Observation) -> Iterator[Prediction]:
        for step, _ in predict(seen):
            size = float(step @ step)
            factor = float(step @ seen.step) / size if 0 < size < math.inf else math.nan
            yield factor * step, f"times {factor:.6g}{note}"

    return times


# --- the matrices --------------------------------------------------------------------------------------------------------


@curvature("newton", "exact Newton")
def hessian(seen: Observation) -> Array:
    return seen.point.hessian


@curvature("gauss-newton", "Gauss–Newton (no residual term S)")
def gauss_newton(seen: Observation) -> Array:
    return seen.point.gauss_newton


@curvature("diagonal", "diagonal Newton", fits=True)
def diagonal(seen: Observation) -> Array:
    return np.diag(np.diag(seen.point.hessian))


@curvature("absolute-diagonal", "diagonal Newton with |diag H|", fits=True)
def absolute_diagonal(seen: Observation) -> Array:
    return np.diag(np.abs(np.diag(seen.point.hessian)))


@curvature("diagonal-gauss-newton", "diagonal Gauss–Newton", fits=True)
def diagonal_gauss_newton(seen: Observation) -> Array:
    return np.diag(np.diag(seen.point.gauss_newton))


@curvature("per-tensor", "per-tensor block Newton (c, w and η each on their own)", fits=True)
def per_tensor(seen: Observation) -> Array:
    return seen.point.hessian * _same_tensor(seen)


@curvature("per-neuron", "per-neuron block Newton", fits=True)
def per_neuron(seen: Observation) -> Array:
    return seen.point.hessian * _same_neuron(seen)


@curvature("per-tensor-gauss-newton", "per-tensor block Gauss–Newton")
def per_tensor_gauss_newton(seen: Observation) -> Array:
    return seen.point.gauss_newton * _same_tensor(seen)


@curvature("per-neuron-gauss-newton", "per-neuron block Gauss–Newton")
def per_neuron_gauss_newton(seen: Observation) -> Array:
    return seen.point.gauss_newton * _same_neuron(seen)


@curvature("saddle-free", "saddle-free Newton, |H|", fits=True)
def saddle_free(seen: Observation) -> Array:
    values, vectors = _eigen(seen)
    return np.asarray((vectors * np.abs(values)) @ vectors.T)


@curvature("clipped-eigenvalues", "Newton with negative eigenvalues of H set to zero", fits=True)
def clipped_eigenvalues(seen: Observation) -> Array:
    values, vectors = _eigen(seen)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


@curvature("empirical-fisher", "natural gradient with the empirical Fisher matrix")
def empirical_fisher(seen: Observation) -> Array:
    rows = seen.point.jacobian * seen.point.residual[:, None]
    return np.asarray(rows.T @ rows / len(rows))


@curvature("residual-term-only", "Newton with S alone (no JᵀJ)")
def residual_term(seen: Observation) -> Array:
    return seen.point.residual_hessian


def _eigen(seen: Observation) -> tuple[Array, Array]:
    if "eigen" not in seen.cache:
        seen.cache["eigen"] = np.linalg.eigh(seen.point.hessian)
    values, vectors = seen.cache["eigen"]
    return values, vectors


def _same_neuron(seen: Observation) -> Array:
    N, D = seen.point.theta.shape
    return np.kron(np.eye(N), np.ones((D, D)))


def _same_tensor(seen: Observation) -> Array:
    N, D = seen.point.theta.shape
    kinds = np.tile([0, *[1] * (D - 2), 2], N)
    return np.asarray(kinds[:, None] == kinds[None, :], np.float64)


explanation("newton-damping", "Newton", fitted=1)(at_own_damping(hessian))
explanation("newton-damping-rate", "Newton", fitted=2)(at_own_damping(hessian, rate=True))
explanation("scaled-newton", "the exact Newton step", fitted=1)(scaled(at_damping(hessian), " (step size, or a clipped norm)"))
explanation("gauss-newton-damping", "Gauss–Newton (no residual term S)", fitted=1)(at_own_damping(gauss_newton))
explanation("gauss-newton-damping-rate", "Gauss–Newton (no residual term S)", fitted=2)(at_own_damping(gauss_newton, rate=True))
explanation("scaled-gauss-newton", "the Gauss–Newton step", fitted=1)(scaled(at_damping(gauss_newton)))


# --- the same matrices, damped or solved in another way --------------------------------------------------------------------


@explanation("levenberg-marquardt", "Levenberg–Marquardt, damping times diag(JᵀJ/M)")
def levenberg_marquardt(seen: Observation) -> Iterator[Prediction]:
    yield _scaled_damping(gauss_newton(seen), gauss_newton(seen), seen), ""


@explanation("scaled-damping", "Newton, damping times diag(H)")
def scaled_damping(seen: Observation) -> Iterator[Prediction]:
    yield _scaled_damping(hessian(seen), hessian(seen), seen), ""


@explanation("marquardt-newton", "Newton with Levenberg–Marquardt's damping times diag(JᵀJ/M)")
def marquardt_newton(seen: Observation) -> Iterator[Prediction]:
    yield _scaled_damping(hessian(seen), gauss_newton(seen), seen), ""


def _scaled_damping(A: Array, scaling: Array, seen: Observation) -> Array:
    """(A + γ_N diag(scaling))Δ = -g."""
    return solved(A + seen.point.objective.damping * np.diag(np.diag(scaling)), -seen.point.gradient)


@explanation("residual-share", "Newton with", fitted=1)
def residual_share(seen: Observation) -> Iterator[Prediction]:
    """(JᵀJ/M + sS + γ_N)Δ = -g: least squares for s."""
    point = seen.point
    column, right = point.residual_hessian @ seen.step, -point.gradient - damped(point.gauss_newton, seen) @ seen.step
    size = float(column @ column)
    share = float(column @ right) / size if size else math.nan
    named = {0.5: "half the residual term S", -1.0: "the residual term S with the wrong sign", 2.0: "twice the residual term S"}
    words = next((name for value, name in named.items() if abs(share - value) < 1e-4), f"{share:.6g} times the residual term S")
    yield solved(damped(point.gauss_newton + share * point.residual_hessian, seen), -point.gradient), words


def conjugate_gradients(matrix: Matrix) -> Predict:
    """Every iterate of CG on (A + γ_N I)Δ = -g from zero, until it has converged."""

    def predict(seen: Observation) -> Iterator[Prediction]:
        A, b = damped(matrix(seen), seen), -seen.point.gradient
        x, r = np.zeros_like(b), b.copy()
        p = r.copy()
        for k in range(1, len(b)):
            Ap = A @ p
            curvature = float(p @ Ap)
            if curvature == 0 or not np.isfinite(curvature):
                return
            old = float(r @ r)
            a = old / curvature
            x, r = x + a * p, r - a * Ap
            p = r + (float(r @ r) / old) * p if old else r
            residual = float(np.linalg.norm(A @ x - b) / (np.linalg.norm(b) or 1.0))
            if residual < 1e-13:
                return
            yield x.copy(), f"stopped after {k} iteration{'s' if k > 1 else ''}, residual {residual:.2g}"

    return predict


explanation("cg", "CG on H + γ_N I")(conjugate_gradients(hessian))
explanation("cg-gauss-newton", "CG on JᵀJ/M + γ_N I")(conjugate_gradients(gauss_newton))
