"""Optimizers that are right, wrong in one known way, or unfit for use: RIGHT, FAULTS, NAMED and BAD, to try the cross-check on.

All but those that wrap nntk_accelerated are written apart from it: the network as one formula on a flat vector, its derivatives
by torch.func, dense matrices. `Dense` is the exact step, made of a few small functions; a fault replaces one of them.
Every factory is an attribute of this module under its id, for `nntk crosscheck tests.nntk.optimizers:ID`.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse.linalg
import scipy.special
import torch
from torch import Tensor, nn

from nntk_accelerated import RegularizedNewton, ShallowNet
from tests.nntk.sharded_optimizer import Sharded

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sin": torch.sin,
    "logistic": torch.sigmoid,
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    "gelu": nn.functional.gelu,
    "relu": torch.relu,
    "square": torch.square,
}


# --- the exact step, dense -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Point:
    """The loss Σₘ wₘ rₘ²/2 at flat parameters θ (P,), neuron by neuron, and its derivatives.

    damping   γ_N, or (P,) numbers for the diagonal.
    memory    what the optimizer remembers: a part of its state, and so of its state_dict.
    """

    theta: Tensor
    X: Tensor
    y: Tensor
    weights: Tensor
    damping: Any
    lr: float
    memory: dict[str, Any]
    activation: Callable[[Tensor], Tensor]
    beta: float

    @property
    def rows(self) -> Tensor:
        """The parameters (N, d+2)."""
        return self.theta.view(-1, self.X.shape[1] + 2)

    @property
    def neuron(self) -> Tensor:
        """The number of the neuron that each parameter belongs to."""
        return torch.arange(len(self.theta), device=self.theta.device) // self.rows.shape[1]

    @property
    def tensor(self) -> Tensor:
        """Which of the tensors c (0), w (1) and η (2) each parameter belongs to."""
        column = torch.arange(len(self.theta), device=self.theta.device) % self.rows.shape[1]
        return (column > 0).long() + (column == self.rows.shape[1] - 1)

    def outputs(self, theta: Tensor) -> Tensor:
        rows = theta.view(self.rows.shape)
        z = self.X @ rows[:, 1:-1].T + rows[:, -1]
        return self.activation(z) @ rows[:, 0] * len(rows) ** -self.beta

    def loss(self, theta: Tensor) -> Tensor:
        return (self.weights * (self.outputs(theta) - self.y).square()).sum() / 2

    @cached_property
    def derivatives(self) -> tuple[Tensor, Tensor]:
        """∇L and H, in one pass."""

        def twice(theta: Tensor) -> tuple[Tensor, Tensor]:
            gradient = torch.func.grad(self.loss)(theta)
            return gradient, gradient

        hessian, gradient = torch.func.jacrev(twice, has_aux=True)(self.theta)
        return gradient, hessian

    @property
    def gradient(self) -> Tensor:
        return self.derivatives[0]

    @property
    def hessian(self) -> Tensor:
        return self.derivatives[1]

    @cached_property
    def jacobian(self) -> Tensor:
        return torch.func.jacrev(self.outputs)(self.theta)

    @property
    def gauss_newton(self) -> Tensor:
        return self.jacobian.T @ (self.weights[:, None] * self.jacobian)

    def damped(self, curvature: Tensor) -> Tensor:
        return curvature + torch.diag(self.damping * torch.ones_like(self.theta))


def finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise ArithmeticError("the step would not be finite")


PIECES: dict[str, Callable[..., Any]] = {
    "point": lambda at: at,
    "matrix": lambda at: at.damped(at.hessian),
    "right": lambda at: at.gradient,
    "solve": lambda at, A, b: torch.linalg.solve(A, b),
    "change": lambda at, update: at.lr * update,
    "guard": finite,
}
"""Where the derivatives are taken, the matrix, the right side, the solver, and what becomes of the update."""


class Dense(torch.optim.Optimizer):
    """θ ← θ - lr (H + damping I)⁻¹ ∇L by a dense solve, in the dtype of the net; any of `PIECES` can be replaced."""

    def __init__(self, model: ShallowNet, X: Tensor, y: Tensor, damping: float, **pieces: Callable[..., Any]) -> None:
        super().__init__([model.c, model.w, model.eta], {"lr": 1.0})
        self.model, self.data, self.damping, self.pieces = model, (X, y), damping, PIECES | pieces
        self.memory["step"] = 0

    @property
    def memory(self) -> dict[str, Any]:
        return self.state[self.param_groups[0]["params"][0]]

    def point(self) -> Point:
        model, (X, y) = self.model, self.data
        theta = torch.cat([model.c[:, None], model.w, model.eta[:, None]], 1).reshape(-1)
        weights = torch.full_like(y, 1 / len(y))
        sigma, lr = ACTIVATIONS[model.activation], self.param_groups[0]["lr"]
        return Point(theta, X, y, weights, self.damping, lr, self.memory, sigma, model.beta)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else closure()
        here = self.point()
        self.write((here.theta + self.change(here).to(here.theta)).view(here.rows.shape))
        self.memory["step"] += 1
        return loss

    def change(self, here: Point) -> Tensor:
        do = self.pieces
        at = do["point"](here)
        right = do["right"](at)
        do["guard"](right)
        change = do["change"](at, -do["solve"](at, do["matrix"](at), right))
        do["guard"](change)
        return change

    def write(self, rows: Tensor) -> None:
        for p, values in ((self.model.c, rows[:, 0]), (self.model.w, rows[:, 1:-1]), (self.model.eta, rows[:, -1])):
            p.copy_(values)


Factory = Callable[..., Any]


def dense(**pieces: Callable[..., Any]) -> Factory:
    return lambda model, X, y, damping: Dense(model, X, y, damping, **pieces)


# --- solvers -------------------------------------------------------------------------------------------------------------


def cholesky(otherwise: Callable[[Point, Tensor, Tensor], Tensor]) -> Callable[[Point, Tensor, Tensor], Tensor]:
    """Solve by Cholesky; where the matrix is not positive definite, do something else."""

    def solve(at: Point, A: Tensor, b: Tensor) -> Tensor:
        L, failed = torch.linalg.cholesky_ex(A)
        return otherwise(at, A, b) if failed else torch.cholesky_solve(b[:, None], L)[:, 0]

    return solve


def refuse(at: Point, A: Tensor, b: Tensor) -> Tensor:
    raise ArithmeticError("the damped Hessian is not positive definite")


def raised(at: Point, A: Tensor, b: Tensor) -> Tensor:
    """Twice the damping, and again, until Cholesky succeeds."""
    more = A + at.damping * torch.eye(len(A)).to(A)
    return cholesky(raised)(replace(at, damping=2 * at.damping), more, b)


def push_through(at: Point, A: Tensor, b: Tensor) -> Tensor:
    """(E13): D⁻¹Jᵀ(M I + J D⁻¹ Jᵀ)⁻¹ r by dense solves, refined, as D may be worse conditioned than A."""
    J, M = at.jacobian, len(at.y)
    D = A - at.gauss_newton
    middle = M * torch.eye(M).to(A) + J @ torch.linalg.solve(D, J.T)

    def inverse(v: Tensor) -> Tensor:
        u = torch.linalg.solve(D, v)
        return u - torch.linalg.solve(D, J.T @ torch.linalg.solve(middle, J @ u))

    x = torch.linalg.solve(D, J.T @ torch.linalg.solve(middle, at.outputs(at.theta) - at.y))
    for _ in range(3):
        x = x + inverse(b - A @ x)
    return x


def conjugate_gradients(A: Tensor, b: Tensor, most: int, rtol: float, *, positive: bool = False) -> Tensor:
    """At most so many iterations from 0, until |b - Ax| ≤ rtol |b|; whatever the curvature, or while it is positive."""
    x, r = torch.zeros_like(b), b.clone()
    p, rr = r.clone(), float(r @ r)
    goal = rtol**2 * rr
    for _ in range(most):
        if rr <= goal:
            break
        Ap = A @ p
        curvature = float(p @ Ap)
        if positive and curvature <= 0:
            raise ArithmeticError("negative curvature: the damped Hessian is indefinite")
        step = rr / curvature
        x, r = x + step * p, r - step * Ap
        rr, before = float(r @ r), rr
        p = r + rr / before * p
    return x


def minres(A: Tensor, b: Tensor, most: int, rtol: float) -> Tensor:
    return torch.from_numpy(scipy.sparse.linalg.minres(A.cpu().numpy(), b.cpu().numpy(), rtol=rtol, maxiter=most)[0]).to(b)


def restarted(method: Callable[[Tensor, Tensor, int, float], Tensor]) -> Callable[[Point, Tensor, Tensor], Tensor]:
    """Krylov iterations, started afresh from what is left until that is down to rounding errors."""

    def solve(at: Point, A: Tensor, b: Tensor) -> Tensor:
        eps, norm = torch.finfo(b.dtype).eps, float(A.norm())
        x, r = torch.zeros_like(b), b
        for _ in range(200):
            if float(r.norm()) <= 2 * eps * (norm * float(x.norm()) + float(b.norm())):
                return x
            x = x + method(A, r, 5 * len(b), eps)
            r = b - A @ x
        raise ArithmeticError("the iterations did not converge")

    return solve


# --- the faults' own pieces ----------------------------------------------------------------------------------------------


def within(label: str) -> Callable[[Point], Tensor]:
    """The Hessian's blocks within one "neuron" or one "tensor"."""
    return lambda at: at.damped(at.hessian * (getattr(at, label)[:, None] == getattr(at, label)))


def uncrossed(at: Point) -> Tensor:
    """The Hessian without the entries between c and w."""
    pair = at.tensor[:, None] + at.tensor
    return at.damped(at.hessian * (pair != 1))


def spectral(change: Callable[[Tensor], Tensor]) -> Callable[[Point], Tensor]:
    """The Hessian with other eigenvalues."""

    def matrix(at: Point) -> Tensor:
        values, vectors = torch.linalg.eigh(at.hessian)
        return at.damped(vectors * change(values) @ vectors.T)

    return matrix


def weighted(weights: Callable[[int], Tensor]) -> Callable[[Point], Point]:
    """Other weights of the data points than 1/M each; for M = 1 they may be the same."""
    return lambda at: replace(at, weights=weights(len(at.y)).to(at.y))


def with_damping(damping: Callable[[Point], Any]) -> Callable[[Point], Point]:
    return lambda at: replace(at, damping=damping(at))


def single(at: Point) -> Point:
    return replace(at, **{name: getattr(at, name).float() for name in ("theta", "X", "y", "weights")})


def noisy(at: Point, update: Tensor, size: float, generator: torch.Generator) -> Tensor:
    direction = torch.randn(len(update), generator=generator, dtype=torch.float64).to(update)
    return at.lr * (update + size * update.norm() * direction / direction.norm())


def numbered(at: Point, update: Tensor) -> Tensor:
    return noisy(at, update, 1e-5, torch.Generator().manual_seed(at.memory["step"]))


def fresh_noise(at: Point, update: Tensor) -> Tensor:
    generator = torch.Generator()
    generator.seed()  # from the system, so that no global seed makes it repeat
    return noisy(at, update, 1e-9, generator)


def heavy_ball(at: Point, update: Tensor) -> Tensor:
    at.memory["velocity"] = update + 0.1 * at.memory.get("velocity", 0)
    return at.lr * at.memory["velocity"]


def kept_for(steps: float) -> Callable[[Point], Tensor]:
    """A Hessian that is computed anew every so many steps only."""

    def matrix(at: Point) -> Tensor:
        if at.memory["step"] % steps == 0:
            at.memory["hessian"] = at.hessian
        return at.damped(at.memory["hessian"])

    return matrix


def one_step_late(at: Point) -> Tensor:
    late = at.memory.get("hessian", at.hessian)
    at.memory["hessian"] = at.hessian
    return at.damped(late)


def shortened(bound: float) -> Callable[[Point, Tensor], Tensor]:
    """An update that is longer than the bound gets that length."""
    return lambda at, update: at.lr * update * min(1.0, bound / float(update.norm()))


def latched(at: Point, update: Tensor) -> Tensor:
    return at.memory.setdefault("lr", at.lr) * update


def two_steps(at: Point, update: Tensor) -> Tensor:
    there = replace(at, theta=at.theta + at.lr * update)
    return at.lr * (update - torch.linalg.solve(there.damped(there.hessian), there.gradient))


def line_search(at: Point, update: Tensor) -> Tensor:
    step = at.lr
    while at.loss(at.theta + step * update) > at.loss(at.theta) and step > 1e-6:
        step /= 2
    return step * update


def afterwards(effect: Callable[[Point], object]) -> Callable[[Point, Tensor], Tensor]:
    """The right step, and then something that is none of its business."""

    def change(at: Point, update: Tensor) -> Tensor:
        effect(at)
        return at.lr * update

    return change


class Forgetful(Dense):
    """Momentum whose velocity is not saved."""

    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        state = {k: {name: v for name, v in one.items() if name != "velocity"} for k, one in saved["state"].items()}
        return {**saved, "state": state}


class Restarting(Dense):
    """The number of steps is not saved, nor what is remembered of them."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.memory.clear()
        self.memory["step"] = 0


class Unsettled(Dense):
    """The step size is not saved."""

    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        groups = [{name: v for name, v in group.items() if name != "lr"} for group in saved["param_groups"]]
        return {**saved, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = [{"lr": self.defaults["lr"], **group} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups})


# --- the catalogue's own pieces --------------------------------------------------------------------------------------------


def gamma_power(power: Callable[[Point], float]) -> Callable[[Point], Point]:
    """The damping asked for times a power of N."""
    return with_damping(lambda at: at.damping * len(at.rows) ** power(at))


def on_tensors(c: float, w: float, eta: float) -> Callable[[Point], Point]:
    """A damping of its own on each of c, w and η."""
    return with_damping(lambda at: at.damping * torch.tensor([c, w, eta]).to(at.theta)[at.tensor])


def with_block(pair: tuple[int, int], share: float, term: str = "residual") -> Callable[[Point], Tensor]:
    """Another share of the block of S, or of JᵀJ, between two of the tensors c (0), w (1) and η (2)."""

    def matrix(at: Point) -> Tensor:
        low, high = torch.minimum(at.tensor[:, None], at.tensor), torch.maximum(at.tensor[:, None], at.tensor)
        part = at.hessian - at.gauss_newton if term == "residual" else at.gauss_newton
        return at.damped(at.hessian + (share - 1) * part * ((low == pair[0]) & (high == pair[1])))

    return matrix


def without_bend(share: float) -> Callable[[Point], Tensor]:
    """Another share of the terms of S with σ'', which are those between w and η."""

    def matrix(at: Point) -> Tensor:
        inner = (at.tensor[:, None] > 0) & (at.tensor > 0)
        return at.damped(at.hessian + (share - 1) * (at.hessian - at.gauss_newton) * inner)

    return matrix


def floored(least: float, *, size: bool = False) -> Callable[[Point, Tensor, Tensor], Tensor]:
    """Solve with the eigenvalues of the damped matrix, or their absolute values, set to at least a number."""

    def solve(at: Point, A: Tensor, b: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(A)
        values = values.abs() if size else values
        return vectors @ (vectors.T @ b / values.clamp_min(least))

    return solve


def batch_weights(size: int) -> Callable[[int], Tensor]:
    """The mean of the means of batches, of which the last may be smaller."""

    def weights(M: int) -> Tensor:
        batch = torch.arange(M) // size
        return 1 / torch.bincount(batch)[batch].double() / (int(batch[-1]) + 1)

    return weights


def whole_batches(size: int) -> Callable[[int], Tensor]:
    """The points that fill batches of a size; all of them where they fill none."""

    def weights(M: int) -> Tensor:
        kept = M // size * size or M
        return (torch.arange(M) < kept).double() / kept

    return weights


def without_last_neurons(count: int) -> Callable[[Point, Tensor, Tensor], Tensor]:
    def solve(at: Point, A: Tensor, b: Tensor) -> Tensor:
        kept = (at.neuron < len(at.rows) - count).nonzero()[:, 0]
        x = torch.zeros_like(b)
        x[kept] = torch.linalg.solve(A[kept][:, kept], b[kept])
        return x

    return solve


@dataclass(frozen=True, eq=False)
class Rescaled(Point):
    """The network with another factor than N^-β."""

    factor: float = 1.0

    def outputs(self, theta: Tensor) -> Tensor:
        return self.factor * len(self.rows) ** self.beta * super().outputs(theta)


def rescaled(factor: Callable[[Point], float]) -> Callable[[Point], Point]:
    return lambda at: Rescaled(**{field.name: getattr(at, field.name) for field in fields(Point)}, factor=factor(at))


def nesterov(at: Point, update: Tensor) -> Tensor:
    at.memory["velocity"] = update + 0.3 * at.memory.get("velocity", 0)
    return at.lr * (update + 0.3 * at.memory["velocity"])


class Ahead(Dense):
    """Nesterov's momentum as published: the derivatives are taken where the momentum leads to."""

    def change(self, here: Point) -> Tensor:
        momentum = 0.2 * self.memory.get("last", torch.zeros_like(here.theta))
        there = replace(here, theta=here.theta + momentum)
        self.memory["last"] = momentum + super().change(there)
        return self.memory["last"]


def trust_region(radius: float) -> Callable[[Point, Tensor, Tensor], Tensor]:
    """The damping raised until the step is as short as the radius: bisection."""

    def solve(at: Point, A: Tensor, b: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(A)
        along = vectors.T @ b
        low = max(0.0, -float(values[0])) * (1 + 1e-12)
        high = low + float(b.norm()) / radius
        if low == 0 and float((along / values).norm()) <= radius:
            return vectors @ (along / values)
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if float((along / (values + middle)).norm()) > radius else (low, middle)
        return vectors @ (along / (values + high))

    return solve


def lagging(steps: int) -> Callable[[Point], Tensor]:
    """The Hessian of so many steps before."""

    def matrix(at: Point) -> Tensor:
        past = [*at.memory.get("past", []), at.hessian][-steps - 1 :]
        at.memory["past"] = past
        return at.damped(past[0])

    return matrix


def scheduled(factor: float, period: int) -> Callable[[Point], Point]:
    """The damping times a factor every few steps."""
    return with_damping(lambda at: at.damping * factor ** (at.memory["step"] // period))


class Searching(Dense):
    """Newton's direction, and the best of four step sizes by the closure's loss."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        here = self.point()
        update, losses = super().change(here), {}
        for size in (1.0, 0.5, 0.25, 1.5):
            self.write((here.theta + size * update).view(here.rows.shape))
            losses[size] = float(here.loss(here.theta + size * update) if closure is None else closure())
        best = min(losses, key=lambda size: losses[size])
        self.write((here.theta + best * update).view(here.rows.shape))
        self.memory["step"] += 1
        return None


def quasi_newton(kind: str) -> Callable[[Point, Tensor], Tensor]:
    """The inverse by BFGS or SR1 from the identity; the first step is the gradient's."""

    def change(at: Point, update: Tensor) -> Tensor:
        g, kept = at.gradient, at.memory
        inverse = kept.get("inverse", torch.eye(len(g)).to(g))
        if "s" in kept:
            s, y = kept["s"], g - kept["g"]
            if kind == "BFGS" and float(s @ y) > 0:
                left = torch.eye(len(g)).to(g) - torch.outer(s, y) / (s @ y)
                inverse = left @ inverse @ left.T + torch.outer(s, s) / (s @ y)
            elif kind == "SR1":
                rest = s - inverse @ y
                inverse = inverse + torch.outer(rest, rest) / (rest @ y)
        kept["inverse"], kept["s"], kept["g"] = inverse, -inverse @ g, g
        return at.lr * kept["s"]

    return change


def torch_adafactor(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(model.parameters(), lr=0.01)


def by_tensor(step: Callable[[Tensor, bool], Tensor]) -> Callable[[Point, Tensor], Tensor]:
    """A first-order step, tensor by tensor: step(gradient, is it w)."""

    def change(at: Point, update: Tensor) -> Tensor:
        rows = at.gradient.view(at.rows.shape)
        c, w, eta = step(rows[:, 0], False), step(rows[:, 1:-1], True), step(rows[:, -1], False)
        return -at.lr * torch.cat([c[:, None], w, eta[:, None]], 1).reshape(-1)

    return change


def muon(g: Tensor, is_w: bool) -> Tensor:
    """Newton and Schulz's iteration for w, signs for the rest."""
    if not is_w:
        return 1e-3 * g.sign()
    X = (g.T if g.shape[0] > g.shape[1] else g) / g.norm()
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return 0.02 * (X.T if g.shape[0] > g.shape[1] else X)


def power(A: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(A)
    return vectors * values.clamp_min(1e-300) ** exponent @ vectors.T


def shampoo(g: Tensor, is_w: bool) -> Tensor:
    """Gradient by the roots of its Gram matrices, with ε = 1e-4."""
    if not is_w:
        return 0.1 * g / (g @ g + 1e-4).sqrt()
    left, right = (power(A + 1e-4 * torch.eye(len(A)).to(A), -1 / 4) for A in (g @ g.T, g.T @ g))
    return 0.1 * left @ g @ right


def soap(g: Tensor, is_w: bool) -> Tensor:
    """Adam's first step in the eigenbasis of the gradient's Gram matrices."""
    if not is_w:
        return 1e-3 * g.sign()
    U, _, Vt = torch.linalg.svd(g, full_matrices=False)
    return 1e-3 * U @ Vt


def adahessian(at: Point, update: Tensor) -> Tensor:
    signs = torch.randint(0, 2, (len(at.theta),)).to(at.theta) * 2 - 1
    return -at.lr * 0.1 * at.gradient / (signs * (at.hessian @ signs)).abs()


# --- as a function, in NumPy ---------------------------------------------------------------------------------------------


def _tanh(z: Any) -> tuple[Any, ...]:
    t = np.tanh(z)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def _erf(z: Any) -> tuple[Any, ...]:
    slope = 2 / np.sqrt(np.pi) * np.exp(-z * z)
    return scipy.special.erf(z), slope, -2 * z * slope


def _logistic(z: Any) -> tuple[Any, ...]:
    s = scipy.special.expit(z)
    return s, s * (1 - s), s * (1 - s) * (1 - 2 * s)


def _softplus(z: Any) -> tuple[Any, ...]:
    return np.logaddexp(z, 0), *_logistic(z)[:2]


def _gelu(z: Any) -> tuple[Any, ...]:
    cdf, density = scipy.special.ndtr(z), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return z * cdf, cdf + z * density, (2 - z * z) * density


JETS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "tanh": _tanh,
    "erf": _erf,
    "sin": lambda z: (np.sin(z), np.cos(z), -np.sin(z)),
    "logistic": _logistic,
    "softplus": _softplus,
    "gelu": _gelu,
    "relu": lambda z: (np.maximum(z, 0), (z > 0) * 1.0, 0 * z),
    "square": lambda z: (z * z, 2 * z, 2 + 0 * z),
}
"""(σ, σ', σ'')."""


def numpy_step(share: float) -> Factory:
    """The step function with so much of the residual term; 1 is Newton's method, 0 is Gauss-Newton."""

    def step(theta: Any, X: Any, y: Any, damping: float, problem: Any) -> Any:
        rows, X = theta.astype(float).reshape(problem.width, problem.dim + 2), X.astype(float)
        (M, _), (N, p) = X.shape, rows.shape
        X1 = np.column_stack([X, np.ones(M)])
        s, slope, bend = JETS[problem.activation](X @ rows[:, 1:-1].T + rows[:, -1])
        J = np.concatenate([s[:, :, None], (rows[:, 0] * slope)[:, :, None] * X1[:, None]], 2).reshape(M, -1) * N**-problem.beta
        A = J.T @ J / M + damping * np.eye(N * p)
        r = (problem.outputs(theta) - y) * N**-problem.beta / M
        for i in range(N):
            S = np.zeros((p, p))
            S[0, 1:] = S[1:, 0] = (r * slope[:, i]) @ X1
            S[1:, 1:] = rows[i, 0] * X1.T @ ((r * bend[:, i])[:, None] * X1)
            A[p * i : p * i + p, p * i : p * i + p] += share * S
        after = (theta - np.linalg.solve(A, problem.gradient(theta))).astype(theta.dtype)
        if not np.isfinite(after).all():
            raise ArithmeticError("the step would not be finite")
        return after

    return step


# --- the right ones ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Right:
    """An optimizer that no check may refuse under its profile."""

    id: str
    factory: Factory
    profile: str = "exact-newton"
    note: str = ""


class ByClosure(RegularizedNewton):
    """RegularizedNewton, driven by closures alone."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def regularized_newton(kind: type[RegularizedNewton], model: ShallowNet, damping: float) -> RegularizedNewton:
    return kind(model, damping, scaling="fixed", on_indefinite="step")


REFUSES = "refuses an indefinite matrix, where it meets it, and leaves the parameters"

RIGHT = {
    right.id: right
    for right in (
        Right("right_dense", dense()),
        Right("right_cholesky", dense(solve=cholesky(refuse)), note=REFUSES),
        Right("right_push_through", dense(solve=push_through)),
        Right("right_cg", dense(solve=restarted(partial(conjugate_gradients, positive=True))), note=REFUSES),
        Right("right_minres", dense(solve=restarted(minres)), note="converges on indefinite matrices as well"),
        Right("right_numpy", numpy_step(1), note="a function"),
        Right(
            "right_regularized_newton",
            lambda model, X, y, damping: regularized_newton(ByClosure, model, damping).bind(X, y),
        ),
        Right(
            "right_object",
            lambda model, X, y, damping: regularized_newton(RegularizedNewton, model, damping),
            note="an object with step(X, y)",
        ),
        Right("right_sharded", Sharded, note="two processes; an object with step(X, y)"),
        Right("right_gauss_newton", dense(matrix=lambda at: at.damped(at.gauss_newton)), "gauss-newton"),
        Right("right_numpy_gauss_newton", numpy_step(0), "gauss-newton", "a function"),
    )
}


# --- the wrong ones ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """An optimizer that is wrong in one way.

    refused_by   the checks that have to refuse it under exact-newton, the most specific first; others may as well.
    diagnosis    words that the diagnosis has to say, in small letters; empty where each step is exact, or wrong as no
                 catalogue has it.
    """

    id: str
    factory: Factory
    refused_by: tuple[str, ...]
    diagnosis: str = ""
    note: str = ""


class GradientObject:
    """A gradient step, as an object with step(X, y)."""

    def __init__(self, model: ShallowNet) -> None:
        self.model, self.method = model, torch.optim.SGD(model.parameters(), lr=1.0)

    def step(self, X: Tensor, y: Tensor) -> None:
        self.method.zero_grad()
        ((self.model(X) - y).square().sum() / (2 * len(y))).backward()
        self.method.step()


MORE_THREADS = torch.get_num_threads() + 1


def standardized(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Dense:
    X.sub_(X.mean(0)).div_(X.std(0, correction=0) + 1)
    return Dense(model, X, y, damping)


def threads(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Dense:
    torch.set_num_threads(MORE_THREADS)
    return Dense(model, X, y, damping)


def skipping_last_neuron(at: Point, update: Tensor) -> Tensor:
    return at.lr * update * (at.neuron < at.neuron.max())


MATCH = ("step-matches",)

FAULTS = {
    fault.id: fault
    for fault in (
        # another matrix
        Fault(
            "gradient",
            lambda model, X, y, damping: torch.optim.SGD(model.parameters(), lr=1.0),
            ("step-matches", "damping-honoured", "all-parameters-coupled"),
            "gradient",
        ),
        Fault("object_gradient", lambda model, X, y, damping: GradientObject(model), MATCH, "gradient", "an object"),
        Fault("gauss_newton", dense(matrix=lambda at: at.damped(at.gauss_newton)), MATCH, "gauss"),
        Fault("function_gauss_newton", numpy_step(0), MATCH, "gauss", "a function"),
        Fault(
            "half_residual", dense(matrix=lambda at: at.damped((at.hessian + at.gauss_newton) / 2)), MATCH, "half the residual"
        ),
        Fault("function_half_residual", numpy_step(0.5), MATCH, "half the residual", "a function"),
        Fault("wrong_sign", dense(matrix=lambda at: at.damped(2 * at.gauss_newton - at.hessian)), MATCH, "wrong sign"),
        Fault(
            "diagonal",
            dense(matrix=lambda at: at.damped(torch.diag(at.hessian.diagonal()))),
            ("all-parameters-coupled", "step-matches", "joint-rotation"),
            "diagonal",
            "rotation shows it for d > 1 only",
        ),
        Fault("per_tensor", dense(matrix=within("tensor")), ("all-parameters-coupled", "step-matches"), "per-tensor"),
        Fault("per_neuron", dense(matrix=within("neuron")), ("all-parameters-coupled", "step-matches"), "per-neuron"),
        Fault("no_c_w_cross_term", dense(matrix=uncrossed), ("all-parameters-coupled", "step-matches"), "c-w"),
        Fault("saddle_free", dense(matrix=spectral(torch.abs)), MATCH, "saddle-free"),
        Fault("clipped_spectrum", dense(matrix=spectral(lambda values: values.clamp_min(0))), MATCH, "set to zero"),
        # another step where the matrix is indefinite
        Fault(
            "gradient_fallback",
            dense(solve=cholesky(lambda at, A, b: b / at.damping)),
            ("no-silent-fallback", "step-matches"),
            "gradient",
        ),
        Fault(
            "null_fallback",
            dense(solve=cholesky(lambda at, A, b: torch.zeros_like(b))),
            ("no-silent-fallback", "step-matches"),
            "zero",
        ),
        Fault("raised_damping", dense(solve=cholesky(raised)), ("no-silent-fallback", "step-matches"), "damping"),
        Fault(
            "backtracking",
            dense(change=line_search),
            ("no-silent-fallback", "step-matches"),
            "step size",
            "exact wherever the full step lowers the loss",
        ),
        # another damping
        Fault(
            "damping_off",
            dense(point=with_damping(lambda at: 1.001 * at.damping)),
            ("damping-honoured", "step-matches"),
            "damping",
            "by 0.1 %",
        ),
        Fault("damping_ignored", dense(point=with_damping(lambda at: 0.0)), ("damping-honoured", "step-matches"), "ignored"),
        Fault(
            "summed_loss",
            dense(point=weighted(torch.ones)),
            ("damping-honoured", "data-duplication", "step-matches"),
            "summed",
            "the step at damping/M",
        ),
        Fault(
            "marquardt",
            dense(matrix=lambda at: at.gauss_newton + at.damping * torch.diag(at.gauss_newton.diagonal())),
            ("damping-honoured", "step-matches"),
            "levenberg",
        ),
        Fault(
            "damping_times_diagonal",
            dense(matrix=lambda at: at.hessian + at.damping * torch.diag(at.hessian.diagonal())),
            ("damping-honoured", "step-matches"),
            "diag(h)",
        ),
        Fault(
            "neuron_order",
            dense(point=with_damping(lambda at: at.damping * (1 + 1e-6 * at.neuron))),
            ("neuron-permutation", "step-matches"),
            note="a millionth more damping from neuron to neuron",
        ),
        Fault(
            "sign_of_c",
            dense(point=with_damping(lambda at: at.damping * (1 + 1e-6 * (at.rows[:, 0] > 0)[at.neuron]))),
            ("sign-symmetry", "step-matches"),
            note="a millionth more damping where c > 0; odd activations show it",
        ),
        # another accuracy
        Fault("noise", dense(change=numbered), MATCH, note="relative 1e-5, the same in every run"),
        Fault("float32_inside", dense(point=single), ("precision", "step-matches"), "float32", "wrong for float64 only"),
        Fault(
            "cg_3_iterations",
            dense(solve=lambda at, A, b: conjugate_gradients(A, b, 3, 0.0)),
            MATCH,
            "cg",
            "exact where b has at most 3 eigencomponents",
        ),
        Fault("cg_loose", dense(solve=lambda at, A, b: conjugate_gradients(A, b, 1000, 1e-3)), MATCH, "cg", "to 1e-3"),
        # not all of the network, not all of the data
        Fault(
            "skipped_neuron",
            dense(change=skipping_last_neuron),
            ("neuron-permutation", "step-matches"),
            "not moved",
            note="the last",
        ),
        Fault(
            "skipped_point",
            dense(point=weighted(lambda M: (torch.arange(M) < M - 1).double() / max(M - 1, 1))),
            ("whole-data", "data-permutation", "step-matches"),
            "left out",
            note="the last",
        ),
        Fault(
            "mini_batch",
            dense(point=weighted(lambda M: (torch.arange(M) < (M + 1) // 2).double() / ((M + 1) // 2))),
            ("whole-data", "data-permutation", "step-matches"),
            "batch",
            note="the first half; right for M = 1",
        ),
        Fault(
            "last_point_twice",
            dense(point=weighted(lambda M: (1 + (torch.arange(M) == M - 1).double()) / M)),
            ("whole-data", "data-permutation", "step-matches"),
            "twice",
        ),
        Fault(
            "data_order",
            dense(point=weighted(lambda M: (1 + 1e-6 * torch.arange(M).double()) / M)),
            ("data-permutation", "whole-data", "step-matches"),
            note="a millionth more weight from point to point; right for M = 1",
        ),
        # another change, from a right update
        Fault(
            "every_third_null",
            dense(change=lambda at, update: at.lr * update * (at.memory["step"] % 3 != 2)),
            ("no-silent-fallback", "trajectory"),
            "zero",
        ),
        Fault(
            "weight_decay",
            dense(change=lambda at, update: at.lr * (update - 1e-4 * at.theta)),
            MATCH,
            "weight decay",
            note="decoupled, 1e-4",
        ),
        Fault(
            "l2",
            dense(right=lambda at: at.gradient + 1e-4 * at.theta),
            MATCH,
            "weight decay",
            note="1e-4, in the gradient alone",
        ),
        Fault("momentum", dense(change=heavy_ball), ("trajectory",), "momentum", "0.1; the first step is exact"),
        Fault(
            "clipped_step",
            dense(change=shortened(0.5)),
            ("no-silent-fallback", "step-matches"),
            "step size",
            "to norm 0.5; exact where the step is shorter",
        ),
        Fault("two_steps_at_once", dense(change=two_steps), MATCH, "2 newton steps"),
        # stale curvature
        Fault(
            "stale", dense(matrix=kept_for(float("inf"))), ("fresh-curvature", "trajectory"), "curvature", "the first Hessian"
        ),
        Fault("refreshed_every_5", dense(matrix=kept_for(5)), ("fresh-curvature", "trajectory"), "curvature"),
        Fault("one_step_stale", dense(matrix=one_step_late), ("fresh-curvature", "trajectory"), "curvature"),
        # the step size
        Fault(
            "step_size_off",
            dense(change=lambda at, update: 0.99 * at.lr * update),
            ("step-size-honoured", "step-matches"),
            "step size",
            "0.99",
        ),
        Fault("lr_ignored", dense(change=lambda at, update: update), ("scheduler",), note="exact at lr = 1"),
        Fault("lr_of_the_first_step", dense(change=latched), ("scheduler",), note="exact at constant lr"),
        Fault("lr_twice", dense(change=lambda at, update: at.lr**2 * update), ("scheduler",), note="exact at lr = 1"),
        # state
        Fault(
            "forgotten_velocity",
            lambda model, X, y, damping: Forgetful(model, X, y, damping, change=heavy_ball),
            ("state-dict", "trajectory"),
            "momentum",
        ),
        Fault("forgotten_lr", Unsettled, ("state-dict",), note="every step is exact; lr is 1 again after load_state_dict"),
        Fault(
            "forgotten_hessian",
            lambda model, X, y, damping: Restarting(model, X, y, damping, matrix=kept_for(2)),
            ("state-dict", "fresh-curvature", "trajectory"),
            "curvature",
            "every second Hessian, counted from the load",
        ),
        # side effects
        Fault("seeds_torch", dense(change=afterwards(lambda at: torch.manual_seed(0))), ("no-side-effects",)),
        Fault("draws_from_torch", dense(change=afterwards(lambda at: torch.rand(1))), ("leaves-no-trace",)),
        Fault(
            "keeps_every_gradient",
            dense(change=afterwards(lambda at: at.memory.setdefault("history", []).append(at.gradient.clone()))),
            ("does-not-grow",),
            note="exact, and one more tensor with each step",
        ),
        Fault("seeds_numpy", dense(change=afterwards(lambda at: np.random.seed(0))), ("no-side-effects",)),  # noqa: NPY002
        Fault("seeds_python", dense(change=afterwards(lambda at: random.seed(0))), ("no-side-effects",)),
        Fault("changes_X", standardized, ("no-side-effects",), note="standardized in place, in the factory"),
        Fault(
            "changes_y",
            dense(change=afterwards(lambda at: at.y.sub_(at.outputs(at.theta)))),
            ("no-side-effects",),
            note="used for the residual, after the step",
        ),
        Fault(
            "sets_default_dtype",
            dense(change=afterwards(lambda at: torch.set_default_dtype(torch.float64))),
            ("no-side-effects",),
        ),
        Fault("sets_threads", threads, ("no-side-effects",), note="one more, in the factory"),
        Fault("not_deterministic", dense(change=fresh_noise), ("deterministic", "step-matches"), note="relative 1e-9"),
        Fault("passes_nan_on", dense(guard=lambda values: None), ("non-finite",), note="exact on good data"),
    )
}


# --- those of the catalogue ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """An optimizer of a known kind, and what the diagnosis has to say of it: {group: words}, of every group that is there."""

    id: str
    factory: Factory
    says: Mapping[str, str]


def first_steps(words: str) -> dict[str, str]:
    return {"definite": words, "indefinite": words}


def everywhere(words: str) -> dict[str, str]:
    return {**first_steps(words), "consecutive": words}


def named(id: str, says: Mapping[str, str], **pieces: Callable[..., Any]) -> Named:
    return Named(id, dense(**pieces), says)


NAMED = {
    entry.id: entry
    for entry in (
        # another damping
        named("gamma_for_gamma_n", first_steps("γ in place of γ_N"), point=gamma_power(lambda at: 2 * at.beta - 1)),
        named(
            "gamma_n_twice", first_steps("the power of N in γ_N enters twice"), point=gamma_power(lambda at: 1 - 2 * at.beta)
        ),
        named("gamma_times_n", first_steps("at N^1 times the damping"), point=gamma_power(lambda at: 1.0)),
        named("gamma_over_root_n", first_steps("at N^-0.5 times the damping"), point=gamma_power(lambda at: -0.5)),
        named(
            "gamma_of_width_64",
            first_steps("γ_N for a width of 64: hard-coded"),
            point=with_damping(lambda at: at.damping * (64 / len(at.rows)) ** (1 - 2 * at.beta)),
        ),
        named("fixed_damping", first_steps("at the damping 0.3 whatever is asked for"), point=with_damping(lambda at: 0.3)),
        named(
            "m_minus_1",
            first_steps("divided by M - 1 in place of M"),
            point=weighted(lambda M: torch.ones(M).double() / max(M - 1, 1)),
        ),
        named(
            "fixed_m",
            first_steps("divided by 10 in place of M: hard-coded"),
            point=weighted(lambda M: torch.ones(M).double() / 10),
        ),
        named("no_damping_on_eta", first_steps("1 on c, 1 on w, 0 on η"), point=on_tensors(1, 1, 0)),
        named("damping_by_tensor", everywhere("1 on c, 2 on w, 0.5 on η"), point=on_tensors(1, 2, 0.5)),
        named("adaptive_damping", {"consecutive": "multiplied by 0.7 every step"}, point=scheduled(0.7, 1)),
        named("damping_by_period", {"consecutive": "multiplied by 2 every 2 steps"}, point=scheduled(2.0, 2)),
        named("trust_region_02", first_steps("that keeps the step within 0.2"), solve=trust_region(0.2)),
        # another network
        named("beta_075", first_steps("β = 0.75 in place of"), point=rescaled(lambda at: len(at.rows) ** -0.75)),
        named("width_16", first_steps("N = 16 in the factor"), point=rescaled(lambda at: 16**-at.beta)),
        # another matrix
        named("s_c_w_sign", first_steps("the block c-w of S with the wrong sign"), matrix=with_block((0, 1), -1)),
        named("s_c_eta_missing", first_steps("without the block c-η of S"), matrix=with_block((0, 2), 0)),
        named("s_w_w_missing", first_steps("without the block w-w of S"), matrix=with_block((1, 1), 0)),
        named("s_w_eta_sign", first_steps("the block w-η of S with the wrong sign"), matrix=with_block((1, 2), -1)),
        named("s_eta_eta_missing", first_steps("without the block η-η of S"), matrix=with_block((2, 2), 0)),
        named("j_c_eta_missing", first_steps("without the block c-η of JᵀJ"), matrix=with_block((0, 2), 0, "gauss")),
        named("j_w_w_twice", first_steps("twice the block w-w of JᵀJ"), matrix=with_block((1, 1), 2, "gauss")),
        named("bend_missing", first_steps("without the terms with σ''"), matrix=without_bend(0)),
        named("bend_sign", first_steps("the terms with σ'' (in S) with the wrong sign"), matrix=without_bend(-1)),
        named("floored_001", {"indefinite": "set to at least 0.01"}, solve=floored(0.01)),
        named("magnitudes_floored", {"indefinite": "absolute eigenvalues of H + γ_N I set to"}, solve=floored(0.05, size=True)),
        # not all of the data or of the neurons
        named("batch_means", first_steps("means of batch means: batches of 3"), point=weighted(batch_weights(3))),
        named("tail_of_points", {"definite": "which fill no batch of 4, left out"}, point=weighted(whole_batches(4))),
        named(
            "last_two_points",
            first_steps("the last 2 data points left out"),
            point=weighted(lambda M: (torch.arange(M) < M - 2).double() / max(M - 2, 1)),
        ),
        named("last_two_neurons", first_steps("the last 2 neurons left out"), solve=without_last_neurons(2)),
        # what was before
        named("nesterov_03", {"consecutive": "nesterov momentum 0.3"}, change=nesterov),
        Named("nesterov_ahead", Ahead, {"consecutive": "nesterov momentum 0.2, looking ahead"}),
        named("lagging_2", {"consecutive": "curvature of 2 steps before (it lags)"}, matrix=lagging(2)),
        named("lagging_3", {"consecutive": "curvature of 3 steps before (it lags)"}, matrix=lagging(3)),
        named("bfgs", {"consecutive": "bfgs from the identity"}, change=quasi_newton("BFGS")),
        named("sr1", {"consecutive": "sr1 from the identity"}, change=quasi_newton("SR1")),
        # the step size
        Named("searching", Searching, everywhere("with up to 4 evaluations of the loss in one step")),
        named(
            "clipped_norm",
            first_steps("with its norm clipped to 0.05"),
            change=shortened(0.05),
        ),
        # published first-order methods
        Named("adafactor", torch_adafactor, first_steps("adafactor's first step")),
        named("muon_w", first_steps("muon's first step"), change=by_tensor(muon)),
        named("shampoo_all", first_steps("shampoo's first step, ε = 0.0001"), change=by_tensor(shampoo)),
        named("soap_all", first_steps("soap's first step"), change=by_tensor(soap)),
        named("adahessian_all", {"definite": "adahessian's first step"}, change=adahessian),
        Named(
            "lbfgs_1",
            lambda model, X, y, damping: torch.optim.LBFGS(model.parameters(), max_iter=1),
            {"consecutive": "l-bfgs, one step in a call"},
        ),
        Named(
            "lbfgs_20",
            lambda model, X, y, damping: torch.optim.LBFGS(model.parameters()),
            first_steps("l-bfgs, 20 steps in a call"),
        ),
    )
}


# --- those that cannot be used -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """No optimizer, or one that breaks down. `says`: words that the report has to say; empty where any will do."""

    id: str
    factory: Factory
    says: str
    note: str = ""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words for it")


def raising(error: BaseException, at_step: int = 0) -> Callable[[Point, Tensor], Tensor]:
    def change(at: Point, update: Tensor) -> Tensor:
        if at.memory["step"] >= at_step:
            raise error
        return at.lr * update

    return change


def unbuildable(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    raise ValueError("no such preconditioner")


def on_gpu(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Dense:
    if X.device.type != "cuda":
        raise RuntimeError("the kernels need a CUDA device")
    return Dense(model, X, y, damping)


def spin(at: Point) -> None:
    while True:
        pass


def sleep(at: Point) -> None:
    while True:
        time.sleep(1e6)


def chatter(at: Point) -> None:
    for stream in (sys.stdout, sys.stderr):
        for k in range(1000):
            print(f"iteration {k}: residual {1 / (k + 1):.3e}", file=stream)


class Reshaping(Dense):
    def write(self, rows: Tensor) -> None:
        super().write(rows)
        self.model.c.data = self.model.c.data[:, None]


class Narrowing(Dense):
    def write(self, rows: Tensor) -> None:
        super().write(rows)
        for p in self.model.parameters():
            p.data = p.data.half()


class Replacing(Dense):
    def write(self, rows: Tensor) -> None:
        for name, values in (("c", rows[:, 0]), ("w", rows[:, 1:-1]), ("eta", rows[:, -1])):
            setattr(self.model, name, nn.Parameter(values.clone()))


BAD = {
    bad.id: bad
    for bad in (
        Bad("raises_in_factory", unbuildable, "no such preconditioner"),
        Bad("raises_in_third_step", dense(change=raising(ValueError("the third step went wrong"), 2)), "third step went wrong"),
        Bad("raises_unprintable", dense(change=raising(UnprintableError())), "UnprintableError"),
        Bad("returns_none", lambda model, X, y, damping: None, "None"),
        Bad("returns_list", lambda model, X, y, damping: [model.c, model.w], "list"),
        Bad("takes_two_arguments", lambda model, X: Dense(model, X, X[:, 0], 1.0), "factory(model, X, y, damping)"),
        Bad("sleeps", dense(change=afterwards(sleep)), "time", "for ever"),
        Bad("spins", dense(change=afterwards(spin)), "time", "for ever"),
        Bad("changes_shape", Reshaping, "parameter"),
        Bad("changes_dtype", Narrowing, "parameter"),
        Bad("replaces_parameters", Replacing, "parameter", "the values are right"),
        Bad("exits", dense(change=raising(SystemExit(3))), "SystemExit"),
        Bad("prints", dense(change=afterwards(chatter)), "", "2000 lines a step; the values are right"),
        Bad("needs_gpu", on_gpu, "CUDA"),
        Bad("function_returns_none", lambda theta, X, y, damping, problem: None, "None"),
        Bad("function_returns_short", lambda theta, X, y, damping, problem: theta[1:], "returned"),
    )
}


def _publish() -> None:
    """Make each factory an attribute of this module, and let it know its name."""
    for entry in (*RIGHT.values(), *FAULTS.values(), *NAMED.values(), *BAD.values()):
        if entry.id in globals():
            raise ValueError(f"two things are called {entry.id}")
        globals()[entry.id] = entry.factory
        if entry.factory.__name__ in ("<lambda>", "step"):
            entry.factory.__name__ = entry.factory.__qualname__ = entry.id


_publish()
