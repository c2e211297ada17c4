"""What an optimizer is tried on, and what the reference says about it: gradient, curvature, the exact step, and its limits.

The error of an observed step Δ is held against what rounding can do to any stable method in the dtype that is tried. The
matrix A = H + γ_N I and the gradient g are themselves computed with errors of at most n·eps times the sums of the absolute
values of their terms, |A| ≤ a and |g| ≤ G, and solving adds errors of that size. So with (A + E)Δ = -(g + e),

    forward error   |Δ - Δ*| / |Δ*|                 ≤  30 √n eps |A⁻¹| (a |Δ*| + G) / |Δ*|
    backward error  |AΔ + g| / (a |Δ| + G)          ≤  30 √n eps max(1, a |D⁻¹|)

with n = P + M operations behind one number, whose errors add up like √n (Higham and Mary, "A new approach to probabilistic
rounding error analysis", 2019), and 30 as in LAPACK's own tests. The factor a |D⁻¹| admits the push-through form
(E13), whose residual carries the condition of D. Δ is seen as θ_next - θ, which adds eps |θ_next| to both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

import nntk_accelerated
from nntk_reference import (
    ACTIVATIONS,
    FLOAT64,
    Ball,
    Network,
    NntkError,
    formulas,
    gradient,
    hessian,
    regularization,
    sample_network,
    solve,
)
from nntk_reference.arithmetic import Array

__all__ = [
    "EPS",
    "THRESHOLD",
    "Case",
    "Objective",
    "Point",
    "Target",
    "activations",
    "case",
    "case_at",
    "family",
    "ladder",
    "normal_data",
    "rounded",
    "solved",
    "with_activations",
]

EPS: Mapping[str, float] = MappingProxyType({"float32": 2.0**-23, "float64": 2.0**-52})
"""Spacing of the numbers next to 1. Every limit of the cross-check comes from here."""

THRESHOLD = 30.0
"""What LAPACK's own test programs allow an error relative to n·eps·condition (LAPACK Working Note 41, section 7)."""


@dataclass(frozen=True, eq=False)
class Objective:
    """Everything but the parameters: data X (M, d), y (M,), β, the activation's name, and the damping γ_N."""

    X: Array
    y: Array
    beta: float
    activation: str
    damping: float

    def at(self, theta: Array) -> Point:
        """The reference's quantities at θ (N, d+2)."""
        return Point(self, np.array(theta, np.float64))


@dataclass(frozen=True, eq=False)
class Case:
    """An objective and where to start: θ (N, d+2), neuron by neuron (cᵢ, wᵢ, ηᵢ).

    `kind` is "definite", "indefinite", "ascent" (indefinite, and the exact step leads uphill) or "nearly singular", of
    H + γ_N I at the start; `source` says how it was drawn.
    """

    objective: Objective
    theta: Array
    kind: str
    source: str

    @cached_property
    def start(self) -> Point:
        """The reference's quantities at the start."""
        return self.objective.at(self.theta)

    @property
    def size(self) -> tuple[int, int]:
        """(P, M)."""
        return self.theta.size, len(self.objective.y)

    def __str__(self) -> str:
        N, d = self.theta.shape[0], self.theta.shape[1] - 2
        of = self.objective
        return f"N = {N}, d = {d}, M = {len(of.y)}, {of.activation}, γ_N = {of.damping:.3g}, {self.kind}"


@dataclass(frozen=True, eq=False)
class Target:
    """The step that a method should take: Δ = -A⁻¹g with A = matrix (P, P)."""

    point: Point
    matrix: Array
    curvature: bool

    @cached_property
    def step(self) -> Array:
        """Δ* (P,): float64, refined once; its own error is a small part of `limit`."""
        A, g = self.matrix, self.point.gradient
        step = solved(A, -g)
        return step - solved(A, A @ step + g)

    @cached_property
    def inverse_norm(self) -> float:
        """|A⁻¹|."""
        smallest = float(np.abs(np.linalg.eigvalsh(self.matrix)).min())
        return 1 / smallest if smallest > 0 else math.inf

    def limit(self, dtype: str, rate: float = 1.0) -> float:
        """What the forward error of a stable method may be, relative to |Δ*|.

        With a step size of `rate` the step that is seen, θ_next - θ, is that much shorter, and its rounding that much more.
        """
        point, size = self.point, float(np.linalg.norm(self.step))
        if not 0 < size < math.inf:
            return math.inf if size else 0.0
        moved = EPS[dtype] * float(np.linalg.norm(np.abs(point.theta.reshape(-1)) + np.abs(self.step)))
        stable = (
            THRESHOLD * point.operations * EPS[dtype] * self.inverse_norm * (point.matrix_size * size + point.gradient_size)
        )
        return (stable + moved / rate) / size

    def error(self, step: Array) -> float:
        """|Δ - Δ*| / |Δ*|; the distance itself where Δ* = 0."""
        size = float(np.linalg.norm(self.step))
        return float(np.linalg.norm(step - self.step)) / (size or 1.0)

    def backward_limit(self, dtype: str) -> float:
        """What the backward error of a stable method may be."""
        point = self.point
        smallest = min(float(np.abs(np.linalg.eigvalsh(block)).min()) for block in point.blocks)
        spread = (
            point.matrix_size / smallest if self.curvature and smallest > 0 else point.matrix_size / point.objective.damping
        )
        return THRESHOLD * point.operations * EPS[dtype] * max(1.0, spread)

    def backward_error(self, step: Array, dtype: str, rate: float = 1.0) -> float:
        """|AΔ + g| / (a |Δ| + G), less what the rounding of θ_next contributes to |AΔ + g|."""
        point = self.point
        rounding = EPS[dtype] / rate * np.abs(self.matrix) @ (np.abs(point.theta.reshape(-1)) + np.abs(step))
        residual = np.maximum(np.abs(self.matrix @ step + point.gradient) - rounding, 0.0)
        scale = point.matrix_size * float(np.linalg.norm(step)) + point.gradient_size
        return float(np.linalg.norm(residual)) / scale if scale else 0.0

    def arbiter(self, step: Array) -> float:
        """The forward error of Δ against Δ* from 200-bit balls: what float64 may have got wrong is no optimizer's fault."""
        point, ball = self.point, Ball(200)
        net = point.network
        A = (
            hessian(net, point.objective.X, point.objective.y, arithmetic=ball)
            if self.curvature
            else _gauss_newton(point, ball)
        )
        A = formulas.add_diagonal(A, ball.number(point.objective.damping))
        right = -gradient(net, point.objective.X, point.objective.y, arithmetic=ball).reshape(-1)
        try:
            exact = np.array([float(entry.mid()) for entry in solve(A, right, ball)])
        except (NntkError, ValueError):
            return math.nan
        size = float(np.linalg.norm(exact))
        return float(np.linalg.norm(step - exact)) / (size or 1.0)


@dataclass(frozen=True, eq=False)
class Point:
    """The reference's quantities at θ (N, d+2) of an objective, all for θ as one vector (P,), neuron by neuron."""

    objective: Objective
    theta: Array

    @cached_property
    def network(self) -> Network:
        """The reference network at θ."""
        beta = self.objective.beta
        return Network.from_theta(self.theta, beta, self.objective.activation, negative_control=beta in (0.5, 1.0))

    @cached_property
    def _state(self) -> formulas.State:
        return formulas.state(FLOAT64, self.network, self.objective.X)

    @cached_property
    def residual(self) -> Array:
        """(E2) r = f(X) - y, (M,)."""
        return formulas.outputs(self._state) - self.objective.y

    @property
    def loss(self) -> float:
        """(E2)."""
        return float(formulas.loss(self.residual))

    @cached_property
    def jacobian(self) -> Array:
        """(E3), (M, P)."""
        return formulas.jacobian(self._state).reshape(len(self.objective.y), -1)

    @cached_property
    def gradient(self) -> Array:
        """G = Jᵀr/M, (P,)."""
        return formulas.gradient(self._state, self.residual).reshape(-1)

    @cached_property
    def gauss_newton(self) -> Array:
        """JᵀJ/M, (P, P)."""
        return self.jacobian.T @ self.jacobian / len(self.objective.y)

    @cached_property
    def residual_blocks(self) -> Array:
        """(E4) Sᵢ, (N, d+2, d+2)."""
        return formulas.residual_hessian(self._state, self.residual)

    @cached_property
    def residual_hessian(self) -> Array:
        """(E4) S, (P, P)."""
        return formulas.add_blocks(np.zeros_like(self.gauss_newton), self.residual_blocks)

    @cached_property
    def hessian(self) -> Array:
        """(E4) H = JᵀJ/M + S, (P, P)."""
        return self.gauss_newton + self.residual_hessian

    @property
    def blocks(self) -> Array:
        """The blocks of D = S + γ_N I, (N, d+2, d+2)."""
        return self.residual_blocks + self.objective.damping * np.eye(self.theta.shape[1])

    @cached_property
    def newton(self) -> Target:
        """(E6) with A = H + γ_N I."""
        return Target(self, formulas.add_diagonal(self.hessian, self.objective.damping), True)

    @cached_property
    def gauss_newton_target(self) -> Target:
        """(E6) without S."""
        return Target(self, formulas.add_diagonal(self.gauss_newton, self.objective.damping), False)

    def target(self, name: str) -> Target:
        """The step that a profile asks for: "newton" or "gauss-newton"."""
        return self.newton if name == "newton" else self.gauss_newton_target

    @property
    def negative(self) -> int:
        """How many eigenvalues of H + γ_N I are negative."""
        return int((np.linalg.eigvalsh(self.newton.matrix) < 0).sum())

    # --- the sums of absolute values that rounding errors are relative to ----------------------------------------------------

    @property
    def operations(self) -> float:
        """√n: what n = P + M rounding errors add up to."""
        return math.sqrt(self.theta.size + len(self.objective.y))

    @cached_property
    def _sizes(self) -> tuple[Array, Array, float]:
        s, M = self._state, len(self.objective.y)
        N, D = self.theta.shape
        inputs = np.abs(s.inputs)
        # Each of σ, σ', σ'' is off by eps of itself, by what ζ, the terms of z, does to it, and, where it is formed from
        # σ as in 1 - tanh², by eps of σ² or σ.
        zeta, (value, slope, curvature) = inputs @ np.abs(self.theta[:, 1:]).T, map(np.abs, s[3:])
        formed = np.minimum(value, 1.0)
        value, slope, curvature = (
            value + zeta * slope,
            slope + zeta * curvature + formed**2,
            curvature + zeta * (slope + curvature) + formed,
        )
        c = np.abs(s.c)
        J = formulas.jacobian(formulas.State(s.scale, c, inputs, value, slope, curvature)).reshape(M, -1)
        r = np.abs(self.objective.y) + s.scale * value @ c
        blocks = np.zeros((N, D, D))
        blocks[:, 0, 1:] = blocks[:, 1:, 0] = s.scale * (r[:, None] * slope).T @ inputs / M
        blocks[:, 1:, 1:] = s.scale * np.einsum("mi,mj,mk->ijk", r[:, None] * curvature * c, inputs, inputs) / M
        matrix = formulas.add_blocks(J.T @ J / M, blocks)
        return J, r, float(np.linalg.norm(matrix)) + self.objective.damping

    @property
    def matrix_size(self) -> float:
        """a, with |A| ≤ a entry by entry in absolute values (Frobenius)."""
        return self._sizes[2]

    @property
    def gradient_size(self) -> float:
        """G: the norm of the gradient's terms in absolute values."""
        J, r, _ = self._sizes
        return float(np.linalg.norm(J.T @ r)) / len(r)


def _gauss_newton(point: Point, ball: Ball) -> Array:
    s = formulas.state(ball, point.network, point.objective.X)
    return formulas.gauss_newton_matrix(s)


def solved(A: Array, b: Array) -> Array:
    """A⁻¹b, or NaN where A is singular."""
    try:
        return np.asarray(np.linalg.solve(A, b))
    except np.linalg.LinAlgError:
        return np.full_like(b, math.nan)


# --- which cases ---------------------------------------------------------------------------------------------------------


def rounded(values: Any, dtype: str) -> Array:
    """The numbers that the dtype holds, as float64."""
    return np.asarray(values, np.float64).astype(dtype).astype(np.float64)


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
) -> Case:
    """A case of a kind: a sampled network, standard normal data, and a damping that makes it so.

    `residual` scales the targets' distance from the network's outputs. Nearly singular: |A| |A⁻¹| is about 1/√eps.
    """
    rng = np.random.default_rng([seed, width, dim, points, *activation.encode(), *kind.encode()])
    for _ in range(300):
        net = sample_network(width, dim, beta=beta, activation=activation, seed=rng)
        theta = rounded(net.theta, dtype)
        X = rounded(rng.standard_normal((points, dim)), dtype)
        away = rng.standard_normal(points)
        objective = Objective(X, np.zeros(points), beta, activation, 1.0)
        y = rounded(objective.at(theta).residual + residual * away, dtype)  # the residual on zero targets is the output
        objective = replace(objective, y=y)
        damping = _KINDS[kind](objective.at(theta), dtype)
        if damping is not None:
            objective = replace(objective, damping=float(rounded(damping, dtype)))
            return Case(objective, theta, kind, f"seed {seed}")
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


def case_at(objective: Objective, theta: Array, source: str) -> Case:
    """The case at θ, whatever its kind: definite, or indefinite."""
    return Case(objective, theta, "indefinite" if objective.at(theta).negative else "definite", source)


def normal_data(dim: int, points: int, seed: int, dtype: str) -> tuple[Array, Array]:
    """Standard normal X (M, d) and y (M,)."""
    rng = np.random.default_rng([seed, dim, points])
    return rounded(rng.standard_normal((points, dim)), dtype), rounded(rng.standard_normal(points), dtype)


def ladder(kind: str, seed: int, dtype: str, count: int | None = None, least: int = 0) -> list[Case]:
    """Cases of one kind from small to large: M < P and M > P, d = 1 to 4, several activations.

    `count` takes that many, spread evenly; `least` leaves out widths below.
    """
    sizes = [row for row in with_activations(_LADDER) if row[0] >= max(least, 2 if kind != "definite" else 1)]
    if count is not None and count < len(sizes):
        sizes = [sizes[i] for i in np.linspace(0, len(sizes) - 1, count).round().astype(int)]
    return [case(kind, *row, seed=seed, dtype=dtype) for row in sizes]


def family(width: int, X: Array, y: Array, *, seed: int, dtype: str, beta: float = 0.75) -> Case:
    """A wide network on given data, with γ_N from the scaling formula at γ = 1 (E5)."""
    net = sample_network(width, X.shape[1], beta=beta, activation=activations()[0], seed=np.random.default_rng([seed, width]))
    damping = float(rounded(regularization(1.0, width, beta), dtype))
    theta = rounded(net.theta, dtype)
    return case_at(Objective(X, y, beta, activations()[0], damping), theta, f"seed {seed}, width {width}")
