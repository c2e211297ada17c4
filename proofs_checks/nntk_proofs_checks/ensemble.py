"""Exact Newton training of many networks drawn from the initial law: what the measured claims are measured on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated import ShallowNet, activation, newton_step, nntk, ntk, outputs
from nntk_proofs_checks.claim import Effort, Finding, Inputs, Problem, unmet
from nntk_proofs_checks.data import default_data
from nntk_proofs_checks.trials import filled
from nntk_proofs_checks.tried import ACTIVATION, LAW
from nntk_reference import FLOAT64, Network, formulas, limit_ntk, sample_network
from nntk_reference.arithmetic import Array

__all__ = [
    "BETAS",
    "SEEDS",
    "WIDTHS",
    "Run",
    "Setup",
    "cache_clear",
    "collect",
    "curvature",
    "draw_network",
    "ensemble",
    "kernel",
    "standardized",
    "suitable_gamma",
    "textbook",
    "to_torch",
    "unmet_assumption",
]

BETAS = (0.6, 0.75, 0.9)

WIDTHS = {
    Effort.QUICK: (2**8, 2**10, 2**12),
    Effort.DEFAULT: (2**8, 2**10, 2**12, 2**14),
    Effort.FULL: (2**8, 2**10, 2**12, 2**14, 2**16, 2**18),
}
SEEDS = {Effort.QUICK: (16, 32, 64, 128), Effort.DEFAULT: (16, 32, 64, 128), Effort.FULL: (50, 100, 200)}
"""Networks of each width, and how many there may be in the end where an interval is too wide to decide."""

_MOST_POINTS = 16


def standardized(problem: Problem, most: int = _MOST_POINTS) -> Problem:
    """At most `most` of the points, spread over the file, scaled: inputs beyond the unit ball into it, targets to rms 1.

    Rates in N depend neither on place and scale nor on the number of points; the width from which they can be seen does.
    """
    M = len(problem.X)
    chosen = np.unique(np.linspace(0, M - 1, min(M, most)).round().astype(int))
    X, y = problem.X[chosen], problem.y[chosen]
    if np.linalg.norm(X, axis=1).max() > 1:
        X = X - (X.min(axis=0) + X.max(axis=0)) / 2
        X = X / max(1.0, float(np.linalg.norm(X, axis=1).max()))
    size = float(np.abs(y).max())
    y = y / size if size > 0 else y
    return Problem(X, y / max(_rms(y), 1e-300), problem.source, problem.seed)


def textbook(problem: Problem) -> Problem:
    """The default data set, on which controls of measured claims fail far beyond their intervals; seed as in `problem`."""
    return replace(standardized(default_data()), seed=problem.seed)


def _rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def unmet_assumption(problem: Problem) -> Finding | None:
    """What claims about training assume and the data do not offer."""
    if standardized(problem).y.any():
        return None
    return unmet("assumption not met: all targets are zero, so there is nothing to learn")


_SHIFT = 1.0
"""Added to c and to η where their law is not to be symmetric: c ~ U(0, 2), and no symmetry of (c, η) is left."""


@dataclass(frozen=True)
class Setup:
    """How the networks of an ensemble are drawn and trained.

    seeds            networks of each width, where not the same number of all.
    curvature_ratio  the root mean square of ‖Sᵢ‖ over γ_N, at the smallest width and the start: what the theory expands in.
                     Well below 1 the Hessian is positive definite from the start.
    symmetric        is the law of the neurons?
    matched          train on y + f₀(X), so that the residual starts at -y exactly.
    scaling          of γ with the width: "width" is (E5), "fixed" leaves it out.
    features         also measure `taylor` and `drift`, which costs as much as two steps.
    """

    beta: float
    widths: tuple[int, ...]
    seeds: int | tuple[int, ...]
    curvature_ratio: float = 0.3
    steps: int = 3
    symmetric: bool = True
    matched: bool = False
    scaling: Literal["width", "fixed"] = "width"
    features: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """Networks of each width."""
        return (self.seeds,) * len(self.widths) if isinstance(self.seeds, int) else self.seeds


@dataclass(frozen=True, eq=False)
class Run:
    """One network's training, t = 0 … T.

    outputs, linear  (T+1, M): f_t, and the Gauss-Newton dynamics linearized at its own start, with its own kernel.
    kernel           (M, M): B̄ᴺ at the start.
    updates          (T,): root mean square over the neurons of |Δᵢ|.
    taylor           |f(θ_T) - f(θ₀) - J₀(θ_T - θ₀)|; None unless asked for.
    drift            ‖𝓑_T - 𝓑₀‖, spectral norm; None unless asked for.
    """

    outputs: Array
    linear: Array
    kernel: Array
    updates: Array
    taylor: float | None
    drift: float | None


def draw_network(problem: Problem, beta: float, width: int, index: int, *, symmetric: bool = True) -> Network:
    """Network number `index` of this width, the same for every claim, drawn from `LAW`, which a shift makes asymmetric."""
    rng, dim = np.random.default_rng([problem.seed, width, index]), problem.X.shape[1]
    net = sample_network(width, dim, beta=beta, activation=ACTIVATION, seed=rng, law=LAW, negative_control=True)
    if symmetric:
        return net
    return Network(net.c + _SHIFT, net.w, net.eta + _SHIFT, beta, ACTIVATION, negative_control=True)


def to_torch(net: Network) -> ShallowNet:
    """The same network for the accelerated package."""
    theta = torch.tensor(net.theta)
    return ShallowNet.from_theta(theta, beta=net.beta, activation=net.activation, negative_control=net.negative_control)


def suitable_gamma(problem: Problem, setup: Setup) -> float:
    """γ of the ensemble: s̄ N₀^(β-1) / curvature_ratio, N₀ the smallest width and s̄ from `curvature`."""
    size = curvature(problem, symmetric=setup.symmetric)
    return size * math.pow(setup.widths[0], setup.beta - 1) / setup.curvature_ratio


def curvature(problem: Problem, *, symmetric: bool = True) -> float:
    """Root mean square of N^β‖Sᵢ‖_F over the law of a neuron, for the residual -y: from the blocks (E4) of 4096 neurons."""
    width = 4096
    net = draw_network(replace(problem, seed=0), 1.0, width, 0, symmetric=symmetric)
    s = formulas.state(FLOAT64, net, problem.X)._replace(scale=1.0)
    blocks = formulas.residual_hessian(s, -problem.y)
    return float(np.sqrt((blocks**2).sum() / width))


def kernel(problem: Problem) -> Array:
    """The limit NTK B̄ (M, M) in float64, all digits right."""
    return _kernel(Inputs(problem.X))


@lru_cache(maxsize=8)
def _kernel(inputs: Inputs) -> Array:
    return limit_ntk(inputs.X, ACTIVATION, law=LAW)


def ensemble(problem: Problem, setup: Setup) -> list[list[Run]]:
    """All runs, by width. Those that were made before, for fewer seeds or widths or for another claim, are not made again."""
    gamma = suitable_gamma(problem, setup)  # from the smallest width alone
    columns = [_made(problem, replace(setup, seeds=0, widths=setup.widths[:1]), width) for width in setup.widths]
    return filled(columns, setup.counts, _train, lambda k, index: (problem, setup, setup.widths[k], index, gamma))


@lru_cache(maxsize=256)
def _made(problem: Problem, setup: Setup, width: int) -> list[Run]:
    """What there is of one width of an ensemble with any number of seeds and further widths; `ensemble` adds to it."""
    return []


def cache_clear() -> None:
    """Forget all runs: for tests that plant faults."""
    _made.cache_clear()
    _kernel.cache_clear()


def _train(problem: Problem, setup: Setup, width: int, index: int, gamma: float) -> Run:
    net = to_torch(draw_network(problem, setup.beta, width, index, symmetric=setup.symmetric))
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    f = outputs(net, X)
    if setup.matched:
        y = y + f
    B = ntk(net, X, normalized=True)
    operator = torch.linalg.solve(B + gamma * torch.eye(len(B), dtype=B.dtype), B)
    start = net.theta
    newton_kernel = partial(nntk, net, X, y, gamma, scaling=setup.scaling)
    before = newton_kernel() if setup.features else None
    path, linear, updates = [f], [f], []
    for _ in range(setup.steps):
        step = newton_step(net, X, y, gamma, scaling=setup.scaling)
        net.move_(step.update)
        path.append(outputs(net, X))
        linear.append(linear[-1] + operator @ (y - linear[-1]))
        updates.append(float(step.update.square().sum(1).mean().sqrt()))
    taylor = drift = None
    if before is not None:
        taylor = float((path[-1] - f - _directional(net, start, X)).norm())
        drift = float(torch.linalg.matrix_norm(newton_kernel() - before, 2))
    return Run(torch.stack(path).numpy(), torch.stack(linear).numpy(), B.numpy(), np.array(updates), taylor, drift)


def _directional(net: ShallowNet, start: Tensor, X: Tensor) -> Tensor:
    """J₀(θ - θ₀) (M,), the sum over neurons written out (E3); `start` is θ₀ (N, d+2)."""
    moved, inputs = net.theta - start, torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], 1)  # x̃
    value, slope = activation(ACTIVATION).jets(inputs @ start[:, 1:].T, 1)
    change: Tensor = net.scale * (value @ moved[:, 0] + (slope * (inputs @ moved[:, 1:].T)) @ start[:, 0])
    return change


Quantity = Callable[[Run], float | None]


def collect(runs: list[list[Run]], quantity: Quantity) -> list[Array]:
    """A number a run, by width. Raises ValueError for one that was not measured."""
    columns = [[quantity(run) for run in column] for column in runs]
    if any(value is None for column in columns for value in column):
        raise ValueError("taylor and drift are measured where Setup.features asks for them")
    return [np.array(column, float) for column in columns]
