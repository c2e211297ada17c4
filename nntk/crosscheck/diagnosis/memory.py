"""Explanations by what was before in the run: old curvature, momentum, quasi-Newton; and by several steps in one call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from nntk.crosscheck.case import Point, solved
from nntk.crosscheck.diagnosis.explanation import Observation, Prediction, Together, damped, explanation, told_apart
from nntk.crosscheck.diagnosis.firstorder import gradient
from nntk.crosscheck.diagnosis.fits import same, scaled
from nntk_reference.arithmetic import Array

__all__: list[str] = []


# --- old curvature ---------------------------------------------------------------------------------------------------------


def _age_words(seen: Sequence[Observation], ages: Sequence[float]) -> str:
    """How old the curvature is: k steps, the first one, or computed anew every p steps."""
    steps, old = [len(one.earlier) for one in seen], [int(age) for age in ages]
    most = max(old)
    if most > 1 and all(age == step for age, step in zip(old, steps, strict=True)):
        return "with the curvature of the first step in all steps"
    if all(age == min(step, most) for age, step in zip(old, steps, strict=True)):
        return f"with the curvature of {_steps(most)} before (it lags)"
    period = most + 1
    if all(age == step % period for age, step in zip(old, steps, strict=True)):
        return f"with the curvature of up to {_steps(most)} before (computed every {period} steps)"
    return f"with the curvature of up to {_steps(most)} before"


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


@explanation("stale", "Newton", together=_age_words)
def stale(seen: Observation) -> Iterator[Prediction]:
    for age, old in enumerate(reversed(seen.run)):
        words = f"with the curvature of {_steps(age)} before" if age else "with the curvature of this step"
        yield Prediction(solved(damped(old.point.hessian, seen), -seen.point.gradient), words, float(age))


@explanation("stale-gradient", "Newton")
def stale_gradient(seen: Observation) -> Iterator[Prediction]:
    for age, old in enumerate(reversed(seen.run)):
        words = f"with the curvature and gradient of {_steps(age)} before" if age else "with the gradient of this step"
        yield Prediction(solved(damped(old.point.hessian, seen), -old.point.gradient), words)


# --- several steps ---------------------------------------------------------------------------------------------------------


@explanation("several-steps", "")
def several_steps(seen: Observation) -> Iterator[Prediction]:
    total = np.zeros_like(seen.step)
    for k in range(1, 4):
        there = _moved(seen.point, total)
        if there is None:
            return
        total = total + there.newton.step
        if k > 1:
            yield Prediction(total.copy(), f"{k} Newton steps in one call")


def _moved(point: Point, change: Array) -> Point | None:
    with np.errstate(all="ignore"):
        theta = point.theta + change.reshape(point.theta.shape)
    return point.objective.at(theta) if np.isfinite(theta).all() else None


# --- momentum --------------------------------------------------------------------------------------------------------------


def _share_words(what: str) -> Together:
    def words(seen: Sequence[Observation], shares: Sequence[float]) -> str:
        later = [(one, share) for one, share in zip(seen, shares, strict=True) if one.earlier and math.isfinite(share)]
        if not later or not same([share for _, share in later], [one for one, _ in later]):
            return ""
        return what.format(f"{later[0][1]:.6g}")

    return words


@explanation("momentum", "Newton", fitted=1, together=_share_words("plus {} times the step before (momentum)"))
def momentum(seen: Observation) -> Iterator[Prediction]:
    base = seen.point.newton.step
    if not seen.earlier:
        yield Prediction(base, "without a step before", 0.0)
        return
    past = seen.earlier[-1].step
    size = float(past @ past)
    share = float(past @ (seen.step - base)) / size if size else math.nan
    yield Prediction(base + share * past, f"plus {share:.6g} times the step before (momentum)", share)


def _nesterov(seen: Observation, bases: Sequence[Array]) -> Prediction | None:
    """Δ = u + βv with v ← βv + u: β from the run's first step, which is (1 + β)u."""
    first, step = bases[0], seen.run[0].step
    size = float(first @ first)
    if not 0 < size < math.inf:
        return None
    beta = float(first @ step) / size - 1
    velocity = np.zeros_like(first)
    for base in bases:
        velocity = beta * velocity + base
    return Prediction(bases[-1] + beta * velocity, f"with Nesterov momentum {beta:.6g}", beta)


@explanation("nesterov", "Newton", fitted=2)
def nesterov(seen: Observation) -> Iterator[Prediction]:
    found = _nesterov(seen, [one.point.newton.step for one in seen.run])
    if found is not None:
        yield found


@explanation("nesterov-ahead", "Newton", fitted=1, together=_share_words("with Nesterov momentum {}, looking ahead"))
def nesterov_ahead(seen: Observation) -> Iterator[Prediction]:
    """Δ = βv + u(θ + βv), v the step before: Gauss-Newton for β, by differences."""
    if not seen.earlier:
        yield Prediction(seen.point.newton.step, "without a step before", 0.0)
        return
    past = seen.earlier[-1].step

    def at(beta: float) -> Array | None:
        there = _moved(seen.point, beta * past)
        return None if there is None else beta * past + there.newton.step

    beta, small = 0.5, 2.0**-20
    for _ in range(12):
        here, near = at(beta), at(beta + small)
        if here is None or near is None:
            return
        slope = (near - here) / small
        size = float(slope @ slope)
        if not 0 < size < math.inf:
            return
        change = float(slope @ (seen.step - here)) / size
        beta += change
        if not abs(beta) < 1e3 or abs(change) < 1e-14:
            break
    found = at(beta) if abs(beta) < 1e3 else None
    if found is not None:
        yield Prediction(found, f"with Nesterov momentum {beta:.6g}, looking ahead", beta)


@explanation("gradient-momentum", "a gradient step", fitted=2)
def gradient_momentum(seen: Observation) -> Iterator[Prediction]:
    if not seen.earlier:
        yield from scaled(gradient)(seen)
        return
    columns = np.column_stack([seen.earlier[-1].step, -seen.point.gradient])
    (share, rate), *_ = np.linalg.lstsq(columns, seen.step, rcond=None)
    words = f"times {rate:.4g}, plus {share:.4g} times the step before (momentum)"
    yield Prediction(columns @ np.array([share, rate]), words)


# --- quasi-Newton ----------------------------------------------------------------------------------------------------------


def _bfgs(inverse: Array, s: Array, y: Array) -> Array | None:
    curvature = float(s @ y)
    if curvature <= 1e-10 * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return None
    left = np.eye(len(s)) - np.outer(s, y) / curvature
    return np.asarray(left @ inverse @ left.T + np.outer(s, s) / curvature)


def _sr1(inverse: Array, s: Array, y: Array) -> Array | None:
    rest = s - inverse @ y
    size = float(rest @ y)
    if abs(size) < 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(y)):
        return None
    return np.asarray(inverse + np.outer(rest, rest) / size)


def _dfp(inverse: Array, s: Array, y: Array) -> Array | None:
    curvature, image = float(s @ y), inverse @ y
    if curvature <= 1e-10 * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return None
    return np.asarray(inverse + np.outer(s, s) / curvature - np.outer(image, image) / float(y @ image))


_UPDATES = {"BFGS": _bfgs, "SR1": _sr1, "DFP": _dfp}
_STARTS = ("the identity", "the identity, scaled at the first update", "the identity over the damping")


def _quasi_newton(seen: Observation) -> Iterator[Prediction]:
    """-B⁻¹g with the inverse updated over the run; the first step, which has no update behind it, is along the gradient."""
    run, g = seen.run, seen.point.gradient
    for name, update in _UPDATES.items():
        for start in _STARTS:
            inverse = np.eye(len(g)) / (seen.point.objective.damping if start == _STARTS[2] else 1.0)
            updated = False
            for old, new in pairwise(run):
                s, y = old.step, new.point.gradient - old.point.gradient
                if start == _STARTS[1] and not updated and float(s @ y) > 0:
                    inverse = inverse * (float(s @ y) / float(y @ y))
                after = update(inverse, s, y)
                inverse, updated = (inverse, updated) if after is None else (after, True)
            yield Prediction(-inverse @ g, f"{name} from {start}")


explanation("quasi-newton", "a quasi-Newton step:")(_quasi_newton)


@explanation("scaled-quasi-newton", "a quasi-Newton step:", fitted=1)
def scaled_quasi_newton(seen: Observation) -> Iterator[Prediction]:
    """With a step size, as from a line search."""
    for step, words, _ in _quasi_newton(seen):
        size = float(step @ step)
        if 0 < size < math.inf:
            factor = float(step @ seen.step) / size
            yield Prediction(factor * step, f"{words}, times {told_apart(factor)}")


@explanation("lbfgs", "L-BFGS,")
def lbfgs(seen: Observation) -> Iterator[Prediction]:
    """As torch.optim.LBFGS without a line search: the first step is -g min(1, 1/|g|₁); a step for each evaluation in a call."""
    inner = max(seen.evaluations, 1)
    if inner > 25:
        return
    for rate in (1.0, 0.1, 0.01):
        words = "one step in a call" if inner == 1 else f"{inner} steps in a call"
        change = _lbfgs_replayed(seen, inner, rate)
        if change is not None:
            yield Prediction(change, f"{words}, first scaled by 1/|∇L|₁, step size {rate:g}")


def _lbfgs_replayed(seen: Observation, inner: int, rate: float) -> Array | None:
    """The last displacement of the run; None where it leaves what can be computed."""
    pairs: list[tuple[Array, Array]] = []
    before: tuple[Array, Array] | None = None  # the last step and the gradient that it was taken at
    change = np.zeros_like(seen.step)
    for one in seen.run:
        change = np.zeros_like(seen.step)
        for k in range(inner):
            there = one.point if k == 0 else _moved(one.point, change)
            if there is None:
                return None
            g = there.gradient
            if np.abs(g).max() <= 1e-7:
                break
            if before is None:
                step = -g * min(1.0, 1 / float(np.abs(g).sum())) * rate
            else:
                y, s = g - before[1], before[0]
                if float(y @ s) > 1e-10:
                    pairs = [*pairs[-99:], (s, y)]
                step = rate * _two_loops(g, pairs)
            before, change = (step, g), change + step
            if np.abs(step).max() <= 1e-9:
                break
    return change


def _two_loops(g: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """L-BFGS' direction, from the pairs (s, y) of steps and changes of the gradient."""
    q, shares = -g, []
    for s, y in reversed(pairs):
        shares.append(float(s @ q) / float(s @ y))
        q = q - shares[-1] * y
    if pairs:
        s, y = pairs[-1]
        q = q * (float(s @ y) / float(y @ y))
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        q = q + (share - float(y @ q) / float(y @ s)) * s
    return q
