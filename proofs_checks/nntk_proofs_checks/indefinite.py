"""`indefinite`: the unregularized Hessian of a network wider than its data set has negative eigenvalues."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat

from nntk_proofs_checks.certify import at_rising_precision
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together, unmet
from nntk_proofs_checks.rational import drawn, negative_eigenvalues
from nntk_proofs_checks.tried import LAW, of_networks
from nntk_reference import Network, Verdict, cholesky, formulas, inertia, sample_network
from nntk_reference.arithmetic import Array, Ball, NotProved
from nntk_reference.linalg import enclose_eigenvalues

__all__ = ["CLAIM"]

_MOST_POINTS = {Effort.QUICK: 64, Effort.DEFAULT: 96, Effort.FULL: 256}
_BALLS = Ball(192)
_DRAWS = {Effort.QUICK: 24, Effort.DEFAULT: 60, Effort.FULL: 240}
_MOST_PARAMETERS = {Effort.QUICK: 80, Effort.DEFAULT: 120, Effort.FULL: 240}  # for the inertia of the dense H


@dataclass(frozen=True, eq=False)
class _Case:
    """Proved of one network: H has at least `least` and at most `most` negative eigenvalues; `required` = k - M.

    Of proofs that contradict each other one is false, and nothing is proved.
    reason  why no more is proved.
    """

    least: int
    most: int
    required: int
    reason: str

    @property
    def verdict(self) -> Verdict:
        if self.most < self.least:
            return Verdict.UNDECIDED
        if self.least >= self.required:
            return Verdict.HOLDS
        return Verdict.REFUTED if self.most < self.required else Verdict.UNDECIDED


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


def _claimed(k: int, M: int) -> int:
    """So many negative eigenvalues H has at least."""
    return k - M


def _slopes(state: formulas.State, r: Array) -> Array:
    """gᵢ = Σₘ rₘσ'(zᵢ(xₘ))x̃ₘ (N, d+1), from its definition and not from Sᵢ."""
    g: Array = (state.slope * r[:, None]).T @ state.inputs
    return g


def _zero(values: Array) -> bool:
    return all(v == 0 for v in values.flat)


def _case(net: Network, X: Array, y: Array, bits: int, most_parameters: int, *, reached: bool = False) -> _Case:
    """Bounds of neg(H) against k - M, k for the residuals r = f(X) - y. H has these, too, but for `reached`: then r = 0 in it.

    From below by a space on which H is proved negative, from above by neg(S), since H = S + JᵀJ/M; for few parameters from both
    sides by the inertia of H. Raises NotProved where `bits` leave k open.
    """
    ar = Ball(bits)
    M, N = len(X), net.width
    state = formulas.state(ar, net, X)
    r = formulas.outputs(state) - ar.array(y)
    g = _slopes(state, r)
    nonzero = np.array([any(not v.contains(0) for v in row) for row in g])
    if any(not _zero(row) for row in g[~nonzero]):
        raise NotProved(f"{int((~nonzero).sum())} of {N} neurons have no proved nonzero Σ r σ' x̃")
    k = int(nonzero.sum())
    required = _claimed(k, M)
    if required <= 0:
        raise NotProved(f"Σ r σ' x̃ ≠ 0 for {k} of {N} neurons, not more than the {M} points")
    J = formulas.jacobian(state).reshape(M, -1)
    own = formulas.residual_hessian(state, r)
    S = formulas.residual_hessian(state, 0 * r) if reached else own
    most = sum(int(not v >= 0) for block in S for v in enclose_eigenvalues(block))
    reason = ""
    try:
        least = _proved_negative(J, own, S, np.flatnonzero(nonzero), required, ar)
    except NotProved as error:
        least, reason = 0, f": {error}"
    if net.parameters <= most_parameters:
        counts = inertia(formulas.add_blocks(J.T @ J / M, S), ar)
        least, most = max(least, counts.negative), min(most, counts.negative + counts.undecided)
    return _Case(
        least, most, required, f"{least} of {required} negative eigenvalues proved at {bits} bits, at most {most}{reason}"
    )


def _proved_negative(J: Array, own: Array, S: Array, active: Array, count: int, ar: Ball) -> int:
    """`count` if H = JᵀJ/M + S is proved negative on the space that `own` blocks give, else 0."""
    V = ar.array(_witness(J, own, active, count))
    image = J @ V
    blocks = V.reshape(len(S), -1, count)
    form = image.T @ image / len(J) + sum(blocks[i].T @ S[i] @ blocks[i] for i in range(len(S)))
    return count if cholesky(-form, ar) is not None else 0


def _run(problem: Problem, effort: Effort, *, reached: bool = False) -> Finding:
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
                problem.y,
                bits,
                _MOST_PARAMETERS[effort],
                reached=reached,
            )
            for seed, (name, extra) in enumerate((a, e) for a in of_networks(effort) for e in (1, 4))
        ]
        refuted = [case for case in cases if case.verdict is Verdict.REFUTED]
        undecided = [case for case in cases if case.verdict is Verdict.UNDECIDED]
        if undecided and not refuted:
            raise NotProved(undecided[0].reason)
        if refuted:
            worst = min(refuted, key=lambda case: case.most - case.required)
            number, verdict, what = worst.most, Verdict.REFUTED, f"at most {worst.most}"
        else:
            worst = min(cases, key=lambda case: case.least - case.required)
            number, verdict, what = worst.least, Verdict.HOLDS, f"at least {worst.least}"
        why = f"{what} negative eigenvalues of H proved where k - M = {worst.required} are claimed, N = M + 1 and M + 4"
        return Finding(verdict, float(number), "≥", float(worst.required), len(cases), why)

    return at_rising_precision(attempt)


def _attained(rng: np.random.Generator, M: int, active: int, d: int) -> tuple[formulas.State, Array]:
    """A rational state and its residuals where H has k - M negative eigenvalues and no more, k = `active` of more neurons.

    Any activation takes any values somewhere. With rₘcᵢσ'' > 0 no Sᵢ is negative on more than a line, and with small σ' and
    smaller r these lines are those of c, of which the M independent rows of σ in J take one each. Two neurons more have σ = 0
    and Σ rₘσ'x̃ₘ = 0: the first as σ' = 0, the second (but for M = 1) as two points with the same input balance.
    """
    N = active + 2
    inputs = formulas.augmented(drawn(rng, M, d))
    inputs[: min(M, 2)] = inputs[0]
    value, slope, curvature = (drawn(rng, M, N) for _ in range(3))
    c, r = drawn(rng, N), drawn(rng, M)
    sign = np.array([[1 if a * b > 0 else -1 for a in c] for b in r])
    curvature, slope = abs(curvature) * sign, slope / fmpq(10**6)
    value[:, active:] = slope[:, active] = fmpq(0)
    slope[2:, active + 1] = fmpq(0)
    slope[: min(M, 2), active + 1] = fmpq(0) if M == 1 else np.array([r[1], -r[0]]) / fmpq(10**6)
    return formulas.State(fmpq(1, int(rng.integers(2, 9))), c, inputs, value, slope, curvature), r / fmpq(10**12)


def _over_rationals(effort: Effort) -> Finding:
    """That k - M cannot be larger, whatever M, and k not smaller: states in which it is attained, exactly.

    The inertia over balls, on which the networks' verdicts rest, must not contradict the exact one there; H is singular.
    """
    rng, gaps = np.random.default_rng(20260508), list[int]()
    for M, extra, d in itertools.islice(itertools.cycle(itertools.product((1, 2, 3), (1, 2), (1, 2))), _DRAWS[effort]):
        state, r = _attained(rng, M, M + extra, d)
        k = sum(not _zero(row) for row in _slopes(state, r))
        H = formulas.hessian(state, r)
        found = negative_eigenvalues(fmpq_mat(H.tolist()))
        gaps.append(found - _claimed(k, M))
        with ctx.workprec(_BALLS.bits):
            counts = inertia(np.array([arb(v) for v in H.flat], dtype=object).reshape(H.shape), _BALLS)
        if not counts.negative <= found <= counts.negative + counts.undecided:
            why = f"{counts.negative} negative eigenvalues by the inertia over balls, and exactly {found}"
            return Finding(Verdict.REFUTED, float(counts.negative), "=", float(found), len(gaps), why)
    verdict = Verdict.REFUTED if min(gaps) < 0 else Verdict.UNDECIDED if any(gaps) else Verdict.HOLDS
    why = f"of states made to have k - M negative eigenvalues, {gaps.count(0)} of {len(gaps)} have, the least {min(gaps)} more"
    return Finding(verdict, float(min(gaps)), "≥", 0.0, len(gaps), why)


def check(problem: Problem, effort: Effort) -> Finding:
    """The k - M negative eigenvalues of H, by a subspace on which it is proved negative and by the inertia of small cases."""
    networks = _run(problem, effort)
    return together({"networks": networks, "over the rationals": _over_rationals(effort)}) if networks.applies else networks


def control(problem: Problem, effort: Effort) -> Finding:
    """The same networks once they have reached (at most eight of) the data: r = 0 in H, k as before.

    Refuted counts only if the statement holds for these networks before that: an S that is 0 refutes it, too.
    """
    few = Problem(problem.X[:8], problem.y[:8], problem.source, problem.seed)
    found, before = _run(few, effort, reached=True), _run(few, effort)
    if found.verdict is Verdict.REFUTED and before.verdict is not Verdict.HOLDS:
        return Finding.undecided(f"{found.why}; but not for the reason stated, as with r ≠ 0 {before.why}", cases=found.cases)
    return found


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
