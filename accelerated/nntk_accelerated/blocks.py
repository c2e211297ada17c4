"""Symmetric p×p matrices, one per neuron, as tensors (p, p, n): every entry is a contiguous vector over the neurons.

A loop over the entries then runs at the speed of memory, where a batched factorization by LAPACK pays a call for every tiny
matrix. Nothing here waits for the device: failures come back as masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dense_eigh", "eigh", "inverse_cholesky", "matmul", "matvec", "norms"]

_BATCH = 2**15
"""Matrices for one call of torch.linalg.eigh: cuSOLVER refuses 65,536 of them."""

_TRUSTED = frozenset({"cpu"})
"""Devices on which torch.linalg.eigh is LAPACK."""

_ROUNDINGS = 30.0
"""What an eigensolver's answer may be off by, in units of p eps: a right one is within a few."""


def inverse_cholesky(D: Tensor) -> tuple[Tensor, Tensor]:
    """(L⁻¹, ok) with D = LLᵀ, L lower triangular; D (p, p, n) is overwritten. ok is False, and L⁻¹ = 0, where D is not ≻ 0.

    Right-looking: after column j, the trailing block is the Schur complement of the leading j×j one.
    """
    p, _, n = D.shape
    inverse = torch.zeros_like(D)
    ok = torch.ones(n, dtype=torch.bool, device=D.device)
    for j in range(p):
        pivot = D[j, j]
        good = (pivot > 0) & (pivot < torch.inf)
        ok &= good
        r = torch.where(good, pivot, 1).rsqrt_()
        if j + 1 < p:
            column = D[j + 1 :, j].mul_(r)
            D[j + 1 :, j + 1 :] -= column[:, None] * column[None]
        # row j of L⁻¹: -(row j of L, left of the diagonal) L⁻¹ / L_jj
        if j:
            inverse[j, :j] = (D[j, :j, None] * inverse[:j, :j]).sum(0).mul_(-r)
        inverse[j, j] = r
    ok &= torch.isfinite(inverse).flatten(0, 1).all(0)
    return torch.where(ok, inverse, 0), ok


def eigh(D: Tensor) -> tuple[Tensor, Tensor]:
    """(λ, Q) with D = Q diag(λ) Qᵀ: λ (p, n) in no order, Q (p, p, n), eigenvectors in its columns. D is overwritten.

    By `dense_eigh`, and by Jacobi rotations for the rare graded matrices on which it fails. A matrix that is not finite gives
    nan.
    """
    finite = torch.isfinite(D).flatten(0, 1).all(0)
    matrices = torch.where(finite, D, 0).permute(2, 0, 1)
    values, vectors = dense_eigh(matrices)
    failed = values.isnan().any(1)
    if bool(failed.any()):
        graded = matrices[failed]
        exponent = torch.frexp(graded.abs().amax((1, 2))).exponent
        rotated, Q = _jacobi(torch.ldexp(graded.permute(1, 2, 0), -exponent))
        values[failed], vectors[failed] = torch.ldexp(rotated, exponent).t(), Q.permute(2, 0, 1)
    values = torch.where(finite, values.t(), torch.nan)
    return values, vectors.permute(1, 2, 0).contiguous()


def dense_eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """(λ ascending (n, p), Q (n, p, p)) of matrices (n, p, p); both nan for those that have no right answer.

    On a GPU torch.linalg.eigh is not taken at its word: for the 16×16 matrix of ones cuSOLVER (CUDA 13.0) gives vectors that
    are not orthogonal, and says nothing. What is wrong there is solved again by LAPACK.
    """
    solved = [_solved(matrices[a : a + _BATCH]) for a in range(0, matrices.shape[0], _BATCH)]
    if not solved:
        return matrices.new_empty(matrices.shape[:2]), matrices.new_empty(matrices.shape)
    values, vectors = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*solved, strict=True))
    if matrices.device.type not in _TRUSTED:
        wrong = ~_right(matrices, values, vectors)
        if bool(wrong.any()):
            again = _solved(matrices[wrong].cpu())
            values[wrong], vectors[wrong] = (t.to(matrices.device) for t in again)
    failed = ~(torch.isfinite(values).all(1) & torch.isfinite(vectors).flatten(1).all(1))
    if bool(failed.any()):
        values[failed] = vectors[failed] = torch.nan
    return values, vectors


def _solved(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """torch.linalg.eigh; nan for those that it does not converge on, whatever their neighbours."""
    try:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # one of them
        half = len(matrices) // 2
        if half == 0:
            return torch.full_like(matrices[:, 0], torch.nan), torch.full_like(matrices, torch.nan)
        parts = [_solved(matrices[:half]), _solved(matrices[half:])]
        return torch.cat([values for values, _ in parts]), torch.cat([vectors for _, vectors in parts])


def _right(matrices: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """(n,): are the vectors orthonormal, and is QΛQᵀ the matrix, to the roundings of a stable solver? False for nan.

    In float64, so that no fast mode of float32 products speaks along.
    """
    A, values, Q = matrices.double(), values.double(), vectors.double()
    info = torch.finfo(matrices.dtype)
    unit = _ROUNDINGS * A.shape[-1] * info.eps
    skew = (Q.mT @ Q).sub_(torch.eye(A.shape[-1], dtype=Q.dtype, device=Q.device)).abs().amax((1, 2))
    off = ((Q * values[:, None]) @ Q.mT).sub_(A).abs().amax((1, 2))
    return (skew <= unit) & (off <= unit * norms(A) + info.tiny)


def norms(A: Tensor) -> Tensor:
    """Frobenius norms (n,) of matrices (n, p, p), of entries of any size: their squares may over- or underflow."""
    largest = A.abs().amax((1, 2))
    return largest * (A / torch.where(largest > 0, largest, 1)[:, None, None]).square().sum((1, 2)).sqrt()


def _jacobi(D: Tensor) -> tuple[Tensor, Tensor]:
    """Cyclic Jacobi with a fixed number of sweeps, enough at this size."""
    p, _, n = D.shape
    Q = torch.eye(p, dtype=D.dtype, device=D.device)[:, :, None].repeat(1, 1, n)
    for _ in range(4 + p):
        for i in range(p - 1):
            for j in range(i + 1, p):
                _rotate(D, Q, i, j)
    return torch.stack([D[i, i] for i in range(p)]), Q


def _rotate(D: Tensor, Q: Tensor, i: int, j: int) -> None:
    """Annihilate D_ij by the rotation with the smaller angle (Golub and Van Loan, algorithm 8.5.1)."""
    off, gap = D[i, j], D[j, j] - D[i, i]
    # t = tan of the angle solves t² + 2θt - 1 = 0, θ = gap / 2 off; written so that neither 0/0 nor an overflow arises
    denominator = gap.abs() + torch.hypot(gap, 2 * off)
    t = torch.where(denominator > 0, 2 * off * torch.where(gap < 0, -1, 1) / denominator, 0)
    cos = (t * t + 1).rsqrt()
    sin = t * cos
    for A, axis in ((D, 0), (D, 1), (Q, 1)):
        x, y = A.select(axis, i).clone(), A.select(axis, j)
        A.select(axis, i).copy_(cos * x - sin * y)
        A.select(axis, j).copy_(sin * x + cos * y)


def matvec(A: Tensor, x: Tensor) -> Tensor:
    """A x for A (p, q, n) and x (q, n): (p, n)."""
    out = A[:, 0] * x[0]
    for k in range(1, A.shape[1]):
        out.addcmul_(A[:, k], x[k])
    return out


def matmul(A: Tensor, B: Tensor) -> Tensor:
    """A B for A (p, q, n) and B (q, r, n): (p, r, n)."""
    return torch.stack([matvec(A, B[:, j]) for j in range(B.shape[1])], 1)
