"""Exponents and means from repeated runs, with intervals at a stated false-alarm rate, and what they say about a claim.

Every interval misses the truth with probability at most `LEVEL`, and a run makes at most `MOST_INTERVALS` of them, so the
probability that any claim of a run is refuted by chance is at most `FALSE_ALARM` (union bound).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from nntk_proofs_checks.claim import Finding
from nntk_proofs_checks.panel import Panel, Series
from nntk_reference import Verdict
from nntk_reference.arithmetic import Array

__all__ = [
    "FALSE_ALARM",
    "LEVEL",
    "MOST_INTERVALS",
    "Interval",
    "Rate",
    "asymptotic",
    "exceedance",
    "exponent",
    "judge",
    "mean",
    "rate_panel",
    "worst",
]

FALSE_ALARM = 1e-4
MOST_INTERVALS = 100
LEVEL = FALSE_ALARM / MOST_INTERVALS

_RESAMPLES = 999
_SIGNAL = 5.0
"""A mean this many standard errors from zero has a logarithm that is normal to first order."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval that holds the truth but with probability `LEVEL`."""

    value: float
    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


def _shrunk(variances: Array, degrees: Array) -> Array:
    """Variances (…, G) of small samples, drawn towards their mean as if by four more degrees of freedom: used in weights."""
    common = (variances * degrees).sum(-1, keepdims=True) / degrees.sum()
    out: Array = (variances * degrees + 4 * common) / (degrees + 4)
    return out


def _slope(x: Array, y: Array, variance: Array) -> tuple[Array, Array]:
    """Weighted least squares of y (…, G) on x (G,): the slopes (…,), and the coefficients (…, G) that they are of y."""
    w = 1 / variance
    centre = (w * x).sum(-1, keepdims=True) / w.sum(-1, keepdims=True)
    a = w * (x - centre)
    a = a / (a * (x - centre)).sum(-1, keepdims=True)
    return (a * y).sum(-1), a


def _summaries(values: Array, counts: Array | None, of: str) -> tuple[Array, Array]:
    """(the logarithm fitted, its variance) for one width's values (n,), or for resamples with counts (B, n)."""
    v = np.log(values) if of == "log" else values
    weights = np.ones((1, len(v))) if counts is None else counts
    n = len(v)
    centre = weights @ v / n
    spread = np.maximum(weights @ (v * v) / n - centre * centre, 0.0) * n / (n - 1) / n
    if of == "log":
        return centre, spread
    with np.errstate(all="ignore"):
        return np.log(np.abs(centre)), spread / (centre * centre)


def exponent(
    widths: Sequence[int], samples: Sequence[Array], *, of: Literal["log", "mean"] = "log", level: float = LEVEL
) -> Interval:
    """The exponent p of a quantity like N^p, from samples (n,) at each width, one number a run.

    Weighted regression on log N of the mean logarithm ("log"; positive numbers) or of the logarithm of the mean ("mean";
    of any sign). The interval is Student's, with the standard error of a bootstrap over the runs of every width, and Welch's
    degrees of freedom. It is infinite where a width has fewer than 3 runs, does not vary, or has a mean within 5 errors of 0.
    """
    x = np.log(np.asarray(widths, dtype=np.float64))
    values = [np.asarray(s, dtype=np.float64) for s in samples]
    unknown = Interval(math.nan, -math.inf, math.inf)
    if len(x) < 2 or any(len(v) < 3 or not np.isfinite(v).all() for v in values):
        return unknown
    if of == "log" and any((v <= 0).any() for v in values):
        return unknown
    degrees = np.array([len(v) - 1.0 for v in values])
    parts = [_summaries(v, None, of) for v in values]
    y, variance = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
    if not (variance > 0).all() or (of == "mean" and (variance > _SIGNAL**-2).any()):
        return unknown
    value, a = _slope(x, y, _shrunk(variance, degrees))

    rng = np.random.default_rng(0)  # of the resampling only: the same samples give the same interval
    drawn = [_summaries(v, rng.multinomial(len(v), np.full(len(v), 1 / len(v)), _RESAMPLES), of) for v in values]
    ys, variances = (np.stack([d[k] for d in drawn], axis=-1) for k in (0, 1))
    usable = np.isfinite(ys).all(-1) & (variances > 0).any(-1)  # not one run drawn again and again
    slopes, _ = _slope(x, ys[usable], _shrunk(variances[usable], degrees))
    least = degrees.min()
    if len(slopes) < 2:
        return unknown
    error = float(slopes.std(ddof=1)) * math.sqrt((least + 1) / least)
    terms = (a * a * variance) ** 2 / degrees
    freedom = float((a * a * variance).sum() ** 2 / terms.sum())
    half = float(stats.t.isf(level / 2, freedom)) * error
    if not math.isfinite(half):
        return unknown
    return Interval(float(value), float(value) - half, float(value) + half)


def mean(values: Array, *, level: float = LEVEL / 10) -> Interval:
    """The mean of independent numbers (n,), with Student's interval, from 100 numbers on after Hall's correction for skewness.

    (P. Hall, On the removal of skewness by transformation, J. R. Stat. Soc. B 54, 1992.) Squares of nearly normal numbers are
    so skew that Student's interval misses their mean a hundred times too often at these levels. The correction leaves three to
    ten times too often, by simulation, which the default level makes up for.
    """
    v = np.asarray(values, dtype=np.float64)
    n = len(v)
    if n < 3 or not np.isfinite(v).all() or not v.std() > 0:
        return Interval(math.nan, -math.inf, math.inf)
    centre, spread = float(v.mean()), float(v.std(ddof=1))
    skew = float(((v - centre) ** 3).mean()) / spread**3 / math.sqrt(n) if n >= 100 else 0.0
    quantile = float(stats.t.isf(level / 2, n - 1))

    def student(x: float) -> float:
        """The t whose transform ((1 + γt/3)³ - 1)/γ + γ/6 is x."""
        return x if abs(skew) < 1e-8 else float(3 / skew * (np.cbrt(1 + skew * (x - skew / 6)) - 1))

    low, high = (centre - student(x) * spread / math.sqrt(n) for x in (quantile, -quantile))
    return Interval(centre, low, high)


def asymptotic(
    widths: Sequence[int], samples: Sequence[Array], *, correction: float, size: float, of: Literal["log", "mean"] = "log"
) -> Interval:
    """As `exponent`, for N^p (1 + b (N/N₀)^-correction), N₀ the smallest width, with |b| ≤ `size` < 1.

    The interval is widened by what such a correction to scaling can add to the fitted exponent.
    """
    found = exponent(widths, samples, of=of)
    N = np.asarray(widths, dtype=np.float64)
    x, decay = np.log(N), (N / N[0]) ** -correction
    biases = [abs(float(_slope(x, np.log1p(b * decay), np.ones_like(x))[0])) for b in (-size, size)]
    return Interval(found.value, found.low - max(biases), found.high + max(biases))


@dataclass(frozen=True)
class Rate:
    """One measured exponent or mean held against theory.

    relation      "≲": theory bounds it, and it is refuted if the whole interval lies above; "≈": theory gives it.
    alternatives  numbers that the interval has to exclude before the statement holds.
    """

    what: str
    interval: Interval
    relation: Literal["≲", "≈"]
    claimed: float
    alternatives: tuple[float, ...]

    @property
    def verdict(self) -> Verdict:
        """REFUTED if the interval excludes what is claimed; HOLDS if it excludes all alternatives; else UNDECIDED."""
        i = self.interval
        if math.isnan(i.low) or math.isnan(i.high):
            return Verdict.UNDECIDED
        if i.low > self.claimed or (self.relation == "≈" and i.high < self.claimed):
            return Verdict.REFUTED
        beyond = (a <= i.high if self.relation == "≲" else a in i for a in self.alternatives)
        return Verdict.UNDECIDED if any(beyond) else Verdict.HOLDS

    def __str__(self) -> str:
        i = self.interval
        return f"{self.what}: {i.value:.4f} in [{i.low:.4f}, {i.high:.4f}] {self.relation} {self.claimed:.4g}"


def worst(rates: Sequence[Rate]) -> Rate:
    """The rate that decides: a refuted one, else an undecided one, else the one nearest to being refuted."""
    order = {Verdict.REFUTED: 0, Verdict.UNDECIDED: 1, Verdict.HOLDS: 2}

    def margin(rate: Rate) -> float:
        i = rate.interval
        gaps = [rate.claimed - i.low] + ([i.high - rate.claimed] if rate.relation == "≈" else [])
        return min(gaps) / max(i.high - i.low, 1e-300)

    return min(rates, key=lambda rate: (order[rate.verdict], margin(rate)))


def judge(rates: Sequence[Rate], cases: int, panels: tuple[Panel, ...] = ()) -> Finding:
    """One finding from the measured rates: refuted if one is, undecided if one is."""
    decisive = worst(rates)
    why = {
        Verdict.HOLDS: f"all {len(rates)} agree; closest: {decisive}",
        Verdict.REFUTED: f"excluded with error rate {LEVEL:.0e}: {decisive}",
        Verdict.UNDECIDED: f"too wide to exclude {', '.join(f'{a:g}' for a in decisive.alternatives)}: {decisive}",
    }[decisive.verdict]
    value = decisive.interval.value
    number = value if math.isfinite(value) else None
    return Finding(decisive.verdict, number, decisive.relation, decisive.claimed, cases, why, panels=panels)


def exceedance(widths: Sequence[int], samples: Sequence[Array]) -> tuple[Verdict, Series, str]:
    """Convergence in probability: how often the quantity exceeds the median that it has at the smallest width.

    HOLDS if the frequency at the largest width is lower (Fisher's exact test, 1 %), REFUTED if it is higher (`LEVEL`, which
    takes some forty runs a width to reach).
    """
    if not all(np.isfinite(s).all() for s in samples):
        return Verdict.UNDECIDED, Series("frequency", (), ()), "a distance is not finite"
    first, last = np.asarray(samples[0]), np.asarray(samples[-1])
    threshold = float(np.median(first))
    counts = [int((np.asarray(s) > threshold).sum()) for s in samples]
    sizes = [len(s) for s in samples]
    table = np.array([[counts[0], sizes[0] - counts[0]], [counts[-1], sizes[-1] - counts[-1]]])
    fell, rose = (float(stats.fisher_exact(table, alternative=side).pvalue) for side in ("greater", "less"))
    verdict = Verdict.HOLDS if fell <= 0.01 else Verdict.REFUTED if rose <= LEVEL else Verdict.UNDECIDED
    frequencies = tuple(c / n for c, n in zip(counts, sizes, strict=True))
    why = (
        f"{counts[0]} of {len(first)} runs exceed {threshold:.3g} at N = {widths[0]}, "
        f"{counts[-1]} of {len(last)} at N = {widths[-1]}"
    )
    return verdict, Series("frequency", tuple(map(float, widths)), frequencies), why


def rate_panel(title: str, y_label: str, widths: Sequence[int], curves: Sequence[tuple[str, Sequence[Array], float]]) -> Panel:
    """Log-log: per curve (label, samples by width, theory's exponent) geometric means with 95 % intervals, and the slope."""
    N = np.asarray(widths, dtype=np.float64)
    series: list[Series] = []
    for colour, (label, samples, claimed) in enumerate(curves):
        logs = [np.log(np.abs(s)) for s in samples]
        centre = np.array([v.mean() for v in logs])
        half = np.array([stats.t.isf(0.025, len(v) - 1) * v.std(ddof=1) / math.sqrt(len(v)) for v in logs])
        line = np.exp(centre.mean() + claimed * (np.log(N) - np.log(N).mean()))
        points, low, high = (tuple(np.exp(v).tolist()) for v in (centre, centre - half, centre + half))
        x = tuple(N.tolist())
        series.append(Series(label, x, points, low, high, colour=colour))
        series.append(Series(f"N^{claimed:.3g}", x, tuple(line.tolist()), style="dashed", colour=colour))
    return Panel(title, "width N", y_label, tuple(series), log="xy", base=2)
