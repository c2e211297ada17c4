"""What the activation functions that an optimizer is handed are off by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch

import nntk_accelerated
from nntk_reference import FLOAT64, activation
from nntk_reference.arithmetic import Array

__all__ = ["DTYPES", "EPS", "function_errors"]

EPS: Mapping[str, float] = MappingProxyType({"float32": 2.0**-23, "float64": 2.0**-52})
"""Spacing of the numbers next to 1. Every limit of the cross-check comes from here."""

DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"float32": torch.float32, "float64": torch.float64})


def function_errors(name: str, z: Array, dtype: str) -> tuple[Array, Array, Array]:
    """What σ, σ' and σ'' of autograd are off by at z (M, N), each of that shape: in the dtype, against the reference."""
    if name not in nntk_accelerated.ACTIVATIONS:  # the reference's alone: nothing is handed out
        return (np.zeros_like(z),) * 3
    with torch.enable_grad(), torch.device("cpu"):
        at = torch.tensor(z, dtype=DTYPES[dtype], requires_grad=True)
        value = nntk_accelerated.ACTIVATIONS[name].function(at)
        (slope,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        curved = slope.requires_grad
        curvature = torch.autograd.grad(slope.sum(), at)[0] if curved else torch.zeros_like(at)
    exact = activation(name).jets(at.detach().double().numpy(), FLOAT64)
    handed = (v.detach().double().numpy() for v in (value, slope, curvature))
    value_off, slope_off, curvature_off = (np.abs(a - b) for a, b in zip(handed, exact, strict=True))
    return value_off, slope_off, curvature_off
