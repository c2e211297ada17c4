"""Proofs, in floating point, of what A = H + μI is: positive definite or indefinite, with every rounding error bounded.

The shift μ is γ_N where a step is certified, and of either sign where eigenvalues are sliced.

The statement proved is about exact real numbers: the parameters and data as stored, μ as reported, N^(-β) and σ exact. Its
premises are IEEE arithmetic, summation in any order, and `activations.ERROR` for the elementary functions.

1. Each block: |S_i| < μ in the Frobenius norm, or Cholesky of D_i less a margin that exceeds all its errors (Rump 2006),
   proves D_i ≻ 0; eigenvalues beyond a residual bound prove its inertia.
2. All D_i ≻ 0 prove A ≻ 0. More than M negative eigenvalues of D prove A indefinite, since neg(A) ≥ neg(D) - M.
3. In between, neg(A) = neg(D) - neg(M I + J D⁻¹ Jᵀ) (E14), from eigenvalues of the computed sum that exceed its error bound.
4. A block too near to singular for 3: A ≻ 0 follows from A - τI ≻ 0, and indefiniteness of A from that of A + τI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nntk_accelerated import blocks, stream
from nntk_accelerated.blocks import norms
from nntk_accelerated.bounds import SLACK, Radii, block_norms, jacobian_norms, largest, parts, roundings
from nntk_accelerated.dense import mirror_
from nntk_accelerated.instance import Instance

__all__ = ["Certificate", "Count", "certify", "count_below"]

_LARGEST_EIGEN = 4096
"""Largest M whose eigenvalues are computed for step 3."""


@dataclass(frozen=True)
class Certificate:
    """What is proved of A = H + μI.

    verdict    "positive definite" or "indefinite" (neg(A) ≥ 1), both proved, or "undecided".
    negative   the number of negative eigenvalues, where that is proved; otherwise None.
    at_least   a proved lower bound of that number.
    margin     for "positive definite" by blocks: a proved lower bound of λ_min(A)/μ; otherwise 0.
    reason     how, or why not.
    """

    verdict: Literal["positive definite", "indefinite", "undecided"]
    negative: int | None
    at_least: int
    margin: float
    reason: str

    @property
    def proved(self) -> bool:
        """Is one of the two proved?"""
        return self.verdict != "undecided"


def certify(task: Instance, S: Tensor | None, shift: float, error: Radii | None, *, count: bool = False) -> Certificate:
    """The certificate of A = H + μI, or of A = JᵀJ/M + μI if S is None. `count` asks for neg(A), not only whether it is 0."""
    if S is None or error is None:
        if shift > 0:
            return Certificate("positive definite", 0, 0, 1.0, "JᵀJ/M + μI with μ > 0")
        return Certificate("undecided", None, 0, 0.0, "μ ≤ 0 without curvature")
    first = _inertia(task, S, shift, error, count)
    if first.proved and not (count and first.negative is None):
        return first
    if first.at_least > task.M:  # far from definite: τ would not settle so many doubtful blocks either
        return first
    step = max(1e-6 * abs(shift), 4 * largest(task, error.values))
    low = _inertia(task, S, shift - step, error, count)
    if low.verdict == "positive definite":
        return Certificate("positive definite", 0, 0, 0.0, f"A - τI is proved positive definite, τ = {step:.2e}")
    high = _inertia(task, S, shift + step, error, count)
    at_least = max(first.at_least, high.at_least)
    negative = low.negative if low.negative is not None and low.negative == high.negative else None
    if negative is not None or at_least:
        verdict: Literal["indefinite", "undecided"] = "indefinite" if at_least else "undecided"
        return Certificate(
            verdict, negative, at_least, 0.0, f"A + τI is proved indefinite, τ = {step:.2e}" if at_least else first.reason
        )
    return first


def _inertia(task: Instance, S: Tensor, shift: float, error: Radii, count: bool) -> Certificate:
    found = _block_inertia(task, S, shift, error)
    if found.negative == 0 and found.open == 0:
        return Certificate("positive definite", 0, 0, found.margin, "every block is proved positive definite")
    at_least = max(found.negative - task.M, 0)
    if at_least and not count:
        return Certificate("indefinite", None, at_least, 0.0, f"{found.negative} negative eigenvalues of D, and M = {task.M}")
    answer: Literal["indefinite", "undecided"] = "indefinite" if at_least else "undecided"
    if found.open:
        return Certificate(answer, None, at_least, 0.0, f"{found.open} blocks are singular to within their error bounds")
    if task.M > _LARGEST_EIGEN:
        return Certificate(answer, None, at_least, 0.0, f"M > {_LARGEST_EIGEN}: the M×M eigenvalues were not computed")
    G, bound = _bounded_gram(task, S, shift, error)
    if not math.isfinite(bound):
        return Certificate(answer, None, at_least, 0.0, "the error bound of J D⁻¹ Jᵀ is not finite")
    values, off = _bounded_eigenvalues(G, task.M)
    if not bool((values.abs() > (bound + off) * SLACK).all()):
        return Certificate(answer, None, at_least, 0.0, f"an eigenvalue of M I + J D⁻¹ Jᵀ lies within {bound + off:.2e} of 0")
    negative = found.negative - int((values < 0).sum())
    verdict: Literal["positive definite", "indefinite"] = "indefinite" if negative else "positive definite"
    return Certificate(
        verdict,
        negative,
        negative,
        0.0,
        f"{found.negative} negative eigenvalues of D, {found.negative - negative} of M I + J D⁻¹ Jᵀ",
    )


@dataclass(frozen=True)
class Count:
    """The number of negative eigenvalues of A + E for some symmetric E, ‖E‖₂ ≤ error; infinite where that is not bounded.

    By Weyl's inequality: none proves λ_min(A) ≥ -error, one or more prove λ_min(A) < error.
    """

    negative: int
    error: float


def _sum_rounding(task: Instance) -> float:
    """The relative error of Σ ± yyᵀ over the rows y of C J, against Σ |C|²|J|².

    Each y is made with p + 8 roundings in the product's dtype and 3 in the working one, and counts twice. What is lost below
    the normal numbers is less than the rounding of M I + J D⁻¹ Jᵀ, or than that of its terms.
    """
    p, product = task.p, task.precision.product
    rows = (1 + roundings(2 * (p + 8), product)) * (1 + roundings(6, task.dtype))
    return rows * (1 + roundings(p * task.chunk + task.depth + task.local // task.block + 16, product)) - 1


def count_below(task: Instance, S: Tensor, shift: float, error: Radii) -> Count:
    """E14 for A = H + μI with the perturbation of A that makes its floating-point count exact, all rounding errors included.

    With C = |Λ|^(-1/2) Qᵀ as computed, the blocks (Cᵀ sgn(Λ) C)⁻¹ differ from D_i by `_block_error` alone, as the computed J
    differs from J: both perturb A itself. What is left is an error F of the M×M sum and of its eigenvalues. It amounts to
    (M I + F) in place of M I, and so perturbs A by ‖J‖²/M θ/(1-θ), θ = ‖F‖/M.
    """
    unknown = Count(0, math.inf)
    if task.M > _LARGEST_EIGEN:
        return unknown
    product = task.precision.product
    rounding = _sum_rounding(task)
    G, sums = task.zeros(task.M, task.M, dtype=product), task.zeros(4, dtype=torch.float64)
    most = task.zeros(1, dtype=torch.float64)

    def work(_: list[slice]) -> None:
        for which, values, Q, part in stream.eigen_blocks(task, S, torch.arange(task.local, device=task.device), shift):
            C = Q.transpose(0, 1) * values.abs().rsqrt()[:, None]
            D, exact, rows = _matrices(stream.block(task, S, which, shift), values, C)
            off = (_block_error(D, exact, rows) + _diagonal_error(task, D) + error.values[part]) * SLACK
            most.copy_(torch.maximum(most, torch.nan_to_num(off, nan=math.inf).max()))
            j, e = jacobian_norms(task, part)
            C_size = norms(rows).square()
            sums.add_(
                torch.stack([(rounding * (j + e).square() * C_size).sum(), (j * j).sum(), (e * e).sum(), (values < 0).sum()])
            )
            stream.add_signed(task, G, which, C, values < 0)

    replace(task, lanes=1).sweep(work)
    task.ranks.sum(G)
    task.ranks.sum(sums)
    task.ranks.max(most)
    of_sum, j2, e2, negative = sums.tolist()
    W = mirror_(G.double())
    W.diagonal().add_(task.M)
    values, off = _bounded_eigenvalues(W, task.M)
    of_sum += off + 4 * torch.finfo(torch.float64).eps * float(W.abs().max())
    theta = of_sum / task.M * SLACK
    if not theta < 1:
        return unknown
    j, e = j2**0.5, e2**0.5
    total = (float(most) + ((2 * j + e) * e + (j + e) ** 2 * theta / (1 - theta)) / task.M) * SLACK
    return Count(int(negative) - int((values < 0).sum()), total if math.isfinite(total) else math.inf)


@dataclass(frozen=True)
class _Blocks:
    negative: int  # proved negative eigenvalues of D
    open: int  # blocks whose inertia is not proved
    margin: float


def _block_inertia(task: Instance, S: Tensor, shift: float, error: Radii) -> _Blocks:
    """Step 1, in three sieves of growing cost."""
    p = task.p
    totals = task.zeros(2, dtype=torch.float64)
    least = task.zeros(1, dtype=torch.float64).add_(math.inf)
    tiny = torch.finfo(task.dtype).tiny
    rest = []
    for part in parts(task):
        norms = block_norms(task, S, part) + error.values[part]
        certain = norms < shift  # False for nan as well
        least = torch.minimum(least, ((shift - norms) / abs(shift) * (2 - SLACK)).where(certain, least).min())
        rest.append(torch.nonzero(~certain)[:, 0] + part.start)
    doubtful = torch.cat(rest)
    for a in range(0, doubtful.shape[0], task.block):
        which = doubtful[a : a + task.block]
        D = stream.block(task, S, which, shift)
        # |ΔD| ≤ γ |L||Lᵀ|, p + 5 roundings an entry (rsqrt is right to 4), and ‖|L||Lᵀ|‖ ≤ ‖L‖_F² = tr D but for second order;
        # on the diagonal those of μ, of S + μ and of the shift. Below the normal numbers p products an entry are lost, and what
        # L loses times |L|.
        trace = D.diagonal().double().abs().sum(1)
        room = error.values[which] + roundings(p + 9, task.dtype) * trace + 2 * p * p * tiny * (1 + trace.sqrt())
        shifted = D.clone()
        shifted.diagonal().sub_((room * SLACK)[:, None].to(task.dtype))
        _, definite = blocks.inverse_cholesky(shifted)
        totals += _eigen_counts(task, D, definite, room)
        least = torch.minimum(least, torch.zeros_like(least)) if which.numel() else least
    task.ranks.sum(totals)
    least.neg_()
    task.ranks.max(least)
    return _Blocks(int(totals[0]), int(totals[1]), float(-least))


def _matrices(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same numbers in float64, where bounds are computed, with the neurons first."""
    return tuple(t.double().movedim(-1, 0) for t in tensors)


def _eigen_counts(task: Instance, D: Tensor, definite: Tensor, error: Tensor) -> Tensor:
    """(proved negative eigenvalues, blocks left open) among the blocks that are not `definite`."""
    D, error = D[:, :, ~definite], error[~definite]
    counts = task.zeros(2, dtype=torch.float64)
    if D.shape[2] == 0:
        return counts
    D, values, Q = _matrices(D, *blocks.eigh(D.clone()))
    certain = values.abs().amin(1) > (_eigenvalue_error(D, values, Q) + error) * SLACK
    counts[0] = (values[certain] < 0).sum()
    counts[1] = (~certain).sum()
    return counts


def _bounded_gram(task: Instance, S: Tensor, shift: float, error: Radii) -> tuple[Tensor, float]:
    """Step 3: M I + J D⁻¹ Jᵀ from the eigenvalues of every block, with a bound of its error in the 2-norm.

    With C = |Λ|^(-1/2) Qᵀ and B = Cᵀ sgn(Λ) C in place of D⁻¹: ‖D⁻¹ - B‖ ≤ ‖B‖ θ/(1-θ), θ = ‖B‖ ‖D - B⁻¹‖; then the errors of
    J, of the rows CJ, and of the sum.
    """
    product = task.precision.product
    rounding = _sum_rounding(task)

    # Eigenvalues a large block at a time, as they take many short operations; then rows a chunk at a time, as `depth` counts.
    G, total = task.zeros(task.M, task.M, dtype=product), task.zeros(1, dtype=torch.float64)

    def work(_: list[slice]) -> None:
        for which, values, Q, part in stream.eigen_blocks(task, S, torch.arange(task.local, device=task.device), shift):
            C = Q.transpose(0, 1) * values.abs().rsqrt()[:, None]
            D, exact, rows = _matrices(stream.block(task, S, which, shift), values, C)
            size, C_size = norms(rows.mT @ (rows * exact.sign()[:, :, None])), norms(rows).square()
            theta = (_block_error(D, exact, rows) + _diagonal_error(task, D) + error.values[part]) * size * SLACK
            inverse = torch.where(theta < 1, size * theta / (1 - theta), math.inf)
            j, e = jacobian_norms(task, part)
            total.add_((j * j * inverse + (j + e).square() * rounding * C_size + (2 * j + e) * e * (size + inverse)).sum())
            stream.add_signed(task, G, which, C, values < 0)

    replace(task, lanes=1).sweep(work)
    task.ranks.sum(G)
    task.ranks.sum(total)
    W = mirror_(G.double())
    W.diagonal().add_(task.M)
    bound = float(total) * SLACK + 4 * torch.finfo(torch.float64).eps * float(W.abs().max())
    return W, bound if math.isfinite(bound) else math.inf


def _bounded_eigenvalues(W: Tensor, M: int) -> tuple[Tensor, float]:
    """Eigenvalues of W (float64) and a bound of their error; infinite where none is known."""
    if not bool(torch.isfinite(W).all()):
        return torch.full_like(W[0], math.nan), math.inf
    values, Q = blocks.dense_eigh(W[None])
    return values[0], float(_eigenvalue_error(W[None], values, Q))


def _eigenvalue_error(A: Tensor, values: Tensor, Q: Tensor) -> Tensor:
    """Bounds (n,) of |λ_k(A) - λ_k|, both in order of size, for symmetric A (n, p, p), any λ (n, p) and Q (n, p, p), float64.

    With R = AQ - QΛ and Q = UP, U orthogonal and P ≻ 0, the symmetric Z = UᵀAU - Λ satisfies ZP + PZ = UᵀR + RᵀU. So
    ‖Z‖ ≤ ‖R‖/σ_min(Q), and eigenvalues differ by ‖Z‖ at most (Weyl).
    """
    A, values, exponent = _sized(A, values)
    p = A.shape[1]
    defect = norms(Q.mT @ Q - torch.eye(p, dtype=Q.dtype, device=Q.device))
    # p products and sums in AQ; that of QΛ is as large as AQ, but for R
    off = norms(A @ Q - Q * values[:, None]) + roundings(p + 1, torch.float64) * norms(A) * norms(Q)
    # σ_min(Q)² ≥ 1 - defect, whose own rounding SLACK covers
    return _bound(off, defect, exponent)


def _block_error(D: Tensor, values: Tensor, C: Tensor) -> Tensor:
    """Bounds (n,) of ‖(Cᵀ sgn(Λ) C)⁻¹ - D‖₂ for blocks D (n, p, p), any values Λ (n, p) and C (n, p, p), in float64.

    With Qᵀ = |Λ|^(1/2) C the inverse is Q⁻ᵀΛQ⁻¹, so that the difference is Q⁻ᵀ(Λ - QᵀDQ)Q⁻¹.
    """
    back = C * values.abs().sqrt()[:, :, None]
    D, values, exponent = _sized(D, values)
    p = D.shape[1]
    eye = torch.eye(p, dtype=D.dtype, device=D.device)
    defect = norms(back @ back.mT - eye)
    # two products over p, and two roundings in every entry of either Q
    off = norms(back @ D @ back.mT - values[:, None] * eye) + roundings(2 * p + 4, torch.float64) * norms(D) * norms(back) ** 2
    return _bound(off, defect, exponent)


def _sized(A: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A (n, p, p) and λ (n, p) times 2^-e, e (n,), with the largest of them near 1, so that no product is lost; and e."""
    largest_entry = torch.maximum(A.abs().amax((1, 2)), values.abs().amax(1))
    exponent = torch.frexp(largest_entry).exponent.clamp(-1000, 1000)
    return torch.ldexp(A, -exponent[:, None, None]), torch.ldexp(values, -exponent[:, None]), exponent


def _bound(off: Tensor, defect: Tensor, exponent: Tensor) -> Tensor:
    """The quotient of `off` and σ_min² ≥ 1 - defect, times 2^e; infinite for a large defect, or what is not finite."""
    bound = torch.ldexp(off / (1 - defect) * SLACK, exponent) + torch.finfo(torch.float64).tiny  # what is lost below it
    return torch.where((defect < 0.5) & torch.isfinite(bound), bound, math.inf)


def _diagonal_error(task: Instance, D: Tensor) -> Tensor:
    """Bounds (n,) for what D (n, p, p) = S + μI was rounded by: μ to the working dtype, and the sums. An entry of D is μ."""
    return roundings(3, task.dtype) * D.diagonal(0, 1, 2).abs().amax(1)
