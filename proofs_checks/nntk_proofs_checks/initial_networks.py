"""Networks before training, drawn in numbers: what `initial-fluctuations` and `limit-equation` average over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from nntk_accelerated import ntk, outputs
from nntk_proofs_checks.claim import Problem
from nntk_proofs_checks.ensemble import BETAS, draw_network, to_torch
from nntk_proofs_checks.trials import filled
from nntk_reference import Network
from nntk_reference.arithmetic import Array

__all__ = ["WIDTHS", "Start", "cache_clear", "starts"]

WIDTHS = (2**6, 2**8, 2**10, 2**12)


@dataclass(frozen=True, eq=False)
class Start:
    """A network before training: its β, f₀ (M,), and the normalized NTK B̄ᴺ (M, M)."""

    beta: float
    outputs: Array
    kernel: Array


def starts(problem: Problem, runs: int, copies: int = 1, shift: tuple[float, float] = (0.0, 0.0)) -> list[list[Start]]:
    """Networks at initialization, β in turn from `BETAS`: `runs` of the largest of `WIDTHS`, more of the narrow ones.

    `copies` of every neuron break their independence; `shift` is added to every c and every η, whose law is then symmetric no
    more. Those that were made before are not made again.
    """
    # (E19) and (E20) hold at every width, and narrow networks cost less
    columns, counts = _made(problem, copies, shift), [runs * max(1, math.isqrt(2**10 // width)) for width in WIDTHS]
    return filled(columns, counts, _start, lambda k, index: (problem, WIDTHS[k], index, copies, shift))


@lru_cache(maxsize=8)
def _made(problem: Problem, copies: int, shift: tuple[float, float]) -> list[list[Start]]:
    """What there is of such networks, by width; `starts` adds to it."""
    return [[] for _ in WIDTHS]


def _start(problem: Problem, width: int, index: int, copies: int, shift: tuple[float, float]) -> Start:
    exponent = BETAS[index % len(BETAS)]
    net = draw_network(problem, exponent, width // copies, index)
    if copies > 1 or any(shift):
        theta = np.concatenate([net.theta] * copies)
        theta[:, [0, -1]] += shift
        net = Network.from_theta(theta, exponent, net.activation, negative_control=True)
    drawn, X = to_torch(net), torch.tensor(problem.X)
    return Start(exponent, outputs(drawn, X).numpy(), ntk(drawn, X, normalized=True).numpy())


def cache_clear() -> None:
    """Forget all networks: for tests that plant faults."""
    _made.cache_clear()
