"""Checks of several steps: the same method at every one of them, from the parameters as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import THRESHOLD, Case, case_at, rounded, solved
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.checks.check import NEWTONS, check, definite, some
from nntk.crosscheck.checks.step import angle, fitted_damping, judged
from nntk.crosscheck.setting import Reading, Setting, attempt, one_step
from nntk.crosscheck.subject import Session
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference.arithmetic import Array

__all__: list[str] = []


@check(
    "trajectory",
    "Twenty steps in lockstep with the reference, and free-running beside it",
    profiles=NEWTONS,
    cases=definite(1, 3, 3),
)
def trajectory(setting: Setting, at: Case) -> Reading:
    """Twenty steps: each from the reference's parameters (lockstep), and all from the start (free-running)."""
    steps = 20
    path = [at.theta]
    worst: Reading | None = None
    errors = []
    lockstep = setting.start(at)
    for t in range(steps):
        here = case_at(at.objective, path[-1], f"{at.source}, step {t + 1}")
        target = setting.target(here.start)
        lockstep.move_to(here.theta)
        reading = judged(setting, here, one_step(lockstep), what=f"step {t + 1} of {steps}")
        errors.append(target.error(one_step_of(lockstep, here.theta)))
        if worst is None or reading.ratio > worst.ratio:
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
        if worst is None or reading.ratio > worst.ratio:
            worst = replace(reading, failing=(at, t + 1))
    assert worst is not None
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
            target = setting.target(at.objective.at(theta))
            limit = setting.limit(setting.target(at.objective.at(exact)))
            probe = max(limit, 1e-8)
            push = rng.standard_normal(theta.size)
            push *= probe * float(np.linalg.norm(target.step)) / float(np.linalg.norm(push))
            theta = theta + (target.step + push).reshape(theta.shape)
            off.append(limit / probe)
            k = len(off)
            allowed[k - 1] = max(allowed[k - 1], 10 * max(off) * float(np.linalg.norm(theta - path[k])))
    return [float(value) for value in allowed]


def _visits(setting: Setting, at: Case) -> list[Case]:
    """Six parameter vectors of one objective, with a damping that makes H + γ_N I definite at each."""
    rng = np.random.default_rng([7, at.theta.size])
    thetas = [at.theta, *(rounded(at.theta + rng.uniform(-1, 1, at.theta.shape), setting.dtype) for _ in range(5))]
    damping = max(2 * float(np.abs(np.linalg.eigvalsh(at.objective.at(t).residual_blocks)).max()) for t in thetas)
    objective = replace(at.objective, damping=max(float(rounded(damping, setting.dtype)), at.objective.damping))
    return [Case(objective, theta, "definite", f"{at.source}, visit {k + 1}") for k, theta in enumerate(thetas)]


@check(
    "fresh-curvature",
    "A step depends on the parameters alone, not on where the optimizer was before",
    profiles=NEWTONS,
    cases=definite(2, 4, 2),
)
def fresh_curvature(setting: Setting, at: Case) -> Reading:
    """An optimizer with a past takes the step that a new one takes from the same parameters."""
    cases = _visits(setting, at)
    old = setting.start(cases[0])
    worst: Reading | None = None
    for k, here in enumerate(cases):
        old.move_to(here.theta)
        step, fresh = one_step(old), one_step(setting.start(here))
        size = float(np.linalg.norm(fresh)) or 1.0
        off = float(np.linalg.norm(step - fresh)) / size
        stale = _stale(setting, cases[: k + 1], step) if k else ""
        why = f"after {k} steps elsewhere, relative difference to a new optimizer's step {off:.3g}{stale} ({here})"
        limit = max(setting.tolerance(here), 2 * (setting.rtol or 0.0))
        reading = Reading(off, limit, why, (cases[0], k + 1))
        if worst is None or reading.ratio > worst.ratio:
            worst = reading
    assert worst is not None
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


def fallback_cases(setting: Setting) -> Sequence[Case]:
    count = some(setting, 3, 6)
    kinds = (("ascent", count), ("indefinite", 2), ("nearly singular", 2), ("definite", 2))
    return [c for kind, n in kinds for c in ladder(kind, setting.seed, setting.dtype, n, least=2)]


@check(
    "no-silent-fallback",
    "No step is silently replaced by zero, the gradient, a shortened or a more damped one",
    profiles=NEWTONS,
    cases=fallback_cases,
    drawn="any",
)
def no_silent_fallback(setting: Setting, at: Case) -> Reading:
    """Eight steps, none of which is zero, along the gradient, or a shortened Newton step."""
    session = setting.start(at)
    theta = at.theta
    for t in range(8):
        here = case_at(at.objective, theta, f"{at.source}, step {t + 1}")
        target = setting.target(here.start)
        session.move_to(theta)
        step = attempt(session, here)
        if isinstance(step, str):
            return Reading.refused(step)
        name = _fallback(setting, here, step)
        if name:
            return Reading.failed(f"step {t + 1} is {name} ({here})", (at, t + 1))
        # On towards the reference's next point, but not far: a full step of an indefinite system can lead anywhere.
        size = float(np.abs(target.step).max())
        theta = rounded(theta + target.step.reshape(theta.shape) * min(1.0, 0.3 / (size or 1.0)), setting.dtype)
    return Reading.passed(f"no fallback among 8 steps ({at})")


def _fallback(setting: Setting, at: Case, step: Array) -> str:
    target, g = setting.target(at.start), at.start.gradient
    limit = setting.limit(target)
    size, wanted = float(np.linalg.norm(step)), float(np.linalg.norm(target.step))
    if not math.isfinite(size) or target.error(step) <= limit or wanted == 0:
        return ""
    if size <= setting.eps * float(np.linalg.norm(at.theta)):
        return "zero"
    sure = max(1e-6, THRESHOLD * setting.eps)
    along, apart = (angle(step, direction) for direction in (g, target.step))
    others = (target.step, at.start.gauss_newton_target.step)  # with one data point both Newtons' lie along the gradient
    if along <= sure < min(angle(other, g) for other in others):
        return f"along the gradient, {-float(step @ g) / float(g @ g):.3g} times it"
    if apart <= max(limit, sure) and abs(size / wanted - 1) > 0.01:
        return f"{float(step @ target.step) / wanted**2:.3g} times the exact step"
    bound = float(np.abs(step).max())
    clipped = np.clip(target.step, -bound, bound)
    if (np.abs(target.step) > bound).any() and np.linalg.norm(step - clipped) <= max(limit, sure) * np.linalg.norm(clipped):
        return f"the exact step with its entries clipped to {bound:.3g}"
    fitted = fitted_damping(setting, at, step)
    if fitted is not None and at.kind != "definite" and abs(fitted[0] - at.objective.damping) > fitted[1]:
        damping = fitted[0]
        other = solved(target.matrix + (damping - at.objective.damping) * np.eye(len(g)), -g)
        if np.linalg.norm(step - other) <= sure * np.linalg.norm(other):
            return f"the exact step for a damping of {damping:.4g}, where {at.objective.damping:.4g} was asked for"
    return ""
