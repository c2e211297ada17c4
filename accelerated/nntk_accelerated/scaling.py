"""The scaling formula (E5): from γ to the damping γ_N, the number that is added to the Hessian's diagonal."""

from __future__ import annotations

import math
from typing import Any

import torch

from nntk_accelerated.errors import InputError, RangeError
from nntk_accelerated.validation import choice, number, positive, whole_number

__all__ = ["damping", "regularization"]


def regularization(gamma: float, width: int, beta: float) -> float:
    """(E5) γ_N = γ N^(1-2β), for γ > 0 and β in [1/2, 1]; at γ = 1 the factor that normalizes a kernel by the width.

    Raises InputError.
    """
    value, N, exponent = positive("gamma", gamma), whole_number("width", width), number("beta", beta)
    if not 0.5 <= exponent <= 1:
        raise InputError("beta", "a number between 1/2 and 1", repr(beta))
    return value * math.pow(N, 1 - 2 * exponent)


def damping(net: Any, gamma: Any, scaling: str = "width") -> float:
    """γ_N: (E5) for the net with scaling="width", γ itself with "fixed".

    Raises InputError for γ ≤ 0, RangeError if γ_N underflows.
    """
    value = positive("gamma", gamma)
    choice("scaling", scaling, ("width", "fixed"))
    result = regularization(value, net.width, net.beta) if scaling == "width" else value
    if not result >= torch.finfo(torch.float64).tiny:
        raise RangeError(f"gamma = {value} gives a damping of {result}, below the normal numbers")
    return result
