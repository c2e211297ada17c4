"""Cases drawn by hypothesis: small, of the right kind, and shrunk where one fails."""

from __future__ import annotations

import math
import time
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

from nntk.crosscheck.case import EPS, Case, Objective, activations, rounded
from nntk.crosscheck.checks import Check
from nntk.crosscheck.result import Tally
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import SubjectError
from nntk_proofs_checks.claim import Effort
from nntk_reference import regularization

__all__ = ["draw_cases"]

_DRAWN = {Effort.QUICK: 5, Effort.DEFAULT: 40, Effort.FULL: 300}
_SOFT = {Effort.QUICK: 0.15, Effort.DEFAULT: 1.5, Effort.FULL: 60.0}
"""Seconds after which no more cases are drawn; how many there were is reported."""
_SHRINKS = 200


class _Failed(AssertionError):
    """A drawn case failed: what hypothesis shrinks."""


class _Enough(BaseException):
    """No Exception, so that hypothesis stops at once and does not shrink it."""


def draw_cases(check: Check, setting: Setting, tally: Tally) -> None:
    """Cases drawn by hypothesis, until there are enough or time is up; a failing one is shrunk. Raises SubjectError."""
    deadline = time.perf_counter() + _SOFT[setting.effort]
    runs = 0
    fault: SubjectError | None = None

    @hypothesis.seed(setting.seed)
    @hypothesis.settings(
        max_examples=_DRAWN[setting.effort],
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(_cases(setting, definite=check.drawn == "definite"))
    def test(at: Case) -> None:
        nonlocal runs, fault
        runs += 1
        if time.perf_counter() > deadline or runs > _DRAWN[setting.effort] + _SHRINKS:
            raise _Enough
        tally.at = at
        try:
            failed = tally.add(check.examine(setting, at))
        except SubjectError as error:
            fault = error
            raise _Enough from None
        if failed:
            raise _Failed

    state = np.random.get_state()  # noqa: NPY002 - hypothesis seeds the global generators
    try:
        test()
    except (_Failed, _Enough):
        pass
    except hypothesis.errors.HypothesisException:
        pass  # Unsatisfiable, where no drawn case was of the right kind: counted as it is; Flaky, where the optimizer is
    finally:
        np.random.set_state(state)  # noqa: NPY002
    if fault is not None:
        raise fault


@st.composite
def _objectives(draw: st.DrawFn, dtype: str) -> tuple[Objective, Any]:
    """Small problems in multiples of 1/64, which are short in print and the same in both dtypes.

    Integers, since floats take ten times as long to draw. Neurons and points are sometimes repeated, neurons sometimes dead.
    """
    width, dim, points = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    count = width * (dim + 2) + points * (dim + 1)
    numbers = np.array(draw(st.tuples(*[st.integers(-128, 128)] * count))) / 64
    theta, data = numbers[: width * (dim + 2)].reshape(width, -1), numbers[width * (dim + 2) :].reshape(points, -1)
    special = draw(st.sampled_from(["none"] * 6 + ["neuron repeated", "neuron dead", "point repeated"]))
    if special == "neuron repeated":
        theta[-1] = theta[0]
    elif special == "neuron dead":
        theta[-1, 0] = 0.0
    elif special == "point repeated":
        data[-1, :-1] = data[0, :-1]
    beta = draw(st.sampled_from([0.75, 0.6, 0.9]))
    gamma = 10 ** (draw(st.integers(-8, 8)) / 4)
    damping = float(rounded(regularization(gamma, width, beta), dtype))
    return Objective(data[:, :-1].copy(), data[:, -1].copy(), beta, draw(st.sampled_from(activations())), damping), theta


def _cases(setting: Setting, *, definite: bool) -> st.SearchStrategy[Case]:
    """Small cases that the dtype can judge, of any kind or such that D ≻ 0."""
    dtype = setting.dtype

    def build(drawn: tuple[Objective, Any]) -> Case | None:
        objective, theta = drawn
        point = objective.at(theta)
        if not np.linalg.norm(point.gradient) > 1e-3 * point.gradient_size:
            return None
        spectrum = np.linalg.eigvalsh(point.blocks)
        if np.abs(spectrum).min() <= 1e-3 * point.matrix_size or (definite and spectrum.min() <= 0):
            return None
        if max(point.newton.limit(dtype), point.gauss_newton_target.limit(dtype)) > math.sqrt(EPS[dtype]):
            return None
        return Case(objective, theta, "indefinite" if point.negative else "definite", "drawn by hypothesis")

    return _objectives(dtype).map(build).filter(lambda case: case is not None)  # type: ignore[return-value]
