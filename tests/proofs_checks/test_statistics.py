"""Intervals cover as often as they say, on synthetic data with known exponents; verdicts are right on both sides of a bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nntk_proofs_checks import (
    CLAIMS,
    Effort,
    ensemble,
    initial_fluctuations,
    initial_networks,
    limit_equation,
    sharp_rate,
    statistics,
)
from nntk_proofs_checks.statistics import Interval, Rate, asymptotic, exceedance, exponent, judge, mean
from nntk_reference import Verdict
from tests.proofs_checks.problems import line

WIDTHS = (256, 1024, 4096)
INF = math.inf


def power(rng: np.random.Generator, p: float, runs: int, law: str) -> list[np.ndarray]:
    """Samples with mean logarithm (or mean) proportional to N^p."""
    draws = {
        "lognormal": lambda: np.exp(0.5 * rng.standard_normal(runs)),
        "square of a normal": lambda: rng.standard_normal(runs) ** 2,
        "signed": lambda: 1 + 0.5 * rng.standard_normal(runs),
        "five degrees": lambda: rng.chisquare(5, runs),
    }
    return [N**p * draws[law]() for N in WIDTHS]


def misses(number: int, expected: float) -> bool:
    """Are more misses seen than an interval at this level makes, but once in 1e5 tests?"""
    return number > expected + 4.5 * math.sqrt(expected) + 2


@pytest.mark.parametrize(
    ("law", "of", "runs"),
    [
        ("lognormal", "log", 16),
        ("square of a normal", "mean", 300),
        ("signed", "mean", 24),
        ("five degrees", "mean", 100),
        ("five degrees", "log", 32),
    ],
)
def test_exponents_are_covered_at_the_stated_level(law: str, of: str, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_RESAMPLES", 99)  # for speed; the level of a Student interval does not rest on it
    rng, trials, level = np.random.default_rng(11), 600, 0.02
    outside = sum(
        -0.4 not in exponent(WIDTHS, power(rng, -0.4, runs, law), of=of, level=level)  # type: ignore[arg-type]
        for _ in range(trials)
    )
    assert not misses(outside, trials * level), f"{outside} of {trials}"


def test_an_exponent_is_found_and_its_neighbours_are_excluded() -> None:
    found = exponent(WIDTHS, power(np.random.default_rng(0), -0.4, 100, "lognormal"))
    assert -0.4 in found
    assert -0.8 not in found
    assert -0.2 not in found
    assert found.low < found.value < found.high


@pytest.mark.parametrize("law", ["square of a normal", "exponential"])
@pytest.mark.parametrize("runs", [300, 1000])
def test_means_of_skew_numbers_are_covered(law: str, runs: int) -> None:
    rng, trials, level = np.random.default_rng(3), 6000, 5e-3
    draws = rng.chisquare(1, (trials, runs)) if law == "square of a normal" else rng.exponential(1.0, (trials, runs))
    outside = sum(1.0 not in mean(row, level=level) for row in draws)
    assert not misses(outside, trials * level), f"{outside} of {trials}"


def test_student_alone_would_miss_them_too_often() -> None:
    """Why the mean is corrected for skewness."""
    rng, trials = np.random.default_rng(3), 20_000
    draws = rng.chisquare(1, (trials, 300))
    t = (draws.mean(1) - 1) / draws.std(1, ddof=1) * math.sqrt(300)
    assert misses(int((np.abs(t) > 3.323).sum()), trials * 1e-3)


@pytest.mark.parametrize(
    "samples",
    [
        [np.ones(5)] * 3,
        [np.array([1.0, 2.0])] * 3,
        [np.array([1.0, 2.0, -1.0])] * 3,
        [np.array([1.0, 2.0, np.nan])] * 3,
        [np.array([1.0, 2.0, np.inf])] * 3,
        [np.array([1.0, 2.0, 0.0])] * 3,
        [np.array([1.0, 2.0, 3.0])],
    ],
    ids=["no spread", "two runs", "negative", "nan", "infinite", "zero", "one width"],
)
def test_what_cannot_be_estimated_has_an_infinite_interval(samples: list[np.ndarray]) -> None:
    found = exponent(WIDTHS[: len(samples)], samples)
    assert (found.low, found.high) == (-INF, INF)
    finding = judge([Rate("x", found, "≲", -0.4, (-0.2,))], 1)
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.number is None


def test_a_mean_lost_in_its_own_noise_has_no_exponent() -> None:
    rng = np.random.default_rng(0)
    assert exponent(WIDTHS, [rng.standard_normal(50) for _ in WIDTHS], of="mean").high == INF


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("correction", [0.2, 0.5, 0.8])
def test_a_correction_to_scaling_is_covered_up_to_its_size(correction: float, sign: int) -> None:
    """N^-0.4 (1 + b (N/N₀)^-q): the plain fit excludes the truth; the widened one does so only if b is larger than said."""
    rng, widths = np.random.default_rng(1), [2**k for k in range(8, 19, 2)]

    def samples(b: float) -> list[np.ndarray]:
        return [N**-0.4 * (1 + b * (N / 256) ** -correction) * np.exp(1e-3 * rng.standard_normal(50)) for N in widths]

    def fitted(b: float) -> Interval:
        return asymptotic(widths, samples(b), correction=correction, size=0.3)

    assert -0.4 not in exponent(widths, samples(0.29 * sign))
    assert -0.4 in fitted(0.29 * sign)
    assert -0.4 not in fitted(0.95 * sign)


def test_nothing_is_said_of_a_fit_that_failed() -> None:
    """A first width lost in noise, and good ones after it."""
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(24), 0.1 * (1 + 0.01 * rng.standard_normal(24)), 0.05 * (1 + 0.01 * rng.standard_normal(24))]
    found = asymptotic(WIDTHS, samples, of="mean", correction=0.5, size=0.2)
    assert Rate("x", found, "≈", -0.8, (-0.4,)).verdict is Verdict.UNDECIDED
    nan = Interval(math.nan, math.nan, math.nan)
    assert Rate("x", nan, "≈", -0.8, (-0.4,)).verdict is Verdict.UNDECIDED
    assert Rate("x", nan, "≲", -0.8, (-0.4,)).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("interval", "relation", "verdict"),
    [
        ((-0.5, -0.45), "≲", "holds"),
        ((-0.41, -0.39), "≲", "holds"),
        ((-0.39, -0.38), "≲", "refuted"),
        ((-0.41, -0.15), "≲", "undecided"),
        ((-INF, INF), "≲", "undecided"),
        ((-0.41, -0.39), "≈", "holds"),
        ((-0.5, -0.45), "≈", "refuted"),
        ((-0.39, -0.38), "≈", "refuted"),
        ((-0.5, -0.1), "≈", "undecided"),
    ],
)
def test_rate(interval: tuple[float, float], relation: str, verdict: str) -> None:
    rate = Rate("x", Interval(sum(interval) / 2, *interval), relation, -0.4, (-0.2,))  # type: ignore[arg-type]
    assert rate.verdict == Verdict(verdict)
    assert judge([rate], 3).verdict == Verdict(verdict)


def test_the_worst_rate_decides() -> None:
    good = Rate("good", Interval(-0.5, -0.6, -0.45), "≲", -0.4, (-0.2,))
    wide = Rate("wide", Interval(-0.4, -0.6, -0.1), "≲", -0.4, (-0.2,))
    bad = Rate("bad", Interval(-0.1, -0.2, 0.0), "≲", -0.4, (-0.2,))
    assert judge([good, wide, bad], 3).verdict is Verdict.REFUTED
    assert "bad" in judge([good, wide, bad], 3).why
    assert judge([good, wide], 2).verdict is Verdict.UNDECIDED
    assert "wide" in judge([good, wide], 2).why
    assert judge([good], 1).verdict is Verdict.HOLDS


def test_false_alarms_of_a_run_are_within_what_is_promised() -> None:
    assert statistics.LEVEL * statistics.MOST_INTERVALS <= statistics.FALSE_ALARM == 1e-4


@pytest.mark.parametrize(("falls", "verdict"), [(-0.5, Verdict.HOLDS), (0.0, Verdict.UNDECIDED), (3.0, Verdict.REFUTED)])
def test_convergence_in_probability(falls: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(2)
    samples = [(N / WIDTHS[0]) ** falls * np.exp(0.2 * rng.standard_normal(60)) for N in WIDTHS]
    found, series, why = exceedance(WIDTHS, samples)
    assert found is verdict
    assert series.y[0] == 0.5
    assert "30 of 60" in why


def test_frequencies_of_what_is_not_finite_say_nothing() -> None:
    samples = [np.ones(8), np.full(8, math.nan)]
    assert exceedance(WIDTHS[:2], samples)[0] is Verdict.UNDECIDED


def test_the_intervals_of_a_run_are_fewer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every claim that makes intervals, counted: β times quantities. How many does not depend on sizes, so they are small."""
    made = []
    original = statistics.Rate.__init__

    def counted(self, *args, **kwargs):
        made.append(args)
        original(self, *args, **kwargs)

    monkeypatch.setattr(statistics.Rate, "__init__", counted)
    monkeypatch.setitem(ensemble.SEEDS, Effort.QUICK, 3)
    monkeypatch.setitem(ensemble.WIDTHS, Effort.QUICK, (8, 16))
    monkeypatch.setitem(sharp_rate._SEEDS, Effort.QUICK, (3, 3))
    monkeypatch.setitem(sharp_rate._WIDTHS, Effort.QUICK, (8, 16))
    monkeypatch.setitem(initial_fluctuations._RUNS, Effort.QUICK, 9)
    monkeypatch.setitem(limit_equation._STARTS, Effort.QUICK, 9)
    for module, name in ((initial_networks, "WIDTHS"), (initial_fluctuations, "WIDTHS"), (limit_equation, "START_WIDTHS")):
        monkeypatch.setattr(module, name, (8, 16))
    initial_networks.cache_clear()
    try:
        for name in (
            "linearization",
            "limit-equation",
            "sharp-rate",
            "initial-fluctuations",
            "vanishing-updates",
            "exponential",
        ):
            CLAIMS[name].check(line(), Effort.QUICK)
            CLAIMS[name].control(line(), Effort.QUICK)
    finally:
        initial_networks.cache_clear()
    assert 20 < len(made) < statistics.MOST_INTERVALS / 2
