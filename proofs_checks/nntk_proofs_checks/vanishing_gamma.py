"""`vanishing-gamma`: γ = g N^(-a) keeps the damped Hessian positive definite for a < 1-β as N grows, and not for a > 1-β.

The residual starts at -y here, as it does in the limit: the targets are y + f₀(X). Without that f₀ = O(N^-(β-1/2)) is part of
the residual, and small targets show its exponent instead, at all widths in reach.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nntk_accelerated import (
    PreparedNetwork,
    ShallowNet,
    SingularSystemError,
    outputs,
    prepare,
    regularization,
    required_gamma,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together, unmet
from nntk_proofs_checks.ensemble import BETAS, draw_network, standardized, textbook, to_torch
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.statistics import LEVEL, Rate, exponent, judge, rate_panel
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import ACTIVATION, LAW
from nntk_proofs_checks.wide import affordable, states
from nntk_reference import FLOAT64, Network, Verdict, activation, formulas
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_MULTIPLES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0)  # a/(1-β)
_APART = 1.5  # columns whose γ is this far from the line a = 1-β at the largest width must be on their side of it
_SURE = LEVEL / 100  # the probability with which what the law of a neuron settles may come out otherwise
_CONTROL = 1.75  # the line of the control, a/(1-β), and the columns that it is tried on
_CONTROL_MULTIPLES = (0.0, 0.25, 0.5, 1.25, 1.5)
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


def _matched(net: Network, X: Array, y: Array) -> tuple[ShallowNet, Tensor, Tensor]:
    """The network and its data, with targets y + f₀(X): the residual is -y."""
    moved, inputs = to_torch(net), torch.tensor(X)
    return moved, inputs, torch.tensor(y) + outputs(moved, inputs)


def _prepared(net: Network, X: Array, y: Array) -> PreparedNetwork:
    """The same, for many values of γ."""
    return prepare(*_matched(net, X, y))


def _verdict(case: PreparedNetwork, net: Network, gamma: float) -> str:
    """What is proved of H + γ_N I."""
    return case.certificate(regularization(gamma, net.width, net.beta)).verdict


def _negative(case: PreparedNetwork, damping: float) -> int:
    """The number of eigenvalues of H below -γ_N (E14), in floating point; either neighbour at an eigenvalue."""
    try:
        return case.negative_eigenvalues(damping)
    except SingularSystemError:
        return case.negative_eigenvalues(damping * (1 + 1e-9))


def _spectra(net: Network, X: Array, y: Array) -> Array:
    """Eigenvalues of N^β Sᵢ (N, d+2), ascending for each neuron, from the definitions; r = -y. They do not depend on β."""
    values = [np.linalg.eigvalsh(formulas.residual_hessian(s, -y)) for _, s in states(net, X)]
    scaled: Array = np.concatenate(values) * float(net.width) ** net.beta
    return scaled


def _block_eigenvalues(net: Network, X: Array, y: Array) -> Array:
    """All neurons' together, ascending."""
    together: Array = np.sort(_spectra(net, X, y).ravel())
    return together


def _ceiling(X: Array, y: Array) -> float:
    """ρ of (E16) for r = -y is at most this, whatever the network: from sup|c| and the suprema of |σ'|, |σ''|."""
    _, slope, curvature = activation(ACTIVATION).suprema(FLOAT64)
    q2 = 1 + (X * X).sum(axis=1)
    kappa = LAW.output.bound * curvature * q2
    h = (kappa + np.sqrt(kappa**2 + 4 * slope**2 * q2)) / 2
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


def _schedule(start: float, first: int, width: int, a: float) -> float:
    """γ = g N^(-a), with `start` at the width `first`."""
    return start * math.pow(first / width, a)


def _threshold(data: Problem, beta: float, width: int, k: int) -> float:
    """γ from which network number k is proved positive definite."""
    return required_gamma(*_matched(draw_network(data, beta, width, k), data.X, data.y), rtol=0.05).upper


def _network_cells(
    data: Problem, beta: float, width: int, k: int, start: float, first: int, multiples: tuple[float, ...]
) -> tuple[list[_Cell], str]:
    """One network's cells, `start` being γ at the width `first`, and what of it contradicts (E16) or its bound, if anything."""
    X, y = data.X, data.y
    cells: list[_Cell] = []
    net, ceiling = draw_network(data, beta, width, k), _ceiling(X, y)
    case, blocks = _prepared(net, X, y), _block_eigenvalues(net, X, y)
    sufficient, scale = case.sufficient_gamma, float(width) ** (1 - beta)
    if sufficient * scale > ceiling * _INSIDE:
        return [], f"(E16) gives ρ = {sufficient * scale:.6g}, above its bound {ceiling:.6g}, at N = {width}"
    for multiple in multiples:
        gamma = _schedule(start, first, width, multiple * (1 - beta))
        theory = ""
        if gamma > sufficient:
            theory = "positive definite"  # (E16)
        elif int((blocks < -gamma * scale * _INSIDE).sum()) > len(y):
            theory = "indefinite"  # more than M negative eigenvalues of D (E14)
        cells.append(_Cell(beta, multiple, width, gamma, _verdict(case, net, gamma), theory))
    wrong = _verdict(case, net, sufficient * _INSIDE) == "indefinite"
    return cells, f"indefinite just beyond (E16), γ = {sufficient:.6g}, β = {beta}, N = {width}" if wrong else ""


def _cells(data: Problem, effort: Effort, beta: float, multiples: tuple[float, ...] = _MULTIPLES) -> tuple[list[_Cell], str]:
    """All cells of one β, and what contradicts (E16) or its bound, if anything.

    g is such that all columns start at the exact threshold of γ at the smallest width: the largest of a few networks.
    """
    widths = affordable(_WIDTHS[effort], data, _WORK[effort])
    places = [(data, beta, width, k) for width in widths for k in range(_NETWORKS[effort])]
    start = max(trials(_threshold, [(data, beta, widths[0], k) for k in range(_STARTS)]))
    cells: list[_Cell] = []
    for made, broken in trials(_network_cells, [(*place, start, widths[0], multiples) for place in places]):
        cells += made
        if broken:
            return cells, broken
    return cells, ""


def _contradictions(cells: Sequence[_Cell], broken: str) -> Finding:
    """Every network for itself: positive definite beyond (E16), indefinite where D has more than M negative eigenvalues."""
    against = [c for c in cells if c.theory and c.verdict not in (c.theory, "undecided")]
    count = sum(bool(c.theory) for c in cells)
    if not count and not broken:
        return Finding.undecided("theory decides none of these networks")
    if broken:
        return Finding(Verdict.REFUTED, None, "", None, len(cells), broken)
    if against:
        why = f"{against[0].verdict} where theory proves it {against[0].theory}: {against[0]}"
        return Finding(Verdict.REFUTED, float(len(against)), "=", 0.0, len(cells), why)
    open_ = [c for c in cells if c.theory and c.verdict == "undecided"]
    if open_:
        return Finding.undecided(f"no proof at {open_[0]}", cases=len(cells))
    return Finding(
        Verdict.HOLDS, 0.0, "=", 0.0, len(cells), f"{count} of {len(cells)} certificates had to come out as they did"
    )


def _decided(data: Problem, cells: Sequence[_Cell]) -> set[float]:
    """The columns a/(1-β) on whose side the law of a neuron decides, at the largest width and beyond, whatever is drawn.

    Positive definite: γN^(1-β) is beyond the bound of ρ for every network (E16), and does not fall, a ≤ 1-β. Indefinite: N
    independent neurons have more than M blocks with an eigenvalue below -γN^(1-β), but with probability `_SURE`, and it does
    not grow, a ≥ 1-β. Where it is still on its way, as close to the line, the largest width says nothing of wider ones. How
    probable such a block is, from below (Clopper and Pearson), is from a network of its own. γ there is g N^(-a), and not what
    the cells have.
    """
    beta, first, last = cells[0].beta, min(c.width for c in cells), max(c.width for c in cells)
    start = next(c.gamma for c in cells if c.width == first)
    lowest = _spectra(draw_network(data, beta, last, _NETWORKS[Effort.FULL]), data.X, data.y)[:, 0]
    ceiling = _ceiling(data.X, data.y)
    out = set()
    for multiple in {c.multiple for c in cells}:
        a = multiple * (1 - beta)
        size = (start * first**a) * last ** (1 - beta - a)  # γN^(1-β) with g = start first^a
        k = int((lowest < -size * _INSIDE).sum())
        probable = float(stats.beta.ppf(_SURE, k, last - k + 1)) if k else 0.0
        beyond, below = size > ceiling * _INSIDE, stats.binom.cdf(len(data.y), last, probable) <= _SURE
        if (multiple <= 1 and beyond) or (multiple >= 1 and below):
            out.add(multiple)
    return out


def _sides(cells: Sequence[_Cell], decided: Collection[float], line: float = 1.0) -> tuple[list[float], list[float]]:
    """The columns with a/(1-β) below `line` and above, for which it says anything at the largest width.

    Those whose γ is far enough from where the line leads, and those that are decided.
    """
    widths, beta = sorted({c.width for c in cells}), cells[0].beta
    growth = (widths[-1] / widths[0]) ** (1 - beta)
    columns = sorted({c.multiple for c in cells})
    low = [m for m in columns if m < line and (m in decided or growth ** (line - m) >= _APART)]
    high = [m for m in columns if m > line and (m in decided or growth ** (m - line) >= _APART)]
    return low, high


def _column(cells: Sequence[_Cell], wanted: str, columns: Sequence[float], decided: Collection[float]) -> Finding:
    """Are the networks of some columns `wanted` at the largest width? One that is not refutes where that is `decided`."""
    last = max(c.width for c in cells)
    chosen = [c for c in cells if c.width == last and c.multiple in columns]
    if not chosen:
        return unmet(f"out of reach: widths up to {last} do not separate the columns")
    against = [c for c in chosen if c.verdict != wanted]
    proved = [c for c in against if c.verdict != "undecided" and c.multiple in decided]
    share = 1 - len(against) / len(chosen)
    if proved:
        return Finding(Verdict.REFUTED, share, "=", 1.0, len(chosen), f"proved {proved[0].verdict}: {proved[0]}")
    if against:
        why = f"{len(against)} of {len(chosen)} are not {wanted} yet at N = {last}: {against[0]}"
        return Finding.undecided(why, cases=len(chosen), number=share, relation="=", limit=1.0)
    why = f"all {len(chosen)} {wanted} at N = {last}, a/(1-β) from {columns[0]:g} to {columns[-1]:g}"
    return Finding(Verdict.HOLDS, share, "=", 1.0, len(chosen), why)


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


def _quantile(net: Network, X: Array, y: Array, blocks: Array, resolution: float, *, confirm: bool) -> float | None:
    """γ at which H + γ_N I has `_SHARE`·N negative eigenvalues; None if its inertia contradicts theory.

    For the k-th smallest eigenvalues λₖ(S) ≤ λₖ(H) ≤ λₖ₊ₘ(S), since JᵀJ/M is positive semidefinite of rank M. Between these
    ends, to the relative `resolution`, by the inertia of H + γ_N I, which has to `confirm` both ends where that is asked for.
    """
    k, unit = int(np.ceil(_SHARE * net.width)), float(net.width) ** -net.beta
    low, high = -blocks[min(k + len(y), len(blocks)) - 1] * unit, -blocks[k - 1] * unit
    if confirm or high - low > resolution * high:
        case = _prepared(net, X, y)
        if confirm and not (_negative(case, low - 1e-6 * high) >= k > _negative(case, high * _INSIDE)):
            return None
        step = resolution * high  # JᵀJ/M moves few of these eigenvalues far: look near the upper end first
        while high - step > low:
            if _negative(case, high - step) >= k:
                low = high - step
                break
            high, step = high - step, 2 * step
        while high - low > resolution * high:
            middle = (low + high) / 2
            low, high = (middle, high) if _negative(case, middle) >= k else (low, middle)
    return float((low + high) / 2) / regularization(1.0, net.width, net.beta)


def _quantiles(data: Problem, effort: Effort, width: int, k: int) -> list[float | None]:
    """That γ of network number k, for every β."""
    nets = [draw_network(data, beta, width, k) for beta in BETAS]
    blocks, confirm = _block_eigenvalues(nets[0], data.X, data.y), k < _CONFIRMED
    return [_quantile(net, data.X, data.y, blocks, _RESOLUTION[effort], confirm=confirm) for net in nets]


def _exponents(data: Problem, effort: Effort) -> Finding:
    """The exponent of that γ in N is -(1-β). γ for no negative eigenvalue at all is an extreme value, which drifts with N."""
    widths = affordable(_FITTED[effort], data, _WORK[effort])
    cases = len(BETAS) * len(widths) * _SEEDS[effort]
    places = [(width, k) for width in reversed(widths) for k in range(_SEEDS[effort])]
    found = dict(zip(places, trials(_quantiles, [(data, effort, *place) for place in places]), strict=True))
    for (width, _), gammas in found.items():
        for beta, gamma in zip(BETAS, gammas, strict=True):
            if gamma is None:
                why = f"the inertia of H + γ_N I leaves λₖ(S) ≤ λₖ(H) ≤ λₖ₊ₘ(S), β = {beta}, N = {width}"
                return Finding(Verdict.REFUTED, None, "", None, cases, why)
    samples = {
        beta: [np.array([found[width, k][b] for k in range(_SEEDS[effort])], float) for width in widths]
        for b, beta in enumerate(BETAS)
    }
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
            decided = _decided(data, cells)
            low, high = _sides(cells, decided)
            parts[f"β = {beta}, below"] = _column(cells, "positive definite", low, decided)
            parts[f"β = {beta}, above"] = _column(cells, "indefinite", high, decided)
        panels.append(_diagram(cells, beta))
    parts["exponents"] = _exponents(data, effort)
    found = together(parts)
    if found.verdict is Verdict.HOLDS:
        found = replace(parts["exponents"], cases=found.cases, why=found.why)
    return replace(found, panels=(*panels, *parts["exponents"].panels))


def _wrong_line(data: Problem, beta: float, line: float) -> Finding:
    """That a < line (1-β) keeps it positive definite; refuted counts only if the same networks show that a < 1-β does."""
    cells, broken = _cells(data, Effort.QUICK, beta, _CONTROL_MULTIPLES)
    if broken:
        return Finding.undecided(f"for another reason: {broken}", cases=len(cells))
    decided = _decided(data, cells)
    found, true = (_column(cells, "positive definite", _sides(cells, decided, at)[0], decided) for at in (line, 1.0))
    return for_its_reason(found, true) if true.applies else found


def control(problem: Problem, effort: Effort) -> Finding:
    """The statement that γ = g N^(-a) keeps it positive definite for a < 1.75(1-β), for every β.

    On the default data: with many points few columns near the line are decided at widths in reach for β = 0.9.
    """
    absent = _unmet(problem)
    if absent:
        return absent
    parts = {f"β = {beta}": _wrong_line(textbook(problem), beta, _CONTROL) for beta in BETAS}
    return together(parts, wanted=Verdict.REFUTED)


CLAIM = Claim(
    id="vanishing-gamma",
    statement="γ = g N^(-a) keeps H + γ_N I positive definite for a < 1-β as N grows, and does not for a > 1-β, whatever g",
    assumptions="y ≠ 0; the residual starts at its limit -y",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="1.75(1-β) for 1-β: up to it γ may fall faster than the most negative eigenvalue of H",
)
