"""Explanations by something else than the matrix: first-order steps, what is left out, what is remembered, what is added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.checks.coupling import parts_of
from nntk.crosscheck.diagnosis.curvature import scaled
from nntk.crosscheck.diagnosis.explanation import Observation, Prediction, damped, explanation

__all__: list[str] = []


# --- no curvature at all -------------------------------------------------------------------------------------------------


@explanation("zero", "a zero step")
def zero(seen: Observation) -> Iterator[Prediction]:
    yield np.zeros_like(seen.step), ""


@explanation("gradient", "a gradient step")
def gradient(seen: Observation) -> Iterator[Prediction]:
    yield -seen.point.gradient, ""


def sign(seen: Observation) -> Iterator[Prediction]:
    yield -np.sign(seen.point.gradient), ""


explanation("scaled-gradient", "a gradient step", fitted=1)(scaled(gradient))
explanation("sign", "the sign of the gradient", fitted=1)(scaled(sign))


@explanation("adaptive", "the sign of the gradient, smoothed (Adam's first step):", fitted=2)
def adaptive(seen: Observation) -> Iterator[Prediction]:
    """-αg/(|g| + ε), the first step of Adam and its kin: 1/|Δ| = (1 + ε/|g|)/α, by least squares."""
    g, size = np.abs(seen.point.gradient), np.abs(seen.step)
    if not (g > 0).all() or not (size > 0).all():
        return
    (offset, slope), *_ = np.linalg.lstsq(np.column_stack([np.ones_like(g), 1 / g]), 1 / size, rcond=None)
    if offset > 0:
        words = f"g/(|g| + {slope / offset:.2g}) times {1 / offset:.4g}"
        yield -np.sign(seen.point.gradient) / (offset + slope / g), words


# --- Newton with something left out or counted twice -----------------------------------------------------------------------


@explanation("coupling-dropped", "Newton,")
def coupling_dropped(seen: Observation) -> Iterator[Prediction]:
    H = seen.point.hessian
    parts = parts_of(H, *seen.point.theta.shape)
    for name, part in parts.items():
        yield solved(damped(H - part, seen), -seen.point.gradient), f"the coupling {name} dropped"
    kinds = np.tile(["c", *["w"] * (seen.point.theta.shape[1] - 2), "η"], len(seen.point.theta))
    for a, b in (("c", "w"), ("c", "η"), ("w", "η")):
        cross = (kinds[:, None] == a) & (kinds[None, :] == b)
        yield solved(damped(np.where(cross | cross.T, 0.0, H), seen), -seen.point.gradient), f"every coupling {a}-{b} dropped"


@explanation("neuron-left-out", "Newton,")
def neuron_left_out(seen: Observation) -> Iterator[Prediction]:
    A, g = damped(seen.point.hessian, seen), seen.point.gradient
    whole, (N, D) = solved(A, -g), seen.point.theta.shape
    for i in range(N):
        rest = np.ones(N * D, bool)
        rest[i * D : (i + 1) * D] = False
        alone = np.zeros(N * D)
        alone[rest] = solved(A[np.ix_(rest, rest)], -g[rest])
        yield alone, f"neuron {i + 1} of {N} left out"
        yield np.where(rest, whole, 0.0), f"neuron {i + 1} of {N} not moved"


@explanation("data-subset", "Newton,")
def data_subset(seen: Observation) -> Iterator[Prediction]:
    whole = seen.point.objective
    M = len(whole.y)
    chosen = [(np.delete(np.arange(M), m), f"data point {m + 1} of {M} left out") for m in range(M)]
    chosen += [(np.arange(k), f"on the first {k} of {M} data points (a batch)") for k in range(1, M)]
    chosen += [(np.append(np.arange(M), m), f"data point {m + 1} of {M} counted twice") for m in range(M)]
    for rows, words in chosen:
        if not len(rows):
            continue
        for share, note in ((1.0, ""), (len(rows) / M, ", averaged over all")):
            part = replace(whole, X=whole.X[rows], y=whole.y[rows]).at(seen.point.theta)
            A = share * part.hessian + whole.damping * np.eye(seen.step.size)
            yield solved(A, -share * part.gradient), words + note


# --- Newton with a memory, or with something added ------------------------------------------------------------------------


@explanation("stale", "Newton")
def stale(seen: Observation) -> Iterator[Prediction]:
    for age, old in enumerate(reversed(seen.earlier), start=1):
        words = f"with the curvature of {age} step{'s' if age > 1 else ''} before"
        yield solved(damped(old.point.hessian, seen), -seen.point.gradient), words
        yield solved(damped(old.point.hessian, seen), -old.point.gradient), words.replace("curvature", "curvature and gradient")


@explanation("several-steps", "")
def several_steps(seen: Observation) -> Iterator[Prediction]:
    total = np.zeros_like(seen.step)
    for k in range(1, 4):
        with np.errstate(all="ignore"):
            theta = seen.point.theta + total.reshape(seen.point.theta.shape)
        if not np.isfinite(theta).all():
            return
        total = total + seen.point.objective.at(theta).newton.step
        if k > 1:
            yield total.copy(), f"{k} Newton steps in one call"


@explanation("momentum", "Newton", fitted=1)
def momentum(seen: Observation) -> Iterator[Prediction]:
    if not seen.earlier:
        return
    past, base = seen.earlier[-1].step, seen.point.newton.step
    (share,), *_ = np.linalg.lstsq(past[:, None], seen.step - base, rcond=None)
    yield base + share * past, f"plus {share:.6g} times the step before (momentum)"


@explanation("gradient-momentum", "a gradient step", fitted=2)
def gradient_momentum(seen: Observation) -> Iterator[Prediction]:
    if not seen.earlier:
        return
    columns = np.column_stack([seen.earlier[-1].step, -seen.point.gradient])
    (share, rate), *_ = np.linalg.lstsq(columns, seen.step, rcond=None)
    yield columns @ np.array([share, rate]), f"times {rate:.4g}, plus {share:.4g} times the step before (momentum)"


@explanation("weight-decay", "Newton", fitted=1)
def weight_decay(seen: Observation) -> Iterator[Prediction]:
    theta, base = seen.point.theta.reshape(-1), seen.point.newton.step
    rate = -float(theta @ (seen.step - base)) / float(theta @ theta)
    yield base - rate * theta, f"with weight decay {rate:.6g}, decoupled"


@explanation("penalty", "Newton", fitted=1)
def penalty(seen: Observation) -> Iterator[Prediction]:
    theta, A = seen.point.theta.reshape(-1), seen.point.newton.matrix
    rate = -float(theta @ (A @ seen.step + seen.point.gradient)) / float(theta @ theta)
    yield solved(A, -seen.point.gradient - rate * theta), f"with {rate:.6g} θ added to the gradient (weight decay)"


@explanation("entries-clipped", "Newton", fitted=1)
def entries_clipped(seen: Observation) -> Iterator[Prediction]:
    bound = float(np.abs(seen.step).max())
    yield np.clip(seen.point.newton.step, -bound, bound), f"with its entries clipped to {bound:.4g}"
