"""The one model of the rounding errors of σ, σ' and σ'' at a computed z = w·x + η, and of what is made of them.

A computed z is off by at most (d+2) roundings of |w||x| + |η|, which the next derivative carries over to a jet; the jet itself
is right to `activations.ERROR` roundings of max(1, |σ⁽ᵏ⁾|). Both to first order. `bounds` is that; `sizes` is what errors are
relative to, for tests that state them as a ratio, error / (operations · eps · size), and compare it with THRESHOLD.

All is in NumPy float64, from the accelerated package's own table: a test needs neither flint nor the reference for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nntk_accelerated.activations import ACTIVATIONS, ERROR

__all__ = ["JetErrors", "Terms", "block_terms", "jet_errors", "terms"]

Array = np.ndarray
Triple = tuple[Array, Array, Array]


@dataclass(frozen=True, eq=False)
class JetErrors:
    """For σ, σ' and σ'', each (M, N): `values` = |σ⁽ᵏ⁾|, `own` = max(1, |σ⁽ᵏ⁾|), `carried` = |σ⁽ᵏ⁺¹⁾| (|w||x| + |η|)."""

    values: Triple
    own: Triple
    carried: Triple
    dim: int

    @property
    def sizes(self) -> Triple:
        """What the errors are relative to: own + carried."""
        return tuple(a + b for a, b in zip(self.own, self.carried, strict=True))  # type: ignore[return-value]

    def bounds(self, eps: float = 1.0) -> Triple:
        """Bounds of |computed - exact| in arithmetic of this eps, the spacing of the numbers next to 1: twice a rounding."""
        return tuple(  # type: ignore[return-value]
            eps / 2 * (ERROR * a + (self.dim + 2) * b) for a, b in zip(self.own, self.carried, strict=True)
        )


def jet_errors(activation: str, w: Any, eta: Any, X: Any) -> JetErrors:
    """The errors at w (N, d), η (N,) and X (M, d), arrays or tensors. After σ'' comes the table's bound of the next on |z|."""
    w, eta, X = (_array(a) for a in (w, eta, X))
    entry, z = ACTIVATIONS[activation], torch.tensor(X @ w.T + eta)
    reach = np.abs(X) @ np.abs(w).T + np.abs(eta)
    third = np.broadcast_to(np.asarray(entry.bounds(z.abs())[3]), reach.shape)
    value, slope, bend = (np.abs(jet.numpy()) for jet in entry.jets(z.clone(), 2))
    own = np.maximum(1, value), np.maximum(1, slope), np.maximum(1, bend)
    return JetErrors((value, slope, bend), own, (slope * reach, bend * reach, third * reach), X.shape[1])


def _array(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Terms:
    """What the rounding errors of one network at its data are relative to.

    outputs   (M,): N^(-β) Σ |c| size of σ, and |y| for the residual.
    blocks    (N,): the norms of the sums that make S_i.
    jacobian  (N,): the norms of the rows J_i.
    """

    outputs: Array
    blocks: Array
    jacobian: Array


def terms(net: Any, X: Any, y: Any = 0.0) -> Terms:
    """The terms of a `Network` or a `ShallowNet` at X (M, d) and y (M,), arrays or tensors."""
    X, y = _array(X), _array(y)
    value, slope, _ = jet_errors(net.activation, net.w, net.eta, X).sizes
    c, q, scale = _factors(net, X)
    r = scale * (value @ c) + np.abs(y)
    row, rest = block_terms(net, X, r)
    J = scale * np.sqrt(np.square(np.hypot(value, c * q[:, None] * slope)).sum(0))
    return Terms(r, 2 * row + rest, J)


def block_terms(net: Any, X: Any, r: Any) -> tuple[Array, Array]:
    """The norms, each (N,), of the sums that make S_i for residuals of the sizes r (M,): of its row for c, and of the rest.

    The row stands in S_i twice: ‖S_i‖₂ is at most row + rest, ‖S_i‖_F at most √2 row + rest.
    """
    X, r = _array(X), np.abs(_array(r))
    _, slope, bend = jet_errors(net.activation, net.w, net.eta, X).sizes
    c, q, scale = _factors(net, X)
    return scale / len(X) * ((r * q) @ slope), scale / len(X) * c * ((r * q**2) @ bend)


def _factors(net: Any, X: Array) -> tuple[Array, Array, float]:
    """(|c| (N,), q = |(1, x)| (M,), N^(-β))."""
    return np.abs(_array(net.c)), np.sqrt(1 + np.square(X).sum(1)), float(net.width) ** -net.beta
