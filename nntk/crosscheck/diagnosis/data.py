"""Explanations by the problem: the weight of each data point, numbers written into the optimizer, terms that are added."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.diagnosis.explanation import Observation, Prediction, damped, explanation, told_apart
from nntk.crosscheck.diagnosis.fits import same
from nntk_reference import FLOAT64, formulas
from nntk_reference.arithmetic import Array

__all__: list[str] = []


def _weighted(seen: Observation, weights: Array) -> Array:
    """Newton's step for Σₘ wₘ rₘ²/2, at the damping that was asked for."""
    point = seen.point
    state = seen.kept("state", lambda: formulas.state(FLOAT64, point.network, point.objective.X))
    J, r = point.jacobian, point.residual
    A = formulas.add_blocks(J.T @ (weights[:, None] * J), formulas.residual_hessian(state, len(r) * weights * r))
    return solved(damped(A, seen), -J.T @ (weights * r))


def _which_points(seen: Sequence[Observation], counts: Sequence[float]) -> str:
    """Which of the points enter, by how many first ones do; negative: averaged over all."""
    M = [len(one.point.objective.y) for one in seen]
    kept = [int(abs(count)) for count in counts]
    note = ", averaged over all" if min(counts) < 0 else ""
    missing = {m - k for m, k in zip(M, kept, strict=True)}
    if len(set(kept)) == 1 and len(set(M)) > 1:
        return f"on the first {kept[0]} data points (a batch){note}"
    if len(set(M)) > 1 and len(missing) == 1:
        many = missing.pop()
        return f"the last {'data point' if many == 1 else f'{many} data points'} left out{note}"
    size = next((b for b in range(max(kept), 1, -1) if all(m // b * b == k for m, k in zip(M, kept, strict=True))), None)
    if size is not None and len(set(M)) > 1:
        return f"the last data points, which fill no batch of {size}, left out{note}"
    return ""


@explanation("data-subset", "Newton,", together=_which_points)
def data_subset(seen: Observation) -> Iterator[Prediction]:
    M = len(seen.point.objective.y)
    index = np.arange(M)
    chosen = [(1.0 * (index < k), f"on the first {k} of {M} data points (a batch)", float(k)) for k in (*range(1, M - 1), M)]
    chosen += [(1.0 * (index != m), f"data point {m + 1} of {M} left out", M - 1.0 if m == M - 1 else math.nan) for m in index]
    chosen += [(1.0 + (index == m), f"data point {m + 1} of {M} counted twice", math.nan) for m in index]
    for weights, words, value in chosen:
        if weights.any():
            yield Prediction(_weighted(seen, weights / weights.sum()), words, value)
            yield Prediction(_weighted(seen, weights / M), f"{words}, averaged over all", -value)


def _batch_words(seen: Sequence[Observation], sizes: Sequence[float]) -> str:
    """The batch, where one size is the same for all."""
    return f"with means of batch means: batches of {sizes[0]:.0f}, the last one smaller" if len(set(sizes)) == 1 else ""


@explanation("batch-means", "Newton", together=_batch_words)
def batch_means(seen: Observation) -> Iterator[Prediction]:
    """The mean over batches of their means, where the last batch is smaller."""
    M = len(seen.point.objective.y)
    for size in range(2, M):
        if M % size:
            batch = np.arange(M) // size
            weights = 1 / np.bincount(batch)[batch] / (batch[-1] + 1)
            yield Prediction(
                _weighted(seen, weights), f"with means of batch means: batches of {size}, the last of {M % size}", float(size)
            )


def _added_words(seen: Sequence[Observation], sizes: Sequence[float]) -> str:
    return f"with means of batches of {sizes[0]:.0f} added up" if len(set(sizes)) == 1 else ""


@explanation("batch-sums", "Newton", together=_added_words)
def number_of_batches(seen: Observation) -> Iterator[Prediction]:
    """Batch means added up: the loss times the number of batches."""
    M = len(seen.point.objective.y)
    for size in range(2, M):
        batch = np.arange(M) // size
        weights = 1 / np.bincount(batch)[batch]
        yield Prediction(_weighted(seen, weights), f"with means of batches of {size} added up", float(size))


# --- numbers that are written into the optimizer -----------------------------------------------------------------------------


def _output_words(seen: Sequence[Observation], scales: Sequence[float]) -> str:
    """What is in place of N^-β: another β, another width, or a number."""
    s, widths = np.asarray(scales), np.array([len(one.point.theta) for one in seen], np.float64)
    betas = np.array([one.point.objective.beta for one in seen])
    if not (s > 0).all():
        return ""
    if (widths > 1).all() and len(set(widths)) > 1:
        found = betas - np.log(s) / np.log(widths)
        if same(list(found), seen):
            hard = " (hard-coded)" if len(set(betas)) > 1 else ""
            return f"with β = {found[0]:.4g} in place of the one that was asked for{hard}"
    width = widths * s ** (-1 / betas)
    if len(set(widths)) > 1 and same(list(width), seen):
        return f"with N = {width[0]:.4g} in the factor N^-β (hard-coded)"
    if same(scales, seen):
        return f"with outputs that are {told_apart(float(s[0]))} times the network's"
    return ""


@explanation("output-scale", "Newton", fitted=1, together=_output_words)
def output_scale(seen: Observation) -> Iterator[Prediction]:
    """Outputs that are s times the network's: s²a + sb + γ_N Δ = 0, least squares for s, a cubic's roots."""
    point, step = seen.point, seen.step
    J, y, M = point.jacobian, point.objective.y, len(point.objective.y)
    f = point.residual + y
    state = seen.kept("state", lambda: formulas.state(FLOAT64, point.network, point.objective.X))
    by_outputs, by_targets = (
        formulas.add_blocks(np.zeros_like(point.hessian), formulas.residual_hessian(state, vector)) for vector in (f, y)
    )
    a = J.T @ (J @ step + f) / M + by_outputs @ step
    b, c = -by_targets @ step - J.T @ y / M, point.objective.damping * step
    slope = [4 * float(a @ a), 6 * float(a @ b), 2 * float(b @ b) + 4 * float(a @ c), 2 * float(b @ c)]
    if not np.isfinite(slope).all():
        return
    for root in np.roots(slope):
        s = float(root.real)
        if abs(root.imag) > 1e-6 * abs(root) or s <= 0:
            continue
        for _ in range(2):  # the roots of a cubic have lost some digits, Gauss-Newton gets them back
            curve = 2 * s * a + b
            s -= float(curve @ (s * s * a + s * b + c)) / (float(curve @ curve) or 1.0)
        A = s * s * J.T @ J / M + s * (s * by_outputs - by_targets)
        words = f"with outputs that are {told_apart(s)} times the network's"
        yield Prediction(solved(damped(A, seen), -s * J.T @ (s * f - y) / M), words, s)


# --- something added -------------------------------------------------------------------------------------------------------


@explanation("weight-decay", "Newton", fitted=1)
def weight_decay(seen: Observation) -> Iterator[Prediction]:
    theta, base = seen.point.theta.reshape(-1), seen.point.newton.step
    size = float(theta @ theta)
    rate = -float(theta @ (seen.step - base)) / size if size else math.nan
    yield Prediction(base - rate * theta, f"with weight decay {rate:.6g}, decoupled", rate)


@explanation("penalty", "Newton", fitted=1)
def penalty(seen: Observation) -> Iterator[Prediction]:
    theta, A = seen.point.theta.reshape(-1), seen.point.newton.matrix
    size = float(theta @ theta)
    rate = -float(theta @ (A @ seen.step + seen.point.gradient)) / size if size else math.nan
    words = f"with {rate:.6g} θ added to the gradient (weight decay)"
    yield Prediction(solved(A, -seen.point.gradient - rate * theta), words, rate)


@explanation("entries-clipped", "Newton", fitted=1)
def entries_clipped(seen: Observation) -> Iterator[Prediction]:
    bound = float(np.abs(seen.step).max())
    yield Prediction(np.clip(seen.point.newton.step, -bound, bound), f"with its entries clipped to {bound:.4g}", bound)


@explanation("single-precision-data", "Newton")
def single_precision_data(seen: Observation) -> Iterator[Prediction]:
    """Data and parameters rounded to float32 before a float64 step."""
    if seen.dtype != "float64":
        return
    whole = seen.point.objective
    X, y, theta = (np.asarray(values, np.float32).astype(np.float64) for values in (whole.X, whole.y, seen.point.theta))
    yield Prediction(replace(whole, X=X, y=y).at(theta).newton.step, "of parameters and data that were rounded to float32")
