"""The passes of `stream` for a CPU, compiled by numba: blocks of B neurons, the innermost index, whose entries stay in cache.

torch makes a dozen trips through memory for what is a few dozen flops an entry; here an entry is computed, summed and scaled
while it is near. Same formulas, same order (η, w, c), same results to rounding; `stream` uses it where numba is installed and
the work is large. The exponential is our own, for the compiler to turn into vector instructions; libm's is a call an entry.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["block_size", "gram_rows", "outputs", "solve"]

# Sums may be reordered and products fused with sums; infinities and nan keep their meaning.
_SUMS = {"contract", "reassoc", "nsz"}
_EXACT = {"contract"}

_LOG2E = 1 / math.log(2)
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # 32 bits: its multiples by whole numbers below 2^20 are exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
# Coefficients of r¹¹ … r² of the polynomial that best fits e^r on |r| ≤ ln(2)/2, to 3e-18; those of r and 1 are 1.
_P = tuple(
    float.fromhex(digits)
    for digits in (
        "0x1.af632a0f7e2cep-26",
        "0x1.28b4101c77212p-22",
        "0x1.71ddf56d8deb5p-19",
        "0x1.a01991a10d9aep-16",
        "0x1.a01a01b1461c5p-13",
        "0x1.6c16c1880029fp-10",
        "0x1.111111110f21ep-7",
        "0x1.555555554f0bap-5",
        "0x1.555555555555ap-3",
        "0x1.0000000000011p-1",
    )
)
_SHIFT = 1.5 * 2**52  # adding it rounds to a whole number, which then stands in the lowest bits


def block_size(M: int) -> int:
    """B: the entries of σ and σ' for a block take a quarter of a megabyte; with the block's rows they fit a core's cache."""
    return max(8, min(64, 2**14 // M))


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """The bits of a float64, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _number(typing_context: Any, x: Any) -> Any:
    """The float64 of these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@njit(fastmath=_EXACT, inline="always", error_model="numpy")
def _exp(x: Any) -> Any:
    """e^x for |x| ≤ 700, to about one unit in the last place: 2^k times a polynomial of degree 11 on |r| ≤ ln(2)/2."""
    shifted = x * _LOG2E + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _P[0]
    p = p * r + _P[1]
    p = p * r + _P[2]
    p = p * r + _P[3]
    p = p * r + _P[4]
    p = p * r + _P[5]
    p = p * r + _P[6]
    p = p * r + _P[7]
    p = p * r + _P[8]
    p = p * r + _P[9]
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _number((_bits(shifted) + 1023) << 52)  # type: ignore[call-arg]


@njit(fastmath=_EXACT, cache=True, error_model="numpy")
def _jets(kind: int, order: int, z: Any, value: Any, slope: Any, curvature: Any) -> None:
    """σ, σ', σ'' at z, all (M,); σ'' only for order 2, where it may stand in z's place. `kind` is `Activation.compiled`."""
    M = z.shape[0]
    if kind == 0:
        for m in range(M):
            e = _exp(max(min(2.0 * z[m], 80.0), -80.0))
            q = 1.0 / (1.0 + e)
            value[m] = 1.0 - 2.0 * q
            slope[m] = 4.0 * e * q * q
        if order == 2:
            for m in range(M):
                curvature[m] = -2.0 * value[m] * slope[m]
    elif kind == 1:
        for m in range(M):
            e = _exp(max(min(-z[m], 80.0), -80.0))
            q = 1.0 / (1.0 + e)
            value[m] = q
            slope[m] = e * q * q
        if order == 2:
            for m in range(M):
                curvature[m] = slope[m] * (1.0 - 2.0 * value[m])
    elif kind == 2:
        for m in range(M):
            slope[m] = 1.0 if z[m] > 0.0 else 0.0
            value[m] = z[m] * slope[m]
        if order == 2:
            for m in range(M):
                curvature[m] = 0.0
    else:
        for m in range(M):
            slope[m] = 2.0 * z[m]
            value[m] = z[m] * z[m]
        if order == 2:
            for m in range(M):
                curvature[m] = 2.0


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _load(start: int, c: Any, w: Any, eta: Any, X1: Any, neurons: Any, z: Any) -> Any:
    """A block's c, η, w into `neurons` (d+2, B), zeros past the last one, and z = η + Σ wₖxₖ (M, B); how many there are."""
    B, d, M = neurons.shape[1], w.shape[1], X1.shape[1]
    count = min(B, c.shape[0] - start)
    neurons[:] = 0.0
    for j in range(count):
        neurons[0, j] = c[start + j]
        neurons[1, j] = eta[start + j]
        for k in range(d):
            neurons[2 + k, j] = w[start + j, k]
    for m in range(M):
        x = X1[1, m]
        for j in range(B):
            z[m, j] = neurons[1, j] + neurons[2, j] * x
        for k in range(1, d):
            x = X1[k + 1, m]
            for j in range(B):
                z[m, j] += neurons[2 + k, j] * x
    return count


@njit(nogil=True, fastmath=_SUMS, cache=True, error_model="numpy")
def outputs(kind: int, c: Any, w: Any, eta: Any, X1: Any, f: Any, B: int) -> None:
    """Add to f: Σ cᵢ σ(zᵢ) over these neurons. X1 (d+1, M)."""
    M = f.shape[0]
    neurons, z, value, slope = np.empty((w.shape[1] + 2, B)), np.empty((M, B)), np.empty((M, B)), np.empty((M, B))
    for start in range(0, c.shape[0], B):
        _load(start, c, w, eta, X1, neurons, z)
        _jets(kind, 0, z.reshape(-1), value.reshape(-1), slope.reshape(-1), slope.reshape(-1))
        for m in range(M):
            total = 0.0
            for j in range(B):
                total += neurons[0, j] * value[m, j]
            f[m] += total


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _add_sums(rows: Any, x: Any, out: Any) -> None:
    """Form rows (k, M) times x (M, B) in out (k, B), four rows of x at a time: fewer short loops, fewer stores."""
    k, M, B = rows.shape[0], x.shape[0], x.shape[1]
    whole = M - M % 4
    out[:] = 0.0
    for m in range(0, whole, 4):
        for i in range(k):
            f0, f1, f2, f3 = rows[i, m], rows[i, m + 1], rows[i, m + 2], rows[i, m + 3]
            for j in range(B):
                out[i, j] += (f0 * x[m, j] + f1 * x[m + 1, j]) + (f2 * x[m + 2, j] + f3 * x[m + 3, j])
    for m in range(whole, M):
        for i in range(k):
            f0 = rows[i, m]
            for j in range(B):
                out[i, j] += f0 * x[m, j]


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _block(S: Any, start: int, count: int, mu: float, D: Any) -> None:
    """D_i = S_i + μI (p, p, B) from the stored entries; μI past the last neuron."""
    p, B = D.shape[0], D.shape[2]
    D[:] = 0.0
    row = p - 1
    for k in range(p - 1):
        for j in range(count):
            D[p - 1, k, j] = S[k, start + j]
            D[k, p - 1, j] = S[k, start + j]
        for l in range(k + 1):
            for j in range(count):
                D[k, l, j] = S[row, start + j]
                D[l, k, j] = S[row, start + j]
            row += 1
    for k in range(p):
        for j in range(B):
            D[k, k, j] += mu


@njit(fastmath=_EXACT, cache=True, error_model="numpy")
def _inverse_cholesky(D: Any, L: Any, inverse: Any, limit: float, ok: Any) -> None:
    """L⁻¹ with D = LLᵀ, all (p, p, B); ok (B,) is 1 where D ≻ 0 and ‖L⁻¹‖² ≤ limit; elsewhere 0, and L⁻¹ = 0."""
    p, B = D.shape[0], D.shape[2]
    inverse[:] = 0.0
    total, size = np.empty(B), np.zeros(B)
    ok[:] = 1.0
    for i in range(p):
        for k in range(i + 1):
            for j in range(B):
                total[j] = D[i, k, j]
            for l in range(k):
                for j in range(B):
                    total[j] -= L[i, l, j] * L[k, l, j]
            if k < i:
                for j in range(B):
                    L[i, k, j] = total[j] * inverse[k, k, j]
            else:
                for j in range(B):
                    good = total[j] > 0.0
                    ok[j] = ok[j] if good else 0.0
                    L[i, i, j] = math.sqrt(total[j] if good else 1.0)
                    inverse[i, i, j] = 1.0 / L[i, i, j]
        for k in range(i):
            total[:] = 0.0
            for l in range(k, i):
                for j in range(B):
                    total[j] += L[i, l, j] * inverse[l, k, j]
            for j in range(B):
                inverse[i, k, j] = -total[j] * inverse[i, i, j]
        for k in range(i + 1):
            for j in range(B):
                size[j] += inverse[i, k, j] * inverse[i, k, j]
    for j in range(B):
        ok[j] = ok[j] if size[j] <= limit else 0.0
    for i in range(p):
        for k in range(i + 1):
            for j in range(B):
                inverse[i, k, j] = inverse[i, k, j] if ok[j] > 0.0 else 0.0


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _fill(Y: Any, at: int, steep: Any, last: Any, scale: float, X1: Any, value: Any, slope: Any) -> None:
    """Columns at, … of Y (M, columns): the p rows of L⁻¹J of each neuron, row by row."""
    p, B, M = steep.shape[0], value.shape[1], value.shape[0]
    flat, total = last * scale, np.empty(B)
    # Rows are sliced out first: an index that the compiler cannot see to be positive costs it the vector instructions.
    for m in range(M):
        s, v = slope[m], value[m]
        if p == 3:
            x = X1[1, m]
            bias, along, last_row = Y[m, at : at + B], Y[m, at + B : at + 2 * B], Y[m, at + 2 * B : at + 3 * B]
            for j in range(B):
                bias[j] = steep[0, 0, j] * s[j]
                along[j] = (steep[1, 0, j] + steep[1, 1, j] * x) * s[j]
                last_row[j] = (steep[2, 0, j] + steep[2, 1, j] * x) * s[j] + flat[j] * v[j]
            continue
        for i in range(p):
            row = Y[m, at + i * B : at + (i + 1) * B]
            for j in range(B):
                total[j] = steep[i, 0, j]
            for k in range(1, min(i + 1, p - 1)):
                for j in range(B):
                    total[j] += steep[i, k, j] * X1[k, m]
            if i < p - 1:
                for j in range(B):
                    row[j] = total[j] * s[j]
            else:
                for j in range(B):
                    row[j] = total[j] * s[j] + flat[j] * v[j]


@njit(nogil=True, fastmath=_SUMS, cache=True, error_model="numpy")
def gram_rows(
    kind: int,
    c: Any,
    w: Any,
    eta: Any,
    X1: Any,
    first: Any,
    second: Any,
    S: Any,
    fresh: bool,
    mu: float,
    scale: float,
    limit: float,
    Y: Any,
    good: Any,
    B: int,
) -> None:
    """The rows L⁻¹J of these neurons into Y (M, p·n'), n' = n rounded up to whole blocks; zero where the block is not safe.

    S (entries, n) is computed if `fresh`, else read; good (n,) says which blocks are safe.
    """
    M, p = X1.shape[1], X1.shape[0] + 1
    neurons, z, value, slope = np.empty((p, B)), np.empty((M, B)), np.empty((M, B)), np.empty((M, B))
    entries = np.empty((second.shape[0], B))
    D, L, inverse, ok = np.empty((p, p, B)), np.empty((p, p, B)), np.empty((p, p, B)), np.empty(B)
    steep = np.empty((p, p - 1, B))
    for start in range(0, c.shape[0], B):
        count = _load(start, c, w, eta, X1, neurons, z)
        _jets(kind, 2 if fresh else 1, z.reshape(-1), value.reshape(-1), slope.reshape(-1), z.reshape(-1))
        if fresh:  # σ'' stands where z was
            _add_sums(first, slope, entries)
            for k in range(p - 1):
                for j in range(count):
                    S[k, start + j] = entries[k, j]
            _add_sums(second, z, entries)
            for k in range(second.shape[0]):
                for j in range(count):
                    S[p - 1 + k, start + j] = entries[k, j] * neurons[0, j]
        _block(S, start, count, mu, D)
        _inverse_cholesky(D, L, inverse, limit, ok)
        for j in range(count):
            good[start + j] = ok[j] > 0.0
        for j in range(count, B):
            inverse[:, :, j] = 0.0
        for i in range(p):
            for k in range(p - 1):
                for j in range(B):
                    steep[i, k, j] = inverse[i, k, j] * neurons[0, j] * scale
        _fill(Y, start * p, steep, inverse[p - 1, p - 1], scale, X1, value, slope)


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _apply(inverse: Any, b: Any, half: Any, x: Any) -> None:
    """Add L⁻ᵀ L⁻¹ b to x, all (p, B)."""
    p, B = b.shape
    half[:] = 0.0
    for i in range(p):
        for k in range(i + 1):
            for j in range(B):
                half[i, j] += inverse[i, k, j] * b[k, j]
    for k in range(p):
        for i in range(k, p):
            for j in range(B):
                x[k, j] += inverse[i, k, j] * half[i, j]


@njit(fastmath=_EXACT, cache=True, error_model="numpy")
def _left(D: Any, x: Any, b: Any, left: Any) -> None:
    """Form b - D x in left, all (p, B)."""
    p, B = b.shape
    for i in range(p):
        for j in range(B):
            left[i, j] = b[i, j]
        for k in range(p):
            for j in range(B):
                left[i, j] -= D[i, k, j] * x[k, j]


@njit(fastmath=_SUMS, cache=True, error_model="numpy")
def _dot(a: Any, b: Any, mask: Any) -> float:
    """Σ a b over the columns of (p, B) arrays where mask is not 0."""
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += a[i, j] * b[i, j] if mask[j] > 0.0 else 0.0
    return total


@njit(nogil=True, fastmath=_SUMS, cache=True, error_model="numpy")
def solve(
    kind: int,
    c: Any,
    w: Any,
    eta: Any,
    X1: Any,
    S: Any,
    mu: float,
    scale: float,
    limit: float,
    columns: Any,
    update: Any,
    image: Any,
    sums: Any,
    B: int,
) -> None:
    """Δ = D⁻¹ Jᵀ v, refined once, for the neurons whose block is safe; rows (c, w, η) of update (p, n).

    columns (1 or 3, M): v, and the probes 1/√M and r; image (1 or 2, M) and sums (5,) as in `stream.solve`.
    """
    M, p, probes = X1.shape[1], X1.shape[0] + 1, columns.shape[0]
    neurons, z, value, slope = np.empty((p, B)), np.empty((M, B)), np.empty((M, B)), np.empty((M, B))
    D, L, inverse, ok = np.empty((p, p, B)), np.empty((p, p, B)), np.empty((p, p, B)), np.empty(B)
    b, x, half, left = np.empty((probes, p, B)), np.empty((p, B)), np.empty((p, B)), np.empty((p, B))
    move, steep, flat = np.empty((p, B)), np.empty((probes * (p - 1), B)), np.empty((probes, B))
    features = np.empty((probes * (p - 1), M))
    for k in range(probes):
        for l in range(p - 1):
            for m in range(M):
                features[k * (p - 1) + l, m] = columns[k, m] * X1[l, m]
    for start in range(0, c.shape[0], B):
        count = _load(start, c, w, eta, X1, neurons, z)
        _jets(kind, 1, z.reshape(-1), value.reshape(-1), slope.reshape(-1), slope.reshape(-1))
        _block(S, start, count, mu, D)
        _inverse_cholesky(D, L, inverse, limit, ok)
        ok[count:] = 0.0
        _add_sums(features, slope, steep)
        _add_sums(columns, value, flat)
        for k in range(probes):
            for l in range(p - 1):
                for j in range(B):
                    b[k, l, j] = steep[k * (p - 1) + l, j] * neurons[0, j] * scale
            for j in range(B):
                b[k, p - 1, j] = flat[k, j] * scale
        x[:] = 0.0
        _apply(inverse, b[0], half, x)
        _left(D, x, b[0], left)
        _apply(inverse, left, half, x)
        _left(D, x, b[0], left)
        for j in range(count):
            if ok[j] > 0.0:
                update[0, start + j] = x[p - 1, j]
                update[p - 1, start + j] = x[0, j]
                for k in range(1, p - 1):
                    update[k, start + j] = x[k, j]
        sums[0] += _dot(x, x, ok)
        sums[1] += _dot(left, left, ok)
        if probes > 1:
            sums[2] += _dot(b[1], b[1], ok)
            sums[4] += _dot(b[2], b[2], ok)
            half[:] = 0.0
            _left(D, b[1], half, left)
            sums[3] -= _dot(b[1], left, ok)
        for k in range(min(probes, 2)):
            for j in range(B):
                for l in range(p - 1):
                    move[l, j] = (x[l, j] if k == 0 else b[1, l, j]) * neurons[0, j] * scale * ok[j]
                move[p - 1, j] = (x[p - 1, j] if k == 0 else b[1, p - 1, j]) * scale * ok[j]
            for m in range(M):
                total, x1 = 0.0, X1[1, m]
                if p == 3:
                    for j in range(B):
                        total += (move[0, j] + move[1, j] * x1) * slope[m, j] + move[2, j] * value[m, j]
                else:
                    for j in range(B):
                        half[0, j] = move[0, j] + move[1, j] * x1
                    for l in range(2, p - 1):
                        for j in range(B):
                            half[0, j] += move[l, j] * X1[l, m]
                    for j in range(B):
                        total += half[0, j] * slope[m, j] + move[p - 1, j] * value[m, j]
                image[k, m] += total
