"""The checks, one function each, and their registry.

A check reads numbers off cases: `examine(setting, case)` gives the Reading of one case. The battery runs it on the check's
deterministic cases, small ones first, and then on cases that hypothesis draws.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from nntk.crosscheck.case import THRESHOLD, Case, Point, Problem, case, family, ladder, normal_data, rounded, solved
from nntk.crosscheck.setting import NotApplicable, Reading, Setting, attempt, one_step, seed_everything
from nntk.crosscheck.subject import Session, SubjectError
from nntk_proofs_checks import Effort
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference import FLOAT64, formulas
from nntk_reference.arithmetic import Array

__all__ = ["CHECKS", "Check", "parts_of"]

NEWTONS = frozenset({"exact-newton", "gauss-newton", "approximate-newton"})
EXACT = frozenset({"exact-newton", "gauss-newton"})
ALL = NEWTONS | {"first-order"}


@dataclass(frozen=True)
class Check:
    """One property of an optimizer.

    profiles     those that it belongs to; in those of `informative` it reports and does not judge.
    cases        the deterministic cases; the drawn ones are of any kind ("any"), with D ≻ 0 ("definite"), or none ("").
    """

    id: str
    statement: str
    profiles: frozenset[str]
    cases: Callable[[Setting], Sequence[Case]]
    examine: Callable[[Setting, Case], Reading]
    drawn: str = "definite"
    informative: frozenset[str] = frozenset()


# --- the cases ---------------------------------------------------------------------------------------------------------------


def _some(setting: Setting, quick: int, usual: int, full: int = 12) -> int:
    return {Effort.QUICK: quick, Effort.DEFAULT: usual, Effort.FULL: full}[setting.effort]


def _all_kinds(setting: Setting) -> Sequence[Case]:
    count = _some(setting, 4, 12)
    kinds = ("definite", "indefinite", "ascent", "nearly singular")
    return [c for kind in kinds for c in ladder(kind, setting.seed, setting.dtype, count)]


def _definite(quick: int, usual: int, least: int = 0) -> Callable[[Setting], Sequence[Case]]:
    return lambda s: ladder("definite", s.seed, s.dtype, _some(s, quick, usual), least)


def _small_residuals(setting: Setting) -> Sequence[Case]:
    """Targets close to the outputs, where what is rounded to float32 inside loses its digits by cancellation."""
    size = 1e-4 if setting.dtype == "float64" else 1e-1
    sizes = [(2, 1, 3), (4, 2, 5), (6, 3, 4), (8, 1, 12)][: _some(setting, 2, 4)]
    seed = setting.seed
    return [case("definite", *n, "tanh", seed=seed, dtype=setting.dtype, residual=size) for n in sizes]


# --- the step --------------------------------------------------------------------------------------------------------------


def _judged(setting: Setting, at: Case, moved: Array, steps: int = 1, what: str = "", rate: float = 1.0) -> Reading:
    """What the parameters moved from the start of `at`, with a step size of `rate`, against the profile's step."""
    target, step = setting.target(at.start), moved / rate
    limit, error = setting.limit(target, rate), target.error(step)
    prefix = f"{what}: " if what else ""
    if not error <= limit and math.isfinite(error) and limit < 0.01 and setting.dtype == "float64" and error < 100 * limit:
        error = target.arbiter(step)  # close to the limit: against balls, lest the reference's own rounding decide
    forward = Reading(error, limit, f"{prefix}relative error of the step {error:.3g} ({at})", (at, steps))
    if setting.rtol is not None:
        return forward
    residual, allowed = target.backward_error(step, setting.dtype, rate), target.backward_limit(setting.dtype)
    backward = Reading(residual, allowed, f"{prefix}scaled residual of the step {residual:.3g} ({at})", (at, steps))
    return max(forward, backward, key=lambda reading: reading.ratio)


def step_matches(setting: Setting, at: Case) -> Reading:
    setting.target(at.start)
    step = attempt(setting.start(at), at)
    if isinstance(step, str):
        return Reading(0.0, setting.limit(setting.target(at.start)), "", refused=step)
    return _judged(setting, at, step)


def precision(setting: Setting, at: Case) -> Reading:
    reading = _judged(setting, at, step := one_step(setting.start(at)))
    if reading.ratio > 1 and setting.dtype == "float64" and np.array_equal(step, step.astype(np.float32)):
        return replace(reading, why=f"every number of the step is a float32; {reading.why}")
    return reading


def damping_cases(setting: Setting) -> Sequence[Case]:
    """Small residuals, where the matrix is definite for all dampings, and large ones."""
    seed, dtype = setting.seed, setting.dtype
    small = case("definite", 3, 1, 4, "tanh", seed=seed, dtype=dtype, residual=setting.eps ** (1 / 3))
    return [small, case("definite", 4, 2, 5, "tanh", seed=seed, dtype=dtype)]


def fitted_damping(setting: Setting, at: Case, step: Array) -> tuple[float, float]:
    """(the damping that best explains Δ, its error bar): least squares of HΔ + μΔ + αg = 0 in μ and the step size α.

    Where Δ and g are too nearly parallel to tell μ from α, α is 1.
    """
    target = setting.target(at.start)
    g, undamped = at.start.gradient, target.matrix @ step - at.problem.damping * step
    size = float(np.linalg.norm(step))
    if not 0 < size < math.inf:
        return math.nan, math.inf
    slack = setting.slack(target, step)
    columns = np.column_stack([step / size, g / (np.linalg.norm(g) or 1.0)])
    smallest = float(np.linalg.svd(columns, compute_uv=False)[-1])
    if smallest > 0.1:
        (mu, _), *_ = np.linalg.lstsq(columns, -undamped, rcond=None)
        return float(mu) / size, slack / smallest / size
    return -float(step @ (undamped + g)) / size**2, slack / size


def damping_honoured(setting: Setting, at: Case) -> Reading:
    """Nine dampings, from 1e-4 to 1e4 of |H|: each must be the one that explains its step best."""
    setting.target(at.start)
    norm = float(np.linalg.norm(at.start.hessian, 2)) or 1.0
    worst, refusal = None, ""
    asked, found, bars = [], [], []
    for power in range(-4, 5):
        problem = replace(at.problem, damping=float(rounded(norm * 10.0**power, setting.dtype)))
        here = _at(problem, at.theta, at.source)
        step = attempt(setting.start(here), here)
        if isinstance(step, str):
            refusal = step
            continue
        mu, bar = fitted_damping(setting, here, step)
        asked.append(problem.damping)
        found.append(mu)
        bars.append(bar)
        off, limit = abs(mu / problem.damping - 1), bar / problem.damping
        why = f"damping {problem.damping:.4g} was asked for, {mu:.7g} explains the step best ({here})"
        reading = Reading(off, limit, why, (here, 1), unresolved=off <= limit and limit > 0.1)
        if worst is None or (worst.unresolved, reading.ratio) > (reading.unresolved, worst.ratio):
            worst = reading
    if worst is None:
        return Reading(0.0, 1.0, "", refused=refusal)
    panel = Panel(
        "The damping that explains the step best",
        "damping asked for",
        "damping found",
        (
            Series("asked for", tuple(asked), tuple(asked), style="dashed", colour=3),
            Series(
                "found",
                tuple(asked),
                tuple(found),
                tuple(f - b for f, b in zip(found, bars, strict=True)),
                tuple(f + b for f, b in zip(found, bars, strict=True)),
            ),
        ),
        log="xy",
    )
    return replace(worst, panels=(panel,))


def step_size_honoured(setting: Setting, at: Case) -> Reading:
    worst = None
    whole = None if setting.profile.target else one_step(setting.start(at))
    for factor in (1.0, 0.5, 0.1, 1.5):
        session = setting.start(at)
        scale_rates(session, factor)
        step = one_step(session)
        if whole is None:
            reading = _judged(setting, at, step, what=f"step size {factor}", rate=factor)
        else:
            size = float(np.linalg.norm(whole)) or 1.0
            off = float(np.linalg.norm(step / factor - whole)) / size
            limit = setting.tolerance(at) / factor
            reading = Reading(
                off, limit, f"step size {factor}: relative difference to {factor} times the step {off:.3g} ({at})"
            )
        if worst is None or reading.ratio > worst.ratio:
            worst = replace(reading, failing=(at, 1))
    assert worst is not None
    return worst


def scale_rates(session: Session, factor: float) -> None:
    """Multiply the learning rate of every parameter group. Raises NotApplicable where there is none."""
    groups = getattr(session.optimizer, "param_groups", None)
    if not groups or any("lr" not in group for group in groups):
        raise NotApplicable("it has no param_groups with a learning rate")
    for group in groups:
        group["lr"] = group["lr"] * factor


# --- several steps -------------------------------------------------------------------------------------------------------


def _at(problem: Problem, theta: Array, source: str) -> Case:
    point = problem.at(theta)
    return Case(problem, theta, "indefinite" if point.negative else "definite", source)


def trajectory(setting: Setting, at: Case) -> Reading:
    """Twenty steps: each from the reference's parameters (lockstep), and all from the start (free-running)."""
    steps = 20
    path = [at.theta]
    worst = Reading(0.0, 1.0, "")
    errors = []
    lockstep = setting.start(at)
    for t in range(steps):
        here = _at(at.problem, path[-1], f"{at.source}, step {t + 1}")
        target = setting.target(here.start)
        lockstep.move_to(here.theta)
        reading = _judged(setting, here, one_step(lockstep), what=f"step {t + 1} of {steps}")
        errors.append(target.error(one_step_of(lockstep, here.theta)))
        if reading.ratio > worst.ratio or not t:
            worst = replace(reading, failing=(at, t + 1))
        path.append(rounded(here.theta + target.step.reshape(here.theta.shape), setting.dtype))
    free, allowed = setting.start(at), _drift(setting, at, path)
    apart = []
    for t in range(steps):
        free.step()
        with np.errstate(all="ignore"):
            apart.append(float(np.linalg.norm(free.theta - path[t + 1])))
        reading = Reading(
            apart[-1], allowed[t], f"free-running, {apart[-1]:.3g} from the exact path after {t + 1} steps ({at})"
        )
        if reading.ratio > worst.ratio:
            worst = replace(reading, failing=(at, t + 1))
    at_step = tuple(float(t + 1) for t in range(steps))
    panel = Panel(
        "Twenty steps beside the reference",
        "step",
        "relative error of each step; free-running, distance to the exact path",
        (
            Series("each step", at_step, tuple(errors), colour=0),
            Series("free-running", at_step, tuple(apart), colour=1, marker="s"),
            Series("limit, free-running", at_step, tuple(allowed), style="dashed", colour=1),
        ),
        log="y",
    )
    return replace(worst, panels=(panel,))


def one_step_of(session: Session, before: Array) -> Array:
    with np.errstate(all="ignore"):
        return (session.theta - before).reshape(-1)


def _drift(setting: Setting, at: Case, path: Sequence[Array]) -> list[float]:
    """What a free run may be away from the exact path: errors as large as the limit allows, grown as the path makes them grow.

    The growth is measured on the reference itself, with errors in three random directions, and counted tenfold.
    """
    rng = np.random.default_rng(0)
    allowed = np.zeros(len(path) - 1)
    for _ in range(3):
        theta, off = at.theta, []
        for exact in path[:-1]:
            target = setting.target(at.problem.at(theta))
            limit = setting.limit(setting.target(at.problem.at(exact)))
            probe = max(limit, 1e-8)
            push = rng.standard_normal(theta.size)
            push *= probe * float(np.linalg.norm(target.step)) / float(np.linalg.norm(push))
            theta = theta + (target.step + push).reshape(theta.shape)
            off.append(limit / probe)
            k = len(off)
            allowed[k - 1] = max(allowed[k - 1], 10 * max(off) * float(np.linalg.norm(theta - path[k])))
    return [float(value) for value in allowed]


def _visits(setting: Setting, at: Case) -> list[Case]:
    """Six parameter vectors of one problem, with a damping that makes H + γ_N I definite at each."""
    rng = np.random.default_rng([7, at.theta.size])
    thetas = [at.theta, *(rounded(at.theta + rng.uniform(-1, 1, at.theta.shape), setting.dtype) for _ in range(5))]
    damping = max(2 * float(np.abs(np.linalg.eigvalsh(at.problem.at(t).residual_blocks)).max()) for t in thetas)
    problem = replace(at.problem, damping=max(float(rounded(damping, setting.dtype)), at.problem.damping))
    return [Case(problem, theta, "definite", f"{at.source}, visit {k + 1}") for k, theta in enumerate(thetas)]


def fresh_curvature(setting: Setting, at: Case) -> Reading:
    """An optimizer with a past takes the step that a new one takes from the same parameters."""
    cases = _visits(setting, at)
    old = setting.start(cases[0])
    worst = Reading(0.0, 1.0, "")
    for k, here in enumerate(cases):
        old.move_to(here.theta)
        step, fresh = one_step(old), one_step(setting.start(here))
        size = float(np.linalg.norm(fresh)) or 1.0
        off = float(np.linalg.norm(step - fresh)) / size
        stale = _stale(setting, cases[: k + 1], step) if k else ""
        why = f"after {k} steps elsewhere, relative difference to a new optimizer's step {off:.3g}{stale} ({here})"
        limit = max(setting.tolerance(here), 2 * (setting.rtol or 0.0))
        reading = Reading(off, limit, why, (cases[0], k + 1))
        if reading.ratio > worst.ratio or not k:
            worst = reading
    return worst


def _stale(setting: Setting, cases: Sequence[Case], step: Array) -> str:
    """Which earlier curvature explains the step, if one does."""
    if setting.profile.target is None:
        return ""
    here = cases[-1]
    for age in range(1, len(cases)):
        old = setting.target(cases[-1 - age].start).matrix
        stale = solved(old, -here.start.gradient)
        if np.linalg.norm(step - stale) <= 1e-6 * np.linalg.norm(stale):
            return f": the curvature of {age} step{'s' if age > 1 else ''} before"
    return ""


def no_silent_fallback(setting: Setting, at: Case) -> Reading:
    """Eight steps, none of which is zero, along the gradient, or a shortened Newton step."""
    session = setting.start(at)
    theta = at.theta
    for t in range(8):
        here = _at(at.problem, theta, f"{at.source}, step {t + 1}")
        target = setting.target(here.start)
        session.move_to(theta)
        step = attempt(session, here)
        if isinstance(step, str):
            return Reading(0.0, 0.0, "", refused=step)
        name = _fallback(setting, here, step)
        if name:
            return Reading(1.0, 0.0, f"step {t + 1} is {name} ({here})", (at, t + 1))
        # On towards the reference's next point, but not far: a full step of an indefinite system can lead anywhere.
        size = float(np.abs(target.step).max())
        theta = rounded(theta + target.step.reshape(theta.shape) * min(1.0, 0.3 / (size or 1.0)), setting.dtype)
    return Reading(0.0, 0.0, f"no fallback among 8 steps ({at})")


def _fallback(setting: Setting, at: Case, step: Array) -> str:
    target, g = setting.target(at.start), at.start.gradient
    limit = setting.limit(target)
    size, wanted = float(np.linalg.norm(step)), float(np.linalg.norm(target.step))
    if not math.isfinite(size) or target.error(step) <= limit or wanted == 0:
        return ""
    if size <= setting.eps * float(np.linalg.norm(at.theta)):
        return "zero"
    sure = max(1e-6, THRESHOLD * setting.eps)
    along, apart = (_angle(step, direction) for direction in (g, target.step))
    others = (target.step, at.start.gauss_newton_target.step)  # with one data point both Newtons' lie along the gradient
    if along <= sure < min(_angle(other, g) for other in others):
        return f"along the gradient, {-float(step @ g) / float(g @ g):.3g} times it"
    if apart <= max(limit, sure) and abs(size / wanted - 1) > 0.01:
        return f"{float(step @ target.step) / wanted**2:.3g} times the exact step"
    bound = float(np.abs(step).max())
    clipped = np.clip(target.step, -bound, bound)
    if (np.abs(target.step) > bound).any() and np.linalg.norm(step - clipped) <= max(limit, sure) * np.linalg.norm(clipped):
        return f"the exact step with its entries clipped to {bound:.3g}"
    damping, bar = fitted_damping(setting, at, step)
    moved = target.matrix + (damping - at.problem.damping) * np.eye(len(g)) if math.isfinite(damping) else None
    if moved is not None and at.kind != "definite" and abs(damping - at.problem.damping) > bar:
        other = solved(moved, -g)
        if np.linalg.norm(step - other) <= sure * np.linalg.norm(other):
            return f"the exact step for a damping of {damping:.4g}, where {at.problem.damping:.4g} was asked for"
    return ""


def _angle(a: Array, b: Array) -> float:
    """Sin of the angle between the lines along a and b."""
    x, y = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(min(np.linalg.norm(x - y), np.linalg.norm(x + y)))


def fallback_cases(setting: Setting) -> Sequence[Case]:
    count = _some(setting, 3, 6)
    kinds = (("ascent", count), ("indefinite", 2), ("nearly singular", 2), ("definite", 2))
    return [c for kind, n in kinds for c in ladder(kind, setting.seed, setting.dtype, n, least=2)]


# --- what enters the step ------------------------------------------------------------------------------------------------


def all_parameters_coupled(setting: Setting, at: Case) -> Reading:
    """Least squares for the coefficient of each off-diagonal part of the matrix in the step's own equation; each must be 1.

    The damping and the step size are fitted as well, so that a fault in those is none here. A step that no coefficients
    explain is wrong in another way, and tells nothing of the couplings.
    """
    step, target = one_step(setting.start(at)), setting.target(at.start)
    size = float(np.linalg.norm(step))
    if not 0 < size < math.inf:
        return Reading(math.inf, 1.0, f"the step has length {size:.3g} ({at})", (at, 1))
    parts = parts_of(target.matrix, *at.theta.shape)
    columns = [part @ step / size for part in parts.values()] + [step / size, at.start.gradient / size]
    names = list(parts)
    diagonal = (np.diag(target.matrix) - at.problem.damping) * step / size
    keep = [k for k, column in enumerate(columns) if np.linalg.norm(column) > 1e-9 * target.point.matrix_size]
    if _angle(step, at.start.gradient) < 1e-9 < _angle(target.step, at.start.gradient):
        return Reading(1.0, 0.0, f"no coupling enters: the step is along the gradient ({at})", (at, 1))
    U, slack = np.column_stack([columns[k] for k in keep]), setting.slack(target, step) / size
    fitted = _least_squares(U, -diagonal, slack)
    if fitted is None:
        return Reading(0.0, math.inf, f"too few numbers to tell the couplings apart ({at})", unresolved=True)
    misfit = float(np.linalg.norm(U @ fitted[0] + diagonal))
    if misfit > 100 * slack:
        why = f"no coefficients of the couplings explain the step: {misfit:.2g} is left of its equation ({at})"
        return Reading(0.0, math.inf, why, unresolved=True)
    readings = [
        Reading(abs(value - 1), bar, f"the coupling {names[k]} enters {value:.6g} times ({at})", (at, 1))
        for k, value, bar in zip(keep, *fitted, strict=True)
        if k < len(names)
    ]
    if not readings:
        return Reading(0.0, math.inf, f"there is nothing to couple ({at})", unresolved=True)
    return max(readings, key=lambda r: r.ratio)


def _least_squares(U: Array, right: Array, slack: float) -> tuple[Array, Array] | None:
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


def coupling_cases(setting: Setting) -> Sequence[Case]:
    sizes = [(6, 1, 4, "tanh"), (6, 2, 5, "tanh"), (5, 3, 12, "sin"), (7, 2, 6, "logistic")][: _some(setting, 2, 4)]
    return [case("definite", *size, seed=setting.seed, dtype=setting.dtype) for size in sizes]


def whole_data(setting: Setting, at: Case) -> Reading:
    """The weight with which each data point enters, by least squares in the step's own equation; each must be 1.

    Where no step is prescribed, or no weights explain it: do the steps respond to each point at all?
    """
    p, M = at.problem, len(at.problem.y)
    step = one_step(setting.start(at))
    size = float(np.linalg.norm(step))
    if setting.profile.target is not None and 0 < size < math.inf:
        target, start = setting.target(at.start), at.start
        J, r = start.jacobian, start.residual
        columns = J * ((J @ step + r) / M)[:, None]
        if target.curvature:
            s = formulas.state(FLOAT64, start.network, p.X)
            for m in range(M):
                unit = np.zeros(M)
                unit[m] = r[m]
                S = formulas.add_blocks(np.zeros_like(target.matrix), formulas.residual_hessian(s, unit))
                columns[m] += S @ step
        U = columns.T / size
        slack = setting.slack(target, step) / size
        fitted = _least_squares(U, -p.damping * step / size, slack)
        if fitted is None or len(step) < M + 3:
            return Reading(0.0, math.inf, f"too few numbers to tell the points apart ({at})", unresolved=True)
        weights, bars = fitted
        misfit = float(np.linalg.norm(U @ weights + p.damping * step / size))
        if misfit <= 100 * slack:
            worst = int(np.argmax(np.abs(weights - 1) / bars))
            why = f"point {worst + 1} of {M} counts {weights[worst]:.6g} times ({at})"
            return Reading(abs(float(weights[worst]) - 1), float(bars[worst]), why, (at, 1))
    # Three steps: some methods take none at first, or see no more than signs.
    steps = 3
    base = one_step(setting.start(at), steps)
    size = float(np.linalg.norm(base)) or 1.0
    for m in range(M):
        y = p.y.copy()
        y[m] += max(1.0, abs(y[m]))
        moved = replace(at, problem=replace(p, y=rounded(y, setting.dtype)))
        change = float(np.linalg.norm(one_step(setting.start(moved), steps) - base)) / size
        if not change > THRESHOLD * at.start.operations * setting.eps:
            return Reading(1.0, 0.0, f"{steps} steps do not respond to point {m + 1} of {M} ({at})", (moved, steps))
    return Reading(0.0, 0.0, f"{steps} steps respond to each of {M} points ({at})")


def data_cases(setting: Setting) -> Sequence[Case]:
    sizes = [(3, 1, 3, "tanh"), (6, 2, 5, "tanh"), (8, 2, 9, "sin")][: _some(setting, 2, 3)]
    return [case("definite", *size, seed=setting.seed, dtype=setting.dtype) for size in sizes]


# --- symmetries ----------------------------------------------------------------------------------------------------------

Transform = Callable[[Case, np.random.Generator], tuple[Case, Callable[[Array], Array]]]
"""A case and an equivalent one, with what takes the step of the second (N, d+2) back to the first's."""


def _neurons(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    order = _shuffled(len(at.theta), rng)
    return replace(at, theta=at.theta[order]), lambda step: step[np.argsort(order)]


def _points(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    p, order = at.problem, _shuffled(len(at.problem.y), rng)
    return replace(at, problem=replace(p, X=p.X[order], y=p.y[order])), lambda step: step


def _twice(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    p = at.problem
    return replace(at, problem=replace(p, X=np.concatenate([p.X, p.X]), y=np.concatenate([p.y, p.y]))), lambda step: step


def _signs(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    """(c, y) → (-c, -y) and (w, X) → (-w, -X): the loss is the same."""
    p, D = at.problem, at.theta.shape[1]
    signs = np.array([-1.0] * (D - 1) + [1.0])
    return replace(at, theta=at.theta * signs, problem=replace(p, X=-p.X, y=-p.y)), lambda step: step * signs


def _rotated(at: Case, rng: np.random.Generator) -> tuple[Case, Callable[[Array], Array]]:
    """(w, X) → (wQ, XQ) for an orthogonal Q."""
    p, d = at.problem, at.problem.X.shape[1]
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    theta = at.theta.copy()
    theta[:, 1:-1] = theta[:, 1:-1] @ Q

    def back(step: Array) -> Array:
        out = step.copy()
        out[:, 1:-1] = out[:, 1:-1] @ Q.T
        return out

    return replace(at, theta=theta, problem=replace(p, X=p.X @ Q)), back


def _shuffled(count: int, rng: np.random.Generator) -> Array:
    """A permutation that leaves no place as it is, if there is more than one."""
    order = rng.permutation(count)
    places = np.empty(count, int)
    places[order] = np.roll(order, 1)
    return places


def _symmetry(transform: Transform, what: str) -> Callable[[Setting, Case], Reading]:
    def examine(setting: Setting, at: Case) -> Reading:
        other, back = transform(at, np.random.default_rng([3, at.theta.size]))
        other = replace(
            other,
            theta=rounded(other.theta, setting.dtype),
            problem=replace(other.problem, X=rounded(other.problem.X, setting.dtype)),
        )
        step = one_step(setting.start(at))
        image = back(one_step(setting.start(other)).reshape(at.theta.shape)).reshape(-1)
        size = float(np.linalg.norm(step)) or 1.0
        off = float(np.linalg.norm(image - step)) / size
        limit = (setting.tolerance(at) + setting.tolerance(other)) / 2
        if setting.rtol is not None:
            limit = max(limit, 2 * setting.rtol)
        return Reading(off, limit, f"{what}: relative difference of the steps {off:.3g} ({at})", (at, 1))

    return examine


# --- behaviour -----------------------------------------------------------------------------------------------------------


def deterministic(setting: Setting, at: Case) -> Reading:
    """The same start gives the same steps; where a step is prescribed, whatever state the random generators are in."""
    paths = []
    for seed in (0, 0, 1) if setting.profile.target is not None else (0, 0):
        session = setting.start(at)
        seed_everything(seed)
        paths.append([one_step(session) for _ in range(3)])
    limit = setting.tolerance(at)
    worst = Reading(0.0, limit, "")
    for k, other in enumerate(paths[1:]):
        for t, (a, b) in enumerate(zip(paths[0], other, strict=True)):
            off = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(a)) or 1.0)
            what = "with other global seeds" if k else "from the same start"
            reading = Reading(off, limit, f"two runs {what} differ by {off:.3g} at step {t + 1} ({at})", (at, t + 1))
            if reading.ratio >= worst.ratio:
                worst = reading
    return worst


def no_side_effects(setting: Setting, at: Case) -> Reading:
    """X, y, global generators, default dtype, thread count and gradient mode are after a step what they were before."""
    before = _globals()
    session = setting.start(at)
    changed = []
    states = []
    for seed in (11, 12):
        seed_everything(seed)
        generators = _generators()
        session.step()
        after = _globals()
        changed += [f"{name} changed from {before[name]} to {after[name]}" for name in before if before[name] != after[name]]
        states.append((generators, _generators()))
    for name in states[0][0]:
        (start, end), (other, finish) = ((g[name], e[name]) for g, e in states)
        if start != end and other != finish and end == finish:
            changed.append(f"the global generator of {name} is seeded")
        elif start != end:
            setting.notes["draws"] = f"draws from the global generator of {name}"
            if setting.profile.name in EXACT:
                changed.append(f"the global generator of {name} is drawn from")
    for name, given in (("X", at.problem.X), ("y", at.problem.y)):
        held = getattr(session, name)
        now = held.detach().cpu().numpy() if isinstance(held, torch.Tensor) else held
        if not np.array_equal(now, given.astype(now.dtype)):
            changed.append(f"{name} was overwritten")
    model = getattr(session, "model", None)
    if model is not None and not all(p.requires_grad for p in model.parameters()):
        changed.append("requires_grad of a parameter was switched off")
    changed = list(dict.fromkeys(changed))
    why = "; ".join(changed) or "nothing changed"
    return Reading(float(len(changed)), 0.0, f"{why} ({at})", (at, 1))


def _globals() -> dict[str, Any]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's thread count": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "NumPy's error mode": tuple(sorted(np.geterr().items())),
    }


def _generators() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return {
        "Python": random.getstate(),
        "NumPy": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def state_dict(setting: Setting, at: Case) -> Reading:
    """Three steps, saved to bytes, loaded into a new optimizer, eight steps more: the same as without a stop.

    Between, the learning rate is halved, which has to survive as well.
    """
    one = setting.start(at)
    if not hasattr(one.optimizer, "state_dict") or not hasattr(one.optimizer, "load_state_dict"):
        raise NotApplicable("it has no state_dict and load_state_dict")
    with contextlib.suppress(NotApplicable):
        scale_rates(one, 0.5)
    for _ in range(3):
        one.step()
    saved = io.BytesIO()
    try:
        torch.save(one.optimizer.state_dict(), saved)
        saved.seek(0)
        state = torch.load(saved, weights_only=False)
        two = setting.start(replace(at, theta=one.theta))
        two.optimizer.load_state_dict(state)
    except Exception as error:
        why = f"saving or loading the state failed: {type(error).__name__}: {error} ({at})"
        return Reading(1.0, 0.0, why, (at, 3))
    limit = setting.tolerance(at, 3)
    worst = Reading(0.0, limit, f"the same eight steps after loading ({at})")
    for t in range(8):
        seed_everything(t)
        a = one_step(one)
        seed_everything(t)
        b = one_step(two)
        off = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(a)) or 1.0)
        reading = Reading(off, limit, f"step {t + 1} after loading is off by {off:.3g} ({at})", (at, 3))
        if reading.ratio > 1:
            return reading
        worst = reading if reading.ratio > worst.ratio else worst
        two.move_to(one.theta)
    return worst


def scheduler(setting: Setting, at: Case) -> Reading:
    """Under a scheduler that halves the learning rate after each step, the steps halve."""
    session = setting.start(at)
    if not isinstance(session.optimizer, torch.optim.Optimizer):
        raise NotApplicable("it is no torch.optim.Optimizer, which schedulers need")
    if any("lr" not in group for group in session.optimizer.param_groups):
        raise NotApplicable("it has no learning rate")
    schedule = torch.optim.lr_scheduler.LambdaLR(session.optimizer, lambda t: 0.5**t)
    worst = None
    for t in range(4):
        factor = 0.5**t
        if setting.profile.target is not None:
            here = _at(at.problem, session.theta, f"{at.source}, step {t + 1}")
            reading = _judged(setting, here, one_step(session), what=f"learning rate {factor}", rate=factor)
        else:
            twin = _twin(setting, at, t)
            step, wanted = one_step(session), one_step(twin)
            off = float(np.linalg.norm(step - wanted)) / (float(np.linalg.norm(wanted)) or 1.0)
            why = f"learning rate {factor} by a scheduler and by hand differ by {off:.3g} ({at})"
            reading = Reading(off, setting.tolerance(at, t + 1), why)
        if worst is None or reading.ratio > worst.ratio:
            worst = replace(reading, failing=(at, t + 1))
        schedule.step()
    assert worst is not None
    return worst


def _twin(setting: Setting, at: Case, steps: int) -> Session:
    """An optimizer after so many steps, its learning rate halved by hand after each."""
    session = setting.start(at)
    for _ in range(steps):
        session.step()
        scale_rates(session, 0.5)
    return session


def non_finite(setting: Setting, at: Case) -> Reading:
    """Data that are not finite end in an error, or leave the parameters alone."""
    p = at.problem
    for value, name in ((math.nan, "nan"), (math.inf, "inf")):
        for field in ("y", "X"):
            bad = np.array(getattr(p, field))
            bad.reshape(-1)[0] = value
            broken = replace(at, problem=replace(p, y=bad) if field == "y" else replace(p, X=bad))
            session = None
            try:
                session = setting.start(broken)
                session.step()
            except SubjectError:
                if session is None:
                    continue
            with np.errstate(all="ignore"):
                after = session.theta
            if not np.isfinite(after).all():
                return Reading(1.0, 0.0, f"{name} in {field} went into the parameters, without an error ({at})", (broken, 1))
            if not np.array_equal(after, at.theta):
                why = f"{name} in {field} was passed over: the parameters moved, without an error ({at})"
                return Reading(1.0, 0.0, why, (broken, 1))
    return Reading(0.0, 0.0, f"nan and inf in X and in y are refused ({at})")


# --- profiles of learning ------------------------------------------------------------------------------------------------


def _widths(setting: Setting) -> list[int]:
    return [2**k for k in range(3, _some(setting, 6, 8, 9))]


def wide_cases(setting: Setting) -> Sequence[Case]:
    seeds, dtype = range(setting.seed, setting.seed + _some(setting, 1, 2)), setting.dtype
    return [family(8, *normal_data(1, 4, seed, dtype), seed=seed, dtype=dtype) for seed in seeds]


def width_exponent(setting: Setting, at: Case) -> Reading:
    """Root mean square update per neuron against N, over four networks, beside the reference's on the same networks."""
    widths, networks = _widths(setting), 4
    squares = {name: np.zeros(len(widths)) for name in ("subject", "newton", "descent", "wanted")}
    worst_limit, worst_case = 0.0, at
    p = at.problem
    seed = int(np.abs(64 * p.y).sum())  # other networks on other data
    for k, width in enumerate(widths):
        for network in range(networks):
            here = family(width, p.X, p.y, seed=networks * seed + network, dtype=setting.dtype, beta=p.beta)
            step = attempt(setting.start(here), here)
            if isinstance(step, str):
                return Reading(0.0, 1.0, "", refused=step)
            start = here.start
            rate = float(width) ** (2 * p.beta - 1)
            seen = {"subject": step, "newton": start.newton.step, "descent": rate * start.gradient}
            if setting.profile.target is not None:
                target = setting.target(start)
                seen["wanted"] = target.step
                worst_limit, worst_case = max((worst_limit, worst_case), (setting.limit(target), here), key=lambda x: x[0])
            for name, move in seen.items():
                squares[name][k] += float(move @ move)
    found = {name: [float(v) for v in np.sqrt(total / networks / widths)] for name, total in squares.items()}
    wanted = found["wanted"] if setting.profile.target is not None else []
    slope = _slope(widths, found["subject"])
    x = tuple(float(n) for n in widths)
    panel = Panel(
        "Update of a neuron against the width",
        "width N",
        "root mean square update",
        (
            Series(f"this optimizer, N^({slope:.2f})", x, tuple(found["subject"]), colour=0),
            Series(
                f"exact Newton, N^({_slope(widths, found['newton']):.2f})", x, tuple(found["newton"]), style="line", colour=1
            ),
            Series(
                f"gradient descent (E12), N^({_slope(widths, found['descent']):.2f})",
                x,
                tuple(found["descent"]),
                style="dashed",
                colour=2,
            ),
        ),
        log="xy",
        base=2,
    )
    if not wanted:
        return Reading(slope, math.inf, f"update of a neuron ~ N^({slope:.3f})", panels=(panel,))
    off = abs(slope - _slope(widths, wanted))
    # Each logarithm is off by the step's error at most, and the slope by no more than twice that for these widths.
    why = f"update of a neuron ~ N^({slope:.4f}), exact step N^({_slope(widths, wanted):.4f}), N = {widths[0]} to {widths[-1]}"
    return Reading(off, 2 * worst_limit, why, (worst_case, 1), panels=(panel,))


def _slope(widths: Sequence[int], values: Sequence[float]) -> float:
    if not all(0 < v < math.inf for v in values):
        return math.nan
    return float(np.polyfit(np.log(widths), np.log(values), 1)[0])


def mode_cases(setting: Setting) -> Sequence[Case]:
    """Networks whose error has the same size in every mode of the NTK that float64 can tell from noise."""
    found = []
    for width in (16, 64)[: _some(setting, 1, 2)]:
        X = rounded(np.linspace(-1.5, 1.5, 6)[:, None], setting.dtype)
        base = family(width, X, np.zeros(6), seed=setting.seed, dtype=setting.dtype)
        problem = base.problem
        start = problem.at(base.theta)
        _, modes = _modes(start)
        y = rounded(start.residual + modes @ np.full(6, 0.1), setting.dtype)
        found.append(_at(replace(problem, y=y), base.theta, base.source))
    return found


def _modes(point: Point) -> tuple[Array, Array]:
    """Eigenvalues (M,), descending, and modes of B = JJᵀ/M (E7), from the singular values of J."""
    U, sigma, _ = np.linalg.svd(point.jacobian, full_matrices=True)
    values = np.zeros(len(U))
    values[: len(sigma)] = sigma**2 / len(U)
    return values, U


def mode_rates(setting: Setting, at: Case) -> Reading:
    """How much of each NTK mode of the error one step removes, beside the exact step's and λ/(γ_N + λ) (E10)."""
    start, M = at.start, len(at.problem.y)
    values, modes = _modes(start)
    before = modes.T @ start.residual
    resolved = np.abs(before) > 1e3 * setting.eps * float(np.linalg.norm(start.residual))
    shown = np.flatnonzero(resolved & (values > 1e-14 * values[0]))
    if not len(shown):
        return Reading(0.0, math.inf, f"no mode of the error is large enough to be seen ({at})", unresolved=True)
    step = attempt(setting.start(at), at)
    if isinstance(step, str):
        return Reading(0.0, 1.0, "", refused=step)

    def removed(move: Array) -> Array:
        if not np.isfinite(move).all():
            return np.full(M, math.nan)
        after = at.problem.at(at.theta + move.reshape(at.theta.shape))
        return np.where(resolved, 1 - modes.T @ after.residual / np.where(resolved, before, 1.0), math.nan)

    mine, newton = removed(step), removed(start.newton.step)
    g = start.gradient
    descent = removed(-g / max(values[0], 1e-300))
    mu, x = at.problem.damping, values / values[0]
    abscissa = tuple(float(v) for v in x[shown])
    panel = Panel(
        "Spectral bias: what one step removes of each mode of the error",
        "eigenvalue of the NTK, relative to the largest",
        "fraction removed",
        (
            Series("this optimizer", abscissa, tuple(float(v) for v in mine[shown]), colour=0),
            Series("exact Newton", abscissa, tuple(float(v) for v in newton[shown]), style="line", colour=1),
            Series("λ/(γ_N + λ)", abscissa, tuple(float(v) for v in (values / (mu + values))[shown]), style="dashed", colour=3),
            Series("gradient descent, rate 1/λ₁", abscissa, tuple(float(v) for v in descent[shown]), style="dashed", colour=2),
        ),
        log="x",
    )
    if setting.profile.target is None:
        low = int(shown[-1])
        why = f"one step removes {mine[0]:.3g} of the first mode, {mine[low]:.3g} of mode {low + 1} ({at})"
        return Reading(float(mine[low]), math.inf, why, panels=(panel,))
    target = setting.target(start)
    wanted = removed(target.step)
    size = float(np.linalg.norm(step))
    reach = float(np.linalg.norm(start.jacobian, 2)) * 2 * setting.limit(target) * max(size, float(np.linalg.norm(target.step)))
    floor = THRESHOLD * start.operations * setting.eps * float(np.linalg.norm(start._sizes[1]))
    readings = [
        Reading(
            abs(float(mine[k] - wanted[k])),
            (reach + floor) / abs(float(before[k])),
            f"of mode {k + 1} (λ = {x[k]:.2g} λ₁) one step removes {mine[k]:.6g}, the exact step {wanted[k]:.6g} ({at})",
            (at, 1),
        )
        for k in np.flatnonzero(resolved)
    ]
    return replace(max(readings, key=lambda r: r.ratio), panels=(panel,))


def cost(setting: Setting, at: Case) -> Reading:
    """Time and memory of a step against N, until a step takes too long."""
    budget = {Effort.QUICK: 0.5, Effort.DEFAULT: 4.0, Effort.FULL: 20.0}[setting.effort]
    widths, times, memory = [], [], []
    begin, width = time.perf_counter(), 16
    while width <= 2**14:
        session = setting.start(family(width, at.problem.X, at.problem.y, seed=setting.seed, dtype=setting.dtype))
        with _peak_memory() as peak:
            start = time.perf_counter()
            session.step()
            duration = time.perf_counter() - start
        widths.append(width)
        times.append(duration)
        memory.append(peak[0])
        # The next width may cost eight times as much.
        if time.perf_counter() - begin + 8 * duration > budget:
            break
        width *= 2
    x = tuple(float(n) for n in widths)
    series = [Series("seconds", x, tuple(times), colour=0)]
    if any(memory):
        series.append(Series("GiB", x, tuple(m / 2**30 if m else math.nan for m in memory), colour=1, marker="s"))
    half = len(widths) // 2
    tail = _slope(widths[half:], times[half:]) if len(widths) - half > 1 else math.nan
    panel = Panel("Cost of a step", "width N", "time, memory", tuple(series), log="xy", base=2)
    grown = f", {max(memory) / 2**20:.0f} MiB" if any(memory) else ""
    growth = f"; time ~ N^({tail:.2f}) over the wider half" if math.isfinite(tail) else ""
    why = f"a step at N = {widths[-1]} takes {times[-1]:.3g} s{grown}{growth}"
    return Reading(times[-1], math.inf, why, panels=(panel,))


class _peak_memory:
    """How much the process has grown at most, sampled every millisecond; 0 where the system does not tell."""

    def __enter__(self) -> list[int]:
        self.peak, self.done = [0], threading.Event()
        self.start = _resident()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self.peak

    def _watch(self) -> None:
        while not self.done.wait(0.001):
            self.peak[0] = max(self.peak[0], _resident() - self.start)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak[0] = max(self.peak[0], _resident() - self.start)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0


# --- the registry ----------------------------------------------------------------------------------------------------------

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        c.id: c
        for c in (
            Check(
                "step-matches",
                "One step is the profile's, forward and backward, on definite, indefinite and nearly singular systems",
                NEWTONS,
                _all_kinds,
                step_matches,
                "any",
            ),
            Check(
                "damping-honoured",
                "The damping that best explains the step is the one asked for, over eight orders of magnitude",
                NEWTONS,
                damping_cases,
                damping_honoured,
                "any",
            ),
            Check(
                "step-size-honoured",
                "The step is the learning rate times the full step",
                ALL,
                _definite(2, 4),
                step_size_honoured,
            ),
            Check(
                "trajectory",
                "Twenty steps in lockstep with the reference, and free-running beside it",
                NEWTONS,
                _definite(1, 3, 3),
                trajectory,
            ),
            Check(
                "fresh-curvature",
                "A step depends on the parameters alone, not on where the optimizer was before",
                NEWTONS,
                _definite(2, 4, 2),
                fresh_curvature,
            ),
            Check(
                "no-silent-fallback",
                "No step is silently replaced by zero, the gradient, a shortened or a more damped one",
                NEWTONS,
                fallback_cases,
                no_silent_fallback,
                "any",
            ),
            Check(
                "all-parameters-coupled",
                "Every cross term between c, w, η and between neurons enters, once",
                NEWTONS,
                coupling_cases,
                all_parameters_coupled,
            ),
            Check("whole-data", "Every data point enters, with the same weight", ALL, data_cases, whole_data),
            Check(
                "neuron-permutation",
                "Neurons in another order take the same steps",
                ALL,
                _definite(2, 5, 2),
                _symmetry(_neurons, "neurons in another order"),
            ),
            Check(
                "data-permutation",
                "Data in another order give the same step",
                ALL,
                _definite(2, 5, 2),
                _symmetry(_points, "data in another order"),
            ),
            Check(
                "data-duplication",
                "Every data point twice gives the same step",
                ALL,
                _definite(2, 5),
                _symmetry(_twice, "every point twice"),
            ),
            Check(
                "sign-symmetry",
                "(c, w, X, y) with the opposite sign takes the opposite step",
                ALL,
                _definite(2, 5),
                _symmetry(_signs, "opposite signs"),
            ),
            Check(
                "joint-rotation",
                "Inputs and weights rotated together take the rotated step",
                NEWTONS,
                _definite(2, 5, 3),
                _symmetry(_rotated, "inputs and weights rotated"),
            ),
            Check("deterministic", "The same start gives the same steps", ALL, _definite(1, 2, 3), deterministic),
            Check(
                "no-side-effects",
                "X, y, global generators, default dtype, threads and gradient mode stay as they are",
                ALL,
                _definite(1, 2, 2),
                no_side_effects,
                "definite",
            ),
            Check(
                "state-dict",
                "Saved, loaded into a new optimizer and continued, it takes the same steps",
                ALL,
                _definite(1, 2, 3),
                state_dict,
            ),
            Check("scheduler", "A learning-rate scheduler acts on the step", ALL, _definite(1, 2, 3), scheduler),
            Check(
                "precision",
                "float64 in gives float64 accuracy out, also where residuals are small",
                EXACT,
                _small_residuals,
                precision,
            ),
            Check(
                "non-finite",
                "nan or inf in the data ends in an error or a refusal, not in the parameters",
                NEWTONS,
                _definite(1, 2, 2),
                non_finite,
                "definite",
            ),
            Check(
                "width-exponent",
                "The update of a neuron shrinks with N as the exact step's does",
                ALL,
                wide_cases,
                width_exponent,
                "definite",
                frozenset({"first-order"}),
            ),
            Check(
                "mode-rates",
                "One step removes of each NTK mode what the exact step removes",
                ALL,
                mode_cases,
                mode_rates,
                "definite",
                frozenset({"first-order"}),
            ),
            Check(
                "cost",
                "Time and memory against N",
                ALL,
                lambda s: [family(16, *normal_data(1, 8, s.seed, s.dtype), seed=s.seed, dtype=s.dtype)],
                cost,
                "",
                ALL,
            ),
        )
    }
)
