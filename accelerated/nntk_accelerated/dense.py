"""The M×M part: symmetric rank-k updates, Cholesky in place, symmetric-indefinite factorization, and their inertia."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated.errors import SingularSystemError

__all__ = ["Factor", "add_outer", "cholesky_", "factorize", "mirror_"]

_TILE = 512
_BLAS_LIMIT = 1024


def add_outer(G: Tensor, Y: Tensor) -> None:
    """Lower triangle of G += Y Yᵀ, G (M, M) and Y (M, K) contiguous: M²K flops, half of a full product's.

    torch has no symmetric rank-k update. NumPy's dot has, for a matrix times its own transpose, and lets other threads run
    meanwhile (SciPy's BLAS wrappers do not); elsewhere and for large M, strips of the triangle are products.
    """
    M = G.shape[0]
    if G.device.type == "cpu" and M <= _BLAS_LIMIT:
        rows = Y.numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is factorized
            G += torch.from_numpy(np.dot(rows, rows.T))
        return
    tile = max(_TILE // 2, M // 8) if M > _TILE else M
    for a in range(0, M, tile):
        b = min(a + tile, M)
        G[a:b, :b].addmm_(Y[a:b], Y[:b].t())


def mirror_(G: Tensor) -> Tensor:
    """G with its lower triangle copied above the diagonal, in place, tile by tile."""
    M = G.shape[0]
    for a in range(0, M, _TILE):
        b = min(a + _TILE, M)
        G[:a, a:b] = G[a:b, :a].t()
        diagonal = G[a:b, a:b]
        diagonal.copy_(diagonal.tril() + diagonal.tril(-1).t())
    return G


def cholesky_(W: Tensor) -> bool:
    """W (M, M) → its lower Cholesky factor, in place in the lower triangle. False if a pivot is not positive; W is then spoilt.

    Right-looking by tiles: beside W it needs memory for one panel. Only the lower triangle is read or written.
    """
    M = W.shape[0]
    infos = []
    for a in range(0, M, _TILE):
        b = min(a + _TILE, M)
        tile, info = torch.linalg.cholesky_ex(W[a:b, a:b])
        infos.append(info)
        W[a:b, a:b] = tile
        if b == M:
            break
        panel = W[b:, a:b]
        panel.copy_(torch.linalg.solve_triangular(tile.mT, panel, upper=True, left=False))
        for i in range(b, M, _TILE):
            e = min(i + _TILE, M)
            W[i:e, b:e].addmm_(W[i:e, a:b], W[b:e, a:b].t(), alpha=-1)
    # a failed tile leaves its input's numbers behind, so the diagonal has the last word
    return not bool(torch.stack(infos).any()) and bool((W.diagonal() > 0).all())


@dataclass(frozen=True)
class Factor:
    """A factorized symmetric matrix: Cholesky where it is positive definite, LDLᵀ (Bunch-Kaufman) where not."""

    factor: Tensor
    pivots: Tensor | None
    negative: int

    def solve(self, b: Tensor) -> Tensor:
        """W⁻¹ b for b (M,) or (M, K), computed in the factor's dtype, returned in b's."""
        # the factor's dtype may have a narrower range than b's
        size = torch.frexp(b.abs().max()).exponent
        right = torch.ldexp(b if b.dim() == 2 else b[:, None], -size).to(self.factor.dtype)
        if self.pivots is None:
            half = torch.linalg.solve_triangular(self.factor, right, upper=False)
            x: Tensor = torch.linalg.solve_triangular(self.factor.mT, half, upper=True)
        else:
            x = torch.linalg.ldl_solve(self.factor, self.pivots, right)
        x = torch.ldexp(x.to(b.dtype), size)
        return x if b.dim() == 2 else x[:, 0]


def factorize(W: Tensor, *, definite: bool) -> Factor:
    """Factorize W (M, M), of which the lower triangle counts; it is overwritten.

    definite: W is known to be positive definite but for rounding.
    Raises SingularSystemError if W is singular in its arithmetic.
    """
    if definite:
        if not cholesky_(W):
            raise SingularSystemError(
                f"the {W.shape[0]}×{W.shape[0]} system M I + J D⁻¹ Jᵀ is positive definite, but not in {W.dtype}: "
                "raise gamma, or use precision='float64'"
            )
        return Factor(W, None, 0)
    LD, pivots, info = torch.linalg.ldl_factor_ex(mirror_(W))
    negative, singular = _pivots(LD, pivots)
    if int(info) != 0 or singular:
        raise SingularSystemError(f"the damped Hessian is singular in {W.dtype}: change gamma")
    return Factor(LD, pivots, negative)


def _pivots(LD: Tensor, pivots: Tensor) -> tuple[int, bool]:
    """(negative eigenvalues of the block-diagonal factor, is one of its blocks singular?)"""
    d, e = LD.diagonal().double().cpu(), LD.diagonal(-1).double().cpu()
    kinds = pivots.cpu().tolist()
    negative, singular, i = 0, False, 0
    while i < len(kinds):
        if kinds[i] > 0:
            negative += int(d[i] < 0)
            singular |= not bool(d[i].abs() > 0)
            i += 1
        else:
            values = torch.linalg.eigvalsh(torch.stack([d[i], e[i], e[i], d[i + 1]]).view(2, 2))
            negative += int((values < 0).sum())
            singular |= not bool((values != 0).all())
            i += 2
    return negative, singular
