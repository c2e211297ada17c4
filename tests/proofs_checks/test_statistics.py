"""Intervals cover as often as they say, on synthetic data with known exponents; verdicts are right on both sides of a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import optimize, stats

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
from nntk_proofs_checks.statistics import Interval, Rate, asymptotic, exponent, judge, mean
from nntk_reference import Verdict
from tests.proofs_checks.problems import line

WIDTHS = (256, 1024, 4096)
INF = math.inf


def power(rng: np.random.Generator, p: float, runs: int, law: str, widths: Sequence[int] = WIDTHS) -> list[np.ndarray]:
    """Samples with mean logarithm (or mean) proportional to N^p."""
    return [N**p * DRAWS[law][0](rng, (1, runs))[0] for N in widths]


def misses(number: int, expected: float) -> bool:
    """Are more misses seen than an interval at this level makes, but once in 1e5 tests?"""
    return number > expected + 4.5 * math.sqrt(expected) + 2


DRAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], float]] = {
    "normal": (lambda rng, shape: 3 + rng.standard_normal(shape), 3.0),
    "quiet": (lambda rng, shape: 1 + 0.03 * rng.standard_normal(shape), 1.0),
    "exponential": (lambda rng, shape: rng.standard_exponential(shape), 1.0),
    "4 - exponential": (lambda rng, shape: 4 - rng.standard_exponential(shape), 3.0),
    "chi² of 1": (lambda rng, shape: rng.standard_normal(shape) ** 2, 1.0),
    "chi² of 5": (lambda rng, shape: rng.chisquare(5, shape), 5.0),
    "Student of 5": (lambda rng, shape: 3 + rng.standard_t(5, shape), 3.0),
    "lognormal": (lambda rng, shape: np.exp(0.5 * rng.standard_normal(shape)), math.exp(0.125)),
    "wide lognormal": (lambda rng, shape: np.exp(rng.standard_normal(shape)), math.exp(0.5)),
}
"""Laws of a run's number, (how it is drawn, its mean)."""


def rates(laws: Sequence[str], counts: Sequence[int], of: str, level: float, trials: int, seed: int = 11) -> tuple[int, int]:
    """How many of the intervals lie (above, below) the true exponent, -0.4; drawn in portions of a few million numbers."""
    rng, above, below = np.random.default_rng(seed), 0, 0
    widths = [256 * 4**k for k in range(len(counts))]
    portion = max(1, 4_000_000 // sum(counts))
    while trials > 0:
        some = min(portion, trials)
        trials -= some
        samples = []
        for N, law, n in zip(widths, laws, counts, strict=True):
            draw, expected = DRAWS[law]
            samples.append(N**-0.4 * draw(rng, (some, n)) / (expected if of == "mean" else 1.0))
        _, low, high = statistics._exponents(widths, samples, of, level)  # type: ignore[arg-type]
        above, below = above + int((low > -0.4).sum()), below + int((high < -0.4).sum())
    return above, below


def test_many_intervals_at_once_are_those_of_one() -> None:
    rng = np.random.default_rng(4)
    for counts in ((7, 5, 9), (100, 130, 120)):
        samples = [N**-0.4 * np.exp(0.5 * rng.standard_normal((3, n))) for N, n in zip(WIDTHS, counts, strict=True)]
        for of in ("log", "mean"):
            together = statistics._exponents(WIDTHS, samples, of, 1e-3)  # type: ignore[arg-type]
            for k in range(3):
                one = exponent(WIDTHS, [s[k] for s in samples], of=of, level=1e-3)  # type: ignore[arg-type]
                if math.isfinite(one.low):
                    assert (one.value, one.low, one.high) == pytest.approx([t[k] for t in together], rel=1e-12)


@pytest.mark.parametrize("level", [1e-2, 1e-3])
@pytest.mark.parametrize(
    ("law", "counts"),
    [
        ("lognormal", (4, 4)),
        ("lognormal", (16, 64)),
        ("lognormal", (16, 16, 16)),
        ("chi² of 5", (16, 16, 16)),
        ("chi² of 5", (32, 32, 32, 32)),
        ("chi² of 1", (32, 32, 32, 32)),
        ("exponential", (50,) * 6),
    ],
)
def test_exponents_of_logarithms_are_missed_as_often_as_stated(law: str, counts: tuple[int, ...], level: float) -> None:
    trials = 40_000
    outside = sum(rates([law] * len(counts), counts, "log", level, trials))
    assert not misses(outside, trials * level), f"{outside / trials / level:.2f} times"


MEANS = [
    (("exponential", "exponential", "exponential"), (64, 32, 16)),
    (("4 - exponential", "4 - exponential", "4 - exponential"), (64, 32, 16)),
    (("lognormal", "lognormal", "lognormal"), (64, 32, 16)),
    (("Student of 5", "Student of 5", "Student of 5"), (16, 16, 16)),
    (("normal", "exponential", "4 - exponential"), (32, 32, 32)),
    (("wide lognormal",) * 6, (50,) * 6),
    (("chi² of 1",) * 4, (300,) * 4),
    (("wide lognormal",) * 4, (300,) * 4),
    (("wide lognormal", "normal", "normal", "normal"), (300,) * 4),
    (("4 - exponential", "quiet", "quiet", "exponential"), (300,) * 4),
]
"""Laws that change with the width, too: where they do not, most of the skewness cancels."""


@pytest.mark.parametrize(("laws", "counts"), MEANS)
def test_exponents_of_means_are_missed_less_often_than_stated(laws: tuple[str, ...], counts: tuple[int, ...]) -> None:
    """At a tenth of the level, as by default: the level itself is kept."""
    trials = 2_000_000 // sum(counts) + 10_000
    outside = sum(rates(laws, counts, "mean", 1e-3, trials))
    assert not misses(outside, trials * 1e-2)
    assert not misses(outside, trials * 4e-3), f"{outside / trials / 1e-3:.2f} times the nominal level"


@pytest.mark.slow
@pytest.mark.parametrize(("laws", "counts"), [*MEANS, *((laws, (1200,) * 4) for laws, n in MEANS if len(n) == 4)])
def test_exponents_of_means_are_missed_less_often_than_stated_far_out(laws: tuple[str, ...], counts: tuple[int, ...]) -> None:
    trials = 150_000
    outside = sum(rates(laws, counts, "mean", 1e-4, trials))
    assert not misses(outside, trials * 6e-4), f"{outside / trials / 1e-4:.2f} times the nominal level"


def test_weights_that_follow_the_spread_would_miss_too_often() -> None:
    """Why runs are weighted by their number: 64, 32 and 16 of a law whose spread shrinks where its mean is overrated."""
    rng, trials, counts = np.random.default_rng(7), 40_000, (64, 32, 16)
    samples = [DRAWS["4 - exponential"][0](rng, (trials, n)) / 3 for n in counts]
    y = np.log(np.stack([s.mean(1) for s in samples], axis=-1))
    v = np.stack([s.var(1, ddof=1) / n / s.mean(1) ** 2 for s, n in zip(samples, counts, strict=True)], axis=-1)
    x = np.log(WIDTHS) - (np.log(WIDTHS) / v).sum(-1, keepdims=True) / (1 / v).sum(-1, keepdims=True)
    a = x / v / (x * x / v).sum(-1, keepdims=True)
    freedom = (a * a * v).sum(-1) ** 2 / ((a * a * v) ** 2 / (np.array(counts) - 1)).sum(-1)
    outside = int((np.abs((a * y).sum(-1)) > stats.t.isf(5e-4, freedom) * np.sqrt((a * a * v).sum(-1))).sum())
    assert misses(outside, 4 * trials * 1e-3)
    assert not misses(sum(rates(["4 - exponential"] * 3, counts, "mean", 1e-3, trials)), trials * 1e-3)


@pytest.mark.parametrize("runs", [100, 300])
def test_skewness_at_one_width_is_corrected(runs: int) -> None:
    """One width's noise is all there is, and skew by 2: neither side is missed much too often, and one is if not corrected."""
    trials, level = 60_000, 1e-3
    laws, counts = ("4 - exponential", "quiet", "quiet"), (runs,) * 3
    above, below = rates(laws, counts, "mean", level, trials)
    assert not misses(max(above, below), trials * level)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_ENOUGH_FOR_SKEWNESS", runs + 1)
        without = rates(laws, counts, "mean", level, trials)
    assert misses(max(without), trials * level)


def tilted(shape: float, slope: float, counts: Sequence[int], quiet: int, sign: int) -> tuple[float, float]:
    """The probability that the default interval lies to one side of the truth, by importance sampling, and its error.

    The numbers are 1 + slope · (g - 1) with g of a gamma law of mean 1, which stays gamma when it is tilted exponentially: g is
    drawn with another mean, and weighed by the ratio of densities. The other mean is where the samples' means would most
    probably be, were they normal, if the exponent erred by 5.3 standard errors. The last `quiet` widths have hardly any noise.
    """
    rng, trials, widths = np.random.default_rng(5), 6_000, [256 * 4**k for k in range(len(counts))]
    (a,) = statistics._slopes(widths, counts, "mean")
    noisy = np.arange(len(counts)) < len(counts) - quiet
    v = np.where(noisy, slope**2 / shape / np.asarray(counts), 0.0)
    moved = 1 + sign * 5.3 * a * v / math.sqrt(a @ (a * v)) / slope
    samples, logs = [], np.zeros(trials)
    for n, m, loud in zip(counts, moved.tolist(), noisy.tolist(), strict=True):
        if not loud:
            samples.append(1 + 1e-3 * rng.standard_normal((trials, n)))
            continue
        draw = rng.gamma(shape, m / shape, (trials, n))
        samples.append(1 + slope * (draw - 1))
        logs += n * shape * math.log(m) - shape * draw.sum(1) * (1 - 1 / m)
    _, low, high = statistics._exponents(widths, samples, "mean", statistics.LEVEL / 10)
    weight = np.exp(logs) * ((low > 0) if sign > 0 else (high < 0))
    return float(weight.mean()), float(weight.std() / math.sqrt(trials))


TILTED = [
    (0.5, 1.0, (300,) * 4, 0),  # chi² of 1
    (1.0, 1.0, (300,) * 4, 0),  # exponential
    (0.5, 1.0, (300,) * 3, 2),
    (1.0, 1.0, (300,) * 3, 2),
    (1.0, -1 / 3, (300,) * 3, 2),  # 4 - exponential, over its mean
]


@pytest.mark.parametrize(("shape", "slope", "counts", "quiet"), TILTED)
def test_the_level_is_kept_at_one_in_a_million(shape: float, slope: float, counts: tuple[int, ...], quiet: int) -> None:
    """Where it is used: the default interval's misses, with the noise of all widths or of the first alone."""
    probability, errors = zip(*(tilted(shape, slope, counts, quiet, sign) for sign in (1, -1)), strict=True)
    assert max(errors) < 1.2e-7
    assert 2e-8 < sum(probability) < statistics.LEVEL, (probability, errors)


def test_the_level_would_not_be_kept_without_the_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_ENOUGH_FOR_SKEWNESS", 1000)
    assert max(tilted(1.0, -1 / 3, (300,) * 3, 2, sign)[0] for sign in (1, -1)) > 3 * statistics.LEVEL


def test_means_have_a_tenth_of_the_level_and_logarithms_all_of_it() -> None:
    samples = power(np.random.default_rng(0), -0.4, 100, "lognormal")
    assert exponent(WIDTHS, samples, of="mean") == exponent(WIDTHS, samples, of="mean", level=statistics.LEVEL / 10)
    assert exponent(WIDTHS, samples) == exponent(WIDTHS, samples, level=statistics.LEVEL)


def test_degrees_of_freedom_are_those_of_the_width_that_decides() -> None:
    """Four runs that vary, two hundred that hardly do: Student's quantile for 3 degrees, neither normal's nor that of all."""
    rng = np.random.default_rng(0)
    few, many = np.exp(rng.standard_normal(4)), np.exp(1e-9 * rng.standard_normal(200))
    found = exponent((256, 1024), [few, many])
    error = np.log(few).std(ddof=1) / 2 / math.log(4)
    assert (found.high - found.low) / 2 / error == pytest.approx(stats.t.isf(statistics.LEVEL / 4, 3), rel=1e-9)


def test_intervals_are_not_wider_than_they_need_to_be() -> None:
    """Beside that of one who knows the variance: 6 % for 124 degrees of freedom, 3 % for half the level, 9 % for a tenth."""
    rng, widths = np.random.default_rng(6), [256 * 4**k for k in range(4)]
    x = np.log(widths) - np.log(widths).mean()
    ideal = float(stats.norm.isf(statistics.LEVEL / 2)) / math.sqrt(x @ x)
    for of, runs, spread, most in (("log", 32, 0.5, 1.12), ("mean", 300, math.sqrt(math.expm1(0.25)), 1.15)):
        found = [exponent(widths, power(rng, -0.4, runs, "lognormal", widths), of=of) for _ in range(200)]  # type: ignore[arg-type]
        wide = float(np.mean([i.high - i.low for i in found])) / 2 / (ideal * spread / math.sqrt(runs))
        assert 1 < wide < most, f"{of}: {wide:.3f}"
    outside = sum(rates(["lognormal"] * 4, (32,) * 4, "log", 1e-2, 40_000))
    assert outside > 200 - 4.5 * math.sqrt(200)  # half the level goes to the other set of weights


def test_logarithms_whose_variance_falls_with_the_width_are_weighed_so() -> None:
    """Their variance falls like 1/N: at the rate that is stated, and with intervals two thirds as wide."""
    rng, trials, counts = np.random.default_rng(8), 40_000, (16, 16, 16)
    samples = [np.exp(0.5 * math.sqrt(256 / N) * rng.standard_normal((trials, n))) for N, n in zip(WIDTHS, counts, strict=True)]
    _, low, high = statistics._exponents(WIDTHS, samples, "log", 1e-3)
    assert not misses(int(((low > 0) | (high < 0)).sum()), trials * 1e-3)
    _, low, high = statistics._exponents(WIDTHS, [s[:100] for s in samples], "log", statistics.LEVEL)
    a, _ = statistics._slopes(WIDTHS, counts, "log")
    v = np.array([0.25 * 256 / N / 16 for N in WIDTHS])
    freedom = (a * a * v).sum() ** 2 / ((a * a * v) ** 2 / 15).sum()
    unweighted = 2 * stats.t.isf(statistics.LEVEL / 2, freedom) * math.sqrt((a * a * v).sum())
    assert float(np.mean(high - low)) < 0.7 * unweighted


def test_the_correction_to_scaling_is_that_of_the_fit() -> None:
    """With unequal numbers of runs, too, noiseless data with the correction at its stated size are just covered."""
    widths, rng = (256, 2048, 16384), np.random.default_rng(1)
    x = [N**-0.4 * (1 - 0.3 * (N / 256) ** -0.5) for N in widths]
    for counts in ((64, 32, 16), (16, 32, 64), (20, 20, 20)):
        samples = [v * (1 + 1e-9 * rng.standard_normal(n)) for v, n in zip(x, counts, strict=True)]
        inside, outside = (asymptotic(widths, samples, correction=0.5, size=size, of="mean") for size in (0.301, 0.299))
        assert -0.4 in inside
        assert -0.4 not in outside


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
        ((-0.4, -0.3), "≲", "holds"),  # an interval holds its ends
        ((-0.41, -0.2), "≲", "undecided"),
        ((-0.41, -0.15), "≲", "undecided"),
        ((-INF, INF), "≲", "undecided"),
        ((-0.41, -0.39), "≈", "holds"),
        ((-0.5, -0.45), "≈", "refuted"),
        ((-0.39, -0.38), "≈", "refuted"),
        ((-0.5, -0.4), "≈", "holds"),
        ((-0.4, -0.3), "≈", "holds"),
        ((-0.5, -0.1), "≈", "undecided"),
        ((-0.5, -0.2), "≈", "undecided"),
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


def test_an_undecided_rate_decides_beside_one_that_hardly_holds() -> None:
    hardly = Rate("hardly", Interval(-0.35, -0.4001, -0.3), "≲", -0.4, (-0.2,))
    wide = Rate("wide", Interval(-0.4, -0.6, -0.1), "≲", -0.4, (-0.2,))
    assert hardly.verdict is Verdict.HOLDS
    assert judge([hardly, wide], 2).verdict is Verdict.UNDECIDED


def test_the_closest_of_rates_that_hold_is_named_whichever_end_is_close() -> None:
    upper = Rate("upper", Interval(-0.45, -0.5, -0.399), "≈", -0.4, (-0.2,))
    lower = Rate("lower", Interval(-0.35, -0.41, -0.3), "≈", -0.4, (-0.2,))
    bound = Rate("bound", Interval(-0.45, -0.5, -0.3999), "≲", -0.4, (-0.2,))  # of which the upper end says nothing
    assert "upper" in judge([lower, upper, bound], 3).why
    assert "lower" in judge([lower, bound], 2).why


def test_false_alarms_of_a_run_are_within_what_is_promised() -> None:
    assert statistics.LEVEL * statistics.MOST_INTERVALS <= statistics.FALSE_ALARM == 1e-4


def test_a_curve_without_logarithms_is_left_out_of_the_panel() -> None:
    fine, nothing = [np.ones(3), 2 * np.ones(3)], [np.zeros(3), np.ones(3)]
    assert statistics.rate_panel("", "", (2, 4), [("none", nothing, -1.0)]).series == ()
    panel = statistics.rate_panel("", "", (2, 4), [("none", nothing, -1.0), ("fine", fine, -1.0)])
    assert [series.label for series in panel.series] == ["fine", "N^-1"]


def test_more_runs_are_made_until_it_is_decided() -> None:
    rng, asked = np.random.default_rng(0), []
    numbers = rng.normal(1, 0.5, 1000)

    def measure(count: int, looks: int) -> tuple[list[Rate], int]:
        asked.append((count, looks))
        return [Rate("mean", statistics.mean(numbers[:count], looks=looks), "≈", 1.0, (0.5, 1.5))], 2 * count

    rates, with_them, count = statistics.until_decided((5, 10, 200, 1000), measure)
    assert asked == [(5, 4), (10, 4), (200, 4)]
    assert (count, with_them) == (200, 400)
    assert rates[0].verdict is Verdict.HOLDS
    asked.clear()
    rates, _, count = statistics.until_decided((5, 10), measure)
    assert (count, rates[0].verdict) == (10, Verdict.UNDECIDED)
    asked.clear()
    wrong = [Rate("far off", statistics.mean(numbers, looks=2), "≈", 2.0, (1.5,))]
    assert statistics.until_decided((5, 10), lambda count, looks: (wrong, None)) == (wrong, None, 5)


@pytest.mark.parametrize("looks", [2, 4])
def test_each_look_has_its_share_of_the_level(looks: int) -> None:
    rng = np.random.default_rng(1)
    samples = [rng.normal(1, 0.1, 30) * N**-0.5 for N in (8, 16, 32)]
    for of in ("log", "mean"):
        level = statistics.LEVEL / (10 if of == "mean" else 1)
        assert exponent((8, 16, 32), samples, of=of, looks=looks) == exponent((8, 16, 32), samples, of=of, level=level / looks)
    assert statistics.mean(samples[0], looks=looks) == statistics.mean(samples[0], level=statistics.LEVEL / 10 / looks)
    wide, narrow = (statistics.asymptotic((8, 16, 32), samples, correction=0.5, size=0.1, looks=k).high for k in (looks, 1))
    assert wide > narrow


def test_looking_repeatedly_does_not_raise_the_error_rate() -> None:
    """Stopped as soon as 0, which is the truth, is excluded: not more often than the level says, at a share of it a look."""
    rng, trials, level, missed = np.random.default_rng(2), 1000, 0.05, [0, 0]
    for numbers in rng.standard_normal((trials, 128)):
        for k, looks in enumerate((4, 1)):
            found = (statistics.mean(numbers[:n], level=level, looks=looks) for n in (16, 32, 64, 128))
            missed[k] += any(0 not in interval for interval in found)
    with_shares, without = (count / trials for count in missed)
    assert with_shares <= level + 3 * (level / trials) ** 0.5
    assert without > 1.5 * level


def test_the_intervals_of_a_run_are_fewer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every claim that makes intervals, counted: β times quantities. How many does not depend on sizes, so they are small.

    One look each: several looks at an interval share its level.
    """
    made = []
    original = statistics.Rate.__init__

    def counted(self, *args, **kwargs):
        made.append(args)
        original(self, *args, **kwargs)

    monkeypatch.setattr(statistics.Rate, "__init__", counted)
    monkeypatch.setitem(ensemble.SEEDS, Effort.QUICK, (3,))
    monkeypatch.setitem(ensemble.WIDTHS, Effort.QUICK, (8, 16))
    monkeypatch.setitem(sharp_rate._SEEDS, Effort.QUICK, (3, 3))
    monkeypatch.setitem(sharp_rate._WIDTHS, Effort.QUICK, (8, 16))
    monkeypatch.setattr(sharp_rate, "_TIMES", (1,))
    monkeypatch.setitem(initial_fluctuations._RUNS, Effort.QUICK, (9,))
    monkeypatch.setitem(limit_equation._STARTS, Effort.QUICK, (9,))
    monkeypatch.setattr(initial_fluctuations, "_CONTROL_RUNS", 9)
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
    assert 20 < len(made) + len(ensemble.BETAS) < statistics.MOST_INTERVALS  # those of `vanishing-gamma`, too


# --- intervals against their definition ------------------------------------------------------------------------------


def standard(count: int, seed: int = 0, *, skew: bool = False) -> np.ndarray:
    """Numbers of mean 0 and standard deviation 1, but for rounding."""
    rng = np.random.default_rng(seed)
    z = rng.standard_exponential(count) if skew else rng.standard_normal(count)
    out: np.ndarray = (z - z.mean()) / z.std(ddof=1)
    return out


def hall(t: float, third: float, bias: float) -> float:
    """Hall's transformation of a ratio of that third cumulant and mean: free of skewness and of bias to first order."""
    skewness = -third / 2
    return t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 - bias - skewness / 3


@pytest.mark.parametrize("law", ["exponential", "4 - exponential", "chi² of 1"])
def test_the_ends_of_a_mean_are_students_quantiles_after_halls_transformation(law: str) -> None:
    """The ratio of a mean of numbers of skewness s has mean -s/(2√n) and third cumulant -2s/√n."""
    n, level = 150, 1e-3
    v = DRAWS[law][0](np.random.default_rng(2), (1, n))[0]
    s = float(((v - v.mean()) ** 3).mean()) / v.std(ddof=1) ** 3 / math.sqrt(n)
    found = mean(v, level=level)
    assert found.value == pytest.approx(v.mean(), rel=1e-14)
    for end, sign in ((found.low, 1), (found.high, -1)):
        t = (v.mean() - end) / (v.std(ddof=1) / math.sqrt(n))
        assert hall(t, -2 * s, -s / 2) == pytest.approx(sign * stats.t.isf(level / 2, n - 1), rel=1e-10)


@pytest.mark.parametrize("count", [3, 40, 99])
def test_few_numbers_have_students_interval(count: int) -> None:
    """Fewer than 100: as in every textbook."""
    v = 2 + standard(count, skew=True)
    found = mean(v, level=1e-3)
    half = stats.t.isf(5e-4, count - 1) / math.sqrt(count)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-10)
    assert stats.ttest_1samp(v, found.high).pvalue == pytest.approx(1e-3, rel=1e-8)


def test_a_hundred_numbers_are_enough_for_the_correction() -> None:
    found = mean(2 + standard(100, skew=True), level=1e-3)
    assert found.high - found.value > 1.05 * (found.value - found.low)


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0], [1.0, 2.0, 3.0, math.nan], [1.0, 2.0, 3.0, math.inf], [1.0, 1.0, 1.0]],
    ids=["two numbers", "nan", "infinite", "no spread"],
)
def test_a_mean_that_cannot_be_estimated_has_an_infinite_interval(values: list[float]) -> None:
    found = mean(np.array(values))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-INF, INF)


def by_definition(of: str, widths: Sequence[int], samples: Sequence[np.ndarray], level: float) -> tuple[float, float, float]:
    """(value, low, high) of the slope for numbers whose weights are those of runs, one width after the other."""
    x = np.log(widths)
    n = [len(s) for s in samples]
    centre = sum(k * v for k, v in zip(n, x, strict=True)) / sum(n)
    scale = sum(k * (v - centre) ** 2 for k, v in zip(n, x, strict=True))
    value = square = freedom = third = spread = off = 0.0
    for k, v, sample in zip(n, x.tolist(), samples, strict=True):
        y = sample if of == "mean" else np.log(sample)
        a, relative = k * (v - centre) / scale, float(y.mean()) if of == "mean" else 1.0
        value += a * (math.log(relative) if of == "mean" else float(y.mean()))
        variance = float(y.var(ddof=1)) / k / relative**2
        square += a**2 * variance
        freedom += (a**2 * variance) ** 2 / (k - 1)
        third += a**3 * float(((y - y.mean()) ** 3).mean()) / k**2 / relative**3
        if of == "mean":
            spread += a**3 * variance**2
            off += a * variance
    error = math.sqrt(square)
    S, V = third / error**3, spread / error**3
    quantile = float(stats.t.isf(level / 2 / (2 if of == "log" else 1), square**2 / freedom))
    ends = []
    for wanted in (quantile, -quantile):
        t = optimize.brentq(lambda t, wanted=wanted: hall(t, 3 * V - 2 * S, V - S / 2 - off / 2 / error) - wanted, -50, 50)
        ends.append(t if abs(t) > quantile else wanted)
    return value, value - ends[0] * error, value - ends[1] * error


@pytest.mark.parametrize("of", ["log", "mean"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_ends_of_an_exponent_are_those_of_its_definition(of: str, sign: int) -> None:
    """One end Student's, the other Hall's, with unequal runs and with skewness at one width or at all."""
    widths, counts, corrected = (256, 1024, 8192), (100, 150, 220), set()
    for skew in ((True, False, False), (False, False, True), (True, True, True)):
        samples = []
        for k, (N, n) in enumerate(zip(widths, counts, strict=True)):
            y = 1 + 0.3 * sign * standard(n, k, skew=skew[k])
            samples.append(N**-0.4 * (y if of == "mean" else np.exp(y)))
        found = exponent(widths, samples, of=of, level=1e-3)  # type: ignore[arg-type]
        value, low, high = by_definition(of, widths, samples, 1e-3)
        assert (found.value, found.low, found.high) == pytest.approx((value, low, high), rel=1e-9)
        corrected.add(value - low > high - value)
    assert corrected == {True, False}


@pytest.mark.parametrize(("power", "falls"), [(0.498, False), (0.502, True), (0.0, False), (1.0, True), (-0.502, False)])
def test_logarithms_are_weighted_by_the_width_where_their_variance_is_nearer_to_falling_like_it(
    power: float, falls: bool
) -> None:
    """Means off any line, so that the weights show, and variances of the means that are powers of the width exactly."""
    widths, counts, y = (256, 1024, 8192), (20, 12, 9), np.array([0.0, -0.1, 0.3])
    samples = [
        np.exp(m + 0.01 * math.sqrt(n * (N / 256.0) ** -power) * standard(n))
        for N, n, m in zip(widths, counts, y.tolist(), strict=True)
    ]
    weights = np.array(counts) * (np.array(widths) if falls else 1)
    slope, _ = np.polyfit(np.log(widths), y, 1, w=np.sqrt(weights))
    assert exponent(widths, samples).value == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize(("errors", "known"), [(5.01, True), (4.99, False)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mean_five_errors_from_zero_has_a_logarithm(errors: float, known: bool, sign: int) -> None:
    samples = [100 + standard(25), sign * errors / 5 + standard(25), 100 + standard(25)]
    assert math.isfinite(exponent(WIDTHS, samples, of="mean").high) is known


@pytest.mark.parametrize("bad", [[1.0, 2.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("of", ["log", "mean"])
def test_one_width_that_says_nothing_is_enough_for_an_infinite_interval(bad: list[float], place: int, of: str) -> None:
    samples = [2 + 0.1 * standard(10, k) for k in range(3)]
    assert math.isfinite(exponent(WIDTHS, samples, of=of).high)  # type: ignore[arg-type]
    samples[place] = np.array(bad)
    found = exponent(WIDTHS, samples, of=of)  # type: ignore[arg-type]
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-INF, INF)


@pytest.mark.parametrize("number", [0.0, -1.0])
def test_one_number_without_a_logarithm_is_enough_for_logarithms_only(number: float) -> None:
    samples = [10 + standard(10, k) for k in range(3)]
    samples[1][4] = number
    assert exponent(WIDTHS, samples).high == INF  # without a warning of NumPy's
    assert math.isfinite(exponent(WIDTHS, samples, of="mean").high)


@pytest.mark.parametrize("of", ["log", "mean"])
def test_two_widths_of_three_runs_are_enough(of: str) -> None:
    found = exponent((256, 1024), [np.array([1.0, 1.1, 1.2]), np.array([2.0, 2.2, 2.4])], of=of)  # type: ignore[arg-type]
    assert found.value == pytest.approx(0.5, rel=1e-12)
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


def test_a_correction_widens_both_sides_by_what_it_adds_to_the_fit() -> None:
    """Two widths: what the slope of log(1 + b (N/N₀)^-q) is at b = -size, the worse of the two signs."""
    samples = [2 + 0.1 * standard(10), 1 + 0.1 * standard(10)]
    for of in ("log", "mean"):
        plain = exponent((256, 1024), samples, of=of)  # type: ignore[arg-type]
        found = asymptotic((256, 1024), samples, correction=0.5, size=0.3, of=of)  # type: ignore[arg-type]
        widened = math.log((1 - 0.15) / (1 - 0.3)) / math.log(4)
        assert found.value == plain.value
        assert (plain.low - found.low, found.high - plain.high) == pytest.approx((widened, widened), rel=1e-9)


# --- at the ends of an interval --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "relation", "verdict"),
    [
        ((-0.4, -0.3), "≲", "holds"),  # what is claimed is inside
        ((-0.4, -0.3), "≈", "holds"),
        ((-0.5, -0.4), "≈", "holds"),
        ((-0.5, -0.2), "≲", "undecided"),  # and so is the alternative
        ((-0.5, -0.2), "≈", "undecided"),
        ((-0.7, -0.35), "≈", "undecided"),
        ((-0.75, -0.35), "≲", "undecided"),  # a bound has to exclude all that lies below the interval's end
        ((-0.75, -0.35), "≈", "undecided"),
        ((math.nan, -0.4), "≲", "undecided"),
        ((-0.5, math.nan), "≈", "undecided"),
    ],
)
def test_the_ends_of_an_interval_belong_to_it(interval: tuple[float, float], relation: str, verdict: str) -> None:
    alternatives = (-0.2, -0.7) if interval[0] < -0.6 else (-0.2,)
    rate = Rate("x", Interval(-0.4, *interval), relation, -0.4, alternatives)  # type: ignore[arg-type]
    assert rate.verdict == Verdict(verdict)


def test_of_rates_that_hold_the_one_nearest_to_being_refuted_decides() -> None:
    """By the part of the interval that lies beyond what is claimed, at either end where theory gives the number."""

    def rate(what: str, low: float, high: float, relation: str) -> Rate:
        return Rate(what, Interval((low + high) / 2, low, high), relation, 1.0, (9.0,))  # type: ignore[arg-type]

    half = rate("half", 0.5, 1.5, "≲")
    wide = rate("a tenth of a wide one", 0.0, 10 / 9, "≈")  # 1/9 of 10/9 lies above
    below = rate("a twentieth lies below", 0.95, 1.95, "≲")
    above = rate("a twentieth lies above", 0.05, 1.05, "≈")
    bound = rate("a bound may end there", 0.02, 1.02, "≲")
    for rates, decides in (
        ([half, wide], wide),
        ([wide, half, below], below),
        ([wide, half, above], above),
        ([half, bound], half),
        ([bound, wide], wide),
    ):
        for order in (rates, rates[::-1]):
            assert statistics.worst(order) is decides
            found = judge(order, 7)
            assert (found.number, found.limit, found.relation) == (decides.interval.value, 1.0, decides.relation)
            assert found.cases == 7


def test_a_verdict_counts_more_than_a_margin() -> None:
    """Undecided, however near; refuted, however little."""
    holds = Rate("holds", Interval(0.0, -9.0, 0.0), "≈", 0.0, (1.0,))
    wide = Rate("wide", Interval(0.0, -1.0, 1.0), "≈", 0.0, (1.0,))
    refuted = Rate("refuted", Interval(0.1, 1e-9, 1.0), "≲", 0.0, (2.0,))
    for rates, decides in (([holds, wide], wide), ([holds, refuted], refuted), ([wide, refuted, holds], refuted)):
        for order in (rates, rates[::-1]):
            assert statistics.worst(order) is decides
