"""Explanations without a Hessian: the gradient, its signs, and the first steps of published first-order methods."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from nntk.crosscheck.diagnosis.explanation import Observation, Prediction, explanation, told_apart
from nntk.crosscheck.diagnosis.fits import rate_words, scaled
from nntk_reference.arithmetic import Array

__all__: list[str] = []


@explanation("zero", "a zero step")
def zero(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(np.zeros_like(seen.step))


@explanation("gradient", "a gradient step")
def gradient(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(-seen.point.gradient)


@explanation("gradient-over-damping", "a gradient step over the damping")
def gradient_over_damping(seen: Observation) -> Iterator[Prediction]:
    """As Newton's method without the Hessian, or where it is given up."""
    yield Prediction(-seen.point.gradient / seen.point.objective.damping)


def sign(seen: Observation) -> Iterator[Prediction]:
    yield Prediction(-np.sign(seen.point.gradient))


explanation("scaled-gradient", "a gradient step", fitted=1, together=rate_words)(scaled(gradient))
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
        yield Prediction(-np.sign(seen.point.gradient) / (offset + slope / g), words)


# --- by tensor -------------------------------------------------------------------------------------------------------------

Tensors = tuple[Array, Array, Array]


def _tensors(seen: Observation) -> tuple[Tensors, Tensors]:
    """(c, w, η) of the gradient and of the parameters."""
    rows, theta = seen.point.gradient.reshape(seen.point.theta.shape), seen.point.theta
    return (rows[:, 0], rows[:, 1:-1], rows[:, -1]), (theta[:, 0], theta[:, 1:-1], theta[:, -1])


def _joined(c: Array, w: Array, eta: Array) -> Array:
    return np.concatenate([c[:, None], w, eta[:, None]], axis=1).reshape(-1)


def _fitted(seen: Observation, *directions: Array) -> tuple[Array, Array]:
    """Least squares for the step in some directions: (the step, the numbers)."""
    columns = np.column_stack(directions)
    if not np.isfinite(columns).all():
        return np.full_like(seen.step, math.nan), np.full(len(directions), math.nan)
    numbers, *_ = np.linalg.lstsq(columns, seen.step, rcond=None)
    return columns @ numbers, numbers


def _size(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


@explanation("adafactor", "Adafactor's first step,", fitted=1)
def adafactor(seen: Observation) -> Iterator[Prediction]:
    """The gradient over the root of its row means times its column means, each tensor times its own size: a rate is fitted."""
    updates = []
    for g, theta in zip(*_tensors(seen), strict=True):
        with np.errstate(all="ignore"):
            if g.ndim == 1:
                update = np.sign(g)
            else:
                rows, columns = np.mean(g**2, axis=1, keepdims=True), np.mean(g**2, axis=0, keepdims=True)
                update = g / np.sqrt(rows * columns / rows.mean())
        updates.append(-max(1e-3, _size(theta)) * update / max(1.0, _size(update)))
    step, (rate,) = _fitted(seen, _joined(*updates))
    yield Prediction(step, f"relative step size {told_apart(float(rate))}")


def _orthogonal(G: Array) -> Array:
    """UVᵀ of G = UΣVᵀ, of the singular values that are not rounding errors."""
    U, sigma, Vt = np.linalg.svd(G, full_matrices=False)
    keep = sigma > 1e-12 * (sigma.max() or 1.0)
    return np.asarray(U[:, keep] @ Vt[keep])


def _newton_schulz(G: Array, steps: int = 5) -> Array:
    """Muon's iteration towards UVᵀ."""
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / (float(np.linalg.norm(X)) or 1.0)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if G.shape[0] > G.shape[1] else X


@explanation("muon", "Muon's first step,", fitted=3)
def muon(seen: Observation) -> Iterator[Prediction]:
    """The gradient of w made orthogonal; c and η by the gradient or its sign (as of Adam), or not at all."""
    (c, w, eta), _ = _tensors(seen)
    none_w = np.zeros_like(w)
    for name, turned in (("UVᵀ of the gradient", _orthogonal(w)), ("Newton–Schulz of the gradient", _newton_schulz(w))):
        along = _joined(0 * c, -turned, 0 * eta)
        for other, rest in (
            ("the sign of the gradient", _joined(-np.sign(c), none_w, -np.sign(eta))),
            ("the gradient", _joined(-c, none_w, -eta)),
        ):
            step, (rate, second) = _fitted(seen, along, rest)
            if abs(rate) * float(np.linalg.norm(along)) <= 1e-9 * float(np.linalg.norm(seen.step)):
                continue
            still = abs(second) <= 1e-9 * abs(rate)
            others = "c and η not moved" if still else f"c and η by {other}, times {second:.4g}"
            yield Prediction(step, f"w by {name}, times {rate:.4g}, {others}")


def _root(A: Array, power: float) -> Array:
    values, vectors = np.linalg.eigh(A)
    return np.asarray((vectors * np.maximum(values, 1e-300) ** power) @ vectors.T)


@explanation("shampoo", "Shampoo's first step,", fitted=1)
def shampoo(seen: Observation) -> Iterator[Prediction]:
    """(GGᵀ + ε)^-p G (GᵀG + ε)^-p for w, (|g|² + ε)^-q g for c and η; p = 1/4, q = 1/2 as published, or twice these."""
    (c, w, eta), _ = _tensors(seen)
    for epsilon, times in itertools.product((1e-4, 1e-3, 1e-6, 1e-8, 1e-12), (1, 2)):
        with np.errstate(all="ignore"):
            left, right = (_root(A + epsilon * np.eye(len(A)), -times / 4) for A in (w @ w.T, w.T @ w))
            vectors = [g * (float(g @ g) + epsilon) ** (-times / 2) for g in (c, eta)]
            step, (rate,) = _fitted(seen, -_joined(vectors[0], left @ w @ right, vectors[1]))
        roots = "" if times == 1 else ", roots of half the order"
        yield Prediction(step, f"ε = {epsilon:g}{roots}, times {told_apart(float(rate))}")


@explanation("soap", "SOAP's first step that is not zero,", fitted=1)
def soap(seen: Observation) -> Iterator[Prediction]:
    """Adam's first step in the eigenbasis of GGᵀ and GᵀG is UVᵀ for w; c and η take Adam's, the sign."""
    (c, w, eta), _ = _tensors(seen)
    step, (rate,) = _fitted(seen, -_joined(np.sign(c), _orthogonal(w), np.sign(eta)))
    yield Prediction(step, f"the sign of the gradient in the eigenbasis of its Gram matrices, times {told_apart(float(rate))}")


_MOST_SIGNS = 16


@explanation("adahessian", "AdaHessian's first step,", fitted=1)
def adahessian(seen: Observation) -> Iterator[Prediction]:
    """-αg/|z ∘ Hz| with random signs z: looked for among all, where they are few and the step is a random one."""
    g, P = seen.point.gradient, seen.step.size
    size = np.abs(seen.step)
    if P > _MOST_SIGNS or not seen.noise > 1e-6 or not (size > 0).all():
        return
    signs = seen.kept("signs", lambda: 1.0 - 2.0 * (np.arange(2 ** (P - 1))[:, None] >> np.arange(P) & 1))
    with np.errstate(all="ignore"):
        steps = np.abs(g) / np.abs(signs @ seen.point.hessian)
        rates = (steps @ size) / (steps**2).sum(axis=1)
        gaps = np.linalg.norm(rates[:, None] * steps - size, axis=1)
    if not np.isfinite(gaps).any():
        return
    best = int(np.nanargmin(gaps))
    words = f"∇L over |z ∘ Hz| with random signs z, times {told_apart(float(rates[best]))}"
    yield Prediction(-rates[best] * np.sign(g) * steps[best], words)
