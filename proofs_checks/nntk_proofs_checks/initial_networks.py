"""Networks before training, drawn in numbers: what `initial-fluctuations` and `limit-equation` average over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from nntk_accelerated import ntk, outputs
from nntk_proofs_checks.claim import Problem
from nntk_proofs_checks.ensemble import BETAS, draw_network, one_thread, to_torch
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


@lru_cache(maxsize=8)
def starts(problem: Problem, runs: int, copies: int = 1, shift: tuple[float, float] = (0.0, 0.0)) -> list[list[Start]]:
    """Networks at initialization, `runs` of each of `WIDTHS`; β in turn from `BETAS`.

    `copies` of every neuron break their independence; `shift` is added to every c and every η, whose law is then symmetric no
    more. The same arguments give the same list, which is kept.
    """
    X, out = torch.tensor(problem.X), []
    for width in WIDTHS:
        with one_thread(width):
            out.append([_start(problem, X, width, index, copies, shift) for index in range(runs)])
    return out


def _start(problem: Problem, X: torch.Tensor, width: int, index: int, copies: int, shift: tuple[float, float]) -> Start:
    exponent = BETAS[index % len(BETAS)]
    net = draw_network(problem, exponent, width // copies, index)
    if copies > 1 or any(shift):
        theta = np.concatenate([net.theta] * copies)
        theta[:, [0, -1]] += shift
        net = Network.from_theta(theta, exponent, net.activation, negative_control=True)
    drawn = to_torch(net)
    return Start(exponent, outputs(drawn, X).numpy(), ntk(drawn, X, normalized=True).numpy())


def cache_clear() -> None:
    """Forget all networks: for tests that plant faults."""
    starts.cache_clear()
