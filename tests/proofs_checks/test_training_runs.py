"""The two points of `exponential` at finite width: modes that differ, or none."""

from __future__ import annotations

import numpy as np
import pytest

from nntk_proofs_checks import Effort, training_runs
from tests.proofs_checks.problems import problem


@pytest.mark.parametrize(
    "X",
    [np.linspace(0, 10, 8)[:, None], np.array([[-1.0], [0.0], [1.0]]), np.random.default_rng(9).standard_normal((30, 6))],
    ids=["far apart", "opposite", "six dimensions"],
)
def test_the_two_points_of_the_finite_width_runs_have_modes_that_differ(X: np.ndarray) -> None:
    case = training_runs._case(problem(X, np.ones(len(X))))
    assert case is not None
    assert 0 < case.slow <= 0.35 * case.fast
    assert case.width < 2**16


def test_equal_inputs_have_no_such_points() -> None:
    same = problem(np.ones((3, 2)), np.arange(3.0))
    assert training_runs._case(same) is None
    assert not training_runs.newton_runs(same, Effort.QUICK).applies
