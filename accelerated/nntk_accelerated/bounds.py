"""Bounds, rounding errors included, of what a network's derivatives are and of how far their computed values are from them.

The statements are about exact real numbers: the parameters and data as stored, μ as reported, N^(-β) and σ exact. Their
premises are IEEE arithmetic, summation in any order, and `activations.ERROR` for the elementary functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nntk_accelerated.activations import ERROR
from nntk_accelerated.instance import Instance

__all__ = [
    "Radii",
    "gamma_bound",
    "jacobian_bound",
    "largest",
    "off_kinks",
    "radii",
    "residual_bound",
    "residual_error",
    "rho_bound",
]

SLACK = 1 + 1e-6
"""Covers the rounding of the bounds themselves: sums of positive numbers, fewer than 1e9 of them."""


def roundings(count: float, dtype: torch.dtype) -> float:
    """The relative error of k successive operations, k u / (1 - k u)."""
    ku = count * torch.finfo(dtype).eps / 2
    return ku / (1 - ku) if ku < 0.5 else math.inf


def parts(task: Instance) -> list[slice]:
    """All of this rank's neurons, `task.block` at a time."""
    return [slice(a, min(a + task.block, task.local)) for a in range(0, task.local, task.block)]


def _reach(task: Instance, part: slice) -> tuple[Tensor, Tensor]:
    """(t, e): |z_i| ≤ t_i at every data point, and the error of computed z_i. Both (n,), float64 as all bounds here."""
    size = task.X1[:, 1:].abs().amax(0).double()
    t = (task.w[part].double().abs() @ size + task.eta[part].double().abs()) * SLACK
    return t, t * roundings(task.p + 2, task.dtype)


def _most(bound: Tensor | float) -> Tensor | float:
    """max(1, bound): what an activation's error is relative to."""
    return bound.clamp_min(1) if isinstance(bound, Tensor) else max(1.0, bound)


def _q(task: Instance) -> float:
    """Max |x̃|."""
    return float(task.X1.double().square().sum(1).max().sqrt()) * SLACK


def largest(task: Instance, values: Tensor) -> float:
    """The maximum over all neurons of all ranks."""
    most = values.double().max()
    task.ranks.max(most)
    return float(most)


def jacobian_norms(task: Instance, part: slice) -> tuple[Tensor, Tensor]:
    """(‖J_i‖_F, the error of computed J_i) bounds, per neuron."""
    t, e = _reach(task, part)
    b0, b1, b2, _ = task.activation.bounds(t)
    u = roundings(ERROR + 8, task.dtype)
    steep = task.c[part].double().abs() * _q(task)
    root = task.scale * task.M**0.5 * SLACK
    norms = root * torch.hypot(b0 + 0 * t, steep * b1)
    errors = root * torch.hypot(b1 * e + u * _most(b0), steep * (b2 * e + u * _most(b1)))
    return norms, errors


def block_norms(task: Instance, S: Tensor, part: slice) -> Tensor:
    """‖S_i‖_F of the computed blocks, from above."""
    p = task.p
    # entries of S stand for two matrix entries each, but for the diagonal over (η, w)
    times = [2.0] * (p - 1) + [1.0 if k == l else 2.0 for k in range(p - 1) for l in range(k + 1)]
    total: Tensor = torch.tensor(times, dtype=torch.float64, device=task.device) @ S[:, part].double().square()
    # (p² + p)/2 - 1 squares, each rounded, and their additions: half of that in the root, which is rounded, too, ≤ p²; and each
    # of p² squares may be lost below the normal numbers
    wide = torch.float64
    norms: Tensor = total.sqrt() * (1 + roundings(p * p, wide)) + p * torch.finfo(wide).tiny ** 0.5
    return norms


def jacobian_bound(task: Instance) -> float:
    """An upper bound of ‖J‖_F, from the parameters alone."""
    total = task.zeros(1, dtype=torch.float64)
    for part in parts(task):
        total += jacobian_norms(task, part)[0].square().sum()
    task.ranks.sum(total)
    return float(total.sqrt()) * SLACK


def residual_error(task: Instance, r: Tensor) -> float:
    """A bound of every |computed rₘ - exact rₘ|: each term c σ, the sum in any order, the factor N^(-β), and y."""
    u, depth = roundings(ERROR + 8, task.dtype), roundings(task.depth + 8, task.dtype)
    terms = task.zeros(1, dtype=torch.float64)
    for part in parts(task):
        t, e = _reach(task, part)
        b0, b1, _, _ = task.activation.bounds(t)
        terms += (task.c[part].double().abs() * (b1 * e + u * _most(b0) + depth * b0)).sum()
    task.ranks.sum(terms)
    tiny = torch.finfo(task.dtype).tiny * task.M * task.net.width
    return float(terms) * task.scale + roundings(4, task.dtype) * float((r.abs() + task.y.abs()).max()) + tiny


def rho_bound(task: Instance, r: Tensor) -> float:
    """An upper bound of ρ = maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ) (E16), rounding included, that of the computed residual r, too.

    Infinite where the errors have no bound.
    """
    size = (r.double().abs() + residual_error(task, r)) / task.M
    q2 = task.X1.double().square().sum(1)[:, None]
    u = roundings(ERROR + 8, task.dtype)

    def work(chunks: list[slice]) -> Tensor:
        most = task.zeros(1, dtype=torch.float64)
        for part in chunks:
            _, slope, curvature = task.jets(part, 2)
            t, e = _reach(task, part)
            _, b1, b2, b3 = task.activation.bounds(t)
            c = task.c[part].double().abs()
            kappa = torch.nan_to_num((curvature.double().abs() + (b3 * e + u * _most(b2))) * c * q2, nan=math.inf)
            s = torch.nan_to_num(slope.double().abs() + (b2 * e + u * _most(b1)), nan=math.inf) * q2.sqrt()
            most = torch.maximum(most, (size @ (kappa + torch.hypot(kappa, 2 * s)).mul_(0.5)).max())
        return most

    return largest(task, torch.cat(task.sweep(work))) * (1 + roundings(2 * task.M + 64, torch.float64))


def gamma_bound(task: Instance, r: Tensor) -> float:
    """γ = N^(β-1) ρ, above which (E16) makes H + γ_N I positive definite; infinite where the errors have no bound."""
    return float(math.pow(task.net.width, task.net.beta - 1) * rho_bound(task, r))


@dataclass(frozen=True)
class Radii:
    """Per neuron, a bound of ‖computed S_i - exact S_i‖₂ (n,)."""

    values: Tensor


def radii(task: Instance, r: Tensor) -> Radii:
    """The bounds for the S that `stream` computes from the computed residual r = f(X) - y. S = 0 needs none."""
    u = roundings(ERROR + 8, task.dtype)
    r_error = residual_error(task, r)
    tiny = torch.finfo(task.dtype).tiny * task.M * task.net.width
    r_mean = float(r.double().abs().mean()) * SLACK
    rounding = roundings(task.M + 16, task.dtype)
    q = _q(task)
    values = task.zeros(task.local, dtype=torch.float64)
    for part in parts(task):
        t, e = _reach(task, part)
        _, b1, b2, b3 = task.activation.bounds(t)
        cross = task.scale * q * (r_error * b1 + r_mean * (b2 * e + u * _most(b1) + rounding * b1))
        steep = task.c[part].double().abs() * (task.scale * q * q)
        curved = steep * (r_error * b2 + r_mean * (b3 * e + u * _most(b2) + rounding * b2))
        # no bound (relu's kink, times c = 0) is an infinite one
        values[part] = torch.nan_to_num((cross + curved) * SLACK + tiny * q * q, nan=math.inf, posinf=math.inf)
    return Radii(values)


def off_kinks(task: Instance) -> Instance:
    """The same with the derivatives' bounds off an activation's kink at 0, where no z comes within its rounding error of it.

    An activation outside the theory is not called proved all the same.
    """
    bounds = task.activation.off_kink
    if bounds is None:
        return task
    near = task.zeros(1, dtype=torch.float64)
    for a in range(0, task.local, task.chunk):
        part = slice(a, min(a + task.chunk, task.local))
        z = torch.addmm(task.eta[part].double(), task.X1[:, 1:].double(), task.w[part].double().t()).abs()
        _, e = _reach(task, part)
        near += (z <= 2 * e + torch.finfo(task.dtype).tiny).sum()
    task.ranks.sum(near)
    return task if bool(near) else replace(task, activation=replace(task.activation, bounds=bounds))


def _ldexp(value: float, exponent: int) -> float:
    """A positive number times 2^exponent; infinite on overflow."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def residual_bound(
    task: Instance,
    S: Tensor | None,
    shift: float,
    error: Radii | None,
    *,
    h: Tensor,
    v: Tensor,
    left: Tensor,
    update: Tensor,
    measured: float,
    length: float,
    operator: float,
    gradient: float,
    r_error: float,
    alpha: float,
    exponent: int,
) -> float:
    """A proved upper bound of ‖AΔ + α∇L‖ / (‖A‖‖Δ‖ + α‖∇L‖) for the exact A and ∇L; infinite where none below 1 is known.

    All of the step is scaled by 2^-exponent. h = -αr, `update` = Δ (p, n), `length` its norm, `left` = h - Mv - JΔ, `operator`
    a Rayleigh quotient of A, `measured` = ‖Jᵀv - DΔ‖, `gradient` = ‖Jᵀr‖/M, all as computed; r_error bounds that of each r.

    AΔ + α∇L = -(Jᵀv - DΔ) - Jᵀ(h - Mv - JΔ)/M. To what was measured of it are added the errors of r, S and J and all roundings,
    in the order of terms that `stream` sums in; and those of the denominator are taken from it.
    """
    p, M, dtype = task.p, task.M, task.dtype
    tiny = torch.finfo(dtype).tiny
    # s chunks with a neuron that is not odd, and those of the N - s odd ones at most, which come on top
    chunks = -(-task.net.width // task.chunk)
    additions = p * task.chunk + 2 * chunks - chunks // task.chunk + task.lanes + task.ranks.count
    terms = task.zeros(1, dtype=torch.float64).add_(additions + 16)
    task.ranks.max(terms)  # chunks of unequal shards differ, and the bound is every rank's
    across = roundings(float(terms), dtype)  # sums over neurons and their p entries
    along, small = roundings(M + 16, dtype), roundings(2 * p + 16, dtype)  # over data, over one block
    sums, most = task.zeros(5, dtype=torch.float64), task.zeros(2, dtype=torch.float64)
    for part in parts(task):
        j, e = jacobian_norms(task, part)
        if S is None or error is None:
            D, radius = torch.full_like(j, abs(shift) * p**0.5), torch.zeros_like(j)
        else:
            D = block_norms(task, S, part) + abs(shift) * p**0.5
            radius = error.values[part]
        move = update[:, part].double().square().sum(0).sqrt()
        pulled, pushed, block = e + along * (j + e), e + across * (j + e), radius + small * D
        sums += torch.stack(
            [
                pulled.square().sum(),
                (block * move).square().sum(),
                (pushed * move).sum(),
                pushed.square().sum(),
                j.square().sum(),
            ]
        )
        most = torch.maximum(most, torch.stack([block.max(), (D + radius).max()]))
    task.ranks.sum(sums)
    task.ranks.max(most)
    pulled2, blocked2, pushes, pushed2, j2 = sums.tolist()
    block_error, D_most = most.tolist()
    J = j2**0.5 * SLACK
    # of squares below the normal numbers: what is lost of them at most, and by how much they are rounded up
    lost = (tiny * p * task.net.width) ** 0.5
    gained = lost * (torch.finfo(dtype).eps / 2) ** 0.5
    size_h, size_v, size_left = (float(t.double().norm()) for t in (h, v, left))
    r_off = M**0.5 * (_ldexp(r_error, -exponent) + 2 * tiny)
    # Of left = (h - Mv) - JΔ: two roundings in h = -αr, of α and of the product, and that of the first difference. Those in Mv
    # are among the 16 of `along`, of which Jᵀv needs 5; that of the second difference is covered by SLACK.
    few = roundings(3, dtype)
    # numerator
    top = measured * (1 + across) + lost + pulled2**0.5 * size_v + blocked2**0.5
    rest = size_left + alpha * r_off + pushes + few * size_h
    top += J / M * (rest * SLACK + tiny * M)
    norm_A = J * J / M + D_most
    # where the step is scaled back, entries may fall below the normal numbers; 4, as the denominator gets smaller, too: with R,
    # B and E for the numerator, the denominator and what A does to such a loss, (R + E)/(B - E) ≤ (R + 4E)/B if R + 4E ≤ 3B
    top += norm_A * _ldexp(4 * tiny * (p * task.net.width) ** 0.5, -exponent)
    # denominator
    image = pushed2**0.5
    # operator = (q·Dq + |Jq|²/M)/|q|² at a computed q: errors of |q|², of D, of the sum of q·Dq, of Jq, of the sum over data
    rayleigh = operator * (1 - across) - block_error - across * D_most
    rayleigh -= ((2 * J + image) * image + along * J * J) / M * (1 + across)
    slope = gradient * (1 - across) - (pulled2**0.5 * (size_h / alpha) * (1 + few) + J * r_off) / M - gained / M
    moved = length * (1 - across) - gained
    bottom = max(rayleigh, 0.0) * max(moved, 0.0) + alpha * max(slope, 0.0)
    ratio = top * SLACK / (bottom * (2 - SLACK)) if 0 < bottom < math.inf else math.inf
    return ratio if ratio < 1 else math.inf
