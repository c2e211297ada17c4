"""`indefinite`: the unregularized Hessian of a network wider than its data set has negative eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flint import arb

from nntk_proofs_checks.certify import at_rising_precision
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, unmet
from nntk_proofs_checks.tried import LAW, of_networks
from nntk_reference import Network, Verdict, cholesky, formulas, inertia, sample_network
from nntk_reference.arithmetic import Array, Ball, NotProved

__all__ = ["CLAIM"]

_MOST_POINTS = {Effort.QUICK: 64, Effort.DEFAULT: 96, Effort.FULL: 256}
_MOST_PARAMETERS = {Effort.QUICK: 80, Effort.DEFAULT: 120, Effort.FULL: 240}  # for the inertia of the dense H


@dataclass(frozen=True, eq=False)
class _Case:
    """Proved for one network: `count` negative eigenvalues, of the `required` = k - M."""

    count: int
    required: int


def _float(values: Array) -> Array:
    """Midpoints in float64, divided by the largest: only directions matter here, and they must not over- or underflow."""
    largest = max(abs(v).mid() for v in values.flat)
    return (values / largest if largest > 0 else values).astype(np.float64)


def _negative_directions(S: Array, g: Array) -> Array:
    """Unit vectors vᵢ (N, d+2) with vᵢᵀSᵢvᵢ < 0, where gᵢ ≠ 0: along (τ, -gᵢ/|gᵢ|), τ large enough."""
    size = np.linalg.norm(g, axis=1)
    direction = g / size[:, None]
    curvature = np.einsum("ni,nij,nj->n", direction, S[:, 1:, 1:], direction)
    tau = (np.abs(curvature) + size) / size
    v = np.concatenate([tau[:, None], -direction], axis=1)
    unit: Array = v / np.linalg.norm(v, axis=1)[:, None]
    return unit


def _witness(J: Array, S: Array, active: Array, count: int) -> Array:
    """A float64 basis (P, count) of a space on which H is negative: combinations of the vᵢ that J maps to (nearly) zero."""
    N, D = S.shape[:2]
    blocks = np.array([_float(block) for block in S[active]])
    with np.errstate(all="ignore"):
        directions = _negative_directions(blocks, blocks[:, 0, 1:])
    if not np.isfinite(directions).all():
        raise NotProved("a neuron's block spans more than the range of float64, so no witness was found")
    v = np.zeros((N, D))
    v[active] = directions
    spread = np.zeros((N, D, len(active)))
    spread[active, :, np.arange(len(active))] = v[active]
    W = spread.reshape(N * D, -1)
    null = np.linalg.svd(_float(J) @ W)[2][-count:].T
    basis: Array = W @ null
    return basis


def _case(net: Network, X: Array, y: Array | None, bits: int, most_parameters: int) -> _Case:
    """Proved negative eigenvalues of H for residuals r = f(X) - y; `y=None` puts r = 0, as if the data were reached."""
    ar = Ball(bits)
    M, N = len(X), net.width
    state = formulas.state(ar, net, X)
    r = formulas.outputs(state) - ar.array(y) if y is not None else ar.array(np.zeros(M))
    S = formulas.residual_hessian(state, r)
    J = formulas.jacobian(state).reshape(M, -1)
    if all(v == 0 for v in S.flat):
        return _Case(_negative_of_gram_matrix(J, ar), N - M)
    nonzero = np.array([any(not v.contains(0) for v in block[0, 1:]) for block in S])
    k = int(nonzero.sum())
    if k <= M:
        raise NotProved(f"only {k} of {N} neurons have a proved nonzero Σ r σ' x̃, not more than the {M} points")
    required = k - M
    V = ar.array(_witness(J, S, np.flatnonzero(nonzero), required))
    image = J @ V
    blocks = V.reshape(N, -1, required)
    form = image.T @ image / M + sum(blocks[i].T @ S[i] @ blocks[i] for i in range(N))
    proved = required if cholesky(-form, ar) is not None else 0
    if net.parameters <= most_parameters:
        H = formulas.add_blocks(J.T @ J / M, S)
        counts = inertia(H, ar)
        if counts.undecided == 0:
            return _Case(counts.negative, required)
        proved = max(proved, counts.negative)
    if proved < required:
        raise NotProved(f"{proved} of {required} negative eigenvalues proved at {bits} bits")
    return _Case(proved, required)


def _negative_of_gram_matrix(J: Array, ar: Ball) -> int:
    """Negative eigenvalues of H = JᵀJ/M, which has zero ones too: those below a small -ε, so that all are decided."""
    H = J.T @ J / len(J)
    counts = inertia(formulas.add_diagonal(H, (ar.abs(H).sum() * arb(2) ** -30).mid()), ar)
    if counts.undecided:
        raise NotProved(f"{counts.undecided} eigenvalues of H + εI have no proved sign")
    return counts.negative


def _run(problem: Problem, effort: Effort, *, at_data: bool) -> Finding:
    M, d = problem.X.shape
    most = _MOST_POINTS[effort]
    if most < M:
        return unmet(f"out of reach: {M} points, and it is proved for at most {most} at effort {effort.name.lower()}")

    def attempt(bits: int) -> Finding:
        cases = [
            _case(
                sample_network(
                    M + extra, d, beta=0.75, activation=name, seed=np.random.default_rng([problem.seed, seed]), law=LAW
                ),
                problem.X,
                None if at_data else problem.y,
                bits,
                _MOST_PARAMETERS[effort],
            )
            for seed, (name, extra) in enumerate((a, e) for a in of_networks(effort) for e in (1, 4))
        ]
        worst = min(cases, key=lambda case: case.count - case.required)
        verdict = Verdict.HOLDS if worst.count >= worst.required else Verdict.REFUTED
        why = f"{worst.count} negative eigenvalues of H proved where k - M = {worst.required} are claimed, N = M + 1 and M + 4"
        return Finding(verdict, float(worst.count), "≥", float(worst.required), len(cases), why)

    return at_rising_precision(attempt)


def check(problem: Problem, effort: Effort) -> Finding:
    """The k - M negative eigenvalues of H, by a subspace on which it is proved negative and by the inertia of small cases."""
    return _run(problem, effort, at_data=False)


def control(problem: Problem, effort: Effort) -> Finding:
    """Networks that have reached (at most eight of) the data: r = 0, so S = 0 and H is positive semidefinite."""
    return _run(Problem(problem.X[:8], problem.y[:8], problem.source, problem.seed), effort, at_data=True)


CLAIM = Claim(
    id="indefinite",
    statement="H has at least k - M negative eigenvalues, k = #{i : Σₘ rₘσ'(zᵢ(xₘ))x̃ₘ ≠ 0}; so it is not positive "
    "semidefinite when k > M",
    assumptions="k > M, which takes N > M and r ≠ 0",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason="r = 0: S vanishes and H = JᵀJ/M is positive semidefinite",
)
