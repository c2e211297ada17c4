"""Networks of any width: which ones the work at hand allows, and their states a part of the neurons at a time."""

from __future__ import annotations

from collections.abc import Iterator

from nntk_proofs_checks.claim import Problem
from nntk_reference import FLOAT64, Network, activation, formulas
from nntk_reference.arithmetic import Array

__all__ = ["affordable", "states"]

_CHUNK = 2**14  # neurons at a time, fewer where the inputs have many dimensions


def affordable(widths: tuple[int, ...], problem: Problem, work: float) -> tuple[int, ...]:
    """The widths N whose N(d+2)M² is at most `work`; at least the smallest."""
    M, d = problem.X.shape
    return tuple(n for n in widths if n * (d + 2) * M**2 <= work) or widths[:1]


def states(net: Network, X: Array) -> Iterator[tuple[slice, formulas.State]]:
    """(neurons, their state at X (M, d)) over chunks of a network of any width, in float64."""
    inputs, size = formulas.augmented(X), max(1, _CHUNK // (1 + X.shape[1] ** 2 // 16))
    for start in range(0, net.width, size):
        part = slice(start, start + size)
        z = X @ net.w[part].T + net.eta[part]
        jets = activation(net.activation).jets(z, FLOAT64)
        yield part, formulas.State(float(net.width) ** -net.beta, net.c[part], inputs, *jets)
