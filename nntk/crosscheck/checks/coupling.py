"""Checks of what enters the step: every cross term of the matrix, and every data point with the same weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import THRESHOLD, Case, rounded
from nntk.crosscheck.cases import case, reach, with_activations
from nntk.crosscheck.checks.check import ALL, NEWTONS, check, some
from nntk.crosscheck.checks.step import angle
from nntk.crosscheck.setting import Reading, Setting, one_step
from nntk.crosscheck.words import apart
from nntk_reference import FLOAT64, formulas
from nntk_reference.arithmetic import Array

__all__ = ["parts_of"]


def coupling_cases(setting: Setting) -> Sequence[Case]:
    sizes = with_activations([(6, 1, 4), (6, 2, 5), (5, 3, 12), (7, 2, 6)])[: some(setting, 2, 4)]
    small = [case("definite", *size, seed=setting.seed, dtype=setting.dtype) for size in sizes]
    return small + reach(setting.seed, setting.dtype, whole=True)


@check(
    "all-parameters-coupled",
    "Every cross term between c, w, η and between neurons enters, once",
    profiles=NEWTONS,
    cases=coupling_cases,
)
def all_parameters_coupled(setting: Setting, at: Case) -> Reading:
    """Least squares for the coefficient of each off-diagonal part of the matrix in the step's own equation; each must be 1.

    The damping and the step size are fitted as well, so that a fault in those is none here. A step that no coefficients
    explain is wrong in another way, and tells nothing of the couplings.
    """
    step, target = one_step(setting.start(at)), setting.target(at.start)
    size = float(np.linalg.norm(step))
    if not 0 < size < math.inf:
        return Reading.failed(f"the step has length {size:.3g} ({at})", (at, 1))
    parts = parts_of(target.matrix, *at.theta.shape)
    columns = [part @ step / size for part in parts.values()] + [step / size, at.start.gradient / size]
    names = list(parts)
    diagonal = (np.diag(target.matrix) - at.objective.damping) * step / size
    keep = [k for k, column in enumerate(columns) if np.linalg.norm(column) > 1e-9 * target.point.matrix_size]
    if angle(step, at.start.gradient) < 1e-9 < angle(target.step, at.start.gradient):
        return Reading.failed(f"no coupling enters: the step is along the gradient ({at})", (at, 1))
    # What is too small to be fitted enters once, and its size says how little that is known of it.
    left_out = sum(float(np.linalg.norm(column)) for k, column in enumerate(columns) if k not in keep)
    U, slack = np.column_stack([columns[k] for k in keep]), setting.slack(target, step) / size + left_out
    fitted = least_squares(U, -diagonal, slack)
    if fitted is None:
        return Reading.unresolved(f"too few numbers to tell the couplings apart ({at})")
    misfit = float(np.linalg.norm(U @ fitted[0] + diagonal))
    if misfit > 100 * slack:
        why = f"no coefficients of the couplings explain the step: {misfit:.2g} is left of its equation ({at})"
        return Reading.unresolved(why)
    readings = [
        Reading(abs(value - 1), bar, f"the coupling {names[k]} enters {apart(value, 1.0)} times ({at})", (at, 1))
        for k, value, bar in zip(keep, *fitted, strict=True)
        if k < len(names)
    ]
    if not readings:
        return Reading.unresolved(f"there is nothing to couple ({at})")
    return max(readings, key=lambda reading: reading.ratio)


def least_squares(U: Array, right: Array, slack: float) -> tuple[Array, Array] | None:
    """(x, error bars) of least squares for Ux = right, whose right side is off by `slack`; None where U does not fix x."""
    lengths = np.linalg.norm(U, axis=0)
    left, sigma, modes = np.linalg.svd(U / lengths, full_matrices=False)
    if U.shape[0] < U.shape[1] or sigma[-1] <= 1e-8:
        return None
    x = modes.T @ (left.T @ right / sigma) / lengths
    return x, slack * np.sqrt(((modes.T / sigma) ** 2).sum(axis=1)) / lengths


def parts_of(A: Array, N: int, D: int) -> dict[str, Array]:
    """The off-diagonal parts of A (P, P), by the kinds of the parameters, within a neuron and between neurons."""
    neuron, kinds = np.repeat(np.arange(N), D), np.tile(np.array(["c", *["w"] * (D - 2), "η"]), N)
    same = neuron[:, None] == neuron[None, :]
    off = ~np.eye(N * D, dtype=bool)
    parts = {}
    for a, b in (("c", "w"), ("c", "η"), ("w", "η"), ("w", "w"), ("c", "c"), ("η", "η")):
        mask = (kinds[:, None] == a) & (kinds[None, :] == b)
        mask = (mask | mask.T) & off
        for where, chosen in (("within a neuron", mask & same), ("between neurons", mask & ~same)):
            if chosen.any():
                parts[f"{a}-{b} {where}"] = np.where(chosen, A, 0.0)
    return parts


_ASKED = 16
"""More points than this are not asked one by one, where a prescribed step is wrong for more than the weights of points."""


def data_cases(setting: Setting) -> Sequence[Case]:
    sizes = with_activations([(3, 1, 3), (6, 2, 5), (8, 2, 9)])[: some(setting, 2, 3)]
    small = [case("definite", *size, seed=setting.seed, dtype=setting.dtype) for size in sizes]
    return small + reach(setting.seed, setting.dtype, whole=True)


@check(
    "whole-data",
    "Every data point enters, with the same weight",
    profiles=ALL,
    cases=data_cases,
)
def whole_data(setting: Setting, at: Case) -> Reading:
    """The weight with which each data point enters, by least squares in the step's own equation; each must be 1.

    Where no step is prescribed, or no weights explain it: do the steps respond to each point at all?
    """
    objective, M = at.objective, len(at.objective.y)
    step = one_step(setting.start(at))
    size = float(np.linalg.norm(step))
    if setting.profile.target is not None and 0 < size < math.inf:
        target, start = setting.target(at.start), at.start
        J, r = start.jacobian, start.residual
        columns = J * ((J @ step + r) / M)[:, None]
        if target.curvature:
            s = formulas.state(FLOAT64, start.network, objective.X)
            for m in range(M):
                unit = np.zeros(M)
                unit[m] = r[m]
                S = formulas.add_blocks(np.zeros_like(target.matrix), formulas.residual_hessian(s, unit))
                columns[m] += S @ step
        U = columns.T / size
        slack = setting.slack(target, step) / size
        fitted = least_squares(U, -objective.damping * step / size, slack)
        if fitted is None or len(step) < M + 3:
            return Reading.unresolved(f"too few numbers to tell the points apart ({at})")
        weights, bars = fitted
        misfit = float(np.linalg.norm(U @ weights + objective.damping * step / size))
        if misfit <= 100 * slack:
            worst = int(np.argmax(np.abs(weights - 1) / bars))
            why = f"point {worst + 1} of {M} counts {apart(float(weights[worst]), 1.0)} times ({at})"
            return Reading(abs(float(weights[worst]) - 1), float(bars[worst]), why, (at, 1))
        if M > _ASKED:
            return Reading.unresolved(f"no weights of the points explain the step: {misfit:.2g} is left of its equation ({at})")
    # Three steps: some methods take none at first, or see no more than signs.
    steps = 3
    base = one_step(setting.start(at), steps)
    size = float(np.linalg.norm(base)) or 1.0
    for m in range(M):
        y = objective.y.copy()
        y[m] += max(1.0, abs(y[m]))
        moved = replace(at, objective=replace(objective, y=rounded(y, setting.dtype)))
        change = float(np.linalg.norm(one_step(setting.start(moved), steps) - base)) / size
        if not change > THRESHOLD * at.start.operations * setting.eps:
            return Reading.failed(f"{steps} steps do not respond to point {m + 1} of {M} ({at})", (moved, steps))
    return Reading.passed(f"{steps} steps respond to each of {M} points ({at})")
