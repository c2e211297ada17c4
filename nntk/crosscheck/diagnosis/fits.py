"""Fits of a damping and of a step size, and what such numbers say when they are seen at several sizes, or one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Observation, Predict, Prediction, damped, told_apart
from nntk_reference.arithmetic import Array

__all__ = ["Matrix", "at_damping", "at_own_damping", "damping_words", "rate_words", "same", "scaled"]

Matrix = Callable[[Observation], Array]


def at_damping(matrix: Matrix) -> Predict:
    """(A + γ_N I)Δ = -g, with the damping that was asked for."""

    def predict(seen: Observation) -> Iterator[Prediction]:
        yield Prediction(solved(damped(matrix(seen), seen), -seen.point.gradient))

    return predict


def at_own_damping(matrix: Matrix, *, rate: bool = False) -> Predict:
    """(A + μI)Δ = -αg: least squares for μ, and for α where `rate`."""

    def predict(seen: Observation) -> Iterator[Prediction]:
        A, g = matrix(seen), seen.point.gradient
        columns = np.column_stack([seen.step, g] if rate else [seen.step])
        right = -(A @ seen.step) - (0 if rate else g)
        if not np.isfinite(columns).all() or not np.isfinite(right).all():
            return
        fit, *_ = np.linalg.lstsq(columns, right, rcond=None)
        mu, alpha = float(fit[0]), float(fit[1]) if rate else 1.0
        ratio = mu / seen.point.objective.damping
        words = damping_words([seen], [ratio]) + (f" and step size {alpha:.4g}" if rate else "")
        yield Prediction(solved(A + mu * np.eye(len(A)), -alpha * g), words, ratio)

    return predict


def scaled(predict: Predict, note: str = "") -> Predict:
    """The predicted step times a number: least squares."""

    def times(seen: Observation) -> Iterator[Prediction]:
        for step, *_ in predict(seen):
            size = float(step @ step)
            factor = float(step @ seen.step) / size if 0 < size < math.inf else math.nan
            yield Prediction(factor * step, f"times {told_apart(factor)}{note}", factor)

    return times


# --- what the numbers say ------------------------------------------------------------------------------------------------


def same(numbers: Sequence[float], seen: Sequence[Observation]) -> bool:
    """Are they the same but for what rounding makes of a number that is fitted to a step?"""
    values, centre = np.asarray(numbers, np.float64), float(np.median(numbers))
    return bool(np.isfinite(values).all() and (np.abs(values - centre) <= _bars(seen) * abs(centre)).all())


def _bars(seen: Sequence[Observation]) -> Array:
    """What rounding may make of a damping relative to the one asked for: |A| times the step's limit, over that damping."""
    return np.array([1e-9 + min(10 * one.limit * one.point.matrix_size / one.point.objective.damping, 1e-2) for one in seen])


def damping_words(seen: Sequence[Observation], ratios: Sequence[float]) -> str:
    """At what damping, from the ratios to the ones asked for: one ratio, one of a known cause, or how they vary."""
    r, widths = np.asarray(ratios, np.float64), np.array([len(one.point.theta) for one in seen], np.float64)
    M = np.array([len(one.point.objective.y) for one in seen], np.float64)
    betas = np.array([one.point.objective.beta for one in seen])

    def are(expected: Array | float) -> bool:
        gap = np.abs(r - expected)
        return bool((gap <= _bars(seen) * np.maximum(np.abs(expected), np.abs(r))).all()) and not np.allclose(expected, 1)

    if (np.abs(r) <= _bars(seen)).all():
        return "at 0 times the damping asked for (it is ignored)"
    known: tuple[tuple[Array | float, str], ...] = (
        (0.5, "the loss lacks the factor 1/2"),
        (1 / M, "the loss is summed over the points, not averaged"),
        ((M - 1) / M, "the loss is divided by M - 1 in place of M"),
        (widths ** (2 * betas - 1), "γ in place of γ_N"),
        (widths ** (1 - 2 * betas), "the power of N in γ_N enters twice"),
    )
    shown = f"at {told_apart(float(r[0]))} times the damping asked for"
    one = same(ratios, seen)
    for expected, why in known:
        if are(expected):
            return f"{shown} ({why})" if one else f"at another damping than asked for ({why})"
    if one:
        return shown
    return _varying(seen, r, widths, M, betas)


def _varying(seen: Sequence[Observation], r: Array, widths: Array, M: Array, betas: Array) -> str:
    """Dampings whose ratio to the one asked for is not the same everywhere."""
    asked = np.array([one.point.objective.damping for one in seen])
    lengths = np.array([float(np.linalg.norm(one.step)) for one in seen])
    if (r > 0).all() and len(set(widths)) > 1 and (widths > 1).all():
        power = np.log(r) / np.log(widths)
        if same(list(power), seen):
            return f"at N^{power[0]:.4g} times the damping asked for"
    if same(list(asked * r), seen):
        return f"at the damping {asked[0] * r[0]:.4g} whatever is asked for (hard-coded)"
    if len(set(M)) > 1 and same(list(M * r), seen):
        return f"at another damping than asked for (the loss is divided by {M[0] * r[0]:.4g} in place of M: hard-coded)"
    if (r > 0).all() and len(set(widths)) > 1 and (betas > 0.5).all():
        width = widths * r ** (1 / (1 - 2 * betas))
        if same(list(width), seen):
            return f"at another damping than asked for (γ_N for a width of {width[0]:.4g}: hard-coded)"
    more = r > 1 + _bars(seen)
    if more.sum() > 1 and same(list(lengths[more]), [one for one, m in zip(seen, more, strict=True) if m]):
        return f"at a damping that keeps the step within {lengths[more][0]:.4g} (a trust region)"
    listed = ", ".join(dict.fromkeys(told_apart(float(value)) for value in r[:4]))
    return _schedule(seen, r) or f"at {listed}{', …' if len(r) > 4 else ''} times the damping asked for (it varies)"


def _schedule(seen: Sequence[Observation], r: Array) -> str:
    """A damping that is multiplied by a factor every few steps of a run; "" if these are no steps of one run."""
    changes, gaps, last = [], [], 0
    for k in range(1, len(seen)):
        if len(seen[k].earlier) != len(seen[k - 1].earlier) + 1:
            last = 0
            continue
        if r[k - 1] * r[k] <= 0:
            return ""
        ratio = float(r[k] / r[k - 1])
        if abs(ratio - 1) > 2 * float(_bars(seen[k - 1 : k + 1]).max()):
            changes.append(ratio)
            gaps += [k - last] if last else []
            last = k
    if not changes:
        return ""
    # Two fits enter each change.
    if max(abs(change / changes[0] - 1) for change in changes) < 1e-6:
        often = f"every {min(gaps)} steps" if gaps and min(gaps) > 1 else "every step" if gaps else "once"
        return f"at a damping that is multiplied by {changes[0]:.4g} {often} (adaptive)"
    factors = ", ".join(dict.fromkeys(f"{change:.4g}" for change in changes[:4]))
    return f"at a damping that is multiplied from step to step by {factors} (adaptive)"


def rate_words(seen: Sequence[Observation], factors: Sequence[float]) -> str:
    """Which step sizes: one, a bound on the norm, or how they vary."""
    values, lengths = np.asarray(factors), np.array([float(np.linalg.norm(one.step)) for one in seen])
    calls = max(one.evaluations for one in seen)
    several = f", with up to {calls} evaluations of the loss in one step" if calls > 1 else ""
    if same(factors, seen):
        return f"times {told_apart(float(values[0]))} (step size{several})"
    less = values < 1 - _bars(seen)
    bounded = [one for one, short in zip(seen, less, strict=True) if short]
    rest_whole = same([1.0, *values[~less]], [seen[0], *[one for one, short in zip(seen, less, strict=True) if not short]])
    if len(bounded) > 1 and rest_whole and same(list(lengths[less]), bounded):
        return f"with its norm clipped to {lengths[less][0]:.4g} (step size {', '.join(_few(seen, values))})"
    return f"times a step size that varies: {', '.join(_few(seen, values))} (a line search{several or ' or a bound'})"


def _few(seen: Sequence[Observation], values: Array) -> list[str]:
    whole = np.where(np.abs(values - 1) <= _bars(seen), 1.0, values)
    shown = list(dict.fromkeys(told_apart(float(value)) for value in whole))
    return shown[:4] + (["…"] if len(shown) > 4 else [])
