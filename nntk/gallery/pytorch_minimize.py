"""The minimizers of pytorch-minimize."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nntk.gallery.entry import Step, mean_square, register
from nntk_accelerated import ShallowNet

_exact_newton = partial(register, "pytorch-minimize", "exact-newton")
_approximate_newton = partial(register, "pytorch-minimize", "approximate-newton")

_PROXIMAL = "one outer iteration a step; damping as γ_N|θ - θₜ|²/2 in the objective, as the method has no option for it"
_EXACT = (
    "README: 'an \"exact\" variant of Newton's method that computes the full Hessian matrix and uses Cholesky factorization'; "
    "where that fails, 'steepest descent direction (default)' or 'LU factorization'"
)
_TRUST = "docstring of trust-exact: 'a nearly exact trust-region algorithm'"
# newton-cg's inner tolerance for the residual is min(0.5, |g|^½).
_NEWTON_CG = "docstring of newton-cg: 'the Newton-Raphson method, with Conjugate Gradient for the linear inverse sub-problem'"


@_exact_newton("newton-exact", _EXACT, "one outer iteration a step; tikhonov=γ_N")
def minimize_newton_exact(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-exact at its defaults; it has an option for the damping."""
    return _minimize("newton-exact", model, 0.0, tikhonov=damping)


@_exact_newton(
    "newton-exact, LU, no line search",
    _EXACT,
    "one outer iteration a step; tikhonov=γ_N, line_search='none', handle_npd='lu'",
)
def minimize_newton_exact_plain(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-exact without line search, by LU where the Hessian is not positive definite."""
    return _minimize("newton-exact", model, 0.0, tikhonov=damping, line_search="none", handle_npd="lu")


@_exact_newton("trust-exact", _TRUST, _PROXIMAL)
def minimize_trust_exact(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """trust-exact at its defaults."""
    return _minimize("trust-exact", model, damping)


@_exact_newton("trust-exact, wide region", _TRUST, _PROXIMAL + "; initial_trust_radius=1e8, max_trust_radius=1e9")
def minimize_trust_exact_wide(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """trust-exact with a trust region that no step leaves."""
    return _minimize("trust-exact", model, damping, initial_trust_radius=1e8, max_trust_radius=1e9)


@_approximate_newton("newton-cg", _NEWTON_CG, _PROXIMAL, rtol=0.5)
def minimize_newton_cg(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-cg at its defaults."""
    return _minimize("newton-cg", model, damping)


@_approximate_newton("newton-cg, no line search", _NEWTON_CG, _PROXIMAL + "; line_search='none'", rtol=0.5)
def minimize_newton_cg_plain(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """newton-cg without line search."""
    return _minimize("newton-cg", model, damping, line_search="none")


def _minimize(method: str, model: ShallowNet, damping: float, **options: Any) -> Step:
    """One outer iteration a step, on L(θ) + damping |θ - θₜ|²/2, whose Newton step at θₜ is the damped one of L."""
    package = importlib.import_module("torchmin")
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def step(X: Tensor, y: Tensor) -> None:
        start = parameters_to_vector(model.parameters()).detach()

        def objective(theta: Tensor) -> Tensor:
            parts = torch.split(theta, [shape.numel() for shape in shapes.values()])
            given = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            away = theta - start
            return mean_square(functional_call(model, given, X) - y) / 2 + damping * away.dot(away) / 2

        result = package.minimize(objective, start, method, max_iter=1, options=dict(options))
        vector_to_parameters(result.x, model.parameters())

    return Step(step)
