"""The activation functions in torch: σ, σ', σ'' and what the certificates need to know about them.

Written from the definitions, apart from the reference's, with which the tests compare them. Errors are absolute: each value
computed from an exact z is within ERROR units roundoff of its supremum's scale (max(1, |σ|) for the unbounded ones).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nntk_accelerated.errors import InputError, UnknownActivationError

__all__ = ["ACTIVATIONS", "ERROR", "Activation", "activation", "register"]

ERROR = 16.0
"""Bound on |computed - exact| / (u · max(1, |exact|)) of every jet on |z| ≤ 50, u the unit roundoff. The tests ask for half.

It rests on torch's elementary functions being right to 4 units in the last place, as their vendors state; nobody proves it.
"""


Bounds = Callable[[Tensor], tuple[Tensor | float, Tensor | float, Tensor | float, Tensor | float]]


@dataclass(frozen=True)
class Activation:
    """One activation function.

    function  σ, elementwise, differentiable by autograd and torch.func.
    jets      (z, order) ↦ (σ(z), …, σ^(order)(z)), order 0, 1 or 2, elementwise; may overwrite z.
    bounds    |z| ≤ t ↦ bounds on (|σ|, |σ'|, |σ''|, |σ'''|), elementwise on t or constants; infinite where there is none.
    off_kink  the same bounds but for a kink at z = 0, for an activation whose slope jumps there; None for the others.
    compiled  the number of its branch in the loops of `fused`; None for those that torch computes.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    jets: Callable[[Tensor, int], tuple[Tensor, ...]]
    bounds: Bounds
    compiled: int | None = None
    off_kink: Bounds | None = None


ACTIVATIONS: dict[str, Activation] = {}


def register(entry: object) -> Activation:
    """Add an activation under its name; every function of the package then accepts it. Raises InputError on a name in use."""
    if not isinstance(entry, Activation):
        raise InputError("entry", "an Activation", repr(entry))
    name: object = entry.name
    if not isinstance(name, str) or not name or name in ACTIVATIONS:
        raise InputError("activation", "a name not yet in use", repr(name))
    ACTIVATIONS[name] = entry
    return entry


def activation(name: object) -> Activation:
    """The registry entry called `name`. Raises UnknownActivationError, which offers the nearest name."""
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    near = difflib.get_close_matches(str(name).lower(), ACTIVATIONS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UnknownActivationError("activation", f"one of {', '.join(ACTIVATIONS)}", f"{name!r}{hint}")


def _tanh(z: Tensor, order: int) -> tuple[Tensor, ...]:
    t = torch.tanh_(z)
    if order == 0:
        return (t,)
    slope = torch.addcmul(torch.ones((), dtype=t.dtype, device=t.device), t, t, value=-1)
    return (t, slope, (t * slope).mul_(-2))[: order + 1]


def _erf(z: Tensor, order: int) -> tuple[Tensor, ...]:
    value = torch.erf(z)
    if order == 0:
        return (value,)
    slope = (z * z).neg_().exp_().mul_(2 / math.sqrt(math.pi))
    return (value, slope, (z * slope).mul_(-2))[: order + 1]


def _sin(z: Tensor, order: int) -> tuple[Tensor, ...]:
    value = torch.sin(z)
    return (value, torch.cos(z), -value)[: order + 1] if order else (value,)


def _logistic(z: Tensor, order: int) -> tuple[Tensor, ...]:
    value = torch.sigmoid_(z)
    if order == 0:
        return (value,)
    slope = torch.addcmul(value, value, value, value=-1)
    return (value, slope, torch.addcmul(slope, value, slope, value=-2))[: order + 1]  # σ'' = σ'(1 - 2σ)


def _softplus(z: Tensor, order: int) -> tuple[Tensor, ...]:
    # max(z, 0) + log(1 + e^-|z|); torch's own softplus cuts the tail off at its threshold
    value = z.clamp_min(0).add_(z.abs().neg_().exp_().log1p_())
    if order == 0:
        return (value,)
    slope = torch.sigmoid(z)
    return (value, slope, torch.addcmul(slope, slope, slope, value=-1))[: order + 1]


def _gelu(z: Tensor, order: int) -> tuple[Tensor, ...]:
    cdf = torch.erfc(z * -math.sqrt(0.5)).mul_(0.5)
    value = z * cdf
    if order == 0:
        return (value,)
    squared = (z * z).clamp_max(1e4)  # e^-5000 is 0, and stays so against an infinite z²
    density = (squared * -0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
    return (value, torch.addcmul(cdf, z, density), squared.neg_().add_(2).mul_(density))[: order + 1]


def _relu(z: Tensor, order: int) -> tuple[Tensor, ...]:
    value = z.clamp_min(0)
    return (value, (z > 0).to(z.dtype), torch.zeros_like(z))[: order + 1]


def _square(z: Tensor, order: int) -> tuple[Tensor, ...]:
    return (z * z, 2 * z, torch.full_like(z, 2))[: order + 1]


def _capped(t: Tensor, slope: float, most: float) -> Tensor:
    return (slope * t).clamp_max(most)


for _entry in (
    Activation("tanh", torch.tanh, _tanh, lambda t: (_capped(t, 1, 1), 1.0, _capped(t, 2, 0.7699), 2.0), compiled=0),
    Activation("erf", torch.erf, _erf, lambda t: (_capped(t, 1.1284, 1), 1.1284, _capped(t, 2.2568, 0.9679), 2.2568)),
    Activation("sin", torch.sin, _sin, lambda t: (_capped(t, 1, 1), 1.0, _capped(t, 1, 1), 1.0)),
    Activation("logistic", torch.sigmoid, _logistic, lambda t: (1.0, 0.25, _capped(t, 0.125, 0.0963), 0.125), compiled=1),
    Activation(
        "softplus", lambda z: torch.logaddexp(z, torch.zeros_like(z)), _softplus, lambda t: (t + 0.6932, 1.0, 0.25, 0.0963)
    ),
    Activation("gelu", nn.functional.gelu, _gelu, lambda t: (t, 1.129, 0.7979, 0.78)),
    # The slope jumps at 0, where z's rounding error decides: no bound on its change.
    Activation("relu", torch.relu, _relu, lambda t: (t, 1.0, math.inf, 0.0), compiled=2, off_kink=lambda t: (t, 1.0, 0.0, 0.0)),
    Activation("square", torch.square, _square, lambda t: (t * t, 2 * t, 2.0, 0.0), compiled=3),
):
    register(_entry)
