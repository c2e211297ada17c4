"""`positive-definite`: beyond the width condition (E16) the damped Hessian stays positive definite during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from flint import ctx

from nntk_accelerated import NewtonStep, RequiredGamma, ShallowNet, newton_step, required_gamma, sufficient_gamma
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together
from nntk_proofs_checks.ensemble import draw_network, standardized, to_torch
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.wide import affordable
from nntk_reference import Ball, Network, Verdict, formulas, hessian, inertia, positive_definite, regularization
from nntk_reference import newton_step as reference_step
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_BETAS = (0.52, 0.75)
_WIDTHS = {
    Effort.QUICK: (2**10, 10**4),
    Effort.DEFAULT: (2**10, 10**4, 10**5),
    Effort.FULL: (2**10, 10**4, 10**5, 10**6),
}
_STEPS = {Effort.QUICK: 3, Effort.DEFAULT: 5, Effort.FULL: 8}
_WORK = {Effort.QUICK: 3e7, Effort.DEFAULT: 3e8, Effort.FULL: 3e9}  # N(d+2)M² of a step
_PARAMETERS = {Effort.QUICK: 36, Effort.DEFAULT: 48, Effort.FULL: 72}  # of the networks whose dense H goes through balls
_BEYOND = 1.25  # γ, in units of the largest bound (E16) of the run
_RESTARTS = 6
_BELOW = 50  # (E16) over γ in the control
_HALVINGS = 10  # of that γ at most, as long as H + γ_N I is positive definite with it
_INSIDE = 1 + 2.0**-20  # just beyond (E16)
_SAME = 1e-9  # relative: the rounding errors of (E16) from some thousand operations are far below, any wrong factor far beyond
_BALL = Ball(128)


@dataclass(frozen=True)
class _State:
    """What is known of H + γ_N I at one step: E16's bound on γ there, the verdict and a proved lower bound of λ_min/γ_N."""

    sufficient: float
    verdict: Verdict
    margin: float
    negative: int
    why: str


@dataclass(frozen=True)
class _Run:
    label: str
    gamma: float
    states: tuple[_State, ...]
    restarts: int = 0


_VERDICTS = {"positive definite": Verdict.HOLDS, "indefinite": Verdict.REFUTED, "undecided": Verdict.UNDECIDED}


def _state(net: ShallowNet, gamma: float, needed: RequiredGamma, step: NewtonStep) -> _State:
    """One step's certificate, held against the exact threshold of γ and against the damping that was asked for."""
    certificate = step.certificate
    verdict, margin, why = _VERDICTS[certificate.verdict], certificate.margin, certificate.reason
    damping = regularization(gamma, net.width, net.beta)
    if abs(step.damping - damping) > 1e-12 * damping:
        verdict, why = Verdict.REFUTED, f"the step's damping is {step.damping:.6g}, and γ N^(1-2β) = {damping:.6g}"
    elif needed.proved and needed.lower > needed.sufficient:
        verdict, why = Verdict.REFUTED, f"indefinite at γ = {needed.lower:.6g}, where (E16) asks for {needed.sufficient:.6g}"
    elif needed.proved:
        margin = max(margin, 1 - needed.upper / gamma)
    return _State(needed.sufficient, verdict, margin, certificate.at_least, why)


def _train(net: Network, X: Array, y: Array, gamma: float, steps: int) -> tuple[_State, ...]:
    """The states before each of `steps` exact Newton steps with α = 1; they end where one is not positive definite."""
    moving, inputs, targets = to_torch(net), torch.tensor(X), torch.tensor(y)
    states: list[_State] = []
    for _ in range(steps):
        step = newton_step(moving, inputs, targets, gamma)
        states.append(_state(moving, gamma, required_gamma(moving, inputs, targets, rtol=0.01), step))
        if states[-1].verdict is not Verdict.HOLDS:
            break
        moving.move_(step.update)
    return tuple(states)


def _beyond(label: str, start: float, train: Callable[[float], tuple[_State, ...]]) -> _Run:
    """A run with γ above (E16) at all of its steps: γ is enlarged, and the run repeated, while the condition fails later on."""
    gamma = _BEYOND * start
    for restarts in range(_RESTARTS):
        states = train(gamma)
        largest = max(s.sufficient for s in states)
        if largest * _INSIDE < gamma:
            return _Run(label, gamma, states, restarts)
        gamma = _BEYOND * largest
    outside = _State(largest, Verdict.UNDECIDED, 0.0, 0, f"the residual outgrew (E16) in each of {_RESTARTS} runs")
    return _Run(label, gamma, (outside,), _RESTARTS)


# ----------------------------------------------------------------------------------------------------- small networks, in balls


def _points(problem: Problem, effort: Effort) -> tuple[int, Array, Array]:
    """(N, X, y) of the small networks: at most 12 neurons, and fewer points than neurons, spread over the data."""
    M, d = problem.X.shape
    width = min(12, _PARAMETERS[effort] // (d + 2))
    some = np.unique(np.linspace(0, M - 1, min(M, max(1, width // 2))).round().astype(int))
    return width, problem.X[some], problem.y[some]


def _bound(net: Network, X: Array, y: Array) -> float:
    """An upper bound of γ in (E16), from the definitions: N^(β-1) maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ), hᵢ of (E15)."""
    with ctx.workprec(_BALL.bits):
        s = formulas.state(_BALL, net, X)
        r = formulas.outputs(s) - _BALL.array(y)
        q2 = (s.inputs * s.inputs).sum(axis=1)[:, None]
        kappa = _BALL.abs(s.c * s.curvature) * q2
        h = (kappa + _BALL.sqrt(kappa * kappa + 4 * s.slope * s.slope * q2)) / 2
        rho = _BALL.abs(r) @ h / len(X)
        unit = formulas.regularization(_BALL, 1.0, net.width, net.beta)
        return max(math.nextafter(float(v.upper()), math.inf) for v in rho * s.scale / unit)


def _damped(net: Network, X: Array, y: Array, gamma: float) -> Array:
    """The dense H + γ_N I; H for γ = 0."""
    H = hessian(net, X, y, arithmetic=_BALL)
    with ctx.workprec(2 * _BALL.bits):
        return formulas.add_diagonal(H, regularization(gamma, net.width, net.beta, arithmetic=_BALL)) if gamma else H


def _train_in_balls(net: Network, X: Array, y: Array, gamma: float, steps: int) -> tuple[_State, ...]:
    """As `_train`, from the definitions. The matrix is proved positive definite just beyond (E16), below γ."""
    states: list[_State] = []
    for _ in range(steps):
        bound = _bound(net, X, y)
        verdict, margin, negative = positive_definite(_damped(net, X, y, min(gamma, bound * _INSIDE)), _BALL), 0.0, 0
        if verdict is Verdict.HOLDS:
            margin = max(0.0, 1 - bound * _INSIDE / gamma)
        else:
            negative = inertia(_damped(net, X, y, gamma), _BALL).negative
        states.append(_State(bound, verdict, margin, negative, "inertia of the dense matrix in balls"))
        if verdict is not Verdict.HOLDS:
            break
        net = net.moved(reference_step(net, X, y, gamma).update)
    return tuple(states)


def _threshold(net: Network, X: Array, y: Array, label: str) -> Finding:
    """Balls confirm the accelerated package's threshold of γ, its bound (E16), and the certificates of steps at either end.

    Negative eigenvalues at the lower end, none at the upper end; a certificate says of each what is true there.
    """
    moving, inputs, targets = to_torch(net), torch.tensor(X), torch.tensor(y)
    needed, bound = required_gamma(moving, inputs, targets, rtol=1e-6), _bound(net, X, y)
    if not abs(needed.sufficient - bound) <= _SAME * bound:
        why = f"{label}: (E16) asks for γ > {bound:.10g}, and by the accelerated package for {needed.sufficient:.10g}"
        return Finding(Verdict.REFUTED, needed.sufficient, "=", bound, 1, why)
    if not needed.proved:
        return Finding.undecided(f"{label}: the threshold of γ has no certificate", cases=1)
    below = inertia(_damped(net, X, y, needed.lower), _BALL)
    above = positive_definite(_damped(net, X, y, needed.upper), _BALL)
    said = f"{label}: between γ = {needed.lower:.6g} and {needed.upper:.6g} by certificate, in balls"
    if above is Verdict.REFUTED or (below.negative == 0 and not below.undecided and needed.lower > 0):
        end = "indefinite at the upper end" if above is Verdict.REFUTED else "none negative at the lower end"
        return Finding(Verdict.REFUTED, None, "", None, 1, f"{said} {end}")
    if above is Verdict.UNDECIDED or (below.undecided and not below.negative):
        return Finding.undecided(f"{said} undecided", cases=1)
    ends = {needed.upper: "positive definite"} | ({needed.lower: "indefinite"} if needed.lower > 0 else {})
    for gamma, truth in ends.items():
        certificate = newton_step(moving, inputs, targets, gamma).certificate
        if certificate.proved and certificate.verdict != truth:
            why = f"{label}: certified {certificate.verdict} at γ = {gamma:.6g}, where balls prove it {truth}"
            return Finding(Verdict.REFUTED, None, "", None, 1, why)
        if not certificate.proved:
            return Finding.undecided(f"{label}: no certificate at γ = {gamma:.6g}: {certificate.reason}", cases=1)
    return Finding(Verdict.HOLDS, float(below.negative), ">", 0.0, 1, f"{said} confirmed")


# ------------------------------------------------------------------------------------------------------------------- findings


def _finding(runs: Sequence[_Run], more: str = "") -> Finding:
    """One finding from all states of all runs: the first that is not positive definite, else the least margin."""
    states = [(run, t, state) for run in runs for t, state in enumerate(run.states)]
    for verdict in (Verdict.REFUTED, Verdict.UNDECIDED):
        for run, t, state in states:
            if state.verdict is verdict:
                said = "at least " + str(state.negative) + " negative eigenvalues" if state.negative else verdict.value
                why = f"{run.label}, step {t}, γ = {run.gamma:.4g} (E16: {state.sufficient:.4g}): {said}: {state.why}"
                if verdict is Verdict.UNDECIDED or not state.negative:  # refuted for another reason: no number of them decided
                    return Finding(verdict, None, "", None, len(states), why)
                return Finding(verdict, float(state.negative), "=", 0.0, len(states), why)
    run, t, state = min(states, key=lambda item: item[2].margin)
    again = sum(run.restarts for run in runs)
    why = f"λ_min ≥ {state.margin:.3g} γ_N at every step; least: {run.label}, step {t}; {again} restarts with a larger γ{more}"
    # without a proved threshold a certificate by Cholesky gives no margin, only its sign
    return Finding(Verdict.HOLDS, state.margin, ">" if state.margin else "≥", 0.0, len(states), why)


def _wide_run(problem: Problem, beta: float, width: int, steps: int) -> tuple[_Run, RequiredGamma]:
    """One network's training, and what γ it needs at the start."""
    net = draw_network(problem, beta, width, 0)
    needed = required_gamma(to_torch(net), torch.tensor(problem.X), torch.tensor(problem.y), rtol=0.01)

    def train(gamma: float) -> tuple[_State, ...]:
        return _train(net, problem.X, problem.y, gamma, steps)

    return _beyond(f"β = {beta}, N = {width}", needed.sufficient, train), needed


def _wide(problem: Problem, effort: Effort) -> Finding:
    places = [(beta, width) for beta in _BETAS for width in affordable(_WIDTHS[effort], problem, _WORK[effort])]
    longest_first = sorted(places, key=lambda place: -place[1])
    made = trials(_wide_run, [(problem, beta, width, _STEPS[effort]) for beta, width in longest_first])
    found = dict(zip(longest_first, made, strict=True))
    runs = [found[place][0] for place in places]
    starts = [(beta, width, found[beta, width][1]) for beta, width in places]
    indefinite = sum(needed.proved and needed.lower > 0 for _, _, needed in starts)
    finding = _finding(runs, f"; H itself is proved indefinite at the start in {indefinite} of {len(runs)} networks")
    return replace(finding, panels=(_margins(runs), _needed(starts)))


def _margins(runs: Sequence[_Run]) -> Panel:
    series = [
        Series(
            run.label, tuple(map(float, range(len(run.states)))), tuple(s.margin for s in run.states), style="line", colour=k
        )
        for k, run in enumerate(runs)
    ]
    return Panel("Positive definite at every step", "step", "λ_min(H + γ_N I)/γ_N, proved at least", tuple(series))


def _needed(starts: Sequence[tuple[float, int, RequiredGamma]]) -> Panel:
    series = []
    for k, beta in enumerate(dict.fromkeys(b for b, _, _ in starts)):
        widths, needed = zip(*((float(n), g) for b, n, g in starts if b == beta), strict=True)
        bound = tuple(g.sufficient for g in needed)
        series.append(Series(f"(E16), β = {beta}", widths, bound, colour=k, marker="s"))
        low, high = (tuple(getattr(g, end) for g in needed) for end in ("lower", "upper"))
        exact = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
        series.append(Series(f"exact threshold, β = {beta}", widths, exact, low, high, colour=k))
        slope = tuple(bound[0] * (n / widths[0]) ** (beta - 1) for n in widths)
        series.append(Series(f"N^-{1 - beta:.2f}", widths, slope, style="dashed", colour=k))
    return Panel("The γ that is needed, at the start", "width N", "γ", tuple(series), log="xy")


def _small(problem: Problem, effort: Effort) -> Finding | None:
    """The same from the definitions, in balls; None where the inputs have too many dimensions for that."""
    width, X, y = _points(problem, effort)
    if width < 2:
        return None
    runs, thresholds, indefinite = [], {}, 0
    for beta in _BETAS:
        net = draw_network(Problem(X, y, problem.source, problem.seed), beta, width, 0)
        label = f"in balls, β = {beta}, N = {width}, M = {len(X)}"

        def train(gamma: float, net: Network = net) -> tuple[_State, ...]:
            return _train_in_balls(net, X, y, gamma, _STEPS[effort])

        runs.append(_beyond(label, _bound(net, X, y), train))
        thresholds[label] = _threshold(net, X, y, label)
        indefinite += inertia(_damped(net, X, y, 0.0), _BALL).negative > 0
    own = _finding(runs, f"; H itself is indefinite in {indefinite} of {len(runs)} networks")
    return together({"training": own, **thresholds})


def check(problem: Problem, effort: Effort) -> Finding:
    """Certificates at every step of exact Newton training, γ = 1.25 times (E16); small networks again in ball arithmetic."""
    problem = standardized(problem, most=len(problem.y))
    wide, small = _wide(problem, effort), _small(problem, effort)
    if small is None:
        why = f"{wide.why}; no small network in balls: the inputs have {problem.X.shape[1]} dimensions"
        return replace(wide, why=why)
    if small.verdict is Verdict.HOLDS and wide.verdict is Verdict.HOLDS:
        return replace(wide, cases=wide.cases + small.cases, why=f"{wide.why}; small networks confirm it in balls")
    return together({"wide networks": wide, "small networks": small})


def _below(label: str, start: float, train: Callable[[float], tuple[_State, ...]]) -> Finding:
    """A run with γ far below (E16), which `start` is: the fraction 1/_BELOW of it, or that halved until it is indefinite.

    Refuted counts only with proved negative eigenvalues, and where the same network has none with γ beyond (E16).
    """
    kept = _finding([_Run(label, _BEYOND * start, train(_BEYOND * start)[:1])])
    for halvings in range(_HALVINGS + 1):
        gamma = start / _BELOW / 2**halvings
        states = train(gamma)[:1]
        if states[0].negative:
            break
    if states[0].verdict is Verdict.REFUTED and not states[0].negative:  # for another reason than the control's
        states = (replace(states[0], verdict=Verdict.UNDECIDED),)
    return for_its_reason(_finding([_Run(label, gamma, states)]), kept)


def control(problem: Problem, effort: Effort) -> Finding:
    """The first step of the same training with γ far below (E16), of the narrowest wide networks and of the small ones.

    Where balls do not confirm the accelerated package's threshold of γ, its blocks may be anything, and nothing is refuted.
    """
    problem = standardized(problem, most=len(problem.y))
    (width, X, y), parts = _points(problem, effort), dict[str, Finding]()
    for beta in _BETAS:
        wide = draw_network(problem, beta, _WIDTHS[effort][0], 0)

        def train(gamma: float, net: Network = wide) -> tuple[_State, ...]:
            return _train(net, problem.X, problem.y, gamma, 1)

        start = sufficient_gamma(to_torch(wide), torch.tensor(problem.X), torch.tensor(problem.y))
        parts[f"γ below (E16), β = {beta}"] = _below(f"N = {wide.width}", start, train)
        if width < 2:
            continue
        small = draw_network(Problem(X, y, problem.source, problem.seed), beta, width, 0)
        confirmed = _threshold(small, X, y, f"β = {beta}, N = {width}, M = {len(X)}")
        if confirmed.verdict is not Verdict.HOLDS:
            return Finding.undecided(f"not for the reason stated: {confirmed.why}", cases=len(parts))

        def train_in_balls(gamma: float, net: Network = small) -> tuple[_State, ...]:
            return _train_in_balls(net, X, y, gamma, 1)

        parts[f"in balls, β = {beta}"] = _below(f"N = {width}, M = {len(X)}", _bound(small, X, y), train_in_balls)
    return together(parts, wanted=Verdict.REFUTED)


CLAIM = Claim(
    id="positive-definite",
    statement="for γ beyond the width condition (E16), H + γ_N I is positive definite at every step of training, although H "
    "itself may be indefinite",
    assumptions="γ > N^(β-1) maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ) at every step: N > (ρ/γ)^(1/(1-β))",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason=f"γ is 1/{_BELOW} of (E16), or that halved at most {_HALVINGS} times: H + γ_N I is proved to have negative "
    "eigenvalues at the start",
)
