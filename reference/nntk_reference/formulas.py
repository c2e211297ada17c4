"""(E1)-(E8) as the paper writes them, in the operators of whatever arithmetic their arrays hold.

Everything is a function of a `State`: the values σ, σ', σ'' that the neurons take at the data, the output weights, the inputs.
A state of float64, mpf, arb or even rational numbers will do. Arguments are not checked here; `finite` is the public face.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nntk_reference.activations import activation
from nntk_reference.arithmetic import Arithmetic, Array
from nntk_reference.network import Network

__all__ = [
    "State",
    "augmented",
    "gradient",
    "hessian",
    "jacobian",
    "ntk",
    "outputs",
    "regularization",
    "residual_hessian",
    "state",
]


class State(NamedTuple):
    """A network at M inputs.

    scale = N^(-β); c (N,); inputs x̃ = (x, 1) as (M, d+1); value, slope, curvature = σ, σ', σ'' at z, each (M, N).
    """

    scale: Any
    c: Array
    inputs: Array
    value: Array
    slope: Array
    curvature: Array


def augmented(X: Array) -> Array:
    """x̃ = (x, 1), (M, d+1)."""
    ones = np.full((len(X), 1), 1 + 0 * X[0, 0], dtype=X.dtype)
    return np.concatenate([X, ones], axis=1)


def state(ar: Arithmetic, net: Network, X: Array) -> State:
    """The network's state at the inputs X (M, d), in the arithmetic `ar`."""
    c, w, eta, X = ar.array(net.c), ar.array(net.w), ar.array(net.eta), ar.array(X)
    z = X @ w.T + eta
    return State(ar.power(net.width, -net.beta), c, augmented(X), *activation(net.activation).jets(z, ar))


def outputs(s: State) -> Array:
    """(E1) f(xₘ) = N^(-β) Σᵢ cᵢ σ(zᵢₘ), (M,)."""
    values: Array = s.scale * (s.value @ s.c)
    return values


def loss(r: Array) -> Any:
    """(E2) L = |r|²/(2M), for the residuals r (M,)."""
    return r @ r / (2 * len(r))


def jacobian(s: State) -> Array:
    """(E3) ∂f(xₘ)/∂θᵢ = N^(-β) (σ, cᵢ σ' x̃), (M, N, d+2)."""
    by_weight = (s.c * s.slope)[:, :, None] * s.inputs[:, None, :]
    J: Array = s.scale * np.concatenate([s.value[:, :, None], by_weight], axis=2)
    return J


def gradient(s: State, r: Array) -> Array:
    """∇L = Jᵀr/M, (N, d+2)."""
    J = jacobian(s)
    return (J.reshape(len(r), -1).T @ r / len(r)).reshape(J.shape[1:])


def residual_hessian(s: State, r: Array) -> Array:
    """(E4) Sᵢ = (1/M) Σₘ rₘ N^(-β) [[0, σ' x̃ᵀ], [σ' x̃, cᵢ σ'' x̃x̃ᵀ]], (N, d+2, d+2)."""
    M, D = s.inputs.shape
    outer = (s.inputs[:, :, None] * s.inputs[:, None, :]).reshape(M, D * D)
    mixed = (r[:, None] * s.slope).T @ s.inputs
    inner = ((r[:, None] * s.curvature * s.c).T @ outer).reshape(-1, D, D)
    S = np.full((len(s.c), D + 1, D + 1), 0 * s.scale, dtype=inner.dtype)
    S[:, 0, 1:] = S[:, 1:, 0] = s.scale * mixed / M
    S[:, 1:, 1:] = s.scale * inner / M
    return S


def hessian(s: State, r: Array) -> Array:
    """(E4) H = JᵀJ/M + blockdiag(Sᵢ), (P, P)."""
    return add_blocks(gauss_newton_matrix(s), residual_hessian(s, r))


def gauss_newton_matrix(s: State) -> Array:
    """JᵀJ/M, (P, P)."""
    J = jacobian(s).reshape(len(s.inputs), -1)
    return J.T @ J / len(J)


def add_blocks(A: Array, blocks: Array) -> Array:
    """A + blockdiag(blocks), for A (P, P) and blocks (N, P/N, P/N)."""
    total, D = A.copy(), blocks.shape[1]
    for i, block in enumerate(blocks):
        total[i * D : (i + 1) * D, i * D : (i + 1) * D] += block
    return total


def add_diagonal(A: Array, damping: Any) -> Array:
    """A + damping·I."""
    total = A.copy()
    total[np.diag_indices(len(A))] += damping
    return total


def regularization(ar: Arithmetic, gamma: float, width: int, beta: float) -> Any:
    """(E5) γ_N = γ N^(1-2β)."""
    return ar.number(gamma) * ar.number(width) / ar.power(width, beta) ** 2


def ntk(s: State) -> Array:
    """(E7) B = JJᵀ/M, (M, M)."""
    J = jacobian(s).reshape(len(s.inputs), -1)
    return J @ J.T / len(J)
