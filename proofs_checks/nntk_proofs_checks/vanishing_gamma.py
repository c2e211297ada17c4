"""`vanishing-gamma`: γ = g N^(-a) keeps the damped Hessian positive definite for a < 1-β as N grows, and not for a > 1-β.

The residual starts at -y here, as it does in the limit: the targets are y + f₀(X). Without that f₀ = O(N^-(β-1/2)) is part of
the residual, and small targets show its exponent instead, at all widths in reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated import ShallowNet, SingularSystemError, outputs, required_gamma, spectrum, stream, sufficient_gamma
from nntk_accelerated import problem as accelerated
from nntk_accelerated.certificate import Radii, certify, radii
from nntk_accelerated.scaling import damping
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together, unmet
from nntk_proofs_checks.ensemble import ACTIVATION, BETAS, draw, sampled, standardized
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.positive_definite import affordable
from nntk_proofs_checks.statistics import Rate, exponent, judge, rate_panel
from nntk_proofs_checks.update_bound import states
from nntk_reference import FLOAT64, Network, Verdict, activation, formulas
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_MULTIPLES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0)  # a/(1-β)
_APART = 1.5  # columns whose γ is this far from the line a = 1-β at the largest width must be on their side of it
_CONTROL = 1.5
_WIDTHS = {
    Effort.QUICK: (2**8, 2**11, 2**14),
    Effort.DEFAULT: (2**8, 2**10, 2**12, 2**14, 2**16),
    Effort.FULL: (2**8, 2**10, 2**12, 2**14, 2**16, 2**18),
}
_NETWORKS = {Effort.QUICK: 2, Effort.DEFAULT: 4, Effort.FULL: 5}  # a point of the diagram
_FITTED = {
    Effort.QUICK: (2**9, 2**13),
    Effort.DEFAULT: (2**9, 2**11, 2**13, 2**15),
    Effort.FULL: (2**8, 2**10, 2**12, 2**14, 2**16),
}
_STARTS = 3  # networks at the smallest width that set g
_SEEDS = {Effort.QUICK: 16, Effort.DEFAULT: 32, Effort.FULL: 50}  # networks a width, for the exponent
_WORK = {Effort.QUICK: 4e7, Effort.DEFAULT: 1.2e8, Effort.FULL: 5e8}  # N(d+2)M² of a count
_SHARE = 0.4  # of N: the number of negative eigenvalues whose γ is followed
_RESOLUTION = {Effort.QUICK: 0.01, Effort.DEFAULT: 0.004, Effort.FULL: 0.002}  # of that γ, well below what it varies by
_CONFIRMED = 2  # networks a width whose count is confirmed by the exact inertia at both ends
_INSIDE = 1 + 1e-6


@dataclass(frozen=True, eq=False)
class _Instance:
    """A network at its start, with residual -y, prepared for many values of γ."""

    beta: float
    width: int
    problem: accelerated.Problem
    S: Tensor
    error: Radii
    sufficient: float

    def verdict(self, gamma: float) -> str:
        """What is proved of H + γ_N I."""
        with torch.no_grad():
            return certify(self.problem, self.S, damping(self.problem.net, gamma), self.error).verdict

    def negative(self, mu: float) -> int:
        """The number of eigenvalues of H below -μ (E14), in floating point; either neighbour at an eigenvalue."""
        with torch.no_grad():
            try:
                return spectrum.count(self.problem, self.S, mu)
            except SingularSystemError:
                return spectrum.count(self.problem, self.S, mu * (1 + 1e-9))


def _matched(net: Network, X: Array, y: Array) -> tuple[ShallowNet, Tensor, Tensor]:
    """The network and its data, with targets y + f₀(X)."""
    moved, inputs = draw(net), torch.tensor(X)
    return moved, inputs, torch.tensor(y) + outputs(moved, inputs)


def _instance(net: Network, X: Array, y: Array) -> _Instance:
    moved, inputs, targets = _matched(net, X, y)
    P = accelerated.problem(moved, inputs, targets)
    with torch.no_grad():
        r = stream.outputs(P) - P.y
        S, error = stream.residual_blocks(P, r), radii(P, r)
    return _Instance(net.beta, net.width, P, S, error, sufficient_gamma(moved, inputs, targets))


def _block_eigenvalues(net: Network, X: Array, y: Array) -> Array:
    """Eigenvalues of N^β Sᵢ, all neurons' together, ascending, from the definitions; r = -y. They do not depend on β."""
    values = [np.linalg.eigvalsh(formulas.residual_hessian(s, -y)).ravel() for _, s in states(net, X)]
    together: Array = np.sort(np.concatenate(values)) * float(net.width) ** net.beta
    return together


def _ceiling(X: Array, y: Array) -> float:
    """ρ of (E16) for r = -y is at most this, whatever the network: |c| ≤ 1 and the suprema of |σ'|, |σ''|."""
    _, slope, curvature = activation(ACTIVATION).suprema(FLOAT64)
    q2 = 1 + (X * X).sum(axis=1)
    h = (curvature * q2 + np.sqrt((curvature * q2) ** 2 + 4 * slope**2 * q2)) / 2
    return float((np.abs(y) * h).mean())


# ------------------------------------------------------------------------------------------------------------------ the diagram


@dataclass(frozen=True)
class _Cell:
    """One network at one γ: what is proved of it, and what theory says of this very network ("" where nothing)."""

    beta: float
    multiple: float
    width: int
    gamma: float
    verdict: str
    theory: str

    def __str__(self) -> str:
        return f"β = {self.beta}, a = {self.multiple:g}(1-β), N = {self.width}, γ = {self.gamma:.4g}"


def _cells(data: Problem, effort: Effort, beta: float) -> tuple[list[_Cell], str]:
    """All cells of one β, and what contradicts (E16) or its bound, if anything.

    g is such that all columns start at the exact threshold of γ at the smallest width: the largest of a few networks.
    """
    X, y, M = data.X, data.y, len(data.y)
    widths = affordable(_WIDTHS[effort], data, _WORK[effort])
    first = [required_gamma(*_matched(sampled(data, beta, widths[0], k), X, y), rtol=0.05) for k in range(_STARTS)]
    start = max(g.upper for g in first)
    cells: list[_Cell] = []
    ceiling = _ceiling(X, y)
    for width in widths:
        for k in range(_NETWORKS[effort]):
            net = sampled(data, beta, width, k)
            case, blocks = _instance(net, X, y), _block_eigenvalues(net, X, y)
            scale = float(width) ** (1 - beta)
            if case.sufficient * scale > ceiling * _INSIDE:
                return cells, f"(E16) gives ρ = {case.sufficient * scale:.6g}, above its bound {ceiling:.6g}, at N = {width}"
            for multiple in _MULTIPLES:
                gamma = start * (widths[0] / width) ** (multiple * (1 - beta))
                theory = ""
                if gamma > case.sufficient:
                    theory = "positive definite"  # (E16)
                elif int((blocks < -gamma * scale * _INSIDE).sum()) > M:
                    theory = "indefinite"  # more than M negative eigenvalues of D (E14)
                cells.append(_Cell(beta, multiple, width, gamma, case.verdict(gamma), theory))
            inside = case.verdict(case.sufficient * _INSIDE)
            if inside == "indefinite":
                return cells, f"indefinite just beyond (E16), γ = {case.sufficient:.6g}, β = {beta}, N = {width}"
    return cells, ""


def _contradictions(cells: Sequence[_Cell], broken: str) -> Finding:
    """Every network for itself: positive definite beyond (E16), indefinite where D has more than M negative eigenvalues."""
    against = [c for c in cells if c.theory and c.verdict not in (c.theory, "undecided")]
    count = sum(bool(c.theory) for c in cells)
    if not count and not broken:
        return Finding(Verdict.UNDECIDED, None, "=", 0.0, 0, "theory decides none of these networks")
    if broken or against:
        why = broken or f"{against[0].verdict} where theory proves it {against[0].theory}: {against[0]}"
        return Finding(Verdict.REFUTED, float(len(against) or 1), "=", 0.0, len(cells), why)
    open_ = [c for c in cells if c.theory and c.verdict == "undecided"]
    if open_:
        return Finding(Verdict.UNDECIDED, None, "=", 0.0, len(cells), f"no proof at {open_[0]}")
    return Finding(
        Verdict.HOLDS, 0.0, "=", 0.0, len(cells), f"{count} of {len(cells)} certificates had to come out as they did"
    )


def _apart(cells: Sequence[_Cell]) -> tuple[list[float], list[float]]:
    """The columns whose γ is far enough above, and below, the line a = 1-β at the largest width."""
    widths, beta = sorted({c.width for c in cells}), cells[0].beta
    ratio = {m: (widths[-1] / widths[0]) ** ((1 - beta) * (1 - m)) for m in _MULTIPLES}
    return [m for m in _MULTIPLES if ratio[m] >= _APART], [m for m in _MULTIPLES if ratio[m] <= 1 / _APART]


def _column(cells: Sequence[_Cell], wanted: str, columns: Sequence[float], *, settled: bool = False) -> Finding:
    """Are the networks of some columns `wanted` at the largest width? One that is not refutes where that is `settled`."""
    last = max(c.width for c in cells)
    chosen = [c for c in cells if c.width == last and c.multiple in columns]
    if not chosen:
        return unmet(f"out of reach: widths up to {last} do not separate the columns")
    against = [c for c in chosen if c.verdict != wanted]
    proved = [c for c in against if c.verdict != "undecided"]
    share = 1 - len(against) / len(chosen)
    if proved and settled:
        return Finding(Verdict.REFUTED, share, "=", 1.0, len(chosen), f"proved {proved[0].verdict}: {proved[0]}")
    if against:
        why = f"{len(against)} of {len(chosen)} are not {wanted} yet at N = {last}: {against[0]}"
        return Finding(Verdict.UNDECIDED, share, "=", 1.0, len(chosen), why)
    why = f"all {len(chosen)} {wanted} at N = {last}, a/(1-β) from {columns[0]:g} to {columns[-1]:g}"
    return Finding(Verdict.HOLDS, share, "=", 1.0, len(chosen), why)


def _settled(cells: Sequence[_Cell], columns: Sequence[float], ceiling: float) -> bool:
    """Does (E16), with the bound of ρ for every network, ask for less than γ in these columns at the largest width?"""
    last = max(c.width for c in cells)
    return all(c.gamma * last ** (1 - c.beta) > ceiling for c in cells if c.width == last and c.multiple in columns)


def _diagram(cells: Sequence[_Cell], beta: float) -> Panel:
    series = []
    looks: tuple[tuple[str, int, Series], ...] = (
        ("positive definite", 0, Series("", (), (), marker="o")),
        ("indefinite", 1, Series("", (), (), marker="x")),
        ("undecided", 2, Series("", (), (), marker="^")),
    )
    for verdict, colour, look in looks:
        points = sorted({(c.multiple, float(np.log2(c.width))) for c in cells if c.verdict == verdict})
        if points:
            x, y = zip(*points, strict=True)
            series.append(replace(look, label=verdict, x=x, y=y, colour=colour))
    heights = tuple(float(np.log2(n)) for n in sorted({c.width for c in cells}))
    line = Series("a = 1-β", (1.0,) * len(heights), heights, style="dashed", colour=3)
    return Panel(f"γ = g N^(-a), β = {beta}", "a/(1-β)", "log₂ N", (*series, line))


# ---------------------------------------------------------------------------------------------------------------- the exponent


def _quantile(net: Network, X: Array, y: Array, blocks: Array, resolution: float, *, confirm: bool) -> float:
    """γ at which H + γ_N I has `_SHARE`·N negative eigenvalues; nan if its inertia contradicts theory.

    For the k-th smallest eigenvalues λₖ(S) ≤ λₖ(H) ≤ λₖ₊ₘ(S), since JᵀJ/M is positive semidefinite of rank M. Between these
    ends, to the relative `resolution`, by the inertia of H + γ_N I, which has to `confirm` both ends where that is asked for.
    """
    k, unit = int(np.ceil(_SHARE * net.width)), float(net.width) ** -net.beta
    low, high = -blocks[min(k + len(y), len(blocks)) - 1] * unit, -blocks[k - 1] * unit
    if confirm or high - low > resolution * high:
        case = _instance(net, X, y)
        if confirm and not (case.negative(low - 1e-6 * high) >= k > case.negative(high * _INSIDE)):
            return float("nan")
        step = resolution * high  # JᵀJ/M moves few of these eigenvalues far: look near the upper end first
        while high - step > low:
            if case.negative(high - step) >= k:
                low = high - step
                break
            high, step = high - step, 2 * step
        while high - low > resolution * high:
            middle = (low + high) / 2
            low, high = (middle, high) if case.negative(middle) >= k else (low, middle)
    return float((low + high) / 2 * net.width ** (2 * net.beta - 1))


def _exponents(data: Problem, effort: Effort) -> Finding:
    """The exponent of that γ in N is -(1-β). γ for no negative eigenvalue at all is an extreme value, which drifts with N."""
    X, y = data.X, data.y
    widths = affordable(_FITTED[effort], data, _WORK[effort])
    samples: dict[float, list[Array]] = {beta: [] for beta in BETAS}
    for width in widths:
        row: dict[float, list[float]] = {beta: [] for beta in BETAS}
        for k in range(_SEEDS[effort]):
            nets = {beta: sampled(data, beta, width, k) for beta in BETAS}
            blocks = _block_eigenvalues(nets[BETAS[0]], X, y)
            for beta, net in nets.items():
                row[beta].append(_quantile(net, X, y, blocks, _RESOLUTION[effort], confirm=k < _CONFIRMED))
        for beta in BETAS:
            samples[beta].append(np.array(row[beta]))
    cases = len(BETAS) * len(widths) * _SEEDS[effort]
    if not all(np.isfinite(v).all() for column in samples.values() for v in column):
        why = "the inertia of H + γ_N I leaves λₖ(S) ≤ λₖ(H) ≤ λₖ₊ₘ(S)"
        return Finding(Verdict.REFUTED, None, "=", None, cases, why)
    rates, curves = [], []
    for beta in BETAS:
        interval = exponent(widths, samples[beta])
        slope = beta - 1
        rates.append(Rate(f"exponent of γ in N, β = {beta}", interval, "≈", slope, (0.0, 2 * slope)))
        curves.append((f"β = {beta}", samples[beta], slope))
    panel = rate_panel(f"γ with {_SHARE:.0%} of N negative eigenvalues", "γ", widths, curves)
    return judge(rates, cases, (panel,))


# ------------------------------------------------------------------------------------------------------------------- findings


def _unmet(problem: Problem) -> Finding | None:
    data = standardized(problem)
    if not data.y.any():
        return unmet("assumption not met: all targets are zero, so the residual vanishes in the limit and no damping is needed")
    return None


def check(problem: Problem, effort: Effort) -> Finding:
    """Certificates over the diagram (a, N), and the measured exponent of the γ that is needed."""
    absent = _unmet(problem)
    if absent:
        return absent
    data = standardized(problem)
    parts: dict[str, Finding] = {}
    panels: list[Panel] = []
    for beta in BETAS:
        cells, broken = _cells(data, effort, beta)
        parts[f"β = {beta}, every network"] = _contradictions(cells, broken)
        if not broken:
            low, high = _apart(cells)
            settled = _settled(cells, low, _ceiling(data.X, data.y))
            parts[f"β = {beta}, below"] = _column(cells, "positive definite", low, settled=settled)
            parts[f"β = {beta}, above"] = _column(cells, "indefinite", high)
        panels.append(_diagram(cells, beta))
    parts["exponents"] = _exponents(data, effort)
    found = together(parts)
    if found.verdict is Verdict.HOLDS:
        found = replace(parts["exponents"], cases=found.cases, why=found.why)
    return replace(found, panels=(*panels, *parts["exponents"].panels))


def control(problem: Problem, effort: Effort) -> Finding:
    """The statement that γ = g N^(-a) keeps it positive definite, at a = 1.5(1-β)."""
    absent = _unmet(problem)
    if absent:
        return absent
    parts = {}
    for beta in BETAS[:2]:
        cells, _ = _cells(standardized(problem), Effort.QUICK, beta)
        parts[f"β = {beta}"] = _column(cells, "positive definite", [_CONTROL], settled=True)
    return together(parts, wanted=Verdict.REFUTED)


CLAIM = Claim(
    id="vanishing-gamma",
    statement="γ = g N^(-a) keeps H + γ_N I positive definite for a < 1-β as N grows, and does not for a > 1-β, whatever g",
    assumptions="y ≠ 0; the residual starts at its limit -y",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="a = 1.5(1-β) > 1-β: γ falls faster than the most negative eigenvalue of H",
)
