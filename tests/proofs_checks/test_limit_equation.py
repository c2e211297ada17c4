"""`limit-equation`: its limit trajectory is the reference's, and frequencies are of finite numbers."""

from __future__ import annotations

import numpy as np

from nntk_proofs_checks import ensemble, limit_equation
from nntk_proofs_checks.ensemble import standardized
from nntk_reference import Verdict, limit_trajectory
from tests.proofs_checks.problems import line


def test_the_limit_trajectory_is_the_references() -> None:
    problem = standardized(line(6))
    ours = limit_equation._trajectory(ensemble.kernel(problem), 0.7, problem.y, np.zeros(6))
    theirs = limit_trajectory(problem.X, problem.y, 0.7, limit_equation._STEPS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_distances_that_are_not_finite_have_no_frequency() -> None:
    finding, series = limit_equation._in_probability((8, 16), [np.ones(4), np.full(4, np.inf)])
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.number is None
    assert finding.cases == 8
    assert not series.y
