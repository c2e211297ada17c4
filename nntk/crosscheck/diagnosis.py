"""What a step is, when it is not the one asked for: a catalogue of known steps, and the nearest of them.

Steps are observed on definite and on indefinite systems, and one after another. An explanation predicts the step, with at most
a few numbers fitted to it; the simplest one that is as good as the best, within a factor of three, is reported with its error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nntk.crosscheck.case import Case, Point, case, solved
from nntk.crosscheck.checks.coupling import parts_of
from nntk.crosscheck.setting import Setting
from nntk.crosscheck.subject import SubjectError
from nntk_reference.arithmetic import Array

__all__ = ["EXPLANATIONS", "Diagnosis", "Explanation", "Observation", "diagnose", "explain"]

Prediction = tuple[Array, str]
"""A step (P,), and in words what was fitted."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A step Δ (P,) seen at a point, with the observations before it in the same run, oldest first.

    `evaluations` counts the calls of the closure in it.
    """

    point: Point
    step: Array
    earlier: tuple[Observation, ...] = ()
    dtype: str = "float64"
    evaluations: int = 1
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """An entry of the catalogue. `fitted` is how many numbers its predictions take from the step itself."""

    id: str
    words: str
    fitted: int
    predict: Callable[[Observation], Iterator[Prediction]]


@dataclass(frozen=True)
class Diagnosis:
    """What the steps of one group are.

    group     "definite", "indefinite" or "consecutive".
    id        of the nearest explanation; "refused" where every step was refused, "mixed" where steps differ in kind, "unknown".
    words     the sentence to report; error is the largest relative error of the explanation over the group's steps.
    explained whether it explains them to rounding.
    """

    group: str
    id: str
    words: str
    error: float
    explained: bool
    steps: int


# --- the catalogue -------------------------------------------------------------------------------------------------------


def _damped(A: Array, o: Observation) -> Array:
    return np.asarray(A + o.point.problem.damping * np.eye(len(A)))


def _eigen(o: Observation) -> tuple[Array, Array]:
    if "eigen" not in o.cache:
        o.cache["eigen"] = np.linalg.eigh(o.point.hessian)
    values, vectors = o.cache["eigen"]
    return values, vectors


def _same_neuron(o: Observation) -> Array:
    N, D = o.point.theta.shape
    return np.kron(np.eye(N), np.ones((D, D)))


def _same_tensor(o: Observation) -> Array:
    N, D = o.point.theta.shape
    kinds = np.tile([0, *[1] * (D - 2), 2], N)
    return np.asarray(kinds[:, None] == kinds[None, :], np.float64)


def _saddle_free(o: Observation) -> Array:
    values, vectors = _eigen(o)
    return np.asarray((vectors * np.abs(values)) @ vectors.T)


def _clipped(o: Observation) -> Array:
    values, vectors = _eigen(o)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def _fisher(o: Observation) -> Array:
    p = o.point
    rows = p.jacobian * p.residual[:, None]
    return np.asarray(rows.T @ rows / len(rows))


MATRICES: dict[str, tuple[str, Callable[[Observation], Array]]] = {
    "newton": ("exact Newton", lambda o: o.point.hessian),
    "gauss-newton": ("Gauss–Newton (no residual term S)", lambda o: o.point.gauss_newton),
    "diagonal": ("diagonal Newton", lambda o: np.diag(np.diag(o.point.hessian))),
    "absolute-diagonal": ("diagonal Newton with |diag H|", lambda o: np.diag(np.abs(np.diag(o.point.hessian)))),
    "diagonal-gauss-newton": ("diagonal Gauss–Newton", lambda o: np.diag(np.diag(o.point.gauss_newton))),
    "per-tensor": ("per-tensor block Newton (c, w and η each on their own)", lambda o: o.point.hessian * _same_tensor(o)),
    "per-neuron": ("per-neuron block Newton", lambda o: o.point.hessian * _same_neuron(o)),
    "per-tensor-gauss-newton": ("per-tensor block Gauss–Newton", lambda o: o.point.gauss_newton * _same_tensor(o)),
    "per-neuron-gauss-newton": ("per-neuron block Gauss–Newton", lambda o: o.point.gauss_newton * _same_neuron(o)),
    "saddle-free": ("saddle-free Newton, |H|", _saddle_free),
    "clipped-eigenvalues": ("Newton with negative eigenvalues of H set to zero", _clipped),
    "empirical-fisher": ("natural gradient with the empirical Fisher matrix", _fisher),
    "residual-term-only": ("Newton with S alone (no JᵀJ)", lambda o: o.point.residual_hessian),
}


def _with_damping(name: str) -> Callable[[Observation], Iterator[Prediction]]:
    def predict(o: Observation) -> Iterator[Prediction]:
        yield solved(_damped(MATRICES[name][1](o), o), -o.point.gradient), ""

    return predict


def _at_own_damping(name: str, rate: bool) -> Callable[[Observation], Iterator[Prediction]]:
    """(A + μI)Δ = -αg: least squares for μ, and for α where `rate`."""

    def predict(o: Observation) -> Iterator[Prediction]:
        A, g = MATRICES[name][1](o), o.point.gradient
        columns = np.column_stack([o.step, g] if rate else [o.step])
        right = -(A @ o.step) - (0 if rate else g)
        fit, *_ = np.linalg.lstsq(columns, right, rcond=None)
        mu, alpha = float(fit[0]), float(fit[1]) if rate else 1.0
        asked = o.point.problem.damping
        words = f"at {_times(mu / asked)} the damping asked for{_cause(mu / asked, len(o.point.problem.y))}"
        if rate:
            words += f" and step size {alpha:.4g}"
        yield solved(A + mu * np.eye(len(A)), -alpha * g), words

    return predict


def _times(ratio: float) -> str:
    if abs(ratio) <= 1e-9:
        return "0 times"
    return f"{ratio:.6g} times" if abs(ratio - 1) > 1e-5 else f"(1 {'+' if ratio > 1 else '-'} {abs(ratio - 1):.2g}) times"


def _cause(ratio: float, points: int) -> str:
    causes = (
        (1 / points, "the loss is summed over the points, not averaged"),
        (0.5, "the loss lacks the factor 1/2"),
        (0.0, "it is ignored"),
    )
    return next((f" ({why})" for value, why in causes if points > 1 and abs(ratio - value) < 1e-6), "")


def _scaled(predict: Callable[[Observation], Iterator[Prediction]], what: str) -> Callable[[Observation], Iterator[Prediction]]:
    def scaled(o: Observation) -> Iterator[Prediction]:
        for step, _ in predict(o):
            size = float(step @ step)
            factor = float(step @ o.step) / size if 0 < size < math.inf else math.nan
            yield factor * step, f"times {factor:.6g}{what}"

    return scaled


def _gradient(o: Observation) -> Iterator[Prediction]:
    yield -o.point.gradient, ""


def _sign(o: Observation) -> Iterator[Prediction]:
    yield -np.sign(o.point.gradient), ""


def _adaptive(o: Observation) -> Iterator[Prediction]:
    """-αg/(|g| + ε), the first step of Adam and its kin: 1/|Δ| = (1 + ε/|g|)/α, by least squares."""
    g, size = np.abs(o.point.gradient), np.abs(o.step)
    if not (g > 0).all() or not (size > 0).all():
        return
    (offset, slope), *_ = np.linalg.lstsq(np.column_stack([np.ones_like(g), 1 / g]), 1 / size, rcond=None)
    if offset > 0:
        words = f"g/(|g| + {slope / offset:.2g}) times {1 / offset:.4g}"
        yield -np.sign(o.point.gradient) / (offset + slope / g), words


def _zero(o: Observation) -> Iterator[Prediction]:
    yield np.zeros_like(o.step), ""


def _levenberg(scaling: Callable[[Observation], Array]) -> Callable[[Observation], Iterator[Prediction]]:
    def predict(o: Observation) -> Iterator[Prediction]:
        A, mu = scaling(o), o.point.problem.damping
        yield solved(A + mu * np.diag(np.diag(A)), -o.point.gradient), ""

    return predict


def _marquardt_newton(o: Observation) -> Iterator[Prediction]:
    p = o.point
    yield solved(p.hessian + p.problem.damping * np.diag(np.diag(p.gauss_newton)), -p.gradient), ""


def _residual_share(o: Observation) -> Iterator[Prediction]:
    """(JᵀJ/M + sS + γ_N)Δ = -g: least squares for s."""
    p = o.point
    column, right = p.residual_hessian @ o.step, -p.gradient - _damped(p.gauss_newton, o) @ o.step
    size = float(column @ column)
    share = float(column @ right) / size if size else math.nan
    named = {0.5: "half the residual term S", -1.0: "the residual term S with the wrong sign", 2.0: "twice the residual term S"}
    words = next((name for value, name in named.items() if abs(share - value) < 1e-4), f"{share:.6g} times the residual term S")
    yield solved(_damped(p.gauss_newton + share * p.residual_hessian, o), -p.gradient), words


def _dropped(o: Observation) -> Iterator[Prediction]:
    H = o.point.hessian
    parts = parts_of(H, *o.point.theta.shape)
    for name, part in parts.items():
        yield solved(_damped(H - part, o), -o.point.gradient), f"the coupling {name} dropped"
    kinds = np.tile(["c", *["w"] * (o.point.theta.shape[1] - 2), "η"], len(o.point.theta))
    for a, b in (("c", "w"), ("c", "η"), ("w", "η")):
        cross = (kinds[:, None] == a) & (kinds[None, :] == b)
        yield solved(_damped(np.where(cross | cross.T, 0.0, H), o), -o.point.gradient), f"every coupling {a}-{b} dropped"


def _conjugate_gradients(name: str) -> Callable[[Observation], Iterator[Prediction]]:
    def predict(o: Observation) -> Iterator[Prediction]:
        A, b = _damped(MATRICES[name][1](o), o), -o.point.gradient
        x, r = np.zeros_like(b), b.copy()
        p = r.copy()
        for k in range(1, len(b)):
            Ap = A @ p
            curvature = float(p @ Ap)
            if curvature == 0 or not np.isfinite(curvature):
                return
            old = float(r @ r)
            a = old / curvature
            x, r = x + a * p, r - a * Ap
            p = r + (float(r @ r) / old) * p if old else r
            residual = float(np.linalg.norm(A @ x - b) / (np.linalg.norm(b) or 1.0))
            if residual < 1e-13:
                return
            yield x.copy(), f"stopped after {k} iteration{'s' if k > 1 else ''}, residual {residual:.2g}"

    return predict


def _neuron_left_out(o: Observation) -> Iterator[Prediction]:
    A, g = _damped(o.point.hessian, o), o.point.gradient
    whole, (N, D) = solved(A, -g), o.point.theta.shape
    for i in range(N):
        rest = np.ones(N * D, bool)
        rest[i * D : (i + 1) * D] = False
        alone = np.zeros(N * D)
        alone[rest] = solved(A[np.ix_(rest, rest)], -g[rest])
        yield alone, f"neuron {i + 1} of {N} left out"
        yield np.where(rest, whole, 0.0), f"neuron {i + 1} of {N} not moved"


def _subsets(o: Observation) -> Iterator[Prediction]:
    p, M = o.point.problem, len(o.point.problem.y)
    chosen = [(np.delete(np.arange(M), m), f"data point {m + 1} of {M} left out") for m in range(M)]
    chosen += [(np.arange(k), f"on the first {k} of {M} data points (a batch)") for k in range(1, M)]
    chosen += [(np.append(np.arange(M), m), f"data point {m + 1} of {M} counted twice") for m in range(M)]
    for rows, words in chosen:
        if not len(rows):
            continue
        for share, note in ((1.0, ""), (len(rows) / M, ", averaged over all")):
            part = replace(p, X=p.X[rows], y=p.y[rows]).at(o.point.theta)
            A = share * part.hessian + p.damping * np.eye(o.step.size)
            yield solved(A, -share * part.gradient), words + note


def _stale(o: Observation) -> Iterator[Prediction]:
    for age, old in enumerate(reversed(o.earlier), start=1):
        words = f"with the curvature of {age} step{'s' if age > 1 else ''} before"
        yield solved(_damped(old.point.hessian, o), -o.point.gradient), words
        yield solved(_damped(old.point.hessian, o), -old.point.gradient), words.replace("curvature", "curvature and gradient")


def _twice(o: Observation) -> Iterator[Prediction]:
    total = np.zeros_like(o.step)
    for k in range(1, 4):
        with np.errstate(all="ignore"):
            theta = o.point.theta + total.reshape(o.point.theta.shape)
        if not np.isfinite(theta).all():
            return
        total = total + o.point.problem.at(theta).newton.step
        if k > 1:
            yield total.copy(), f"{k} Newton steps in one call"


def _momentum(of: str) -> Callable[[Observation], Iterator[Prediction]]:
    def predict(o: Observation) -> Iterator[Prediction]:
        if not o.earlier:
            return
        past = o.earlier[-1].step
        base = o.point.newton.step if of == "newton" else -o.point.gradient
        columns = np.column_stack([past] if of == "newton" else [past, base])
        fit, *_ = np.linalg.lstsq(columns, o.step - (base if of == "newton" else 0), rcond=None)
        share = float(fit[0])
        if of == "newton":
            yield base + share * past, f"plus {share:.6g} times the step before (momentum)"
        else:
            yield columns @ fit, f"times {float(fit[1]):.4g}, plus {share:.4g} times the step before (momentum)"

    return predict


def _decay(o: Observation) -> Iterator[Prediction]:
    theta, base = o.point.theta.reshape(-1), o.point.newton.step
    rate = -float(theta @ (o.step - base)) / float(theta @ theta)
    yield base - rate * theta, f"with weight decay {rate:.6g}, decoupled"


def _penalty(o: Observation) -> Iterator[Prediction]:
    theta, A = o.point.theta.reshape(-1), o.point.newton.matrix
    rate = -float(theta @ (A @ o.step + o.point.gradient)) / float(theta @ theta)
    yield solved(A, -o.point.gradient - rate * theta), f"with {rate:.6g} θ added to the gradient (weight decay)"


def _entries_clipped(o: Observation) -> Iterator[Prediction]:
    bound = float(np.abs(o.step).max())
    yield np.clip(o.point.newton.step, -bound, bound), f"with its entries clipped to {bound:.4g}"


def _catalogue() -> list[Explanation]:
    plain = [Explanation(name, words, 0, _with_damping(name)) for name, (words, _) in MATRICES.items()]
    newton, gauss = _with_damping("newton"), _with_damping("gauss-newton")
    others = [
        Explanation("zero", "a zero step", 0, _zero),
        Explanation("gradient", "a gradient step", 0, _gradient),
        Explanation(
            "levenberg-marquardt",
            "Levenberg–Marquardt, damping times diag(JᵀJ/M)",
            0,
            _levenberg(lambda o: o.point.gauss_newton),
        ),
        Explanation("scaled-damping", "Newton, damping times diag(H)", 0, _levenberg(lambda o: o.point.hessian)),
        Explanation("marquardt-newton", "Newton with Levenberg–Marquardt's damping times diag(JᵀJ/M)", 0, _marquardt_newton),
        Explanation("coupling-dropped", "Newton,", 0, _dropped),
        Explanation("neuron-left-out", "Newton,", 0, _neuron_left_out),
        Explanation("data-subset", "Newton,", 0, _subsets),
        Explanation("stale", "Newton", 0, _stale),
        Explanation("several-steps", "", 0, _twice),
        Explanation("cg", "CG on H + γ_N I", 0, _conjugate_gradients("newton")),
        Explanation("cg-gauss-newton", "CG on JᵀJ/M + γ_N I", 0, _conjugate_gradients("gauss-newton")),
        Explanation("residual-share", "Newton with", 1, _residual_share),
        Explanation("newton-damping", "Newton", 1, _at_own_damping("newton", False)),
        Explanation("gauss-newton-damping", "Gauss–Newton (no residual term S)", 1, _at_own_damping("gauss-newton", False)),
        Explanation("scaled-newton", "the exact Newton step", 1, _scaled(newton, " (step size, or a clipped norm)")),
        Explanation("scaled-gauss-newton", "the Gauss–Newton step", 1, _scaled(gauss, "")),
        Explanation("scaled-gradient", "a gradient step", 1, _scaled(_gradient, "")),
        Explanation("sign", "the sign of the gradient", 1, _scaled(_sign, "")),
        Explanation("momentum", "Newton", 1, _momentum("newton")),
        Explanation("weight-decay", "Newton", 1, _decay),
        Explanation("penalty", "Newton", 1, _penalty),
        Explanation("entries-clipped", "Newton", 1, _entries_clipped),
        Explanation("gradient-momentum", "a gradient step", 2, _momentum("gradient")),
        Explanation("adaptive", "the sign of the gradient, smoothed (Adam's first step):", 2, _adaptive),
    ]
    blocks = (
        "diagonal",
        "absolute-diagonal",
        "diagonal-gauss-newton",
        "per-tensor",
        "per-neuron",
        "saddle-free",
        "clipped-eigenvalues",
    )
    others += [Explanation(f"{name}-damping", MATRICES[name][0], 1, _at_own_damping(name, False)) for name in blocks]
    others += [Explanation(f"scaled-{name}", MATRICES[name][0], 1, _scaled(_with_damping(name), "")) for name in blocks]
    others += [
        Explanation("newton-damping-rate", "Newton", 2, _at_own_damping("newton", True)),
        Explanation("gauss-newton-damping-rate", "Gauss–Newton (no residual term S)", 2, _at_own_damping("gauss-newton", True)),
    ]
    return sorted(plain + others, key=lambda e: e.fitted)


EXPLANATIONS = tuple(_catalogue())
"""The catalogue, the simplest first."""


# --- which entry it is ---------------------------------------------------------------------------------------------------


def _best(e: Explanation, o: Observation) -> tuple[float, str]:
    """(relative error of its best prediction, what was fitted)."""
    size = float(np.linalg.norm(o.step))
    best = (math.inf, "")
    with np.errstate(all="ignore"):
        for predicted, words in e.predict(o):
            error = float(np.linalg.norm(predicted - o.step)) / (size or max(float(np.linalg.norm(predicted)), 1e-300))
            if error < best[0]:
                best = (error, words)
    if size == 0:
        return (0.0 if e.id == "zero" else math.inf, best[1])
    return best


def _rounding(o: Observation) -> float:
    """What rounding alone may make of any of these steps: ten times the exact steps' limits."""
    return 10 * max(o.point.newton.limit(o.dtype), o.point.gauss_newton_target.limit(o.dtype))


def explain(group: str, observations: Sequence[Observation]) -> Diagnosis:
    """The simplest explanation of all the steps that is as good as the best."""
    table = {e.id: [_best(e, o) for o in observations] for e in EXPLANATIONS}
    worst = {id: max(error for error, _ in row) for id, row in table.items()}
    best = min(worst.values())
    floors = [_rounding(o) for o in observations]
    if best > max(floors):
        mixed = _mixture(group, observations, table, floors)
        if mixed is not None:
            return mixed
    chosen = next(
        e
        for e in EXPLANATIONS
        if worst[e.id] <= 3 * best or all(error <= floor for (error, _), floor in zip(table[e.id], floors, strict=True))
    )
    explained = all(error <= floor for (error, _), floor in zip(table[chosen.id], floors, strict=True))
    words = _sentence(chosen, table[chosen.id])
    error = worst[chosen.id]
    if chosen.id == "newton" and not explained and error < 0.5:
        return Diagnosis(group, *_inexact(observations, error), error, False, len(observations))
    if explained:
        return Diagnosis(group, chosen.id, f"{words}, to {error:.1e}", error, True, len(observations))
    if error < 0.05:
        return Diagnosis(
            group, chosen.id, f"nearest: {words}, but for a relative error of {error:.2g}", error, False, len(observations)
        )
    return Diagnosis(
        group,
        "unknown",
        f"{_angles(observations)}; nearest in the catalogue: {words} (relative error {error:.2g})",
        error,
        False,
        len(observations),
    )


def _mixture(
    group: str, observations: Sequence[Observation], table: dict[str, list[tuple[float, str]]], floors: Sequence[float]
) -> Diagnosis | None:
    """Steps of several kinds, each explained to rounding."""
    labels, error = [], 0.0
    for k, floor in enumerate(floors):
        good = [e for e in EXPLANATIONS if table[e.id][k][0] <= floor]
        if not good:
            return None
        labels.append(_sentence(good[0], [table[good[0].id][k]]))
        error = max(error, table[good[0].id][k][0])
    counts = Counter(labels)
    words = "; ".join(f"{count} of {len(labels)} steps: {label}" for label, count in counts.most_common(4))
    return Diagnosis(group, "mixed", words, error, True, len(observations))


def _sentence(e: Explanation, row: Sequence[tuple[float, str]]) -> str:
    """The explanation with what was fitted; of different values the first and how they vary."""
    details = list(dict.fromkeys(words for _, words in row if words))
    shown = details[0] if details else ""
    if len(details) > 1:
        shown += f" (elsewhere: {'; '.join(details[1:3])}{'; …' if len(details) > 3 else ''})"
    return " ".join(filter(None, (e.words, shown)))


def _inexact(observations: Sequence[Observation], error: float) -> tuple[str, str]:
    """(id, words) of steps that are Newton's but for an error: float32 inside, an unfinished solve, or noise."""
    single = [o.point.newton.matrix.astype(np.float32) for o in observations]
    lost = [
        float(np.linalg.norm(solved(A, -o.point.gradient.astype(np.float32)).astype(np.float64) - o.point.newton.step))
        / float(np.linalg.norm(o.point.newton.step))
        for A, o in zip(single, observations, strict=True)
    ]
    errors = [o.point.newton.error(o.step) for o in observations]
    bits = all(np.array_equal(o.step, o.step.astype(np.float32)) for o in observations)
    ratios = [e / max(s, 2.0**-26) for e, s in zip(errors, lost, strict=True)]
    dtype = observations[0].dtype
    if dtype == "float64" and (bits or 0.1 < float(np.median(ratios)) < 10) and max(errors) < 1e-3:
        return "float32", f"Newton in float32: the step is exact to {error:.1e} only, as a float32 solve would be"
    residual = max(
        float(np.linalg.norm(o.point.newton.matrix @ o.step + o.point.gradient) / np.linalg.norm(o.point.gradient))
        for o in observations
    )
    return "inexact", f"Newton, not solved exactly or with noise: relative error {error:.1e}, relative residual {residual:.1e}"


def _angles(observations: Sequence[Observation]) -> str:
    def cosine(a: Array, b: Array) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0))

    newton = [cosine(o.step, o.point.newton.step) for o in observations]
    descent = [cosine(o.step, -o.point.gradient) for o in observations]
    calls = max(o.evaluations for o in observations)
    often = f", with up to {calls} evaluations of the loss in one step" if calls > 1 else ""
    return (
        f"no step of the catalogue{often} (cosine to Newton's {float(np.median(newton)):.2f}, "
        f"to the negative gradient {float(np.median(descent)):.2f}, medians)"
    )


# --- what is observed ----------------------------------------------------------------------------------------------------

# With more points than parameters, so that matrices without damping can be told as well; and with fewer.
_MANY = ((3, 2, 14, "tanh"), (4, 2, 18, "sin"), (6, 1, 20, "tanh"))
_FEW = ((4, 2, 5, "tanh"), (6, 2, 4, "tanh"), (5, 2, 7, "sin"))


def diagnose(setting: Setting) -> list[Diagnosis]:
    """Observe first steps on three definite and three indefinite systems, and six in a row twice; explain each group."""
    found = []
    plan = (("definite", ["definite"] * 3, _MANY), ("indefinite", ["indefinite", "ascent", "ascent"], _FEW))
    for group, kinds, sizes in plan:
        cases = [case(kind, *size, seed=setting.seed, dtype=setting.dtype) for kind, size in zip(kinds, sizes, strict=True)]
        found.append(_group(setting, group, cases, 1))
    cases = [case("definite", *size, seed=setting.seed + 1, dtype=setting.dtype) for size in _FEW[:2]]
    found.append(_group(setting, "consecutive", cases, 6))
    return found


def _group(setting: Setting, group: str, cases: Sequence[Case], steps: int) -> Diagnosis:
    seen: list[Observation] = []
    refusal = ""
    for at in cases:
        try:
            seen += _observed(setting, at, steps)
        except SubjectError as error:
            refusal = refusal or str(error)
    if not seen:
        return Diagnosis(group, "refused", f"refused: {refusal}" if refusal else "no finite step", 0.0, bool(refusal), 0)
    told = explain(group, seen)
    return replace(told, words=f"{told.words}; refused elsewhere: {refusal}") if refusal else told


def _observed(setting: Setting, at: Case, steps: int) -> list[Observation]:
    session = setting.start(at)
    run: list[Observation] = []
    for _ in range(steps):
        before, calls = session.theta, getattr(session, "closure_calls", 0)
        session.step()
        calls = getattr(session, "closure_calls", 0) - calls
        with np.errstate(all="ignore"):
            step = (session.theta - before).reshape(-1)
        if not np.isfinite(step).all() or np.linalg.norm(step) > 1e6:
            break
        run.append(Observation(at.problem.at(before), step, tuple(run), setting.dtype, calls))
    return run
