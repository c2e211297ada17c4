"""A case that an optimizer is tried on, and what the reference says about it: gradient, curvature, the exact step, its limits.

The error of an observed step Δ is held against what rounding can do to any stable method in the dtype that is tried. The
matrix A = H + γ_N I and the gradient g are themselves computed with errors of at most n·eps times the sums of the absolute
values of their terms, |A| ≤ a and |g| ≤ G, and solving adds errors of that size. So with (A + E)Δ = -(g + e),

    forward error   |Δ - Δ*| / |Δ*|                 ≤  30 √n eps |A⁻¹| (a |Δ*| + G) / |Δ*|
    backward error  |AΔ + g| / (a |Δ| + G)          ≤  30 √n eps max(1, a |D⁻¹|)

with n = P + M operations behind one number, whose errors add up like √n (Higham and Mary, "A new approach to probabilistic
rounding error analysis", 2019), and 30 as in LAPACK's own tests. The factor a |D⁻¹| admits the push-through form
(E13), whose residual carries the condition of D. Δ is seen as θ_next - θ, which adds eps |θ_next| to both.

The functions that the optimizer is handed are not exact, either: torch's gelu loses all digits far to the left. What its σ, σ'
and σ'' are off by at the case's own z is measured, and counts in a and G where it is more than rounding (`functions`).
Neither limit is below `LEAST` eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from nntk.crosscheck.functions import EPS, function_errors
from nntk_reference import FLOAT64, Ball, Network, NntkError, formulas, gradient, hessian, solve
from nntk_reference.arithmetic import Array

__all__ = [
    "EPS",
    "LEAST",
    "NEARLY_SINGULAR",
    "THRESHOLD",
    "Case",
    "Objective",
    "Point",
    "Target",
    "case_at",
    "rounded",
    "solved",
]

THRESHOLD = 30.0
"""What LAPACK's own test programs allow an error relative to n·eps·condition (LAPACK Working Note 41, section 7)."""

LEAST = 1024.0
"""No limit is below so many eps: three digits, for sums in the order in which threads happen to finish."""

NEARLY_SINGULAR = 0.03
"""A matrix with |A| |A⁻¹| above this share of 1/√eps may be refused as singular: half of the digits are at stake."""


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
    def eigenvalues(self) -> Array:
        """Of A, ascending (P,)."""
        return np.asarray(np.linalg.eigvalsh(self.matrix))

    @property
    def inverse_norm(self) -> float:
        """|A⁻¹|."""
        smallest = float(np.abs(self.eigenvalues).min())
        return 1 / smallest if smallest > 0 else math.inf

    def limit(self, dtype: str, rate: float = 1.0) -> float:
        """What the forward error of a stable method may be, relative to |Δ*|.

        With a step size of `rate` the step that is seen, θ_next - θ, is that much shorter, and its rounding that much more.
        """
        point, size = self.point, float(np.linalg.norm(self.step))
        if not 0 < size < math.inf:
            return math.inf if size else 0.0
        a, G, _ = point.sizes(dtype)
        moved = EPS[dtype] * float(np.linalg.norm(np.abs(point.theta.reshape(-1)) + np.abs(self.step)))
        stable = THRESHOLD * point.operations * EPS[dtype] * self.inverse_norm * (a * size + G)
        return max((stable + moved / rate) / size, LEAST * EPS[dtype])

    def error(self, step: Array) -> float:
        """|Δ - Δ*| / |Δ*|; the distance itself where Δ* = 0."""
        size = float(np.linalg.norm(self.step))
        return float(np.linalg.norm(step - self.step)) / (size or 1.0)

    def backward_limit(self, dtype: str) -> float:
        """What the backward error of a stable method may be."""
        point = self.point
        a, smallest = point.sizes(dtype).matrix, float(np.abs(point.block_eigenvalues).min())
        spread = a / smallest if self.curvature and smallest > 0 else a / point.objective.damping
        return max(THRESHOLD * point.operations * max(1.0, spread), LEAST) * EPS[dtype]

    def backward_error(self, step: Array, dtype: str, rate: float = 1.0) -> float:
        """|AΔ + g| / (a |Δ| + G), less what the rounding of θ_next contributes to |AΔ + g|."""
        point = self.point
        rounding = EPS[dtype] / rate * np.abs(self.matrix) @ (np.abs(point.theta.reshape(-1)) + np.abs(step))
        residual = np.maximum(np.abs(self.matrix @ step + point.gradient) - rounding, 0.0)
        a, G, _ = point.sizes(dtype)
        scale = a * float(np.linalg.norm(step)) + G
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


class Sizes(NamedTuple):
    """What errors of one number in A, g and r are relative to: the norms of the sums of their terms' absolute values."""

    matrix: float
    gradient: float
    residual: float


@dataclass(frozen=True, eq=False)
class Point:
    """The reference's quantities at θ (N, d+2) of an objective, all for θ as one vector (P,), neuron by neuron."""

    objective: Objective
    theta: Array
    _sizes: dict[str, Sizes] = field(default_factory=dict, repr=False)

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

    @cached_property
    def block_eigenvalues(self) -> Array:
        """Of all blocks of D = S + γ_N I, (N, d+2)."""
        return np.asarray(np.linalg.eigvalsh(self.residual_blocks)) + self.objective.damping

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
        return int((self.newton.eigenvalues < 0).sum())

    # --- the sums of absolute values that rounding errors are relative to ----------------------------------------------------

    @property
    def operations(self) -> float:
        """√n: what n = P + M rounding errors add up to."""
        return math.sqrt(self.theta.size + len(self.objective.y))

    def sizes(self, dtype: str = "") -> Sizes:
        """(a, G), with what the functions that are handed out in this dtype are off by; without a dtype, of rounding alone."""
        if dtype not in self._sizes:
            self._sizes[dtype] = self._sized(dtype)
        return self._sizes[dtype]

    def _sized(self, dtype: str) -> Sizes:
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
        if dtype:
            z = s.inputs @ self.theta[:, 1:].T
            errors = function_errors(self.objective.activation, z, dtype)
            value, slope, curvature = (
                np.maximum(size, error / EPS[dtype]) for size, error in zip((value, slope, curvature), errors, strict=True)
            )
        c = np.abs(s.c)
        J = formulas.jacobian(formulas.State(s.scale, c, inputs, value, slope, curvature)).reshape(M, -1)
        r = np.abs(self.objective.y) + s.scale * value @ c
        blocks = np.zeros((N, D, D))
        blocks[:, 0, 1:] = blocks[:, 1:, 0] = s.scale * (r[:, None] * slope).T @ inputs / M
        blocks[:, 1:, 1:] = s.scale * np.einsum("mi,mj,mk->ijk", r[:, None] * curvature * c, inputs, inputs, optimize=True) / M
        matrix = formulas.add_blocks(J.T @ J / M, blocks)
        a = float(np.linalg.norm(matrix)) + self.objective.damping
        return Sizes(a, float(np.linalg.norm(J.T @ r)) / M, float(np.linalg.norm(r)))

    @property
    def matrix_size(self) -> float:
        """a, with |A| ≤ a entry by entry in absolute values (Frobenius)."""
        return self.sizes().matrix

    @property
    def gradient_size(self) -> float:
        """G: the norm of the gradient's terms in absolute values."""
        return self.sizes().gradient


def _gauss_newton(point: Point, ball: Ball) -> Array:
    s = formulas.state(ball, point.network, point.objective.X)
    return formulas.gauss_newton_matrix(s)


def solved(A: Array, b: Array) -> Array:
    """A⁻¹b, or NaN where A is singular."""
    try:
        return np.asarray(np.linalg.solve(A, b))
    except np.linalg.LinAlgError:
        return np.full_like(b, math.nan)


def rounded(values: Any, dtype: str) -> Array:
    """The numbers that the dtype holds, as float64."""
    return np.asarray(values, np.float64).astype(dtype).astype(np.float64)


def case_at(objective: Objective, theta: Array, source: str, dtype: str = "float64") -> Case:
    """The case at θ, of the kind that it is of there: definite, indefinite, or nearly singular in this dtype."""
    point = objective.at(theta)
    most = NEARLY_SINGULAR / math.sqrt(EPS[dtype])
    if point.newton.inverse_norm * point.matrix_size > most:
        return Case(objective, theta, "nearly singular", source)
    return Case(objective, theta, "indefinite" if point.negative else "definite", source)
