"""`ntk-decay`: the eigenvalues of the limit NTK accumulate at zero, below explicit bounds.

On the complement of the polynomials of degree below k only the remainders of σ(w·x + η) and σ'(w·x + η) are left, so the
eigenvalues beyond the dimension of those polynomials add up to at most b_k = E[R²] + E[c²] E[|x̃|² R'²], the means being over
the points, too (docs/theory.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, pairwise
from math import comb, factorial, prod

import numpy as np
from flint import arb, ctx

from nntk_proofs_checks.certify import (
    BALLS,
    Comparison,
    LimitSpectrum,
    conclude,
    curve,
    limit_spectrum_at,
    settle,
    unit_interval,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together, unmet
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import LAW, of_spectral_decay
from nntk_reference import Strip, Verdict, activation
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM", "tail_bounds"]

_POINTS = {Effort.QUICK: (3, 5, 9, 17), Effort.DEFAULT: (3, 5, 9, 17, 33), Effort.FULL: (3, 5, 9, 17, 33)}  # nested grids
_SIDE = {Effort.QUICK: 4, Effort.DEFAULT: 5, Effort.FULL: 6}  # points along each side of the tensor grid
_BITS = 128  # for the bounds, which need few digits
_SECOND = arb(LAW.output.second_moment.numerator) / LAW.output.second_moment.denominator  # E[c²]
_ORTHONORMAL = 16  # inputs of the control


# ------------------------------------------------------------------------------------------------------------------- the bound


def _interpolation(bound: arb, n: int, dim: int, radius: arb) -> arb:
    """E[R²] for the interpolation at n Chebyshev points of g(w·x + η), |g^(n)| ≤ bound: |R| ≤ 2 (|w| radius/2)^n bound/n!."""
    moment = arb(1)  # E|w|^(2n)
    for j in range(n):
        moment *= dim + 2 * j
    factor = 2 * bound / factorial(n)
    return factor * factor * (radius / 2) ** (2 * n) * moment


@lru_cache(maxsize=64)
def _norms(dim: int) -> tuple[list[arb], list[arb]]:
    """Sizes t₁ < … < t_n, and the probabilities of t_(i-1) < |w| ≤ tᵢ (t₀ = 0), with the rest beyond t_n as the last."""
    sizes = [arb(0.0625 * 2 ** (i / 24)) for i in range(24 * 9 + 1)]  # up to 32
    with ctx.workprec(_BITS):
        beyond = [(t * t / 2).gamma_upper(arb(dim) / 2, regularized=1) for t in sizes]
        return sizes, [a - b for a, b in zip([arb(1), *beyond], [*beyond, arb(0)], strict=True)]


@lru_cache(maxsize=64)
def _ellipses(strip: Strip, dim: int, radius: float) -> list[list[tuple[arb, arb, arb]]]:
    """Per size t of w and half-width y of a strip: (1/ρ, and the factors of ρ^-n in |R| for σ and for σ').

    The Bernstein ellipse of the interval |t'| ≤ t·radius whose half-axis off the real line is y has ρ = y/h + √(1 + (y/h)²),
    h = t·radius; a function bounded by A on it is approximated to 2Aρ^-n/(1 - 1/ρ) by polynomials of degree below n.
    """
    table = []
    widths = [arb(strip.half_width) * (1 - arb(2) ** -i) for i in range(1, 11)]
    bounds = []
    for narrow, wide in pairwise(widths):
        size = strip.bound(wide, BALLS)[0]
        bounds.append((narrow, strip.bound(narrow, BALLS)[0], size / (wide - narrow)))  # σ' by Cauchy's estimate
    for t in _norms(dim)[0]:
        row = []
        for y, value, slope in bounds:
            ratio = y / (t * arb(radius))
            inverse = 1 / (ratio + (1 + ratio * ratio).sqrt())
            row.append((inverse, 2 * value / (1 - inverse), 2 * slope / (1 - inverse)))
        table.append(row)
    return table


def _analytic(strip: Strip, n: int, of_slope: bool, supremum: arb, dim: int, radius: float) -> arb:
    """E[R²] from the strip: an upper sum over |w| of a bound that grows with |w|, and is sup² at most (approximation by 0)."""
    most = supremum * supremum
    total = arb(0)
    probabilities = _norms(dim)[1]
    for row, probability in zip(_ellipses(strip, dim, radius), probabilities[:-1], strict=True):
        least = min((inverse**n * (slope if of_slope else value) for inverse, value, slope in row), key=lambda v: v.mid())
        total += probability * (least * least).min(most)
    return total + probabilities[-1] * most


@lru_cache(maxsize=4096)
def _mean_remainders(name: str, dim: int, radius: float, k: int) -> tuple[arb, arb]:
    """(E[R²], E[R'²]): σ(w·x + η) approximated to degree k-1 and σ'(w·x + η) to k-2 on a ball of this radius; least bounds."""
    entry = activation(name)
    with ctx.workprec(_BITS):
        suprema = [arb(s) for s in entry.suprema(BALLS)[:2]]
        out = [s * s for s in suprema]  # approximation by 0
        for i, n in enumerate((k, k - 1)):
            if entry.derivatives is not None:
                out[i] = out[i].min(_interpolation(arb(entry.derivatives(k, BALLS)), n, dim, arb(radius)))
            if entry.strip is not None:
                out[i] = out[i].min(_analytic(entry.strip, n, i == 1, suprema[i], dim, radius))
        return out[0], out[1]


@lru_cache(maxsize=256)
def _taylor(name: str, n: int, order: int) -> arb:
    """E[R²]/|x - x₀|^(2n) for the Taylor polynomial of σ (`order` 0) or σ' (1) at x₀, of degree below n; infinite if unknown.

    |R(x)| ≤ sup|σ^(n + order)| |w·(x - x₀)|^n/n!, and E(w·v)^(2n) = (2n-1)!! |v|^(2n) in any dimension.
    """
    entry = activation(name)
    with ctx.workprec(_BITS):
        if n + order <= 2:
            supremum = arb(entry.suprema(BALLS)[n + order])
        elif entry.derivatives is not None:
            supremum = arb(entry.derivatives(n + order, BALLS))
        else:
            return arb("inf")
        factor = supremum / factorial(n)
        return factor * factor * prod(range(1, 2 * n, 2))


@dataclass(frozen=True, eq=False)
class _Places:
    """|x - x₀|² and |x̃|² of the points, and |x̃₀|², enclosed."""

    offsets: Array
    squares: Array
    centre: arb

    def mean(self, n: int, weights: Array | int = 1) -> arb:
        """The mean of |x - x₀|^(2n), times the weights."""
        total: arb = ((self.offsets**n if n else 0 * self.offsets + 1) * weights).sum() / len(self.offsets)
        return total


def _of_slope(name: str, k: int, dim: int, radius: float, size: arb, places: _Places | None) -> arb:
    """E[|x̃|² R'²] for the approximation of σ'x̃ to degree k-1, the least bound.

    That of σ' to degree k-2 will do. But with x̃ = x̃₀ + (x - x₀) only σ'(x - x₀) needs it, and σ'x̃₀ may have that of σ' to k-1:
    E|a + b|² ≤ ((E|a|²)^(1/2) + (E|b|²)^(1/2))².
    """
    uniform = [_mean_remainders(name, dim, radius, j)[1] for j in (k, k + 1)]
    whole = size * uniform[0]
    if places is None:
        return whole
    taylor = [_taylor(name, n, 1) for n in (k - 1, k)]
    moved = (places.mean(1) * uniform[0]).min(places.mean(k) * taylor[0])
    fixed = places.centre * uniform[1].min(places.mean(k) * taylor[1])
    root = moved.sqrt() + fixed.sqrt()
    return whole.min(places.mean(k - 1, places.squares) * taylor[0]).min(root * root)


def tail_bounds(name: str, M: int, dim: int, radius: float, size: arb, places: _Places | None = None) -> list[tuple[int, arb]]:
    """Pairs (r, b) with λ_(r+1) + … + λ_M ≤ b for the limit NTK of any M points of a ball in dim dimensions.

    r = C(k-1+dim, dim) < M for k = 1, 2, …: the number of monomials of degree below k. `radius` is the ball's, `size` is
    mean|x̃|²; smaller bounds where the points' places are known. For bounded activations whose registry entry has a strip.
    """
    out = []
    k = 1
    while (rank := comb(k - 1 + dim, dim)) < M:
        value = _mean_remainders(name, dim, radius, k)[0]
        if places is not None:
            value = value.min(places.mean(k) * _taylor(name, k, 0))
        out.append((rank, value + _SECOND * _of_slope(name, k, dim, radius, size, places)))
        k += 1
    return out


def _bounds_for(X: Array, name: str) -> list[tuple[int, arb]]:
    inputs, centre = BALLS.array(X), BALLS.array((X.min(axis=0) + X.max(axis=0)) / 2)
    offsets = inputs - centre
    squares = (inputs * inputs).sum(axis=1) + 1
    places = _Places((offsets * offsets).sum(axis=1), squares, (centre * centre).sum() + 1)
    radius = BALLS.sqrt(max((v.upper() for v in places.offsets), key=lambda v: v.mid())).upper()
    above = float(np.nextafter(float(radius), np.inf))
    return tail_bounds(name, len(X), X.shape[1], above, places.mean(0, squares), places)


# ------------------------------------------------------------------------------------------------------------------- the check


def _against(spectrum: LimitSpectrum, bounds: list[tuple[int, arb]], what: str) -> list[Comparison]:
    """Sums of the smallest eigenvalues against the bounds that say something.

    That is those below (M - r)/M of the trace, which the M - r smallest of any M numbers with this sum obey, and below λ₁,
    which every eigenvalue obeys.
    """
    M, trace, largest = len(spectrum.eigenvalues), np.trace(spectrum.kernel), spectrum.eigenvalues[0]
    return [
        Comparison(f"λ_{rank + 1} + … + λ_{M}, {what}", spectrum.eigenvalues[rank:].sum(), "≤", bound)
        for rank, bound in bounds
        if bound < trace * (M - rank) / M and bound < largest
    ]


def _can_say_something(X: Array, name: str, bounds: list[tuple[int, arb]]) -> bool:
    """Whether a bound can be below its trivial value, without the spectrum, which is out of reach for very large inputs."""
    value, slope = (arb(s) for s in activation(name).suprema(BALLS)[:2])
    inputs = BALLS.array(X)
    most = value * value + _SECOND * ((inputs * inputs).sum() / len(X) + 1) * slope * slope
    return any(bound < most * (len(X) - rank) / len(X) for rank, bound in bounds)


@dataclass(frozen=True, eq=False)
class _Case:
    """The spectrum of one set of points and one activation, its bounds, and the comparisons made."""

    name: str
    spectrum: LimitSpectrum
    bounds: list[tuple[int, arb]]
    comparisons: list[Comparison]

    @property
    def M(self) -> int:
        return len(self.spectrum.eigenvalues)


def _case(X: Array, name: str, place: str) -> _Case | None:
    """The case, decided as far as it can be; None where the bounds say nothing about these points."""
    bounds = _bounds_for(X, name)
    if not _can_say_something(X, name, bounds):
        return None
    made: list[_Case] = []

    def attempt(bits: int) -> list[Comparison]:
        spectrum = limit_spectrum_at(X, name, bits)
        made[:] = [_Case(name, spectrum, bounds, _against(spectrum, bounds, f"{name}, {place}"))]
        # positive already, or there were no spectrum; with it there is something to settle where no bound says anything
        return [*made[0].comparisons, Comparison(f"λ_min, {name}, {place}", spectrum.smallest, ">", arb(0))]

    settle(attempt)
    return made[0] if made[0].comparisons else None


def _falling(cases: Sequence[_Case]) -> list[Comparison]:
    """M λ_min along nested grids: it cannot rise (Cauchy), and falls."""
    return [
        Comparison(
            f"M λ_min, {after.name}, {after.M} points of [0, 1]",
            after.M * after.spectrum.smallest,
            "<",
            before.M * before.spectrum.smallest,
            shown=False,
        )
        for before, after in pairwise(cases)
    ]


def _tensor_grid(side: int) -> Array:
    x = np.linspace(0.0, 1.0, side)
    return np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)


def _check(problem: Problem, effort: Effort) -> Finding:
    """Sums of the smallest eigenvalues against the bounds, on nested grids of [0, 1], on one of [0, 1]² and on the data."""
    missing = unmet_assumption(problem, effort, targets=False)
    if missing:
        return missing
    names, side = of_spectral_decay(effort), _SIDE[effort]
    grids = {f"{M} points of [0, 1]": unit_interval(M).X for M in _POINTS[effort]}
    square = f"{side}×{side} points of [0, 1]²"
    places = {"the data": problem.X, square: _tensor_grid(side)} | grids
    asked = [(name, place) for name in names for place in places]
    made = dict(zip(asked, trials(_case, [(places[place], name, place) for name, place in asked]), strict=True))
    nested = [_present(made[name, place] for place in grids) for name in names]
    plane = _present(made[name, square] for name in names)
    on_grids = [*chain(*nested), *plane]
    falling = [c for family in nested for c in _falling(family)]
    panels = [_spectra_panel([family[-1] for family in nested], "points of [0, 1]"), _smallest_panel(nested)]
    parts = {"grids": _judged(on_grids, falling, ", and M λ_min falls along nested grids")}
    data = {name: made[name, "the data"] for name in names}
    if saying := _present(data.values()):
        parts["the data"] = _judged(saying, (), "")
        panels.append(_spectra_panel(saying, "points of the data"))
    silent = ", ".join(name for name, case in data.items() if case is None)
    if silent:
        parts[f"the data, {silent}"] = unmet("no bound is below λ₁ and below the flat spectrum's tail")
    finding = replace(together(parts), panels=tuple(panels))
    if saying or finding.verdict is not Verdict.HOLDS:
        return finding
    why = f"the bounds say nothing about the data: none is below λ₁ and below the flat spectrum's tail ({finding.why})"
    return replace(unmet(why), panels=finding.panels)


def _judged(cases: Sequence[_Case], others: Sequence[Comparison], and_: str) -> Finding:
    made = [c for case in cases for c in case.comparisons]
    slack = [c.limit / c.number for c in made]
    said = f"{len(made)} of {sum(len(case.bounds) for case in cases)} bounds say something"
    factors = f"{_power(min(slack, key=_middle))} to {_power(max(slack, key=_middle))}"
    comparisons = [*made, *others]
    return conclude(comparisons, len(comparisons), f"{said}; every tail is below its bound, by factors of {factors}{and_}")


def _present(cases: Iterable[_Case | None]) -> list[_Case]:
    return [case for case in cases if case is not None]


def _middle(value: arb) -> arb:
    return value.mid()


def _power(value: arb) -> str:
    return f"{float(value.mid()):.1e}"


def _spectra_panel(cases: Sequence[_Case], where: str) -> Panel:
    series = []
    for colour, case in enumerate(cases):
        series.append(curve(case.name, range(1, case.M + 1), case.spectrum.eigenvalues, colour=colour))
        ranks, bounds = [rank + 1 for rank, _ in case.bounds], [bound for _, bound in case.bounds]
        series.append(curve(f"bound, {case.name}", ranks, bounds, style="dashed", colour=colour))
    return Panel(f"limit NTK on {cases[0].M} {where}", "k", "λₖ", tuple(series), log="y")


def _smallest_panel(families: Sequence[Sequence[_Case]]) -> Panel:
    series = []
    for colour, cases in enumerate(families):
        sizes = [case.M for case in cases]
        series.append(curve(cases[0].name, sizes, [case.spectrum.smallest for case in cases], colour=colour))
        last = [case.bounds[-1][1] for case in cases]
        series.append(curve(f"bound, {cases[0].name}", sizes, last, style="dashed", colour=colour))
    return Panel("smallest eigenvalue on nested grids of [0, 1]", "M", "λ_min", tuple(series), log="y")


def _control(problem: Problem, effort: Effort) -> Finding:
    """The rows of the identity, d = M, against the bound of as many points of an interval of the same length, √2."""
    X = np.eye(_ORTHONORMAL)
    radius = float(np.nextafter(np.sqrt(0.5), 1))
    parts, series = {}, []
    for colour, name in enumerate(of_spectral_decay(effort)):
        bounds = tail_bounds(name, len(X), 1, radius, arb(2))
        made: list[LimitSpectrum] = []

        def attempt(
            bits: int, name: str = name, bounds: list[tuple[int, arb]] = bounds, made: list[LimitSpectrum] = made
        ) -> list[Comparison]:
            made[:] = [limit_spectrum_at(X, name, bits)]
            return _against(made[0], bounds, f"{name}, {len(X)} orthonormal inputs")

        comparisons = settle(attempt)
        parts[name] = conclude(comparisons, len(comparisons), "the eigenvalues of orthonormal inputs fall like those of a grid")
        ranks = [rank + 1 for rank, _ in bounds]
        series.append(curve(name, range(1, len(X) + 1), made[0].eigenvalues, colour=colour))
        series.append(curve(f"bound in d = 1, {name}", ranks, [bound for _, bound in bounds], style="dashed", colour=colour))
    panel = Panel(f"limit NTK on {len(X)} orthonormal inputs", "k", "λₖ", tuple(series), log="y")
    return replace(together(parts, wanted=Verdict.REFUTED), panels=(panel,))


CLAIM = Claim(
    id="ntk-decay",
    statement="the eigenvalues of B̄ accumulate at zero: those beyond the C(k-1+d, d) largest add up to at most "
    "E[R²] + E[c²] E[|x̃|² R'²], which falls with k geometrically (erf on [0, 1]), faster (sin) or like exp(-c k^(2/3)) "
    "(tanh); λ_min(B̄_M) → 0 as points fill a bounded set",
    assumptions="inputs in a bounded set of fixed dimension; σ analytic and bounded on a strip",
    evidence=Evidence.CERTIFIED,
    check=_check,
    control=_control,
    control_reason="the inputs are orthonormal, d = M: all eigenvalues but the first are equal",
)
