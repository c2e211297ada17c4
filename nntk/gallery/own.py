"""Our own optimizer, beside the others."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from nntk.gallery.entry import register
from nntk_accelerated import RegularizedNewton, ShallowNet

_entered = partial(register, "nntk", "exact-newton")

_CLAIM = "nntk_accelerated.RegularizedNewton: 'θ ← θ - lr (H + γ_N I)⁻¹ ∇L (E6) on all data at once, exact at every step'"


@_entered("RegularizedNewton, indefinite too", _CLAIM, "scaling='fixed', on_indefinite='step'")
def nntk_newton(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RegularizedNewton; it steps also where the damped Hessian is indefinite."""
    return RegularizedNewton(model, damping, scaling="fixed", on_indefinite="step").bind(X, y)


@_entered("RegularizedNewton", _CLAIM, "scaling='fixed'")
def nntk_newton_refusing(model: ShallowNet, X: Tensor, y: Tensor, damping: float) -> Any:
    """RegularizedNewton, which by default refuses an indefinite damped Hessian."""
    return RegularizedNewton(model, damping, scaling="fixed").bind(X, y)
