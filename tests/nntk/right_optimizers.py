"""More optimizers that no check may refuse: other factorizations, forms and habits, each with the profile that it claims."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nntk.crosscheck import FunctionProblem
from nntk_accelerated import ShallowNet
from nntk_reference.arithmetic import Array
from tests.nntk.optimizers import Dense, Point, Right, dense, noisy


def by_qr(at: Point, A: Tensor, b: Tensor) -> Tensor:
    Q, R = torch.linalg.qr(A)
    return torch.linalg.solve_triangular(R, (Q.T @ b)[:, None], upper=True)[:, 0]


def by_ldl(at: Point, A: Tensor, b: Tensor) -> Tensor:
    factor, pivots = torch.linalg.ldl_factor(A)
    return torch.linalg.ldl_solve(factor, pivots, b[:, None])[:, 0]


def by_eigenvalues(at: Point, A: Tensor, b: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(A)
    return vectors @ ((vectors.T @ b) / values)


def by_elimination(at: Point, A: Tensor, b: Tensor) -> Tensor:
    """The output weights last: a Schur complement, refined, as its first block may be worse conditioned than A."""
    last, first = at.tensor == 0, at.tensor > 0

    def once(right: Tensor) -> Tensor:
        B = torch.linalg.solve(A[first][:, first], torch.cat([A[first][:, last], right[first, None]], 1))
        complement = A[last][:, last] - A[last][:, first] @ B[:, :-1]
        x = torch.empty_like(right)
        x[last] = torch.linalg.solve(complement, right[last] - A[last][:, first] @ B[:, -1])
        x[first] = B[:, -1] - B[:, :-1] @ x[last]
        return x

    x = once(b)
    for _ in range(3):
        x = x + once(b - A @ x)
    return x


def by_differences(at: Point) -> Tensor:
    """The Hessian by central differences of the gradient: right to some nine digits."""
    step = 1e-5 * max(1.0, float(at.theta.abs().max()))
    gradient = torch.func.grad(at.loss)
    columns = [
        (gradient(at.theta + e) - gradient(at.theta - e)) / (2 * step) for e in step * torch.eye(len(at.theta)).to(at.theta)
    ]
    H = torch.stack(columns)
    return at.damped((H + H.T) / 2)


def of_threads(at: Point, update: Tensor) -> Tensor:
    """Sums in the order in which threads happen to finish."""
    generator = torch.Generator()
    generator.seed()
    return noisy(at, update, 1e-13 if update.dtype == torch.float64 else 1e-6, generator)


class InGroups(Dense):
    """A parameter group for each tensor, each with its step size, and the data and the damping in buffers of the model."""

    def __init__(self, model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> None:
        super().__init__(model, X, y, damping)
        first = self.param_groups[0]
        parameters = list(first["params"])
        first["params"] = parameters[:1]
        for p in parameters[1:]:
            self.add_param_group({"params": [p], "lr": first["lr"]})
        model.register_buffer("inputs", X)
        model.register_buffer("targets", y)

    def change(self, here: Point) -> Tensor:
        whole = super().change(here) / here.lr
        rates = torch.tensor([group["lr"] for group in self.param_groups], dtype=whole.dtype, device=whole.device)
        return whole * rates[here.tensor]


class Often(Dense):
    """Evaluates the loss again after its step, for whoever reads it, and gives the gradients back as they were."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = super().step(closure)
        if closure is not None:
            closure()
            closure()
        return loss


# --- compiled for each shape ---------------------------------------------------------------------------------------------


@functools.cache
def _torch_compiled(activation: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    def loss(theta: Tensor, X: Tensor, y: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
        rows = theta.reshape(-1, X.shape[1] + 2)
        f = activation(X @ rows[:, 1:-1].T + rows[:, -1]) @ rows[:, 0] * scale
        return (weights * (f - y).square()).sum() / 2

    def twice(theta: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        gradient = torch.func.grad(loss)(theta, *rest)
        return gradient, gradient

    return torch.compile(torch.func.jacrev(twice, has_aux=True), dynamic=True)


def by_torch_compile(at: Point) -> Tensor:
    scale = torch.tensor(float(len(at.rows)) ** -at.beta).to(at.theta)
    hessian, _ = _torch_compiled(at.activation)(at.theta, at.X, at.y, at.weights, scale)
    return at.damped(hessian)


@functools.cache
def _jax_compiled(activation: str, rows: tuple[int, int]) -> Callable[..., Any]:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    numpy, nn = jax.numpy, jax.nn
    function = {
        "tanh": numpy.tanh,
        "erf": jax.scipy.special.erf,
        "sin": numpy.sin,
        "logistic": nn.sigmoid,
        "softplus": nn.softplus,
        "gelu": lambda z: nn.gelu(z, approximate=False),
    }[activation]

    def loss(theta: Any, X: Any, y: Any, scale: float) -> Any:
        net = theta.reshape(rows)
        f = function(X @ net[:, 1:-1].T + net[:, -1]) @ net[:, 0] * scale
        return ((f - y) ** 2).sum() / (2 * len(y))

    def step(theta: Any, X: Any, y: Any, scale: float, damping: float) -> Any:
        A = jax.hessian(loss)(theta, X, y, scale) + damping * numpy.eye(len(theta), dtype=theta.dtype)
        return theta - numpy.linalg.solve(A, jax.grad(loss)(theta, X, y, scale))

    return jax.jit(step)  # type: ignore[no-any-return]


def by_jax(theta: Array, X: Array, y: Array, damping: float, problem: FunctionProblem) -> Array:
    """The function form, by JAX."""
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ArithmeticError("the step would not be finite")
    step = _jax_compiled(problem.activation, (problem.width, problem.dim + 2))
    return np.asarray(step(theta, X, y, problem.width**-problem.beta, damping))


COMPILED = {
    right.id: right
    for right in (
        Right("right_torch_compile", dense(matrix=by_torch_compile), note="compiled anew for several shapes"),
        Right("right_jax", by_jax, note="compiled anew for each shape"),
    )
}
"""Those that a compiler makes: each shape costs seconds."""


MORE_RIGHT = {
    right.id: right
    for right in (
        Right("right_qr", dense(solve=by_qr)),
        Right("right_ldl", dense(solve=by_ldl)),
        Right("right_eigenvalues", dense(solve=by_eigenvalues)),
        Right("right_elimination", dense(solve=by_elimination)),
        Right("right_threads", dense(change=of_threads), note="relative noise of 1e-13, in float32 1e-6"),
        Right("right_groups", InGroups),
        Right("right_often", Often),
        Right("right_differences", dense(matrix=by_differences), "approximate-newton", "to nine digits of H"),
        Right("right_exact_as_approximate", dense(), "approximate-newton"),
    )
}
