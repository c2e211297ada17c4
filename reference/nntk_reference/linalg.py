"""Symmetric linear algebra: one LDLᵀ for mpmath and balls, LAPACK for float64, and certified answers over balls.

The certified functions (`cholesky`, `inertia`, `positive_definite`, `solve`, `eigenvalues`) take float64 or mpf matrices, which
are exact data, or arb matrices, which stand for every matrix inside. Their answers are proved for all of these or reported as
undecided; for exact data the precision is raised up to the arithmetic's cap before that is said.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from flint import arb, arb_mat, ctx

from nntk_reference import validation
from nntk_reference.arithmetic import FLOAT64, Arithmetic, Array, Ball, Multiprecision, NotProved
from nntk_reference.errors import InputError, NoiseWarning, PrecisionError, SingularSystemError
from nntk_reference.verdict import Verdict

__all__ = [
    "CERTIFIED",
    "Inertia",
    "cholesky",
    "eigenvalues",
    "inertia",
    "ldl",
    "positive_definite",
    "solve",
    "symmetric_solve",
]

CERTIFIED = Ball(128)
"""Where certified answers start from, and their cap, unless told otherwise."""

_ALPHA = 0.6403882032022076  # (1 + √17)/8, Bunch and Kaufman's pivot threshold


class Inertia(NamedTuple):
    """Numbers of eigenvalues proved negative, zero and positive; `undecided` is how many are left."""

    negative: int
    zero: int
    positive: int
    undecided: int


@dataclass(frozen=True)
class LDL:
    """A[perm][:, perm] = L D Lᵀ: L unit lower triangular, D of 1×1 and 2×2 blocks.

    `blocks` holds the index ranges of D's blocks. A factorization over balls stops where no pivot is known to be nonzero; then
    `done` < n and the trailing part of D is the Schur complement that is left.
    """

    perm: Array
    L: Array
    D: Array
    blocks: tuple[slice, ...]
    done: int


def ldl(A: Array, magnitude: Callable[[Any], Any]) -> LDL:
    """Bunch–Kaufman factorization of a symmetric matrix of mpf or arb. `magnitude` orders the pivots.

    Source: Golub and Van Loan, Matrix Computations, 4.4.4 (partial pivoting).
    """
    S, n = A.copy(), len(A)
    L = np.full((n, n), 0 * A[0, 0], dtype=object)
    L[np.diag_indices(n)] = 1 + 0 * A[0, 0]
    perm, blocks, k = np.arange(n), [], 0

    def swap(i: int, j: int) -> None:
        if i != j:
            S[[i, j]] = S[[j, i]]
            S[:, [i, j]] = S[:, [j, i]]
            perm[[i, j]] = perm[[j, i]]
            L[[i, j], :k] = L[[j, i], :k]

    while k < n:
        size = [magnitude(v) for v in S[k:, k]]
        below = max(range(1, n - k), key=size.__getitem__, default=0)
        block = 1
        if below:
            largest = size[below]
            if size[0] < _ALPHA * largest:
                beside = [magnitude(v) for v in S[k:, k + below]]
                row = max(v for j, v in enumerate(beside) if j != below)
                if size[0] * row >= _ALPHA * largest * largest:
                    pass
                elif beside[below] >= _ALPHA * row:
                    swap(k, k + below)
                else:
                    swap(k + 1, k + below)
                    block = 2
        inverse = _small_inverse(S[k : k + block, k : k + block])
        if inverse is None:  # a column of zeros, or wide balls: the largest diagonal entry may still do ...
            block = 1
            swap(k, max(range(k, n), key=lambda i: magnitude(S[i, i])))
            inverse = _small_inverse(S[k : k + 1, k : k + 1])
        if inverse is None and k + 1 < n:  # ... or the largest pair
            block = 2
            i, j = max(itertools.combinations(range(k, n), 2), key=lambda pair: magnitude(S[pair]))
            swap(k, i)
            swap(k + 1, j)
            inverse = _small_inverse(S[k : k + 2, k : k + 2])
        if inverse is None:
            break
        rest = slice(k + block, n)
        column = S[rest, k : k + block]
        L[rest, k : k + block] = column @ inverse
        S[rest, rest] = S[rest, rest] - L[rest, k : k + block] @ column.T
        S[rest, k : k + block] = 0 * column
        S[k : k + block, rest] = 0 * column.T
        blocks.append(slice(k, k + block))
        k += block
    return LDL(perm, L, S, tuple(blocks), k)


def _nonzero(x: Any) -> bool:
    return bool(x != 0) if not isinstance(x, arb) else bool(x > 0 or x < 0)


def _small_inverse(E: Array) -> Array | None:
    if len(E) == 1:
        return np.array([[1 / E[0, 0]]], dtype=object) if _nonzero(E[0, 0]) else None
    determinant = E[0, 0] * E[1, 1] - E[0, 1] * E[0, 1]
    if not _nonzero(determinant):
        return None
    adjugate = np.array([[E[1, 1], -E[0, 1]], [-E[0, 1], E[0, 0]]], dtype=object)
    inverse: Array = adjugate / determinant
    return inverse


def _block_signs(E: Array) -> tuple[int, int]:
    """(negative, positive) eigenvalues of a nonsingular 1×1 or 2×2 pivot."""
    if len(E) == 1:
        return (1, 0) if E[0, 0] < 0 else (0, 1)
    if E[0, 0] * E[1, 1] - E[0, 1] * E[0, 1] < 0:
        return (1, 1)
    return (2, 0) if E[0, 0] < 0 else (0, 2)


def _factor_inertia(factors: LDL) -> Inertia:
    signs = [_block_signs(factors.D[b, b]) for b in factors.blocks]
    negative, positive, left = sum(s[0] for s in signs), sum(s[1] for s in signs), len(factors.D) - factors.done
    if left and all(v == 0 for v in factors.D[factors.done :, factors.done :].flat):
        return Inertia(negative, left, positive, 0)
    return Inertia(negative, 0, positive, left)


def _ldl_solve(factors: LDL, b: Array) -> Array:
    x = b[factors.perm]
    n = len(x)
    for i in range(n):
        x[i] = x[i] - factors.L[i, :i] @ x[:i] if i else x[i]
    for s in factors.blocks:
        inverse = _small_inverse(factors.D[s, s])
        x[s] = inverse @ x[s]
    for i in reversed(range(n - 1)):
        x[i] = x[i] - factors.L[i + 1 :, i] @ x[i + 1 :]
    out = np.empty_like(x)
    out[factors.perm] = x
    return out


def symmetric_solve(ar: Arithmetic, A: Array, b: Array) -> tuple[Array, int]:
    """(A⁻¹b, number of negative eigenvalues of A) for symmetric A (n, n) and b (n,) or (n, k), definite or not.

    float64: LAPACK sytrf; refused as singular when the reciprocal condition number is below n·eps, where also the signs of the
    eigenvalues would be noise. mpmath: `ldl`. Balls: proved, or `NotProved` so that the precision is raised.
    Raises SingularSystemError.
    """
    if ar == FLOAT64:
        return _lapack_solve(A, b)
    if isinstance(ar, Ball):
        counts = _ball_inertia(A, ar.magnitude)
        if counts.zero:
            raise SingularSystemError(f"matrix: expected nonsingular, got {counts.zero} eigenvalues that are exactly zero")
        if counts.undecided:
            raise NotProved(f"{counts.undecided} of {len(A)} eigenvalues have no proved sign at {ar.bits} bits")
        return _ball_solve(A, b), counts.negative
    factors = ldl(A, ar.magnitude)
    if factors.done < len(A):
        raise SingularSystemError(f"matrix: expected nonsingular, got a zero pivot at step {factors.done} of {len(A)}")
    return _ldl_solve(factors, b), _factor_inertia(factors).negative


def _lapack_solve(A: Array, b: Array) -> tuple[Array, int]:
    n = len(A)
    norm = float(np.abs(A).sum(axis=0).max())
    if not np.isfinite(norm):
        return np.full_like(b, np.nan), 0  # refused as not finite by the caller's evaluation
    workspace = int(scipy.linalg.lapack.dsytrf_lwork(n, lower=1)[0])  # without it the factorization is not blocked
    factors, pivots, info = scipy.linalg.lapack.dsytrf(A, lower=1, lwork=workspace)
    rcond = scipy.linalg.lapack.dsycon(factors, pivots, norm, lower=1)[0] if info == 0 and norm > 0 else 0.0
    if not rcond > n * np.finfo(np.float64).eps:
        raise SingularSystemError(
            f"matrix: expected a reciprocal condition number above n·eps = {n * np.finfo(np.float64).eps:.1e} for float64, "
            f"got {rcond:.1e}; ask for Multiprecision or Ball"
        )
    x, _ = scipy.linalg.lapack.dsytrs(factors, pivots, b, lower=1)
    diagonal, below = np.diag(factors), np.diag(factors, -1)
    negative, k = 0, 0
    while k < n:
        if pivots[k] > 0:
            negative, k = negative + int(diagonal[k] < 0), k + 1
        else:  # a 2×2 pivot
            block = np.array([[diagonal[k], below[k]], [below[k], diagonal[k + 1]]])
            negative, k = negative + int((np.linalg.eigvalsh(block) < 0).sum()), k + 2
    return x, negative


# -------------------------------------------------------------------------------------------------------- certified, over balls


def _ball_solve(A: Array, b: Array) -> Array:
    """Enclosures of A⁻¹b from (RA)x = Rb, with R an approximate inverse: RA is near I, so nothing is lost to elimination."""
    matrix, columns = arb_mat(A.tolist()), arb_mat(b.reshape(len(b), -1).tolist())
    try:
        with ctx.workprec(2 * ctx.prec):
            R = matrix.mid().inv().mid()
        x = (R * matrix).solve(R * columns)
    except ZeroDivisionError:
        raise NotProved("the matrix could not be proved nonsingular") from None
    return np.array(x.tolist(), dtype=object).reshape(b.shape)


def _ball_inertia(A: Array, magnitude: Callable[[Any], Any]) -> Inertia:
    """Inertia of a ball matrix from its LDLᵀ; where elimination widens the balls too much, from that of W A Wᵀ instead.

    W is an exact nonsingular triangular matrix, the approximate inverse of the midpoint's L: W A Wᵀ is nearly block diagonal,
    with the inertia of A (Sylvester).
    """
    direct = _factor_inertia(ldl(A, magnitude))
    if not direct.undecided:
        return direct
    with ctx.workprec(2 * ctx.prec):
        middle = np.array(arb_mat(A.tolist()).mid().tolist(), dtype=object)
        factors = ldl(middle, magnitude)
        if factors.done < len(A):
            return direct
        try:
            inverse = arb_mat(factors.L.tolist()).inv()
        except ZeroDivisionError:  # entries too far apart for FLINT to see at this precision that L is nonsingular
            return direct
        W = np.tril(np.array(inverse.mid().tolist(), dtype=object))
    if any(v == 0 for v in np.diag(W)):
        return direct
    T = W @ A[np.ix_(factors.perm, factors.perm)] @ W.T
    return min(direct, _factor_inertia(ldl((T + T.T) / 2, magnitude)), key=lambda counts: counts.undecided)


def _exact(A: Array) -> bool:
    """Does raising the precision help? Not for balls that already have a radius."""
    return A.dtype != object or all(not isinstance(v, arb) or v.is_exact() for v in A.flat)


def _ball_arithmetic(arithmetic: Arithmetic) -> Ball:
    if not isinstance(arithmetic, Ball):
        raise InputError("arithmetic", "Ball(bits) for a certified answer", repr(arithmetic))
    return arithmetic


def _ladder(arithmetic: Ball, *data: Array) -> list[int]:
    steps = list(arithmetic.ladder())
    if all(_exact(A) for A in data):
        return steps
    # balls with radii: one run, precise enough to add nothing to them
    return [min(2 * arithmetic.bits, arithmetic.max_bits)]


def cholesky(A: Any, arithmetic: Ball = CERTIFIED) -> Array | None:
    """Lower triangular L with A = LLᵀ, proving A positive definite; None if that is undecided (or false).

    A (n, n) symmetric, float64, mpf or arb; L (n, n) of arb. Raises InputError.
    """
    A = validation.matrix("A", A)
    arithmetic = _ball_arithmetic(arithmetic)
    for bits in _ladder(arithmetic, A):
        with ctx.workprec(bits):
            S = arithmetic.array(A)
            n = len(S)
            L = np.full((n, n), arb(0), dtype=object)
            for k in range(n):
                if not S[k, k] > 0:
                    break
                L[k:, k] = S[k:, k] / S[k, k].sqrt()
                S[k + 1 :, k + 1 :] = S[k + 1 :, k + 1 :] - np.outer(L[k + 1 :, k], L[k + 1 :, k])
            else:
                return L
            if S[k, k] <= 0:
                return None
    return None


def inertia(A: Any, arithmetic: Ball = CERTIFIED) -> Inertia:
    """Proved numbers of negative, zero and positive eigenvalues of a symmetric matrix, by LDLᵀ over balls (Sylvester).

    What the factorization has passed is proved even when it cannot go on: the counts are then lower bounds, and `undecided` is
    what is missing. Zero is proved only where a Schur complement vanishes exactly. A (n, n), float64, mpf or arb.
    Raises InputError.
    """
    A = validation.matrix("A", A)
    arithmetic = _ball_arithmetic(arithmetic)
    best = Inertia(0, 0, 0, len(A))
    for bits in _ladder(arithmetic, A):
        with ctx.workprec(bits):
            counts = _ball_inertia(arithmetic.array(A), arithmetic.magnitude)
        best = min(best, counts, key=lambda c: c.undecided)
        if best.undecided == 0:
            break
    return best


def positive_definite(A: Any, arithmetic: Ball = CERTIFIED) -> Verdict:
    """Is A positive definite? Holds and refuted are proofs, from the inertia. A (n, n) symmetric. Raises InputError."""
    counts = inertia(A, arithmetic)
    if counts.negative or counts.zero:
        return Verdict.REFUTED
    return Verdict.HOLDS if counts.undecided == 0 else Verdict.UNDECIDED


def solve(A: Any, b: Any, arithmetic: Ball = CERTIFIED) -> Array:
    """Enclosures of x in Ax = b, with a proof that the symmetric matrix A is nonsingular.

    A (n, n) and b (n,) or (n, k), float64, mpf or arb. Raises InputError; SingularSystemError if A is proved singular or
    could not be proved nonsingular at the cap.
    """
    A = validation.matrix("A", A)
    wanted = f"shape ({len(A)},) or ({len(A)}, k)"
    b = validation.as_array("b", b, wanted)
    if b.ndim not in (1, 2) or len(b) != len(A) or b.size == 0:
        raise InputError("b", wanted, f"shape {b.shape}")
    b = validation.exact_numbers("b", b)
    arithmetic = _ball_arithmetic(arithmetic)
    steps = _ladder(arithmetic, A, b)
    for bits in steps:
        with ctx.workprec(bits):
            try:
                return _ball_solve(arithmetic.array(A), arithmetic.array(b))
            except NotProved:
                continue
    raise SingularSystemError(
        f"A: expected a matrix that can be proved nonsingular within {steps[-1]} bits, got one that is singular or nearly so"
    )


# ------------------------------------------------------------------------------------------------------------------ eigenvalues


def eigenvalues(A: Any, arithmetic: Arithmetic = FLOAT64) -> Array:
    """All eigenvalues of a symmetric matrix, descending, (n,).

    float64       LAPACK. Those below the rounding error n·eps·max|λ| are noise; a `NoiseWarning` says how many.
    Multiprecision(digits)   correct to `digits` digits each, from proved enclosures; PrecisionError if one does not settle (it
                  may be exactly zero).
    Ball(bits)    proved enclosures, the k-th of the k-th largest, multiplicities included, of relative radius about 2^-bits
                  where that can be had: exact data is taken to higher precision, up to the cap, until every eigenvalue has
                  bits/2 correct bits; one that is exactly zero never has, and comes back as an enclosure of zero.

    A (n, n) float64, mpf or arb. Raises InputError.
    """
    A = validation.matrix("A", A)
    arithmetic = validation.arithmetic(arithmetic)
    if isinstance(arithmetic, Ball):
        return _eigenvalues_to(A, arithmetic, arithmetic.bits / 2, strict=False)
    if isinstance(arithmetic, Multiprecision):
        bits = int(np.ceil(arithmetic.digits * np.log2(10))) + 4
        enclosures = _eigenvalues_to(A, Ball(bits + 32), bits, strict=True)
        return arithmetic.from_balls(enclosures)
    if A.dtype == object:
        raise InputError("arithmetic", "Ball or Multiprecision for a matrix of mpf or arb", repr(arithmetic))
    values = FLOAT64.evaluate(lambda _: _lapack_eigenvalues(A))
    noise = len(A) * np.finfo(np.float64).eps * float(np.abs(values).max())
    lost = int((np.abs(values) <= noise).sum())
    if lost:
        warnings.warn(
            f"{lost} of {len(A)} eigenvalues are at most n·eps·max|λ| = {noise:.1e} and are float64 noise; "
            "ask for Ball or Multiprecision",
            NoiseWarning,
            stacklevel=2,
        )
    return values


def _lapack_eigenvalues(A: Array) -> Array:
    exponent = np.frexp(np.abs(A).max())[1]  # LAPACK's own scaling does not reach the ends of the range
    descending: Array = np.ldexp(np.linalg.eigvalsh(np.ldexp(A, -exponent))[::-1], exponent)
    return descending


def _eigenvalues_to(A: Array, arithmetic: Ball, wanted_bits: float, *, strict: bool) -> Array:
    values: Array | None = None
    for bits in _ladder(arithmetic, A):
        with ctx.workprec(bits):
            values = enclose_eigenvalues(arithmetic.array(A))
            accuracy = [v.rel_accuracy_bits() for v in values]
        if min(accuracy) >= wanted_bits:
            return values
    worst = int(np.argmin(accuracy))
    if strict or values is None:
        raise PrecisionError(
            f"digits: expected every eigenvalue to {wanted_bits:.0f} bits within {bits} working bits, "
            f"got {values[worst] if values is not None else 'none'} for number {worst + 1}; it may be exactly zero"
        )
    return values


def enclose_eigenvalues(A: Array) -> Array:
    """Proved enclosures of the eigenvalues of a symmetric ball matrix, descending, at the current flint precision.

    With any Q for which ε = ‖QᵀQ - I‖ < 1, Ostrowski's theorem gives λₖ(QᵀAQ) = θ λₖ(A) with θ in [1-ε, 1+ε], and by Weyl
    the k-th eigenvalue of QᵀAQ lies within ‖offdiag‖ of its k-th largest diagonal entry. Q comes from Jacobi rotations and
    need not be trusted: a bad one gives wide enclosures, never wrong ones.
    """
    n = len(A)
    Q = arb_mat(_jacobi(A))
    B = arb_mat(A.tolist())
    R = np.array((Q.transpose() * B * Q).tolist(), dtype=object)
    G = np.array((Q.transpose() * Q).tolist(), dtype=object) - np.eye(n, dtype=int)
    off = R.copy()
    off[np.diag_indices(n)] = arb(0)
    spread, defect = _norm_bound(off), _norm_bound(G)
    if not defect < 1:
        return np.full(n, arb(0, 1) / 0, dtype=object)
    centers = np.array([v.mid() for v in np.diag(R)], dtype=object)
    widths = max((v.rad() for v in np.diag(R)), key=lambda v: v.mid())
    order = np.argsort(centers)[::-1]
    return np.array([(c + arb(0, (spread + widths).upper())) / (1 + arb(0, defect.upper())) for c in centers[order]])


def _norm_bound(E: Array) -> arb:
    """An upper bound of the spectral norm: the Frobenius norm."""
    return sum((abs(v).upper() * abs(v).upper() for v in E.flat), arb(0)).sqrt().upper()


def _jacobi(A: Array) -> list[list[arb]]:
    """An approximately orthogonal Q that nearly diagonalizes A, exact numbers at the current precision.

    LAPACK's float64 eigenvectors first, then cyclic Jacobi rotations: they converge quadratically, and clusters do not
    confuse them.
    """
    n, bits = len(A), ctx.prec
    middle = [[v.mid() for v in row] for row in A]
    start = _orthogonal_start(middle)
    T = (start.transpose() * arb_mat(middle) * start).mid().tolist()
    V = start.transpose().tolist()  # rows of V are columns of Q
    small = arb(2) ** (-2 * bits)
    for _sweep in range(60):
        rotated = False
        for p in range(n - 1):
            for q in range(p + 1, n):
                apq = T[p][q]
                if apq * apq <= small * abs(T[p][p] * T[q][q]) or apq == 0:
                    continue
                rotated = True
                c, s = _rotation(T[p][p], T[q][q], apq)
                for row in T:
                    x, y = row[p], row[q]
                    row[p], row[q] = (c * x - s * y).mid(), (s * x + c * y).mid()
                for rows in (T, V):
                    X, Y = rows[p], rows[q]
                    rows[p] = [(c * x - s * y).mid() for x, y in zip(X, Y, strict=True)]
                    rows[q] = [(s * x + c * y).mid() for x, y in zip(X, Y, strict=True)]
                T[p][q] = T[q][p] = arb(0)
        if not rotated:
            break
    return [list(row) for row in zip(*V, strict=True)]


def _rotation(app: arb, aqq: arb, apq: arb) -> tuple[arb, arb]:
    """(cos, sin) of the Jacobi rotation that annihilates apq, as exact midpoints (Golub and Van Loan 8.5.2)."""
    tau = (aqq - app) / (2 * apq)
    root = (1 + tau * tau).sqrt()
    t = 1 / (tau + root) if tau >= 0 else 1 / (tau - root)
    c = (1 / (1 + t * t).sqrt()).mid()
    return c, (t * c).mid()


def _orthogonal_start(middle: list[list[arb]]) -> arb_mat:
    """LAPACK's eigenvectors of the matrix, made orthogonal to the current precision by Newton–Schulz steps."""
    n = len(middle)
    identity = arb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)])
    scale = max((abs(v) for row in middle for v in row), default=arb(0))
    if scale == 0 or not scale.is_finite():
        return identity
    F = np.array([[float(v / scale) for v in row] for row in middle])
    Q = arb_mat([[arb(float(v)) for v in row] for row in np.linalg.eigh((F + F.T) / 2)[1]])
    for _ in range(max(1, ctx.prec.bit_length() - 4)):  # from 2^-50, the defect is squared in each
        Q = (Q * (3 * identity - Q.transpose() * Q) / 2).mid()
    return Q
