"""The data sets that several tests check the claims on, and what has to be true of a result."""

from __future__ import annotations

import numpy as np
from flint import ctx

from nntk_proofs_checks import Claim, Effort, Problem, Result, run
from nntk_reference import Verdict


def problem(X: np.ndarray | list[list[float]], y: np.ndarray | list[float], source: str = "test") -> Problem:
    return Problem(np.ascontiguousarray(X, dtype=float), np.asarray(y, dtype=float), source)


def line(points: int = 8, scale: float = 1.0) -> Problem:
    x = np.linspace(0, 1, points)
    source = f"{points} points of y = 2x + 0.4 sin(5πx) on [0, 1]" + ("" if scale == 1 else f", y times {scale:g}")
    return problem(x[:, None], scale * (2 * x + 0.4 * np.sin(5 * np.pi * x)), source)


def plane(points: int = 12) -> Problem:
    X = np.random.default_rng(5).uniform(-1, 1, (points, 2))
    return problem(X, X[:, 0] * X[:, 1] + 0.3)


DATA = {
    "line": line(),
    "plane": plane(),
    "two points": line(2),
    "far apart": problem([[-4.0], [0.5], [6.0]], [1, -1, 2]),
    "small targets": line(scale=1e-3),
    "large targets": line(scale=1e3),
    "zero targets": line(scale=0.0),
}
SHAPES = ("line", "plane", "two points", "far apart")
"""Those that differ in their inputs."""

SCALES = ("small targets", "large targets")


def passed(claim: Claim, data: Problem) -> Result:
    """The result at quick effort, which has to be that of a claim that holds; no precision is left changed."""
    before = ctx.prec
    result = run(claim, data, Effort.QUICK)
    assert ctx.prec == before
    assert result.finding.verdict is Verdict.HOLDS, result.finding.why
    assert result.control.verdict is Verdict.REFUTED, result.control.why
    assert result.passed
    assert result.finding.cases > 0
    return result
