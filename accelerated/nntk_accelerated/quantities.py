"""Outputs, loss, kernels and modes of a network of any width, streamed: O(M²) memory beside one chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import blocks, stream
from nntk_accelerated.dense import mirror_
from nntk_accelerated.errors import RangeError
from nntk_accelerated.instance import NO_TARGETS, Instance, instance, memory_guard
from nntk_accelerated.scaling import damping_of, regularization

__all__ = ["Modes", "gauss_newton_nntk", "loss", "modes", "nntk", "ntk", "outputs"]


def outputs(net: Any, X: Any, *, precision: str | None = None, chunk: int | None = None) -> Tensor:
    """f(X) (M,), equation (E1), without gradients, in memory O(chunk·M). Raises as `newton_step`."""
    task = instance(net, X, NO_TARGETS, precision=precision, chunk=chunk)
    with memory_guard(task), torch.no_grad():
        return stream.outputs(task)


def loss(net: Any, X: Any, y: Any, *, precision: str | None = None, chunk: int | None = None) -> Tensor:
    """L = |r|²/(2M), r = f(X) - y (E2): a tensor without dimensions. Raises as `newton_step`."""
    task = instance(net, X, y, precision=precision, chunk=chunk)
    with memory_guard(task), torch.no_grad():
        r = stream.outputs(task) - task.y
        return r.square().sum() / (2 * task.M)


def ntk(net: Any, X: Any, *, normalized: bool = False, precision: str | None = None, chunk: int | None = None) -> Tensor:
    """NTK B = JJᵀ/M (M, M), or width-normalized N^(2β-1) B (E7). Raises as `newton_step`."""
    task = instance(net, X, NO_TARGETS, precision=precision, chunk=chunk)
    with memory_guard(task), torch.no_grad():
        B = mirror_(stream.gram(task, 1.0).G).to(task.dtype).div_(task.M)  # D = I
        return B.div_(regularization(1.0, net.width, net.beta)) if normalized else B


def nntk(
    net: Any, X: Any, y: Any, gamma: float, *, scaling: str = "width", precision: str | None = None, chunk: int | None = None
) -> Tensor:
    """NNTK J (H + γ_N I)⁻¹ Jᵀ/M (M, M) (E8), symmetric; the residual after a step is (I - α·NNTK) r to first order.

    Raises as `newton_step`, and SingularSystemError where H + γ_N I is singular.
    """
    return _newton_kernel(
        instance(net, X, y, precision=precision, chunk=chunk), damping_of(net, gamma, scaling), curvature=True
    )


def gauss_newton_nntk(
    net: Any, X: Any, gamma: float, *, scaling: str = "width", precision: str | None = None, chunk: int | None = None
) -> Tensor:
    """Gauss-Newton part B(γ_N I + B)⁻¹ of the NNTK (M, M) (E8). Raises as `newton_step`."""
    return _newton_kernel(
        instance(net, X, NO_TARGETS, precision=precision, chunk=chunk), damping_of(net, gamma, scaling), curvature=False
    )


def _newton_kernel(task: Instance, damping: float, *, curvature: bool) -> Tensor:
    with memory_guard(task), torch.no_grad():
        K = stream.gram(task, damping, r=stream.outputs(task) - task.y) if curvature else stream.gram(task, damping)
        G = mirror_(K.G).clone()
        F, _ = stream.factor(task, K)
        # JΔ = G v + J V t for (v, t) = W⁻¹ (h, 0): no cancellation, however small the kernel
        k = 0 if K.border is None else K.border.values.shape[0]
        eye = torch.eye(task.M + k, task.M, dtype=task.dtype, device=task.device)
        solution = F.solve(eye)
        kernel = G.to(task.dtype) @ solution[: task.M]
        if K.border is not None:
            kernel += K.border.JV @ solution[task.M :]
        return (kernel + kernel.t()) / 2


@dataclass(frozen=True)
class Modes:
    """Eigenvectors of the NTK, and how much of the residual lies along each.

    eigenvalues   of the width-normalized NTK B̄ᴺ, descending (M,); those below about M·eps times the first are noise.
    vectors       (M, M), orthonormal, in columns.
    coefficients  of r = f(X) - y along them (M,).
    newton        Gauss-Newton rates λ/(γ+λ) (E10): a step of size α leaves 1 - α times this of a mode.
    """

    eigenvalues: Tensor
    vectors: Tensor
    coefficients: Tensor
    newton: Tensor


def modes(net: Any, X: Any, y: Any, gamma: float, *, precision: str | None = None, chunk: int | None = None) -> Modes:
    """The residual in the eigenvectors of the NTK, and each one's Newton rate (E7, E10).

    Raises as `newton_step`, and RangeError where the NTK is not finite, or no eigenvalues of it are found.
    """
    task = instance(net, X, y, precision=precision, chunk=chunk)
    damping_of(net, gamma)
    values, vectors = (t[0] for t in blocks.dense_eigh(ntk(net, X, normalized=True, precision=precision, chunk=chunk)[None]))
    if bool(values.isnan().any()):
        raise RangeError(f"the NTK has no eigenvalues in {task.dtype}: rescale the problem")
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    with memory_guard(task), torch.no_grad():
        r = stream.outputs(task) - task.y
    return Modes(values, vectors, vectors.t() @ r, values / (gamma + values))
