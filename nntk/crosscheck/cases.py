"""Which cases an optimizer is tried on: drawn by a seed, of a kind, from small to large; and those that reach further."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

import nntk_accelerated
from nntk.crosscheck.case import EPS, Case, Objective, Point, case_at, rounded
from nntk_reference import ACTIVATIONS, regularization, sample_network
from nntk_reference.arithmetic import Array

__all__ = [
    "activations",
    "case",
    "damping_near",
    "diagnosed",
    "family",
    "ladder",
    "normal_data",
    "reach",
    "with_activations",
]

Special = Literal["inputs repeated", "no gradient"] | None


def case(
    kind: str,
    width: int,
    dim: int,
    points: int,
    activation: str,
    *,
    seed: int,
    dtype: str = "float64",
    beta: float = 0.75,
    residual: float = 1.0,
    inputs: float = 1.0,
    targets: float | None = None,
    special: Special = None,
) -> Case:
    """A case of a kind: a sampled network, normal data, and a damping that makes it so.

    residual  the targets' distance from the network's outputs; targets, where given, their own size.
    inputs    the inputs' size.
    special   "inputs repeated": the second half of the points has the inputs of the first. "no gradient": c = 0 and y = 0.

    Nearly singular: |A| |A⁻¹| is about 1/√eps.
    """
    rng = np.random.default_rng([seed, width, dim, points, *activation.encode(), *kind.encode()])
    for _ in range(300):
        net = sample_network(width, dim, beta=beta, activation=activation, seed=rng)
        theta = rounded(net.theta, dtype)
        X = rounded(inputs * rng.standard_normal((points, dim)), dtype)
        away = rng.standard_normal(points)
        if special == "inputs repeated":
            X[points - points // 2 :] = X[: points // 2]
        objective = Objective(X, np.zeros(points), beta, activation, 1.0)
        if special == "no gradient":
            theta[:, 0] = 0.0
        elif targets is not None:
            objective = replace(objective, y=rounded(targets * away, dtype))
        else:  # the residual on zero targets is the output
            objective = replace(objective, y=rounded(objective.at(theta).residual + residual * away, dtype))
        damping = _KINDS[kind](objective.at(theta), dtype)
        if damping is not None:
            objective = replace(objective, damping=float(rounded(damping, dtype)))
            return Case(objective, theta, kind, f"seed {seed}{f', {special}' if special else ''}")
    raise ArithmeticError(f"no {kind} case in 300 draws of N = {width}, d = {dim}, M = {points}, {activation}")


def _definite(point: Point, dtype: str) -> float | None:
    """Twice what makes D positive definite, and a tenth of the scaling formula's γ_N at γ = 1 (E5, E16)."""
    return 2 * _block_norm(point) + 0.1 * float(regularization(1.0, len(point.theta), point.objective.beta))


def _indefinite(point: Point, dtype: str) -> float | None:
    """A damping that leaves negative eigenvalues, as far from the spectra of -H and -S as one can be."""
    return _between(point, uphill=False)


def _ascent(point: Point, dtype: str) -> float | None:
    """As indefinite, and the exact step Δ leads uphill: g·Δ > 0, by more than 3 degrees."""
    return _between(point, uphill=True)


def _between(point: Point, uphill: bool) -> float | None:
    values, vectors = np.linalg.eigh(point.hessian)
    if values[0] >= -1e-3 * point.matrix_size:
        return None
    blocks = np.linalg.eigvalsh(point.residual_blocks).reshape(-1)
    dampings = np.geomspace(0.02, 0.9, 60) * -values[0]
    shifted = values + dampings[:, None]
    gaps = np.minimum(np.abs(shifted).min(axis=1), np.abs(blocks + dampings[:, None]).min(axis=1))
    if uphill:
        along = vectors.T @ point.gradient
        steps = -along / shifted
        angle = steps @ along / (np.linalg.norm(steps, axis=1) * (float(np.linalg.norm(along)) or 1.0))
        gaps[angle <= 0.05] = 0.0
    best = int(np.argmax(gaps))
    return float(dampings[best]) if gaps[best] > 1e-3 * point.matrix_size else None


def _nearly_singular(point: Point, dtype: str) -> float | None:
    """A damping just off a negative eigenvalue of H that is no eigenvalue of S."""
    spectrum, blocks = np.linalg.eigvalsh(point.hessian), np.linalg.eigvalsh(point.residual_blocks).reshape(-1)
    candidates = [value for value in spectrum if value < -1e-3 * point.matrix_size]
    if not candidates:
        return None
    distance = [float(np.abs(blocks - value).min()) for value in candidates]
    best = int(np.argmax(distance))
    if distance[best] < 1e-3 * point.matrix_size:
        return None
    return float(-candidates[best] + math.sqrt(EPS[dtype]) * point.matrix_size)


def _block_norm(point: Point) -> float:
    return float(np.abs(np.linalg.eigvalsh(point.residual_blocks)).max())


_KINDS: Mapping[str, Callable[[Point, str], float | None]] = MappingProxyType(
    {"definite": _definite, "indefinite": _indefinite, "ascent": _ascent, "nearly singular": _nearly_singular}
)


def damping_near(point: Point, wanted: float) -> float:
    """A damping within a factor of 1.6 of the one wanted, as far from the spectra of -H and -S as one can be, relatively.

    So that no case becomes singular by the choice of its damping.
    """
    spectrum = np.concatenate([np.linalg.eigvalsh(point.hessian), np.linalg.eigvalsh(point.residual_blocks).reshape(-1)])
    dampings = wanted * 10.0 ** np.array([0.0, 0.05, -0.05, 0.1, -0.1, 0.15, -0.15, 0.2, -0.2])
    gaps = np.minimum(np.abs(spectrum + dampings[:, None]).min(axis=1) / dampings, 0.1)
    return float(dampings[int(np.argmax(gaps))])


_LADDER = (
    # width, dim, points; small ones first, so that the first failing one is small
    (1, 1, 1),
    (2, 1, 1),
    (2, 1, 3),
    (3, 2, 2),
    (4, 1, 6),
    (3, 2, 8),
    (6, 2, 4),
    (4, 3, 5),
    (5, 4, 3),
    (6, 3, 14),
    (12, 2, 5),
    (10, 1, 16),
)


def activations() -> tuple[str, ...]:
    """The activations that optimizers are tried with: those within the theory that both packages have, in the registry's order.

    The first is tanh. One that is registered later is the last, and counts from then on.
    """
    return tuple(name for name, entry in ACTIVATIONS.items() if entry.in_theory and name in nntk_accelerated.ACTIVATIONS)


def with_activations(sizes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int, str]]:
    """(width, dim, points, activation): tanh on every other row, the others in turn on the rows between, the last of them last.

    So one that is registered later takes the last of the rows between, and leaves the rest as they are.
    """
    first, *others = activations()
    between = len(sizes) // 2
    rows = []
    for k, size in enumerate(sizes):
        turn = -1 if k // 2 == between - 1 else k // 2 % len(others)
        rows.append((*size, others[turn] if k % 2 else first))
    return rows


def normal_data(dim: int, points: int, seed: int, dtype: str) -> tuple[Array, Array]:
    """Standard normal X (M, d) and y (M,)."""
    rng = np.random.default_rng([seed, dim, points])
    return rounded(rng.standard_normal((points, dim)), dtype), rounded(rng.standard_normal(points), dtype)


def ladder(kind: str, seed: int, dtype: str, count: int | None = None, least: int = 0) -> list[Case]:
    """Cases of one kind from small to large, d = 1 to 4, several activations.

    `count` takes that many, spread evenly; `least` leaves out widths below.
    """
    sizes = [row for row in with_activations(_LADDER) if row[0] >= max(least, 2 if kind != "definite" else 1)]
    if count is not None and count < len(sizes):
        sizes = [sizes[i] for i in np.linspace(0, len(sizes) - 1, count).round().astype(int)]
    return [case(kind, *row, seed=seed, dtype=dtype) for row in sizes]


class Reach(NamedTuple):
    """A size that loops, tiles, thresholds and counters of real optimizers may not reach; the rest as in `case`."""

    kind: str
    width: int
    dim: int
    points: int
    options: Mapping[str, Any] = MappingProxyType({})


_REACH = (
    Reach("definite", 70, 1, 3),
    Reach("definite", 33, 2, 17, {"beta": 0.6}),
    Reach("definite", 5, 8, 11),
    Reach("definite", 4, 1, 67),
    Reach("definite", 3, 2, 1, {"beta": 0.9}),
    Reach("definite", 6, 2, 13, {"targets": 1e4}),
    Reach("definite", 7, 1, 9, {"targets": 1e-4}),
    Reach("definite", 5, 3, 7, {"inputs": 10.0}),
    Reach("definite", 6, 1, 5, {"residual": 1e-6}),
    Reach("definite", 3, 1, 4, {"special": "no gradient"}),
    Reach("definite", 6, 2, 8, {"special": "inputs repeated"}),
    Reach("indefinite", 11, 1, 31),
    Reach("indefinite", 7, 5, 23, {"beta": 0.6}),
)
"""N up to 70 and no power of two; M = 1, odd, prime and above 64; d up to 8; numbers far from 1; gradients near and at zero."""

_REACH_OF_ALL = (
    Reach("definite", 33, 4, 67),
    Reach("definite", 70, 2, 31, {"beta": 0.9}),
    Reach("definite", 9, 8, 13, {"targets": 1e4}),
    Reach("definite", 12, 2, 7, {"targets": 1e-4, "beta": 0.6}),
)
"""Of what is left out: more parameters than points, so that the weight of each point, and of each coupling, can be told."""


def reach(seed: int, dtype: str, *, whole: bool = False) -> list[Case]:
    """Cases beyond the ladder's sizes, of all activations in turn; with `whole` those that tell what enters the step."""
    rows, names = (_REACH_OF_ALL if whole else _REACH), itertools.cycle(activations())
    return [
        case(row.kind, row.width, row.dim, row.points, name, seed=seed, dtype=dtype, **row.options)
        for row, name in zip(rows, names, strict=False)
    ]


# With more points than parameters, so that matrices without damping can be told as well; and with fewer. Sizes and β differ,
# so that a number which is written into the optimizer shows.
_MANY = ((3, 2, 14), (4, 2, 18), (5, 1, 20))
_FEW = ((4, 2, 5), (6, 2, 4), (5, 2, 7))
_BETAS = (0.75, 0.9, 0.6)


def diagnosed(seed: int, dtype: str) -> dict[str, list[Case]]:
    """The cases of which the diagnosis says what the steps are, by group: "definite", "indefinite" and "consecutive"."""
    groups = {}
    plan = (("definite", ["definite"] * 3, _MANY), ("indefinite", ["indefinite", "ascent", "ascent"], _FEW))
    for group, kinds, sizes in plan:
        rows = zip(kinds, with_activations(sizes), _BETAS, strict=True)
        groups[group] = [case(kind, *row, seed=seed, dtype=dtype, beta=beta) for kind, row, beta in rows]
    groups["consecutive"] = [case("definite", *row, seed=seed + 1, dtype=dtype) for row in with_activations(_FEW[:2])]
    return groups


def family(width: int, X: Array, y: Array, *, seed: int, dtype: str, beta: float = 0.75) -> Case:
    """A wide network on given data, with γ_N from the scaling formula at γ = 1 (E5)."""
    net = sample_network(width, X.shape[1], beta=beta, activation=activations()[0], seed=np.random.default_rng([seed, width]))
    damping = float(rounded(regularization(1.0, width, beta), dtype))
    theta = rounded(net.theta, dtype)
    return case_at(Objective(X, y, beta, activations()[0], damping), theta, f"seed {seed}, width {width}", dtype)
