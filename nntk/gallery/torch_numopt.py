"""The optimizers of torch-numopt."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nntk.gallery.entry import register, stepping
from nntk_accelerated import ShallowNet

_exact_newton = partial(register, "torch-numopt", "exact-newton")
_gauss_newton = partial(register, "torch-numopt", "gauss-newton")

_TWICE = "damping='identity', mu=2γ_N (the loss is MSELoss, 2L)"
_NEWTON = "torch_numopt.Newton: 'Newton method with exact Hessian (full or block) and fixed learning rate'"
_GAUSS_NEWTON = (
    "torch_numopt.GaussNewton: 'Uses the Gauss-Newton approximation of the Hessian and solves the linear system to obtain the "
    "step direction, then applies a fixed learning rate'"
)
_MARQUARDT = "torch_numopt.LevenbergMarquardt: 'The step is computed by solving (JᵀJ + mu I) p = -g'"


@_exact_newton("Newton", _NEWTON, "defaults: block_hessian=True, damping=None")
def numopt_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton at its defaults, which leave no place for the damping."""
    return _numopt("Newton", model, X, y)


@_exact_newton("Newton, damped", _NEWTON, _TWICE)
def numopt_newton_damped(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton at its defaults but for the damping."""
    return _numopt("Newton", model, X, y, damping="identity", mu=2 * damping)


@_exact_newton("Newton, damped, whole Hessian", _NEWTON, _TWICE + ", block_hessian=False")
def numopt_newton_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Newton with the whole Hessian."""
    return _numopt("Newton", model, X, y, damping="identity", mu=2 * damping, block_hessian=False)


@_gauss_newton("GaussNewton", _GAUSS_NEWTON, "defaults: lr_init=1e-3, block_hessian=True, damping=None")
def numopt_gauss_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gauss-Newton at its defaults, which leave no place for the damping."""
    return _numopt("GaussNewton", model, X, y)


@_gauss_newton("GaussNewton, damped, whole matrix", _GAUSS_NEWTON, _TWICE + ", block_hessian=False, lr_init=1")
def numopt_gauss_newton_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Gauss-Newton with the whole matrix and step size 1."""
    return _numopt("GaussNewton", model, X, y, lr_init=1.0, damping="identity", mu=2 * damping, block_hessian=False)


@_gauss_newton("LevenbergMarquardt", _MARQUARDT, "defaults: damping='fletcher', mu=1, adapted, block_hessian=True")
def numopt_levenberg_marquardt(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt at its defaults, with a damping of its own."""
    return _numopt("LevenbergMarquardt", model, X, y)


@_gauss_newton(
    "LevenbergMarquardt, damping held, whole matrix",
    _MARQUARDT,
    _TWICE + ", growth_factor=shrink_factor=1, block_hessian=False",
)
def numopt_levenberg_marquardt_full(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """Levenberg-Marquardt with the whole matrix and the damping held."""
    held = {"damping": "identity", "mu": 2 * damping, "growth_factor": 1.0, "shrink_factor": 1.0}
    return _numopt("LevenbergMarquardt", model, X, y, block_hessian=False, **held)


def _numopt(name: str, model: ShallowNet, X: Tensor, y: Tensor, **settings: Any) -> Any:
    package = importlib.import_module("torch_numopt")

    def objective(optimizer: Any) -> Any:
        given = package.SupervisedLearningObjective(model, torch.nn.MSELoss(), optimizer)
        given.set_data(X, y)
        return given

    return stepping(getattr(package, name), objective)(model.parameters(), **settings)
