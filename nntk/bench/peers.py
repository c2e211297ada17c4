"""What others do instead of the exact step: conjugate gradients with Hessian products, and the dense Hessian."""

from __future__ import annotations

import math
from typing import Any

import torch

from nntk_accelerated import ShallowNet

__all__ = ["conjugate_gradients", "dense_step"]


def conjugate_gradients(
    net: ShallowNet, X: torch.Tensor, y: torch.Tensor, damping: float, *, rtol: float, most: int
) -> tuple[float, int]:
    """What "Hessian-free" does: CG on H + μI with Hessian products by torch.func; (‖AΔ + g‖/‖g‖ at the end, iterations)."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
        residual: torch.Tensor = torch.func.functional_call(net, values, (X,)) - y
        return residual.square().sum() / (2 * len(y))

    gradient = torch.func.grad(loss)
    g = gradient(parameters)

    def product(v: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        Hv: Any = torch.func.jvp(gradient, (parameters,), (v,))[1]
        return {k: Hv[k] + damping * v[k] for k in v}

    def dot(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return float(sum((a[k] * b[k]).sum() for k in a))

    x = {k: torch.zeros_like(v) for k, v in g.items()}
    r = {k: -v for k, v in g.items()}
    d, rr, start, done = dict(r), dot(r, r), dot(g, g), 0
    while done < most and rr > rtol**2 * start:
        Ad = product(d)
        step = rr / dot(d, Ad)
        x = {k: x[k] + step * d[k] for k in x}
        r = {k: r[k] - step * Ad[k] for k in r}
        rr, old = dot(r, r), rr
        d = {k: r[k] + rr / old * d[k] for k in d}
        done += 1
    Ax = product(x)
    left = {k: Ax[k] + g[k] for k in g}
    return math.sqrt(dot(left, left) / start), done


def dense_step(net: ShallowNet, X: torch.Tensor, y: torch.Tensor, damping: float) -> torch.Tensor:
    """The whole Hessian by torch.func.hessian, and Cholesky."""
    shapes = {name: p.shape for name, p in net.named_parameters()}
    sizes = [p.numel() for p in net.parameters()]
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        values = {k: t.view(shapes[k]) for k, t in zip(shapes, theta.split(sizes), strict=True)}  # type: ignore[no-untyped-call]
        residual: torch.Tensor = torch.func.functional_call(net, values, (X,)) - y
        return residual.square().sum() / (2 * len(y))

    H = torch.func.jacrev(torch.func.grad(loss), chunk_size=100)(flat)  # torch.func.hessian would hold P·M·N numbers
    H.diagonal().add_(damping)
    step: torch.Tensor = -torch.cholesky_solve(torch.func.grad(loss)(flat)[:, None], torch.linalg.cholesky(H))
    return step
