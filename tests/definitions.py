"""Every activation function by its definition, in mpmath: a third derivation, with which the tests compare both packages.

A new activation is written here as well. `tests/test_registries.py` fails until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath

__all__ = ["SIGMA", "sigma"]

SIGMA: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda mp, z: mp.tanh(z),
    "erf": lambda mp, z: mp.erf(z),
    "sin": lambda mp, z: mp.sin(z),
    "logistic": lambda mp, z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda mp, z: mp.log(1 + mp.exp(z)),
    "gelu": lambda mp, z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "relu": lambda mp, z: max(z, mp.mpf(0)),
    "square": lambda mp, z: z * z,
}
"""(mpmath context, z) ↦ σ(z). Where the function is analytic, z may be complex."""


def sigma(name: str, mp: Any = mpmath.mp) -> Callable[[Any], Any]:
    """σ in the context's precision."""
    assert name in SIGMA, f"write σ of {name!r} in tests/definitions.py"
    return lambda z: SIGMA[name](mp, z)
