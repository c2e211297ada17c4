"""Errors at the limit of the model, planted: jets, sums and underflow of our choosing, on networks of one neuron or point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from nntk_accelerated import ACTIVATIONS, ShallowNet
from nntk_accelerated.instance import Instance, instance

U = 2.0**-24
"""float32's unit roundoff."""

HALF = 0.99 * U
"""What is lost when it is added to 1."""

TINY = float(torch.finfo(torch.float32).tiny)
EXACT = 2.0**-16
"""A jet so small that errors relative to it do not count: what errs is ERROR units of 1."""

OFF = 16 * U
SINGLE = slice(0, 1)


@dataclass(frozen=True)
class Planted(Instance):
    """An instance whose jets are `rule` of a z that is summed in order."""

    rule: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] | None = None

    def jets(self, part: slice | torch.Tensor, order: int) -> tuple[torch.Tensor, ...]:
        x, w = self.X1[:, 1:], self.w[part].to(self.dtype)
        z = x[:, :1] * w[:, 0]
        for k in range(1, w.shape[1]):
            z = z + x[:, k : k + 1] * w[:, k]
        assert self.rule is not None
        return tuple(v.to(self.dtype) for v in self.rule(z + self.eta[part].to(self.dtype)))[: order + 1]


def planted(
    rule: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    limits: tuple[float, float, float, float],
    *,
    c: Any = (1.0,),
    w: Any = ((0.0,),),
    eta: Any = (0.0,),
    X: Any = ((0.0,),),
    y: Any = (0.0,),
    dtype: torch.dtype = torch.float32,
) -> Planted:
    """A small network with jets by `rule`, whose derivatives' bounds are `limits`."""
    parameters, data = ([torch.tensor(np.array(v), dtype=dtype) for v in values] for values in ((c, w, eta), (X, y)))
    task = instance(ShallowNet.from_arrays(*parameters, beta=0.75, activation="tanh"), *data, chunk=1)
    entry = replace(ACTIVATIONS["tanh"], bounds=lambda t: limits)
    return Planted(**{**vars(task), "activation": entry, "lanes": 1}, rule=rule)


def constant(*jets: float) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    return lambda z: tuple(torch.full_like(z, v) for v in jets)


def losing(count: int, kind: Any = np.float32) -> tuple[np.ndarray, float]:
    """Terms of about 1, whose sum in order loses nearly half a unit in each addition; (terms, their sum in that order)."""
    terms, total, eps = [], kind(0), float(np.finfo(kind).eps)
    for _ in range(count):
        unit = float(np.spacing(total)) if total else 0.0
        terms.append(1 + (0.5 * unit - eps if unit > 2 * eps else 0.0))
        total = kind(total + kind(terms[-1]))
    return np.array(terms), float(total)


def flushed(case: Callable[[], float]) -> Callable[[], float]:
    """The case where the processor flushes numbers below the normal ones to zero."""

    def ratio() -> float:
        if not torch.set_flush_denormal(True):
            pytest.skip("this processor does not flush denormal numbers")
        try:
            return case()
        finally:
            torch.set_flush_denormal(False)

    return ratio
