"""More optimizers that no check may refuse: other factorizations, forms and habits, each with the profile that it claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import ShallowNet
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
