"""Checks of a single step: is it the profile's, at the damping and the step size asked for, to the precision given?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import Case, Target, case_at, rounded
from nntk.crosscheck.cases import activations, case, damping_near, diagnosed, ladder, reach
from nntk.crosscheck.checks.check import ALL, EXACT, NEWTONS, check, definite, kinds, some
from nntk.crosscheck.setting import NotApplicable, Reading, Setting, attempt, one_step
from nntk.crosscheck.subject import Session
from nntk.crosscheck.words import apart
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference.arithmetic import Array

__all__ = ["angle", "fitted_damping", "judged", "scale_rates"]


def judged(setting: Setting, at: Case, moved: Array, steps: int = 1, what: str = "", rate: float = 1.0) -> Reading:
    """What the parameters moved from the start of `at`, with a step size of `rate`, against the profile's step."""
    target, step = setting.target(at.start), moved / rate
    limit, error = setting.limit(target, rate), target.error(step)
    prefix = f"{what}: " if what else ""
    if not error <= limit and math.isfinite(error) and limit < 0.01 and setting.dtype == "float64" and error < 100 * limit:
        error = target.arbiter(step)  # close to the limit: against balls, lest the reference's own rounding decide
    forward = Reading(error, limit, f"{prefix}relative error of the step {error:.3g} ({at})", (at, steps))
    if setting.tolerant:
        left = _relative_residual(setting, at, target, step, steps, prefix)
        return max(filter(None, (forward, left)), key=lambda reading: reading.ratio)
    residual, allowed = target.backward_error(step, setting.dtype, rate), target.backward_limit(setting.dtype)
    backward = Reading(residual, allowed, f"{prefix}scaled residual of the step {residual:.3g} ({at})", (at, steps))
    return max(forward, backward, key=lambda reading: reading.ratio)


def _relative_residual(setting: Setting, at: Case, target: Target, step: Array, steps: int, prefix: str) -> Reading | None:
    """|AΔ + g| / |g| against what is allowed, where that is what the tolerance is about."""
    size = float(np.linalg.norm(at.start.gradient))
    if setting.residual is None or size == 0:
        return None
    a, G, _ = target.point.sizes(setting.dtype)
    rounding = target.backward_limit(setting.dtype) * (a * float(np.linalg.norm(step)) + G) / size
    left = float(np.linalg.norm(target.matrix @ step + target.point.gradient)) / size
    return Reading(left, setting.residual + rounding, f"{prefix}relative residual of the step {left:.3g} ({at})", (at, steps))


def _all_kinds(setting: Setting) -> Sequence[Case]:
    count = some(setting, 4, 12)
    small = [c for kind in kinds(setting) for c in ladder(kind, setting.seed, setting.dtype, count)]
    groups = diagnosed(setting.seed, setting.dtype)  # what the diagnosis sees, this check sees as well
    return [*small, *groups["definite"], *groups["indefinite"], *reach(setting.seed, setting.dtype)]


@check(
    "step-matches",
    "One step is the profile's, forward and backward, on definite, indefinite and nearly singular systems",
    profiles=NEWTONS,
    cases=_all_kinds,
    drawn="any",
)
def step_matches(setting: Setting, at: Case) -> Reading:
    setting.target(at.start)  # where there is none, before any step
    step = attempt(setting.start(at), at)
    if isinstance(step, str):
        return Reading.refused(step)
    return judged(setting, at, step)


def damping_cases(setting: Setting) -> Sequence[Case]:
    """Small residuals, where the matrix is definite for all dampings, and large ones."""
    seed, dtype = setting.seed, setting.dtype
    first = activations()[0]
    small = case("definite", 3, 1, 4, first, seed=seed, dtype=dtype, residual=setting.eps ** (1 / 3))
    return [small, case("definite", 4, 2, 5, first, seed=seed, dtype=dtype)]


def fitted_damping(setting: Setting, at: Case, step: Array) -> tuple[float, float] | None:
    """(the damping that best explains Δ, its error bar): least squares of HΔ + μΔ + αg = 0 in μ and the step size α.

    Where Δ and g are too nearly parallel to tell μ from α, α is 1. None of a step that is zero or not finite: no damping or
    every one explains it.
    """
    target = setting.target(at.start)
    g, undamped = at.start.gradient, target.matrix @ step - at.objective.damping * step
    size = float(np.linalg.norm(step))
    if not 0 < size < math.inf:
        return None
    slack = setting.slack(target, step)
    columns = np.column_stack([step / size, g / (np.linalg.norm(g) or 1.0)])
    smallest = float(np.linalg.svd(columns, compute_uv=False)[-1])
    if smallest > 0.1:
        (mu, _), *_ = np.linalg.lstsq(columns, -undamped, rcond=None)
        return float(mu) / size, slack / smallest / size
    return -float(step @ (undamped + g)) / size**2, slack / size


@check(
    "damping-honoured",
    "The damping that best explains the step is the one asked for, over eight orders of magnitude",
    profiles=NEWTONS,
    cases=damping_cases,
    drawn="any",
    share=0.25,
)
def damping_honoured(setting: Setting, at: Case) -> Reading:
    """Nine dampings, about 1e-4 to 1e4 of |H|: each must be the one that explains its step best."""
    setting.target(at.start)
    norm = float(np.linalg.norm(at.start.hessian, 2)) or 1.0
    worst, refusal = None, ""
    asked, found, bars = [], [], []
    for power in range(-4, 5):
        damping = damping_near(at.start, norm * 10.0**power)
        objective = replace(at.objective, damping=float(rounded(damping, setting.dtype)))
        here = case_at(objective, at.theta, at.source, setting.dtype)
        step = attempt(setting.start(here), here)
        if isinstance(step, str):
            refusal = step
            continue
        fitted = fitted_damping(setting, here, step)
        if fitted is None:
            why = f"damping {objective.damping:.4g} was asked for, and the step is zero or not finite ({here})"
            return Reading.failed(why, (here, 1))
        mu, bar = fitted
        asked.append(objective.damping)
        found.append(mu)
        bars.append(bar)
        off, limit = abs(mu / objective.damping - 1), bar / objective.damping
        found_ = apart(mu, objective.damping)
        why = f"damping {apart(objective.damping, mu)} was asked for, {found_} explains the step best ({here})"
        reading = Reading.unresolved(why) if off <= limit and limit > 0.1 else Reading(off, limit, why, (here, 1))
        if worst is None or (reading.judges, reading.ratio) > (worst.judges, worst.ratio):
            worst = reading
    if worst is None:
        return Reading.refused(refusal)
    panel = Panel(
        "The damping that explains the step best",
        "damping asked for",
        "damping found, over the one asked for",
        (
            Series("asked for", tuple(asked), (1.0,) * len(asked), style="dashed", colour=3),
            Series(
                "found",
                tuple(asked),
                tuple(f / wanted for f, wanted in zip(found, asked, strict=True)),
                tuple((f - b) / wanted for f, b, wanted in zip(found, bars, asked, strict=True)),
                tuple((f + b) / wanted for f, b, wanted in zip(found, bars, asked, strict=True)),
            ),
        ),
        log="x",
    )
    return replace(worst, panels=(panel,))


@check(
    "step-size-honoured",
    "The step is the learning rate times the full step",
    profiles=ALL,
    cases=definite(2, 4),
    share=0.5,
)
def step_size_honoured(setting: Setting, at: Case) -> Reading:
    """Where no step is prescribed, a line search, which evaluates the loss more than once, need not scale."""
    worst = None
    whole = None
    if setting.profile.target is None:
        session = setting.start(at)
        whole = one_step(session)
        if session.closure_calls > 1:
            raise NotApplicable("it evaluates the loss several times in a step, and may choose the step size by it")
    for factor in (1.0, 0.5, 0.1, 1.5):
        session = setting.start(at)
        scale_rates(session, factor)
        step = one_step(session)
        if whole is None:
            reading = judged(setting, at, step, what=f"step size {factor}", rate=factor)
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


def _small_residuals(setting: Setting) -> Sequence[Case]:
    """Targets close to the outputs, where what is rounded to float32 inside loses its digits by cancellation."""
    size = 1e-4 if setting.dtype == "float64" else 1e-1
    sizes = [(2, 1, 3), (4, 2, 5), (6, 3, 4), (8, 1, 12)][: some(setting, 2, 4)]
    seed = setting.seed
    first = activations()[0]
    return [case("definite", *row, first, seed=seed, dtype=setting.dtype, residual=size) for row in sizes]


@check(
    "precision",
    "float64 in gives float64 accuracy out, also where residuals are small",
    profiles=EXACT,
    cases=_small_residuals,
)
def precision(setting: Setting, at: Case) -> Reading:
    reading = judged(setting, at, step := one_step(setting.start(at)))
    if reading.ratio > 1 and setting.dtype == "float64" and np.array_equal(step, step.astype(np.float32)):
        return replace(reading, why=f"every number of the step is a float32; {reading.why}")
    return reading


def angle(a: Array, b: Array) -> float:
    """Sin of the angle between the lines along a and b."""
    x, y = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(min(np.linalg.norm(x - y), np.linalg.norm(x + y)))
