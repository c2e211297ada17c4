"""Exponents and means from repeated runs, with intervals at a stated false-alarm rate, and what they say about a claim.

Every interval misses the truth with probability at most `LEVEL`, and a run makes at most `MOST_INTERVALS` of them, so the
probability that any claim of a run is refuted by chance is at most `FALSE_ALARM` (union bound). An interval that is looked at
several times, with more runs each time, has at each look its share of the level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

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
    "exponent",
    "judge",
    "mean",
    "rate_panel",
    "until_decided",
    "worst",
]

FALSE_ALARM = 1e-4
MOST_INTERVALS = 100
LEVEL = FALSE_ALARM / MOST_INTERVALS

T = TypeVar("T")

_ENOUGH_FOR_SKEWNESS = 100
"""A third moment of fewer numbers says more of them than of their law: by simulation a correction by it does not help."""
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


def _slopes(widths: Sequence[int], counts: Sequence[int], of: Literal["log", "mean"]) -> list[Array]:
    """The coefficients (G,) of the slope on log N that weighted least squares fits, for each set of weights in question.

    The weights are the numbers of runs n and, for logarithms, also n N, best where their variance falls like 1/N. They do not
    follow the samples' own variances: a skew law ties a sample's spread to its mean, and weights that follow the spread favour
    the samples whose mean errs to one side. With 64, 32 and 16 runs of 4 - (an exponential variable) that alone gives ten
    times the stated rate at 1e-4.
    """
    N, n = np.asarray(widths, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    x, out = np.log(N), []
    for w in (n, n * N) if of == "log" else (n,):
        a = w * (x - (w @ x) / w.sum())
        out.append(a / (a @ x))
    return out


def _student(quantile: Array, skewness: Array, bias: Array) -> Array:
    """The t that has the probability that a symmetric t has at `quantile`, where t has mean `bias` and third cumulant -2 λ.

    With λ the skewness, t + λ t²/3 + λ² t³/27 - bias - λ/3 is free of skewness and of bias to first order, and increases:
    the transformation of P. Hall, On the removal of skewness by transformation, J. R. Stat. Soc. B 54, 1992.
    """
    tiny = np.abs(skewness) < 1e-8
    by = np.where(tiny, 1.0, skewness)
    shifted = quantile + bias + skewness / 3
    out: Array = np.where(tiny, shifted, 3 / by * (np.cbrt(1 + by * shifted) - 1))
    return out


def _exponents(
    widths: Sequence[int], samples: Sequence[Array], of: Literal["log", "mean"], level: float
) -> tuple[Array, Array, Array]:
    """(values, lows, highs) (…) of `exponent`, from finite samples (…, n_g) at each width, logarithms positive where taken.

    Let ȳ be a width's mean and v, k the variance and third cumulant of ȳ/E ȳ ("mean"; b = 1) or of ȳ ("log"; b = 0), and a
    the slope's coefficients. With s² = Σ a²v, S = Σ a³k/s³ and V = b Σ a³v²/s³, the Student ratio has mean
    -b Σ a v/(2s) - S/2 + V and third cumulant -2 S + 3 V, up to O(1/n): log ȳ adds -b(ȳ/E ȳ - 1)²/2, and the estimate of
    a width's v varies along with its ȳ by k - 2bv². Where the variances choose one of two sets of weights, each of the two
    intervals has half the level, so that the choice, however it depends on the data, keeps it.
    """
    counts = np.array([s.shape[-1] for s in samples])
    fits, degrees, curved = _slopes(widths, counts.tolist(), of), counts - 1.0, float(of == "mean")
    rows = []
    for sample, n in zip(samples, counts.tolist(), strict=True):
        y = sample if curved else np.log(sample)
        centre = y.mean(-1)
        off = y - centre[..., None]
        square = off * off
        scale = centre if curved else np.ones_like(centre)
        with np.errstate(all="ignore"):
            variance, third = square.sum(-1) / (n - 1) / n / scale**2, (square * off).mean(-1) / n**2 / scale**3
            rows.append((np.log(np.abs(centre)) if curved else centre, variance, third))
    y, v, k = (np.stack(part, axis=-1) for part in zip(*rows, strict=True))
    known = (v > 0).all(-1) & np.isfinite(v).all(-1) & ~(curved * v > _SIGNAL**-2).any(-1)
    with np.errstate(all="ignore"):
        x = np.log(np.asarray(widths, dtype=np.float64))
        falls = np.log(v) @ (x - x.mean()) < -0.5 * ((x - x.mean()) ** 2).sum()  # nearer to 1/N than to a constant
        a = np.where(falls[..., None], fits[-1], fits[0])
        parts = a * a * v
        value, error = (a * y).sum(-1), np.sqrt(parts.sum(-1))
        freedom = parts.sum(-1) ** 2 / (parts**2 / degrees).sum(-1)
        quantile = stats.t.isf(level / len(fits) / 2, freedom)
        low, high = -quantile, quantile
        if counts.min() >= _ENOUGH_FOR_SKEWNESS:
            S, V = (a**3 * k).sum(-1) / error**3, curved * (a**3 * v * v).sum(-1) / error**3
            skewness, bias = S - 1.5 * V, V - S / 2 - curved * (a * v).sum(-1) / error / 2
            low = np.minimum(low, _student(-quantile, skewness, bias))
            high = np.maximum(high, _student(quantile, skewness, bias))
        lower, upper = value - high * error, value - low * error
    known &= np.isfinite(lower) & np.isfinite(upper)
    return np.where(known, value, math.nan), np.where(known, lower, -math.inf), np.where(known, upper, math.inf)


def exponent(
    widths: Sequence[int],
    samples: Sequence[Array],
    *,
    of: Literal["log", "mean"] = "log",
    level: float | None = None,
    looks: int = 1,
) -> Interval:
    """The exponent p of a quantity like N^p, from samples (n,) at each width, one number a run.

    Regression on log N of the mean logarithm ("log"; positive numbers) or of the logarithm of the mean ("mean"; of any sign),
    weighted by the numbers of runs; for logarithms by these times N where their variance falls like 1/N. The interval is
    Student's with Welch's degrees of freedom; with at least 100 runs a width it is the hull of that and of the one that is
    corrected for skewness. It assumes independent runs with three moments.
    By default its level is `LEVEL` for logarithms, and a tenth of it for means, whose law is skew: see `docs/verdicts.md`; of
    several `looks` (`until_decided`), this one's share of it.
    It is infinite where a width has fewer than 3 runs, does not vary, or has a mean within 5 errors of 0.
    """
    values = [np.asarray(s, dtype=np.float64) for s in samples]
    unknown = Interval(math.nan, -math.inf, math.inf)
    if len(widths) < 2 or any(len(v) < 3 or not np.isfinite(v).all() for v in values):
        return unknown
    if of == "log" and any((v <= 0).any() for v in values):
        return unknown
    wanted = level if level is not None else LEVEL if of == "log" else LEVEL / 10
    value, low, high = _exponents(widths, values, of, wanted / looks)
    return Interval(float(value), float(low), float(high))


def mean(values: Array, *, level: float = LEVEL / 10, looks: int = 1) -> Interval:
    """The mean of independent numbers (n,), with Student's interval, from 100 numbers on after Hall's correction for skewness.

    Squares of nearly normal numbers are so skew that Student's interval misses their mean a hundred times too often at these
    levels. The correction leaves three to ten times too often, by simulation, which the default level makes up for.
    Of several `looks` (`until_decided`), this one has its share of the level.
    """
    v = np.asarray(values, dtype=np.float64)
    n = len(v)
    if n < 3 or not np.isfinite(v).all() or not v.std() > 0:
        return Interval(math.nan, -math.inf, math.inf)
    centre, spread = float(v.mean()), float(v.std(ddof=1))
    skewness = np.array(((v - centre) ** 3).mean() / spread**3 / math.sqrt(n) if n >= _ENOUGH_FOR_SKEWNESS else 0.0)
    quantile = np.array(stats.t.isf(level / looks / 2, n - 1))
    low, high = (centre - float(_student(x, skewness, -skewness / 2)) * spread / math.sqrt(n) for x in (quantile, -quantile))
    return Interval(centre, low, high)


def asymptotic(
    widths: Sequence[int],
    samples: Sequence[Array],
    *,
    correction: float,
    size: float,
    of: Literal["log", "mean"] = "log",
    looks: int = 1,
) -> Interval:
    """As `exponent`, for N^p (1 + b (N/N₀)^-correction), N₀ the smallest width, with |b| ≤ `size` < 1.

    The interval is widened by what such a correction to scaling can add to the fitted exponent.
    """
    found = exponent(widths, samples, of=of, looks=looks)
    N = np.asarray(widths, dtype=np.float64)
    decay = (N / N[0]) ** -correction
    fits = _slopes(widths, [len(s) for s in samples], of)
    biases = [abs(float(a @ np.log1p(b * decay))) for a in fits for b in (-size, size)]
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


def until_decided(counts: Sequence[int], measure: Callable[[int, int], tuple[list[Rate], T]]) -> tuple[list[Rate], T, int]:
    """(rates, what was measured with them, runs): with counts[0] runs, then with more as long as one of the rates is undecided.

    `measure(count, looks)` measures with so many runs, those of the looks before among them, and gives each interval its share
    of the level. An interval then misses the truth at any of the `looks` at most as often as its level says (union bound), so
    that stopping when the data say so raises neither error rate: that of refuting and that of holding.
    """
    for count in counts:
        rates, measured = measure(count, len(counts))
        if all(rate.verdict is not Verdict.UNDECIDED for rate in rates):
            break
    return rates, measured, count


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


def rate_panel(title: str, y_label: str, widths: Sequence[int], curves: Sequence[tuple[str, Sequence[Array], float]]) -> Panel:
    """Log-log: per curve (label, samples by width, theory's exponent) geometric means with 95 % intervals, and the slope.

    A curve with numbers that have no finite logarithm is left out.
    """
    N = np.asarray(widths, dtype=np.float64)
    series: list[Series] = []
    for colour, (label, samples, claimed) in enumerate(curves):
        if any(not np.isfinite(s).all() or (s == 0).any() for s in samples):
            continue
        logs = [np.log(np.abs(s)) for s in samples]
        centre = np.array([v.mean() for v in logs])
        half = np.array([stats.t.isf(0.025, len(v) - 1) * v.std(ddof=1) / math.sqrt(len(v)) for v in logs])
        line = np.exp(centre.mean() + claimed * (np.log(N) - np.log(N).mean()))
        points, low, high = (tuple(np.exp(v).tolist()) for v in (centre, centre - half, centre + half))
        x = tuple(N.tolist())
        series.append(Series(label, x, points, low, high, colour=colour))
        series.append(Series(f"N^{claimed:.3g}", x, tuple(line.tolist()), style="dashed", colour=colour))
    return Panel(title, "width N", y_label, tuple(series), log="xy", base=2)
