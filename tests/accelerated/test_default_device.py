"""Everything is done where the net is, whatever torch's default device: here "meta", on which no number can be computed with.

What forgets to say where fails here as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import nntk_accelerated as accelerated
from nntk_accelerated import RegularizedNewton, ShallowNet
from tests.accelerated.comparison import random_case, tensors

CALLS: dict[str, Callable[..., Any]] = {
    "outputs": lambda net, X, y: accelerated.outputs(net, X),
    "loss": accelerated.loss,
    "ntk": lambda net, X, y: accelerated.ntk(net, X),
    "nntk": lambda net, X, y: accelerated.nntk(net, X, y, 1e-3),
    "gauss_newton_nntk": lambda net, X, y: accelerated.gauss_newton_nntk(net, X, 1.0),
    "modes": lambda net, X, y: accelerated.modes(net, X, y, 1.0),
    "gauss_newton_step": lambda net, X, y: accelerated.gauss_newton_step(net, X, y, 1.0),
    "min_eigenvalue": accelerated.min_eigenvalue,
    "required_gamma": accelerated.required_gamma,
    "sufficient_gamma": accelerated.sufficient_gamma,
    "inertia": lambda net, X, y: accelerated.inertia(net, X, y, 1e-3),
    "prepare": lambda net, X, y: accelerated.prepare(net, X, y).step(1e-3),
}


def problem(M: int = 6) -> tuple[ShallowNet, torch.Tensor, torch.Tensor]:
    return tensors(random_case(2, 40, 2, M), "float64")


@pytest.mark.parametrize("name", sorted(CALLS))
def test_quantities(name: str) -> None:
    net, X, y = problem()
    with torch.device("meta"):
        CALLS[name](net, X, y)


@pytest.mark.parametrize("precision", ["float64", "mixed", "float32"])
@pytest.mark.parametrize("gamma", [1.0, 1e-3, 1e-6])
def test_steps(gamma: float, precision: str) -> None:
    net, X, y = problem()
    expected = accelerated.newton_step(net, X, y, gamma, precision=precision)
    with torch.device("meta"):
        found = accelerated.newton_step(net, X, y, gamma, precision=precision)
    assert torch.equal(found.update, expected.update)
    assert found.residual_bound == expected.residual_bound


def test_the_optimizer() -> None:
    net, X, y = problem()
    with torch.device("meta"):
        optimizer = RegularizedNewton(net, gamma=1.0)
        optimizer.step(X, y)
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step(X, y)
    assert torch.isfinite(net.theta).all()


def test_a_net_that_says_where() -> None:
    with torch.device("meta"):
        net = ShallowNet(5, 2, beta=0.75, device="cpu")
    assert net.c.device.type == "cpu"
