"""`sharp-rate`: with a law symmetric in c the nonlinear part of training falls like N^(-2(1-β)), the bound squared (E21)."""

from __future__ import annotations

from functools import partial

import numpy as np

from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason
from nntk_proofs_checks.ensemble import BETAS, WIDTHS, Run, Setup, ensemble, standardized, textbook, unmet_assumption
from nntk_proofs_checks.statistics import Rate, asymptotic, judge, rate_panel, until_decided
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_WIDTHS = WIDTHS | {Effort.QUICK: (2**8, 2**11, 2**14)}
_SEEDS = {
    Effort.QUICK: (64, 32, 16),
    Effort.DEFAULT: (64, 44, 32, 32),
    Effort.FULL: (128, 96, 64, 64, 50, 50),
}
"""More where the random part is larger beside the mean."""
_TIMES = (1, 2, 4)
"""So many times these seeds, where an interval is too wide to decide."""
_CURVATURE_RATIO = 0.25
_CORRECTION = 3 * _CURVATURE_RATIO**2
"""The next power, N^(-4(1-β)), relative to the first: at most 3 times the square of what the theory expands in, at N₀."""


def _projected(runs: list[list[Run]], beta: float, widths: tuple[int, ...]) -> list[Array]:
    """A signed number a run: its f_T - (own linear dynamics) along the mean direction of the other half of the runs.

    The mean carries one power of N; the norm would add that of the fluctuation about it, N^-(1-β)-1/2.
    """
    errors = [np.array([run.outputs[-1] - run.linear[-1] for run in column]) for column in runs]
    out = [np.empty(len(column)) for column in errors]
    for half in (0, 1):
        # comparable in size over the widths, so that all help to find the direction
        others = np.concatenate([e[1 - half :: 2] * N ** (2 - 2 * beta) for N, e in zip(widths, errors, strict=True)])
        direction = others.mean(axis=0)
        direction /= max(float(np.linalg.norm(direction)), np.finfo(float).tiny)
        for values, e in zip(out, errors, strict=True):
            values[half::2] = e[half::2] @ direction
    return out


def _at(
    problem: Problem, effort: Effort, beta: float, symmetric: bool, times: int, looks: int
) -> tuple[list[Rate], list[Array]]:
    """The exponent at one β from `times` the seeds, and what it is of, by width."""
    widths, seeds, claimed = _WIDTHS[effort], tuple(times * count for count in _SEEDS[effort]), 2 * (beta - 1)
    runs = ensemble(problem, Setup(beta, widths, seeds, _CURVATURE_RATIO, symmetric=symmetric, matched=True))
    values = _projected(runs, beta, widths)
    interval = asymptotic(widths, values, of="mean", correction=-claimed, size=_CORRECTION, looks=looks)
    return [Rate(f"E[f - own linear dynamics], β = {beta}", interval, "≈", claimed, (claimed / 2,))], values


def _finding(problem: Problem, effort: Effort, betas: tuple[float, ...], *, symmetric: bool) -> Finding:
    rates, curves, cases = [], [], 0
    for beta in betas:
        found, values, times = until_decided(_TIMES, partial(_at, problem, effort, beta, symmetric))
        rates += found
        cases += times * sum(_SEEDS[effort])
        curves.append((f"β = {beta}", [np.abs(v) for v in values], 2 * (beta - 1)))
    panel = rate_panel("Nonlinear part after 3 exact steps", "along its mean direction", _WIDTHS[effort], curves)
    return judge(rates, cases, (panel,))


def check(problem: Problem, effort: Effort) -> Finding:
    """The exponent of the expected difference between a network and its own linearized Gauss-Newton dynamics."""
    return unmet_assumption(problem) or _finding(standardized(problem), effort, BETAS, symmetric=True)


def control(problem: Problem, effort: Effort) -> Finding:
    """With c ~ U(0, 2) and η shifted by 1: the first-order terms do not average out, and the exponent is -(1-β).

    Refuted only if the same measurement holds for the symmetric law.
    """
    kept, broken = (_finding(textbook(problem), Effort.QUICK, BETAS[1:2], symmetric=symmetric) for symmetric in (True, False))
    return for_its_reason(broken, kept)


CLAIM = Claim(
    id="sharp-rate",
    statement="with a law symmetric in c, the expected difference between f_t and the linearized Gauss-Newton dynamics with "
    "its own initial kernel is of order N^(-2(1-β)), not only O(N^-(1-β)) (E21)",
    assumptions="(c, w, η) and (-c, w, η) have the same law; the residual starts at -y (targets y + f₀); γ_N = γ N^(1-2β)",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="neither c nor (w, η) is symmetric (η is shifted, too), so the first power of N^-(1-β) stays",
)
