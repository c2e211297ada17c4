"""Explanations by a part of the matrix: the share of S, blocks of JᵀJ and S, neurons, damping by tensor, eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from nntk.crosscheck.case import solved
from nntk.crosscheck.checks.coupling import parts_of
from nntk.crosscheck.diagnosis.explanation import (
    Observation,
    Prediction,
    damped,
    eigen,
    explanation,
    kinds_of,
    told_apart,
)
from nntk.crosscheck.diagnosis.fits import same
from nntk_reference.arithmetic import Array

__all__: list[str] = []


# --- how much of a part enters ---------------------------------------------------------------------------------------------


def _share(seen: Observation, part: Array) -> tuple[Array, float] | None:
    """The step with another share of a part of H, and the share by least squares; None where the part does nothing to it."""
    point = seen.point
    column = part @ seen.step
    size = float(column @ column)
    if not 0 < size < math.inf:
        return None
    share = 1 + float(column @ (-point.gradient - point.newton.matrix @ seen.step)) / size
    return solved(point.newton.matrix + (share - 1) * part, -point.gradient), share


def _entering(share: float, what: str) -> str:
    named = {0.0: f"without {what}", 0.5: f"half {what}", -1.0: f"{what} with the wrong sign", 2.0: f"twice {what}"}
    return next((words for value, words in named.items() if abs(share - value) < 1e-6), f"{told_apart(share)} times {what}")


def _residual_words(seen: Sequence[Observation], shares: Sequence[float]) -> str:
    return _entering(float(shares[0]), "the residual term S") if same(shares, seen) else ""


@explanation("residual-share", "Newton with", fitted=1, together=_residual_words)
def residual_share(seen: Observation) -> Iterator[Prediction]:
    """(JᵀJ/M + sS + γ_N)Δ = -g: least squares for s."""
    if (found := _share(seen, seen.point.residual_hessian)) is not None:
        yield Prediction(found[0], _entering(found[1], "the residual term S"), found[1])


_PAIRS = (("c", "c"), ("c", "w"), ("c", "η"), ("w", "w"), ("w", "η"), ("η", "η"))


def _block(seen: Observation, A: Array, *pairs: tuple[str, str]) -> Array:
    kinds = kinds_of(seen.point)
    mask = np.zeros(A.shape, bool)
    for a, b in pairs:
        one = (kinds[:, None] == a) & (kinds[None, :] == b)
        mask |= one | one.T
    return np.where(mask, A, 0.0)


@explanation("block-share", "Newton with", fitted=1)
def block_share(seen: Observation) -> Iterator[Prediction]:
    """Another share of one block of S or of JᵀJ/M, by the kinds of its parameters, or of all that σ'' enters."""
    point = seen.point
    parts = [("the terms with σ'' (in S)", _block(seen, point.residual_hessian, ("w", "w"), ("w", "η"), ("η", "η")))]
    parts.append(("the terms with σ' in S", _block(seen, point.residual_hessian, ("c", "w"), ("c", "η"))))
    for name, A, pairs in (("S", point.residual_hessian, _PAIRS[1:]), ("JᵀJ", point.gauss_newton, _PAIRS)):
        parts += [(f"the block {a}-{b} of {name}", _block(seen, A, (a, b))) for a, b in pairs]
    for words, part in parts:
        if (found := _share(seen, part)) is not None:
            yield Prediction(found[0], _entering(found[1], words), found[1])


@explanation("coupling-dropped", "Newton,")
def coupling_dropped(seen: Observation) -> Iterator[Prediction]:
    H, g = seen.point.hessian, seen.point.gradient
    for name, part in parts_of(H, *seen.point.theta.shape).items():
        yield Prediction(solved(damped(H - part, seen), -g), f"the coupling {name} dropped")
    for a, b in (("c", "w"), ("c", "η"), ("w", "η")):
        yield Prediction(solved(damped(H - _block(seen, H, (a, b)), seen), -g), f"every coupling {a}-{b} dropped")


# --- neurons ---------------------------------------------------------------------------------------------------------------


def _which_neurons(seen: Sequence[Observation], counts: Sequence[float]) -> str:
    """The last neurons, by how many are in; "" where it is not the last ones."""
    widths = [len(one.point.theta) for one in seen]
    missing = {int(width - abs(kept)) for width, kept in zip(widths, counts, strict=True)}
    if len(missing) == 1 and (many := missing.pop()) > 0:
        which = "the last neuron" if many == 1 else f"the last {many} neurons"
        return f"{which} {'left out' if counts[0] > 0 else 'not moved'}"
    return ""


@explanation("neuron-left-out", "Newton,", together=_which_neurons)
def neuron_left_out(seen: Observation) -> Iterator[Prediction]:
    """One neuron, or the last few: out of the matrix, or only not moved. The value says how many are in, or, negative, move."""
    A, g = damped(seen.point.hessian, seen), seen.point.gradient
    whole, (N, D) = solved(A, -g), seen.point.theta.shape
    which = [(slice(N - 1, N), N - 1.0, "the last neuron")]
    which += [(slice(k, N), float(k), f"the last {N - k} of {N} neurons") for k in range(N - 2, 0, -1)]
    which += [(slice(i, i + 1), math.nan, f"neuron {i + 1} of {N}") for i in range(N - 1)]
    for out, value, words in which:
        rest = np.ones((N, D), bool)
        rest[out] = False
        chosen = rest.reshape(-1)
        alone = np.zeros(N * D)
        alone[chosen] = solved(A[np.ix_(chosen, chosen)], -g[chosen])
        yield Prediction(alone, f"{words} left out", value)
        yield Prediction(np.where(chosen, whole, 0.0), f"{words} not moved", -value)


# --- damping that is not the same for all ----------------------------------------------------------------------------------


@explanation("tensor-damping", "Newton", fitted=3)
def tensor_damping(seen: Observation) -> Iterator[Prediction]:
    """(H + diag(μ))Δ = -g with a μ for each of c, w and η: least squares."""
    kinds, asked = kinds_of(seen.point), seen.point.objective.damping
    masks = [kinds == kind for kind in ("c", "w", "η")]
    right = -(seen.point.hessian @ seen.step + seen.point.gradient)
    sizes = [float(seen.step[mask] @ seen.step[mask]) for mask in masks]
    if not min(sizes) > 0:
        return
    factors = [float(seen.step[m] @ right[m]) / size / asked for m, size in zip(masks, sizes, strict=True)]
    A = seen.point.hessian + asked * np.diag(sum(f * m for f, m in zip(factors, masks, strict=True)))
    shown = ["0" if abs(f) < 1e-9 else f"{round(f, 9):.6g}" for f in factors]
    words = ", ".join(f"{number} on {kind}" for number, kind in zip(shown, ("c", "w", "η"), strict=True))
    yield Prediction(solved(A, -seen.point.gradient), f"with another damping on each tensor: {words} (times the one asked for)")


# --- eigenvalues -----------------------------------------------------------------------------------------------------------


def _floor_words(seen: Sequence[Observation], floors: Sequence[float]) -> str:
    used = [(value, one) for value, one in zip(floors, seen, strict=True) if math.isfinite(value) and value > 0]
    if not used:
        return ""
    values, where = [value for value, _ in used], [one for _, one in used]
    if same(values, where):
        return f"set to at least {values[0]:.4g}"
    shares = [value / one.point.objective.damping for value, one in used]
    if same(shares, where):
        return f"set to at least {told_apart(shares[0])} times the damping"
    return "set to at least a number that varies: " + ", ".join(dict.fromkeys(f"{value:.4g}" for value in values[:4]))


def _floored(seen: Observation, values: Array) -> Iterator[Prediction]:
    """The smallest k of the eigenvalues replaced by one number ε above them, for each k: 1/ε by least squares."""
    _, vectors = eigen(seen)
    order = np.argsort(values)
    along, moved, sorted_values = (vectors.T @ seen.point.gradient)[order], (vectors.T @ seen.step)[order], values[order]
    with np.errstate(all="ignore"):
        exact = -along / sorted_values
    if np.isfinite(exact).all():
        yield Prediction(vectors[:, order] @ exact, "set to at least what all of them are", 0.0)
    for k in range(1, len(values)):
        size = float(along[:k] @ along[:k])
        inverse = -float(along[:k] @ moved[:k]) / size if size else math.nan
        if not inverse > 0 or 1 / inverse < sorted_values[k - 1]:
            continue
        step = np.concatenate([-along[:k] * inverse, exact[k:]])
        if np.isfinite(step).all():
            yield Prediction(vectors[:, order] @ step, f"set to at least {1 / inverse:.4g}", 1 / inverse)


@explanation("eigenvalues-floored", "Newton with the eigenvalues of H + γ_N I", fitted=1, together=_floor_words)
def eigenvalues_floored(seen: Observation) -> Iterator[Prediction]:
    yield from _floored(seen, eigen(seen)[0] + seen.point.objective.damping)


@explanation("magnitudes-floored", "Newton with the absolute eigenvalues of H + γ_N I", fitted=1, together=_floor_words)
def magnitudes_floored(seen: Observation) -> Iterator[Prediction]:
    yield from _floored(seen, np.abs(eigen(seen)[0] + seen.point.objective.damping))


@explanation("flipped-spectrum", "saddle-free Newton, |H + γ_N I|")
def flipped_spectrum(seen: Observation) -> Iterator[Prediction]:
    values, vectors = eigen(seen)
    size = np.abs(values + seen.point.objective.damping)
    with np.errstate(all="ignore"):
        yield Prediction(-vectors @ ((vectors.T @ seen.point.gradient) / size))
