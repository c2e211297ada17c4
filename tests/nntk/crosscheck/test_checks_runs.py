"""What a free run may be away from the exact path."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nntk.crosscheck import PROFILES
from nntk.crosscheck.case import EPS, Case, rounded
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.checks.runs import _drift
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import subject
from nntk_reference.arithmetic import Array

STEPS = 6


def exact_path(at: Case, dtype: str) -> list[Array]:
    path = [at.theta]
    for _ in range(STEPS):
        step = at.objective.at(path[-1]).newton.step
        path.append(rounded(path[-1] + step.reshape(at.theta.shape), dtype))
    return path


def free_run(at: Case, path: list[Array], dtype: str, factor: float, seed: int) -> list[float]:
    """Distances to the exact path of a run whose steps are off by so many times their limit, in random directions."""
    rng, theta, apart = np.random.default_rng(seed), at.theta, []
    for exact, after in pairwise(path):
        target, limit = at.objective.at(theta).newton, at.objective.at(exact).newton.limit(dtype)
        error = rng.standard_normal(theta.size)
        error *= factor * limit * float(np.linalg.norm(target.step)) / float(np.linalg.norm(error))
        theta = theta + (target.step + error).reshape(theta.shape)
        apart.append(float(np.linalg.norm(theta - after)))
    return apart


@pytest.mark.parametrize("dtype", EPS)
def test_a_run_at_the_limit_of_each_step_stays_within_the_drift_and_comes_within_a_factor_of_twenty(dtype: str) -> None:
    def stay(theta: Array, X: Array, y: Array, damping: float, problem: Any) -> Array:
        return theta

    here = Setting(subject(stay), PROFILES["exact-newton"], dtype=dtype)
    for at in ladder("definite", 0, dtype, 3, 3):
        path = exact_path(at, dtype)
        allowed = _drift(here, at, path)
        assert len(allowed) == STEPS
        assert all(0 < value < math.inf for value in allowed)
        for seed in range(5):
            ratios = [a / b for a, b in zip(free_run(at, path, dtype, 1.0, seed), allowed, strict=True)]
            assert 0.05 < max(ratios) <= 1
        # Steps off by twenty times their limit leave it at once.
        assert free_run(at, path, dtype, 20.0, 0)[0] > allowed[0]
