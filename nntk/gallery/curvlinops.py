"""The linear operators of curvlinops, with SciPy's conjugate gradients."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nntk.gallery.entry import Step, loss, register
from nntk_accelerated import ShallowNet

_exact_newton = partial(register, "curvlinops-for-pytorch", "exact-newton")
_approximate_newton = partial(register, "curvlinops-for-pytorch", "approximate-newton")
_gauss_newton = partial(register, "curvlinops-for-pytorch", "gauss-newton")

_HESSIAN = "curvlinops.HessianLinearOperator: 'Linear operator for the Hessian of an empirical risk', for SciPy's solvers"
_GGN = (
    "curvlinops.GGNLinearOperator: 'Linear operator for the generalized Gauss-Newton matrix of an empirical risk', for SciPy's "
    "solvers"
)
_CG = "scipy.sparse.linalg.cg on to_scipy() + 2γ_N I (the loss is MSELoss, 2L)"


@_exact_newton("Hessian and CG, to rounding", _HESSIAN, _CG + ", rtol=1e-14")
def curvlinops_hessian_tight(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the Hessian, to rounding."""
    return _curvlinops("HessianLinearOperator", model, damping, rtol=1e-14)


# CG's default tolerance for the residual, 1e-5, is 1e-3 of the step at a condition of 100.
@_approximate_newton("Hessian and CG", _HESSIAN, _CG + ", rtol=1e-5, its default", rtol=1e-3)
def curvlinops_hessian(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the Hessian, at CG's default tolerance."""
    return _curvlinops("HessianLinearOperator", model, damping, rtol=1e-5)


@_gauss_newton("GGN and CG", _GGN, _CG + ", rtol=1e-5, its default")
def curvlinops_ggn(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the generalized Gauss-Newton matrix, at CG's default tolerance."""
    return _curvlinops("GGNLinearOperator", model, damping, rtol=1e-5)


@_gauss_newton("GGN and CG, to rounding", _GGN, _CG + ", rtol=1e-14")
def curvlinops_ggn_tight(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """SciPy's CG on the generalized Gauss-Newton matrix, to rounding."""
    return _curvlinops("GGNLinearOperator", model, damping, rtol=1e-14)


def _curvlinops(name: str, model: ShallowNet, damping: float, rtol: float) -> Step:
    package = importlib.import_module("curvlinops")
    params = tuple(model.parameters())

    def step(X: Tensor, y: Tensor) -> None:
        operator = getattr(package, name)(model, torch.nn.MSELoss(), list(params), [(X, y)]).to_scipy()
        gradient = parameters_to_vector(torch.autograd.grad(2 * loss(model, X, y), params)).cpu().numpy()
        damped: LinearOperator = operator + aslinearoperator(2 * damping * np.eye(gradient.size, dtype=gradient.dtype))
        update, _ = cg(damped, -gradient, rtol=rtol)
        start = parameters_to_vector(params).detach()
        vector_to_parameters(start + torch.as_tensor(update).to(start), params)

    return Step(step)
