"""Checks of several steps: the same method at every one of them, from the parameters as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import THRESHOLD, Case, case_at, rounded, solved
from nntk.crosscheck.cases import ladder
from nntk.crosscheck.checks.check import NEWTONS, check, definite, kinds, some
from nntk.crosscheck.checks.step import angle, fitted_damping, judged
from nntk.crosscheck.setting import UNRESOLVED, Reading, Setting, attempt, one_step
from nntk.crosscheck.words import apart
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference.arithmetic import Array

__all__: list[str] = []


@check(
    "trajectory",
    "Sixty steps in lockstep with the reference, and twenty free-running beside it",
    profiles=NEWTONS,
    cases=definite(1, 3, 3),
    share=0.1,
)
def trajectory(setting: Setting, at: Case) -> Reading:
    """Steps of one optimizer: ten from the reference's parameters at each of six places (lockstep), and then a run of its own.

    Ten, as an exact method that converges has nothing more to show. Of a drawn case, two places.
    """
    places = _visits(setting, at)[: 2 if at.source == "drawn" else 6]
    lockstep = setting.start(places[0])
    worst: Reading | None = None
    errors, path = list[float](), list[Array]()
    for place in places:
        path = _exact_path(setting, place, 10)
        for theta in path[:-1]:
            here = case_at(place.objective, theta, f"{place.source}, step {len(errors) + 1}", setting.dtype)
            lockstep.move_to(here.theta)
            step = one_step(lockstep)
            errors.append(setting.target(here.start).error(step))
            reading = judged(setting, here, step, what=f"step {len(errors)} of {10 * len(places)}")
            if worst is None or (reading.ratio > worst.ratio and _tells(reading)):
                worst = replace(reading, failing=(place, len(errors)))
    assert worst is not None
    free_run, apart_, allowed = _free_run(setting, at)
    worst = max(worst, free_run, key=lambda reading: reading.ratio)
    panel = Panel(
        "Steps beside the reference",
        "step",
        "relative error of each step; free-running, distance to the exact path",
        (
            Series("each step", _counted(errors), tuple(errors), colour=0),
            Series("free-running", _counted(apart_), tuple(apart_), colour=1, marker="s"),
            Series("limit, free-running", _counted(allowed), tuple(allowed), style="dashed", colour=1),
        ),
        log="y",
    )
    return replace(worst, panels=(panel,))


def _counted(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(t + 1) for t in range(len(values)))


def _tells(reading: Reading) -> bool:
    """A step so near to the minimum that rounding is all of it tells nothing."""
    return reading.limit is None or reading.limit <= UNRESOLVED


def _exact_path(setting: Setting, at: Case, steps: int) -> list[Array]:
    """The reference's parameters after 0, 1, … steps, as the dtype holds them."""
    path = [at.theta]
    for _ in range(steps):
        target = setting.target(at.objective.at(path[-1]))
        path.append(rounded(path[-1] + target.step.reshape(at.theta.shape), setting.dtype))
    return path


def _free_run(setting: Setting, at: Case) -> tuple[Reading, list[float], list[float]]:
    """(the reading of twenty steps from the start, their distances to the exact path, what those may be)."""
    path = _exact_path(setting, at, 20)
    free, allowed = setting.start(at), _drift(setting, at, path)
    distances, worst = list[float](), Reading.passed("")
    for t, exact in enumerate(path[1:]):
        free.step()
        with np.errstate(all="ignore"):
            distances.append(float(np.linalg.norm(free.theta - exact)))
        why = f"free-running, {distances[-1]:.3g} from the exact path after {t + 1} steps ({at})"
        reading = Reading(distances[-1], allowed[t], why, (at, t + 1))
        if reading.ratio >= worst.ratio:
            worst = reading
    return worst, distances, allowed


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
    share=0.25,
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
        reading = Reading(off, setting.tolerance(here), why, (cases[0], k + 1))
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
    counts = {kind: some(setting, 3, 6) if kind == "ascent" else 2 for kind in kinds(setting)}
    return [c for kind, count in counts.items() for c in ladder(kind, setting.seed, setting.dtype, count, least=2)]


@check(
    "no-silent-fallback",
    "No step is silently replaced by zero, the gradient, a shortened or a more damped one",
    profiles=NEWTONS,
    cases=fallback_cases,
    drawn="any",
    share=0.25,
)
def no_silent_fallback(setting: Setting, at: Case) -> Reading:
    """Eight steps, none of which is zero, along the gradient, or a shortened Newton step.

    A step that is wrong in another way is no fallback, and tells nothing of one.
    """
    session = setting.start(at)
    theta, other = at.theta, ""
    for t in range(8):
        here = case_at(at.objective, theta, f"{at.source}, step {t + 1}", setting.dtype)
        target = setting.target(here.start)
        session.move_to(theta)
        step = attempt(session, here)
        if isinstance(step, str):
            return Reading.refused(step)
        name = _fallback(setting, here, step)
        if name:
            return Reading.failed(f"step {t + 1} is {name} ({here})", (at, t + 1))
        if not target.error(step) <= setting.limit(target):
            other = other or f"step {t + 1} is not the one asked for, and none that is known to take its place ({here})"
        # On towards the reference's next point, but not far: a full step of an indefinite system can lead anywhere.
        size = float(np.abs(target.step).max())
        theta = rounded(theta + target.step.reshape(theta.shape) * min(1.0, 0.3 / (size or 1.0)), setting.dtype)
    return Reading.unresolved(other) if other else Reading.passed(f"no fallback among 8 steps ({at})")


def _fallback(setting: Setting, at: Case, step: Array) -> str:
    target, g = setting.target(at.start), at.start.gradient
    limit = setting.limit(target)
    size, wanted = float(np.linalg.norm(step)), float(np.linalg.norm(target.step))
    if not math.isfinite(size) or target.error(step) <= limit or wanted == 0:
        return ""
    if size <= setting.eps * float(np.linalg.norm(at.theta)):
        return "zero"
    sure = max(1e-6, THRESHOLD * setting.eps, limit)
    gap = 10 * sure  # what is less apart may be the exact step as well
    along, aside = (angle(step, direction) for direction in (g, target.step))
    others = (target.step, at.start.gauss_newton_target.step)  # with one data point both Newtons' lie along the gradient
    if along <= sure and min(angle(other, g) for other in others) > gap:
        return f"along the gradient, {-float(step @ g) / float(g @ g):.3g} times it"
    factor = float(step @ target.step) / wanted**2
    if aside <= sure and abs(factor - 1) > gap:
        return f"{apart(factor, 1.0)} times the exact step"
    bound = float(np.abs(step).max())
    clipped = np.clip(target.step, -bound, bound)
    cut = float(np.linalg.norm(clipped - target.step)) / wanted
    if cut > gap and np.linalg.norm(step - clipped) <= sure * np.linalg.norm(clipped):
        return f"the exact step with its entries clipped to {bound:.3g}"
    fitted = fitted_damping(setting, at, step)
    if fitted is not None and at.kind != "definite" and abs(fitted[0] - at.objective.damping) > 10 * fitted[1]:
        damping = fitted[0]
        other = solved(target.matrix + (damping - at.objective.damping) * np.eye(len(g)), -g)
        if np.linalg.norm(step - other) <= sure * np.linalg.norm(other) and np.linalg.norm(other - target.step) > gap * wanted:
            asked = at.objective.damping
            return f"the exact step for a damping of {apart(damping, asked)}, where {apart(asked, damping)} was asked for"
    return ""
