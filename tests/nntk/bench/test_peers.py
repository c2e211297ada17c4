"""The peers that the benchmarks measure solve the same system as the step."""

from __future__ import annotations

import pytest
import torch

from nntk.bench.measuring import default_problem
from nntk.bench.peers import conjugate_gradients, dense_step
from nntk_accelerated import newton_step
from tests.tolerances import EPS, THRESHOLD


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch.func's own
def test_conjugate_gradients_solve_the_same_system() -> None:
    net, X, y = default_problem(300, 12)
    step = newton_step(net, X, y, 1.0)
    left, done = conjugate_gradients(net, X, y, step.damping, rtol=1e-12, most=200)
    assert left <= 1e-11
    assert 1 < done < 200
    left, done = conjugate_gradients(net, X, y, step.damping, rtol=0, most=2)
    assert done == 2
    assert left > 1e-6  # two iterations are not a solution


def test_the_dense_step_is_the_same_step() -> None:
    net, X, y = default_problem(40, 12)
    step = newton_step(net, X, y, 10.0)
    dense = dense_step(net, X, y, step.damping)[:, 0]
    # the dense one orders its parameters c, w, η, tensor by tensor
    ours = torch.cat([step.update[:, 0], step.update[:, 1:-1].reshape(-1), step.update[:, -1]])
    condition = 1 + 40 / 10.0  # |H| < 40 at this size, the damping is 10 N^(-1/2)
    assert (dense - ours).norm() <= THRESHOLD * 120 * EPS["float64"] * condition * 40**0.5 * ours.norm()
