"""The passes over the neurons: outputs, blocks and Gram matrix, solve. Each forms a chunk of J at a time and never stores J.

Notation, per neuron i with p = d+2 parameters in the order (η, w, c), as X1 = (1, x): J_i (p, M) its rows of Jᵀ (E3),
D_i = S_i + μI its block (E4). The shift μ is γ_N in a step, and of either sign where eigenvalues are sliced.
A = H + μI = D + JᵀJ/M. With v = (h - JΔ)/M the system AΔ = Jᵀh/M falls into

    D Δ = Jᵀ v,    (M I + J D⁻¹ Jᵀ) v = h                                                                     (E13)

A direction in which a block is nearly singular would spoil the sum J D⁻¹ Jᵀ although A need not be singular. So D is split:
with V the orthonormal basis of those few directions, Λ their eigenvalues, and D' the rest,

    W (v, t) = (h, 0),   W = [[M I + J D'⁻¹ Jᵀ, J V], [(J V)ᵀ, -Λ]],   Δ = D'⁻¹ Jᵀ v + V t

and, eliminating in the augmented matrix [[D, Jᵀ], [J, -M I]] in two orders (Haynsworth),

    neg(A) = neg(D') + |V| - neg(W)                                                                            (E14)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated import blocks
from nntk_accelerated.dense import Factor, add_outer, factorize
from nntk_accelerated.errors import SingularSystemError
from nntk_accelerated.instance import Instance

__all__ = [
    "Gram",
    "Pass",
    "add_signed",
    "block",
    "correct",
    "eigen_blocks",
    "factor",
    "gram",
    "outputs",
    "residual",
    "residual_blocks",
    "solve",
]

_NEAR = 1e-4
"""An eigenvalue of a block below this share of the blocks' size is kept out of J D⁻¹ Jᵀ."""


def outputs(task: Instance) -> Tensor:
    """f(X) (M,), equation (E1)."""

    def work(chunks: list[slice]) -> Tensor:
        f = task.zeros(task.M)
        if task.fused is not None:
            c, w, eta, X1 = _neurons(task)
            for part in chunks:
                _compiled().outputs(task.fused, c[part], w[part], eta[part], X1, f.numpy(), _compiled().block_size(task.M))
            return f
        for part in chunks:
            (value,) = task.jets(part, 0)
            f.addmv_(value, task.c[part].to(task.dtype))
        return f

    f = _total(task.sweep(work)).mul_(task.scale)
    task.ranks.sum(f)
    return f


def _compiled() -> Any:
    """The module of compiled loops; its import starts numba."""
    from nntk_accelerated import fused

    return fused


def _neurons(task: Instance) -> tuple[Any, ...]:
    """(c, w, η, X1ᵀ) as NumPy arrays."""
    return task.c.numpy(), task.w.numpy(), task.eta.numpy(), task.X1.t().contiguous().numpy()


# ---------------------------------------------------------------------------------------------------------------------- blocks


def _pairs(task: Instance) -> list[tuple[int, int]]:
    """The entries (k, l), l ≤ k, of a symmetric matrix over (η, w)."""
    return [(k, l) for k in range(task.p - 1) for l in range(k + 1)]


def block(task: Instance, S: Tensor | None, part: slice | Tensor, shift: float) -> Tensor:
    """D_i = S_i + μI (p, p, n) of some neurons, from the stored entries of S; S = None is S = 0 (Gauss-Newton)."""
    p = task.p
    n = part.stop - part.start if isinstance(part, slice) else part.shape[0]
    D = task.zeros(p, p, n)
    if S is not None:
        entries = S[:, part]
        D[p - 1, : p - 1] = D[: p - 1, p - 1] = entries[: p - 1]
        for row, (k, l) in enumerate(_pairs(task), p - 1):
            D[k, l] = D[l, k] = entries[row]
    D.diagonal().add_(shift)
    return D


def _weights(task: Instance, r: Tensor) -> tuple[Tensor, Tensor]:
    """What σ' and σ'' are summed against over the data: rows (s/M) r x̃ (d+1, M) and (s/M) r x̃ₖx̃ₗ (pairs, M)."""
    first = (task.X1 * (r * (task.scale / task.M))[:, None]).t().contiguous()
    second = torch.stack([first[k] * task.X1[:, l] for k, l in _pairs(task)])
    return first, second


def _store(task: Instance, S: Tensor, part: slice, weights: tuple[Tensor, Tensor], slope: Tensor, curvature: Tensor) -> None:
    """The entries of S_i (E4) for one chunk."""
    S[: task.p - 1, part] = weights[0] @ slope
    S[task.p - 1 :, part] = (weights[1] @ curvature).mul_(task.c[part].to(task.dtype))


def residual_blocks(task: Instance, r: Tensor) -> Tensor:
    """The entries of all S_i (E4): first its row for c over (η, w), then the lower triangle over (η, w); (entries, neurons)."""
    S = task.zeros(task.p - 1 + len(_pairs(task)), task.local)
    weights = _weights(task, r)

    def work(chunks: list[slice]) -> None:
        for part in chunks:
            _, slope, curvature = task.jets(part, 2)
            _store(task, S, part, weights, slope, curvature)

    task.sweep(work)
    return S


# ------------------------------------------------------------------------------------------------------------------ Gram matrix


@dataclass(frozen=True)
class Border:
    """The directions V kept out of D': their neuron (place in `odd`), eigenvector column and eigenvalue; J V of all ranks."""

    neuron: Tensor
    column: Tensor
    offset: int
    values: Tensor
    JV: Tensor


@dataclass(frozen=True)
class Gram:
    """G = J D'⁻¹ Jᵀ (M, M), lower triangle, and how D was split.

    odd       the local neurons whose block is not safely positive definite; they go by eigenvalues, the others by Cholesky.
    negative  neg(D'), over all ranks.
    definite  is D positive definite, as far as floating point can tell, with no border?
    """

    G: Tensor
    S: Tensor | None
    shift: float
    odd: Tensor
    border: Border | None
    negative: int
    definite: bool


def _rows(task: Instance, Y: Tensor, basis: Tensor, part: slice | Tensor, value: Tensor, slope: Tensor, *, lower: bool) -> None:
    """Y (M, p·n) = the rows basis J_i, one M×n block for each row of basis (p, p, n).

    J_i has rows s c σ' x̃ₖ and last s σ, so each row is σ' times an affine function of x, and a multiple of σ.
    """
    p, n = task.p, value.shape[1]
    steep = basis[:, : p - 1] * (task.c[part].to(task.dtype) * task.scale)
    flat = basis[:, p - 1] * task.scale
    if Y.dtype != value.dtype:
        value, slope, steep, flat, X1 = (t.to(Y.dtype) for t in (value, slope, steep, flat, task.X1))
    else:
        X1 = task.X1
    for j in range(p):
        row = Y[:, j * n : (j + 1) * n]
        k = min(j + 1, p - 1) if lower else p - 1  # a lower triangular basis leaves out the later features
        if k == 1:
            torch.mul(slope, steep[j, 0], out=row)
        else:
            if k == 2:
                torch.addcmul(steep[j, 0], X1[:, 1:2], steep[j, 1], out=row)
            else:
                torch.mm(X1[:, :k], steep[j, :k], out=row)
            row.mul_(slope)
        if j == p - 1 or not lower:
            row.addcmul_(value, flat[j])


def gram(task: Instance, shift: float, *, r: Tensor | None = None, S: Tensor | None = None) -> Gram:
    """One pass: S from the residual r (or S as given, or S = 0 with neither), D' and G.

    Neurons with a doubtful block are left out of the first pass and come in a second one, sorted out in between.
    """
    weights = None
    if r is not None:
        S, weights = task.zeros(task.p - 1 + len(_pairs(task)), task.local), _weights(task, r)
    good = torch.ones(task.local, dtype=torch.bool, device=task.device)

    def work(chunks: list[slice]) -> Tensor:
        G = task.zeros(task.M, task.M, dtype=task.precision.product)
        Y = None
        if task.fused is not None and S is not None and shift > 0:
            _compiled_gram(task, G, S, weights, shift, good, chunks)
            return G
        for part in chunks:
            jets = task.jets(part, 1 if weights is None else 2)
            if weights is not None:
                assert S is not None
                _store(task, S, part, weights, *jets[1:])
            if S is None and shift > 0:
                basis = _scalar_basis(task, part, shift)
            elif shift > 0:
                basis, good[part] = _cholesky_basis(block(task, S, part, shift), shift)
            else:
                good[part] = False
                continue
            n = part.stop - part.start
            if Y is None or Y.shape[1] != task.p * n:
                Y = torch.empty(task.M, task.p * n, dtype=task.precision.product, device=task.device)
            _rows(task, Y, basis, part, jets[0], jets[1], lower=True)
            add_outer(G, Y)
        return G

    G = _total(task.sweep(work))
    odd = torch.nonzero(~good)[:, 0]
    count = task.zeros(1, dtype=torch.float64).add_(odd.shape[0])
    task.ranks.sum(count)
    border, negative = None, 0
    if int(count):
        border, negative = _odd_neurons(task, S, shift, odd, G)
    task.ranks.sum(G)
    return Gram(G, S, shift, odd, border, negative, definite=int(count) == 0 or (border is None and negative == 0))


def _compiled_gram(
    task: Instance, G: Tensor, S: Tensor, weights: tuple[Tensor, Tensor] | None, shift: float, good: Tensor, chunks: list[slice]
) -> None:
    """One lane's share of `gram`, by the compiled loops. Few Python calls a chunk: the lanes share one interpreter."""
    loops = _compiled()
    first, second = (t.numpy() for t in (_weights(task, task.zeros(task.M)) if weights is None else weights))
    c, w, eta, X1 = _neurons(task)
    entries, safe = S.numpy(), good.numpy()
    B, limit, scale, fresh = loops.block_size(task.M), 1 / (shift * _NEAR), task.scale, weights is not None
    kind = G.numpy().dtype
    Y, total = np.empty((task.M, 0), kind), G.numpy()
    square = np.empty_like(total)
    for part in chunks:
        columns = task.p * B * -(-(part.stop - part.start) // B)
        if Y.shape[1] != columns:
            Y = np.empty((task.M, columns), kind)
        loops.gram_rows(
            task.fused,
            c[part],
            w[part],
            eta[part],
            X1,
            first,
            second,
            entries[:, part],
            fresh,
            shift,
            scale,
            limit,
            Y,
            safe[part],
            B,
        )
        with np.errstate(over="ignore", invalid="ignore"):
            np.dot(Y, Y.T, out=square)
            total += square


def _scalar_basis(task: Instance, part: slice, shift: float) -> Tensor:
    """L⁻¹ (p, p, n) of D = μI."""
    basis = task.zeros(task.p, task.p, part.stop - part.start)
    basis.diagonal().fill_(shift**-0.5)
    return basis


def _cholesky_basis(D: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """(L⁻¹, safe): safe where D = LLᵀ with no eigenvalue below _NEAR μ; zero elsewhere. 1/‖L⁻¹‖² bounds the smallest one."""
    basis, ok = blocks.inverse_cholesky(D)
    safe = ok & (basis.square().sum((0, 1)) * (shift * _NEAR) <= 1)
    return torch.where(safe, basis, 0), safe


def eigen_blocks(
    task: Instance, S: Tensor | None, neurons: Tensor, shift: float
) -> Iterator[tuple[Tensor, Tensor, Tensor, slice]]:
    """(which, λ, Q, place) of D_i = QΛQᵀ for some neurons, a block at a time; place is where they stand in `neurons`."""
    for a in range(0, neurons.shape[0], task.block):
        place = slice(a, min(a + task.block, neurons.shape[0]))
        which = neurons[place]
        values, vectors = blocks.eigh(block(task, S, which, shift))
        yield which, values, vectors, place


def _odd_neurons(task: Instance, S: Tensor | None, shift: float, odd: Tensor, G: Tensor) -> tuple[Border | None, int]:
    """Add the doubtful neurons to G by their eigenvalues; (border, neg(D'))."""
    values = task.zeros(task.p, odd.shape[0])
    # of few, the eigenvectors are kept; of many, they are computed again
    kept = list(eigen_blocks(task, S, odd, shift)) if odd.shape[0] <= task.block else None
    for _, part_values, _, place in kept or eigen_blocks(task, S, odd, shift):
        values[:, place] = part_values
    size = task.zeros(2, dtype=torch.float64)
    size[0] = task.local
    if S is not None:
        size[1] = S.double().square().sum()
    task.ranks.sum(size)
    scale = max(abs(shift), float((size[1] / size[0]).sqrt()))
    near = _smallest(task, values, _NEAR * scale)
    negative = ((values < 0) & ~near).sum().double()
    task.ranks.sum(negative)

    for which, part_values, vectors, place in kept or eigen_blocks(task, S, odd, shift):
        away = ~near[:, place]
        inverse_root = torch.where(away, part_values.abs(), 1).rsqrt() * away
        add_signed(task, G, which, vectors.transpose(0, 1) * inverse_root[:, None], part_values < 0)

    border = _border(task, S, shift, odd, values, near)
    return border, int(negative)


def add_signed(task: Instance, G: Tensor, neurons: Tensor, basis: Tensor, negative: Tensor) -> None:
    """G += Σ ± yyᵀ over the rows y of basis J_i (p, M), minus where `negative` (p, n); a chunk at a time."""
    for a in range(0, neurons.shape[0], task.chunk):
        some = slice(a, a + task.chunk)
        which = neurons[some]
        Y = torch.empty(task.M, task.p * which.shape[0], dtype=task.precision.product, device=task.device)
        _rows(task, Y, basis[:, :, some], which, *task.jets(which, 1), lower=False)
        signs = torch.where(negative[:, some], -1, 1).to(Y.dtype).reshape(-1)
        G.addmm_(Y * signs, Y.t())


def _gathered(task: Instance, neurons: Tensor) -> Iterator[tuple[Tensor, slice, tuple[Tensor, Tensor]]]:
    """(which, place, (σ, σ')) over chunks of a list of neurons."""
    for a in range(0, neurons.shape[0], task.chunk):
        place = slice(a, min(a + task.chunk, neurons.shape[0]))
        value, slope = task.jets(neurons[place], 1)
        yield neurons[place], place, (value, slope)


def _smallest(task: Instance, values: Tensor, limit: float) -> Tensor:
    """Mask of the eigenvalues of size below `limit`, at most the M smallest over all ranks.

    M are enough: if more than M directions of D have |λ| ≤ ε, A is within ε of singular, since J has rank M at most.
    """
    sizes = values.abs()
    candidates = sizes[sizes < limit].sort().values[: task.M + 1]
    together = task.ranks.gather(candidates).sort().values
    if together.shape[0] > task.M:
        limit = float(together[task.M])
    return sizes < limit


def _border(task: Instance, S: Tensor | None, shift: float, odd: Tensor, values: Tensor, near: Tensor) -> Border | None:
    """J V and Λ for the directions in `near`."""
    column, neuron = torch.nonzero(near, as_tuple=True)
    k = task.zeros(task.ranks.count, dtype=torch.float64)
    k[task.ranks.rank] = column.shape[0]
    task.ranks.sum(k)
    if int(k.sum()) == 0:
        return None
    # only the neurons at the border, each once
    JV = task.zeros(column.shape[0], task.M)
    for a in range(0, column.shape[0], task.chunk):
        some = slice(a, min(a + task.chunk, column.shape[0]))
        which = odd[neuron[some]]
        _, vectors = blocks.eigh(block(task, S, which, shift))
        direction = vectors.gather(1, column[some][None, None].expand(task.p, 1, -1))[:, 0]  # (p, n)
        value, slope = task.jets(which, 1)
        steep = direction[: task.p - 1] * (task.c[which].to(task.dtype) * task.scale)
        JV[some] = ((task.X1 @ steep) * slope + value * (direction[task.p - 1] * task.scale)).t()
    offset = int(k[: task.ranks.rank].sum())
    return Border(neuron, column, offset, task.ranks.gather(values[column, neuron]), task.ranks.gather(JV).t().contiguous())


def factor(task: Instance, K: Gram) -> tuple[Factor, int]:
    """Factorize W, in K.G's memory where there is no border; (the factor, neg(A)).

    Raises SingularSystemError if W is singular in its arithmetic, or so nearly that its inertia cannot be that of any A.
    """
    if K.border is None:
        K.G.diagonal().add_(task.M)
        done = factorize(K.G, definite=K.definite)
        return done, _possible(task, K.negative - done.negative)
    k = K.border.values.shape[0]
    W = task.zeros(task.M + k, task.M + k, dtype=K.G.dtype)
    W[: task.M, : task.M] = K.G
    W.diagonal()[: task.M].add_(task.M)
    W[task.M :, : task.M] = K.border.JV.t()
    W.diagonal()[task.M :] = -K.border.values
    done = factorize(W, definite=False)
    return done, _possible(task, K.negative + k - done.negative)


def _possible(task: Instance, negative: int) -> int:
    """A number of negative eigenvalues; where it is none, rounding errors have outweighed what there was to count."""
    if not 0 <= negative <= task.net.width * task.p:
        raise SingularSystemError(f"the damped Hessian's inertia is lost among rounding errors in {task.dtype}: change gamma")
    return negative


# ----------------------------------------------------------------------------------------------------------------------- solve


@dataclass(frozen=True)
class _Visit:
    """One chunk of neurons in a solve pass: their jets, blocks D (p, p, n), and D'⁻¹.

    near   (p, n) which eigenvector columns of D are at the border, None where no block is doubtful
    keep   (n,) which neurons this visit is for, None for all
    place  where they stand in `Gram.odd`
    """

    part: slice | Tensor
    value: Tensor
    slope: Tensor
    c: Tensor
    D: Tensor
    basis: Tensor
    inverse: Tensor | None = None
    near: Tensor | None = None
    keep: Tensor | None = None
    place: slice | None = None

    def _apply(self, b: Tensor) -> Tensor:
        back = self.basis.transpose(0, 1)
        if self.inverse is None:
            return blocks.matvec(back, blocks.matvec(self.basis, b))  # L⁻ᵀ L⁻¹ b
        return blocks.matvec(self.basis, self.inverse * blocks.matvec(back, b))  # Q Λ'⁻¹ Qᵀ b

    def invert(self, b: Tensor, forced: Tensor | None = None) -> Tensor:
        """V t + D'⁻¹ (b - D V t), refined once; forced (p, n) holds t at the border's columns."""
        start = None
        if forced is not None and self.place is not None:
            start = blocks.matvec(self.basis, forced[:, self.place])
            b = b - blocks.matvec(self.D, start)
        x = self._apply(b)
        x = x + self._apply(b - blocks.matvec(self.D, x))
        return x if start is None else start + x

    def only(self, x: Tensor) -> Tensor:
        return x if self.keep is None else torch.where(self.keep, x, 0)

    def pull(self, task: Instance, columns: Tensor) -> Tensor:
        """J_i v for each of the rows v of columns (k, M): (k, p, n)."""
        k, n = columns.shape[0], self.c.shape[0]
        features = (columns[:, None] * task.X1.t()[None]).reshape(-1, task.M)
        b = torch.empty(k, task.p, n, dtype=task.dtype, device=task.device)
        torch.mul((features @ self.slope).view(k, task.p - 1, n), self.c * task.scale, out=b[:, : task.p - 1])
        torch.mul(columns @ self.value, task.scale, out=b[:, task.p - 1])
        return b

    def push(self, task: Instance, moves: Tensor) -> Tensor:
        """Σ J_iᵀ x over these neurons for moves x (k, p, n): (M, k)."""
        n = self.c.shape[0]
        along = (self.slope @ (moves[:, : task.p - 1] * self.c).reshape(-1, n).t()).view(task.M, -1, task.p - 1)
        return ((along * task.X1[:, None]).sum(2) + self.value @ moves[:, task.p - 1].t()).mul_(task.scale)


def _visits(
    task: Instance,
    K: Gram,
    sums: tuple[tuple[int, ...], ...],
    each: Callable[[_Visit, list[Tensor]], None],
    compiled: Callable[[slice, list[Tensor]], None] | None = None,
) -> list[Tensor]:
    """Run `each` on every chunk, with accumulators of the given shapes; their totals over lanes and ranks.

    `compiled` does the same for a chunk's safe neurons, in place of `each`.
    """
    doubtful = None
    if K.odd.shape[0]:
        doubtful = torch.zeros(task.local, dtype=torch.bool, device=task.device)
        doubtful[K.odd] = True

    def work(chunks: list[slice]) -> list[Tensor]:
        totals = [task.zeros(*size) for size in sums]
        if compiled is not None and K.shift > 0:
            for part in chunks:
                compiled(part, totals)
            return totals
        for part in chunks if K.shift > 0 else []:
            value, slope = task.jets(part, 1)
            D = block(task, K.S, part, K.shift)
            basis = _scalar_basis(task, part, K.shift) if K.S is None else _cholesky_basis(D.clone(), K.shift)[0]
            keep = None if doubtful is None else ~doubtful[part]
            each(_Visit(part, value, slope, task.c[part].to(task.dtype), D, basis, keep=keep), totals)
        return totals

    lanes = task.sweep(work)
    totals = [_total([lane[i] for lane in lanes]) for i in range(len(sums))]
    if K.odd.shape[0]:
        at_border = torch.zeros(task.p, K.odd.shape[0], dtype=torch.bool, device=task.device)
        if K.border is not None:
            at_border[K.border.column, K.border.neuron] = True
        for which, place, (value, slope) in _gathered(task, K.odd):
            D = block(task, K.S, which, K.shift)
            values, Q = blocks.eigh(D.clone())
            near = at_border[:, place]
            inverse = torch.where(near, 0, 1 / torch.where(near, 1, values))
            each(_Visit(which, value, slope, task.c[which].to(task.dtype), D, Q, inverse, near, place=place), totals)
    task.ranks.sum(*totals)
    return totals


def _forced(task: Instance, K: Gram, t: Tensor) -> Tensor | None:
    """T (k,) of all ranks' border directions → (p, odd neurons) of this rank's."""
    if K.border is None:
        return None
    forced = task.zeros(task.p, K.odd.shape[0])
    own = slice(K.border.offset, K.border.offset + K.border.neuron.shape[0])
    forced[K.border.column, K.border.neuron] = t[own]
    return forced


def _order(task: Instance) -> list[int]:
    """Rows (η, w, c) in the order (c, w, η), and back: the permutation is its own inverse."""
    return [task.p - 1, *range(1, task.p - 1), 0]


@dataclass(frozen=True)
class Pass:
    """What a solve pass leaves: JΔ, ‖Δ‖, ‖Jᵀv - DΔ‖, and, from the first, the probes.

    operator   a lower bound of ‖A‖₂: the size of its Rayleigh quotient at Jᵀ1
    gradient   ‖Jᵀ r‖ for the r that was given
    """

    image: Tensor
    length: float
    local: float
    operator: float = 0.0
    gradient: float = 0.0


def solve(task: Instance, K: Gram, v: Tensor, t: Tensor, update: Tensor, *, r: Tensor | None = None) -> Pass:
    """Update (p, n), rows (c, w, η), ← Δ = D'⁻¹ Jᵀ v + V t. With r, the probes come along in the same pass."""
    order, forced = _order(task), _forced(task, K, t)
    columns = v[None] if r is None else torch.stack([v, torch.full_like(v, task.M**-0.5), r])

    def each(visit: _Visit, totals: list[Tensor]) -> None:
        image, sums = totals
        b = visit.pull(task, columns)
        delta = visit.only(visit.invert(b[0], forced))
        left = visit.only(b[0] - blocks.matvec(visit.D, delta))
        if visit.keep is None:
            update[:, visit.part] = delta[order]
        else:
            update[:, visit.part] = torch.where(visit.keep, delta[order], update[:, visit.part])
        sums[0] += delta.square().sum()
        sums[1] += left.square().sum()
        if r is None:
            image += visit.push(task, delta[None])
            return
        q, g = visit.only(b[1]), visit.only(b[2])
        image += visit.push(task, torch.stack([delta, q]))
        sums[2] += q.square().sum()
        sums[3] += (q * blocks.matvec(visit.D, q)).sum()
        sums[4] += g.square().sum()

    def compiled(part: slice, totals: list[Tensor]) -> None:
        image, sums = totals
        assert K.S is not None
        loops, rows = _compiled(), task.zeros(image.shape[1], task.M)
        loops.solve(
            task.fused,
            *(a[part] for a in neurons[:3]),
            neurons[3],
            K.S.numpy()[:, part],
            K.shift,
            task.scale,
            1 / (K.shift * _NEAR),
            columns.numpy(),
            update.numpy()[:, part],
            rows.numpy(),
            sums.numpy(),
            loops.block_size(task.M),
        )
        image += rows.t()

    neurons = _neurons(task) if task.fused is not None else ()
    fused = compiled if task.fused is not None and K.S is not None else None
    image, sums = _visits(task, K, ((task.M, 1 if r is None else 2), (5,)), each, fused)
    length, local, probe, curved, gradient = sums.double().tolist()
    operator = 0.0
    if r is not None and probe > 0:
        operator = abs(curved + float(image[:, 1].double().square().sum()) / task.M) / probe
        if not math.isfinite(operator):  # squares beyond the dtype's range; 0 is a lower bound, too
            operator = 0.0
    return Pass(image[:, 0].contiguous(), length**0.5, local**0.5, operator, gradient**0.5)


def residual(task: Instance, K: Gram, update: Tensor, v: Tensor) -> tuple[float, Tensor]:
    """ρ = Jᵀ v - DΔ, the residual of AΔ = Jᵀh/M when v = (h - JΔ)/M: (‖ρ‖, right side of W (v', t') for the correction)."""
    order = _order(task)
    k = 0 if K.border is None else K.border.values.shape[0]

    def each(visit: _Visit, totals: list[Tensor]) -> None:
        image, sums, border = totals
        left = visit.only(visit.pull(task, v[None])[0] - blocks.matvec(visit.D, update[:, visit.part][order]))
        sums += left.square().sum()
        image += visit.push(task, visit.only(visit.invert(left))[None])
        if K.border is not None and visit.place is not None:
            seen = task.zeros(task.p, K.odd.shape[0])
            seen[:, visit.place] = blocks.matvec(visit.basis.transpose(0, 1), left)
            hit = (K.border.neuron >= visit.place.start) & (K.border.neuron < visit.place.stop)
            own = border[K.border.offset : K.border.offset + K.border.neuron.shape[0]]
            own += torch.where(hit, seen[K.border.column, K.border.neuron], 0)

    image, sums, border = _visits(task, K, ((task.M, 1), (1,), (k,)), each)
    return float(sums.double()) ** 0.5, -torch.cat([image[:, 0], border])


def correct(task: Instance, K: Gram, update: Tensor, v: Tensor, change: Tensor) -> Pass:
    """Update += D'⁻¹ (ρ + Jᵀ v') + V t', with ρ formed as `residual` formed it, to the last bit, so that v' answers it."""
    order, forced = _order(task), _forced(task, K, change[task.M :])
    columns = torch.stack([v, change[: task.M]])

    def each(visit: _Visit, totals: list[Tensor]) -> None:
        image, sums = totals
        old = update[:, visit.part][order]
        left = visit.pull(task, v[None])[0] - blocks.matvec(visit.D, old)
        new = old + visit.only(visit.invert(left + visit.pull(task, columns[1:])[0], forced))
        update[:, visit.part] = new[order]
        image += visit.push(task, visit.only(new)[None])
        sums += visit.only(new).square().sum()

    image, sums = _visits(task, K, ((task.M, 1), (1,)), each)
    return Pass(image[:, 0].contiguous(), float(sums.double()) ** 0.5, 0.0)


def _total(parts: list[Tensor]) -> Tensor:
    """The lanes' sum, in their order, in the first one's memory."""
    for part in parts[1:]:
        parts[0].add_(part)
    return parts[0]
