"""Explanations by the matrix that is solved with: Newton's and its approximations, at the damping asked for or another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Observation, Predict, Prediction, damped, eigen, explanation, kinds_of
from nntk.crosscheck.diagnosis.fits import Matrix, at_damping, at_own_damping, damping_words, rate_words, scaled
from nntk_reference.arithmetic import Array

__all__: list[str] = []


def curvature(id: str, words: str, *, fits: bool = False) -> Callable[[Matrix], Matrix]:
    """Register (A + γ_N I)Δ = -g for the matrix A (P, P) that the decorated function gives.

    With `fits` also `id-damping`, the same at another damping, and `scaled-id`, the same at another step size.
    """

    def registered(matrix: Matrix) -> Matrix:
        explanation(id, words)(at_damping(matrix))
        if fits:
            explanation(f"{id}-damping", words, fitted=1, together=damping_words)(at_own_damping(matrix))
            explanation(f"scaled-{id}", words, fitted=1, together=rate_words)(scaled(at_damping(matrix)))
        return matrix

    return registered


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
    values, vectors = eigen(seen)
    return np.asarray((vectors * np.abs(values)) @ vectors.T)


@curvature("clipped-eigenvalues", "Newton with negative eigenvalues of H set to zero", fits=True)
def clipped_eigenvalues(seen: Observation) -> Array:
    values, vectors = eigen(seen)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


@curvature("empirical-fisher", "natural gradient with the empirical Fisher matrix")
def empirical_fisher(seen: Observation) -> Array:
    rows = seen.point.jacobian * seen.point.residual[:, None]
    return np.asarray(rows.T @ rows / len(rows))


@curvature("residual-term-only", "Newton with S alone (no JᵀJ)")
def residual_term(seen: Observation) -> Array:
    return seen.point.residual_hessian


def _same_neuron(seen: Observation) -> Array:
    N, D = seen.point.theta.shape
    return np.kron(np.eye(N), np.ones((D, D)))


def _same_tensor(seen: Observation) -> Array:
    kinds = kinds_of(seen.point)
    return np.asarray(kinds[:, None] == kinds[None, :], np.float64)


def _own(id: str, words: str, matrix: Matrix, step: str) -> None:
    """The matrix at a damping, a step size, or both, of the optimizer's own."""
    explanation(f"{id}-damping", words, fitted=1, together=damping_words)(at_own_damping(matrix))
    explanation(f"{id}-damping-rate", words, fitted=2)(at_own_damping(matrix, rate=True))
    explanation(f"scaled-{id}", step, fitted=1, together=rate_words)(scaled(at_damping(matrix), " (step size)"))


_own("newton", "Newton", hessian, "the exact Newton step")
_own("gauss-newton", "Gauss–Newton (no residual term S)", gauss_newton, "the Gauss–Newton step")


# --- the same matrices, damped or solved in another way --------------------------------------------------------------------


@explanation("levenberg-marquardt", "Levenberg–Marquardt, damping times diag(JᵀJ/M)")
def levenberg_marquardt(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(_scaled_damping(gauss_newton(seen), gauss_newton(seen), seen))


@explanation("scaled-damping", "Newton, damping times diag(H)")
def scaled_damping(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(_scaled_damping(hessian(seen), hessian(seen), seen))


@explanation("marquardt-newton", "Newton with Levenberg–Marquardt's damping times diag(JᵀJ/M)")
def marquardt_newton(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(_scaled_damping(hessian(seen), gauss_newton(seen), seen))


def _scaled_damping(A: Array, scaling: Array, seen: Observation) -> Array:
    """(A + γ_N diag(scaling))Δ = -g."""
    return solved(A + seen.point.objective.damping * np.diag(np.diag(scaling)), -seen.point.gradient)


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
            yield Prediction(x.copy(), f"stopped after {k} iteration{'s' if k > 1 else ''}, residual {residual:.2g}")

    return predict


explanation("cg", "CG on H + γ_N I")(conjugate_gradients(hessian))
explanation("cg-gauss-newton", "CG on JᵀJ/M + γ_N I")(conjugate_gradients(gauss_newton))


@explanation("krylov", "a solve with H + γ_N I that was not finished:", fitted=3)
def krylov(seen: Observation) -> Iterator[Prediction]:
    """In span{g, Ag, …, Aᵏ⁻¹g}, k well below where that ends, as MINRES or GMRES leave it: to rounding or not at all."""
    if seen.point.newton.error(seen.step) <= 10 * seen.limit:
        return
    A, g, size = damped(hessian(seen), seen), seen.point.gradient, float(np.linalg.norm(seen.step))
    basis = [g / (float(np.linalg.norm(g)) or 1.0)]
    first, rest = 0, seen.step - basis[0] * float(basis[0] @ seen.step)
    while True:
        if not first and float(np.linalg.norm(rest)) <= 10 * seen.limit * size:
            first = len(basis)
        image = A @ basis[-1]
        length = float(np.linalg.norm(image))
        for _ in range(2):
            image = image - np.array(basis).T @ (np.array(basis) @ image)
        left = float(np.linalg.norm(image))
        if len(basis) == len(g) or not left > 1e-8 * length:
            break
        basis.append(image / left)
        rest = rest - basis[-1] * float(basis[-1] @ rest)
    if 1 < first <= len(basis) - 2:
        inside = np.array(basis[:first])
        residual = float(np.linalg.norm(A @ seen.step + g) / np.linalg.norm(g))
        words = f"after {first} iterations at most, residual {residual:.2g}"
        yield Prediction(inside.T @ (inside @ seen.step), words)
