"""The bounds of `ntk-decay` against independent computations, the claim on data, and the faults it must notice."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from flint import arb
from scipy import integrate, special

from nntk_proofs_checks import Effort, Problem, certify, ntk_decay, run
from nntk_proofs_checks.ntk_decay import CLAIM, tail_bounds
from nntk_proofs_checks.tried import of_spectral_decay
from nntk_reference import FLOAT64, InitialLaw, Verdict, activation, limit_ntk

NAMES = of_spectral_decay(Effort.FULL)
FOUR = np.linspace(0, 1, 4)[:, None]


def data(X: np.ndarray) -> Problem:
    X = np.ascontiguousarray(X, dtype=float)
    return Problem(X, np.arange(1.0, len(X) + 1), "test")


# ------------------------------------------------------------------------------------------------------------------ the bound


@pytest.mark.parametrize("k", [1, 2, 5, 9, 30])
def test_hermite_supremum_is_above_the_derivatives_of_erf(k: int) -> None:
    z = np.linspace(0, 12, 4001)
    derivative = 2 / math.sqrt(math.pi) * np.abs(special.eval_hermite(k - 1, z)) * np.exp(-(z**2))
    assert derivative.max() <= float(activation("erf").derivatives(k, certify.BALLS))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_norms_of_gaussian_vectors(dim: int) -> None:
    sizes, probabilities = ntk_decay._norms(dim)
    assert len(probabilities) == len(sizes) + 1
    assert sum(probabilities).contains(1)
    middle = len(sizes) // 2
    low, high = float(sizes[middle - 1]), float(sizes[middle])
    expected = special.gammainc(dim / 2, high**2 / 2) - special.gammainc(dim / 2, low**2 / 2)
    assert float(probabilities[middle]) == pytest.approx(expected, rel=1e-10)


def chebyshev_remainder(f, w: float, eta: float, radius: float, n: int) -> float:
    """sup|f(wt + η) - p(t)| over |t| ≤ radius, p the interpolation at n Chebyshev points (0 for n = 0)."""
    t = np.linspace(-radius, radius, 2001)
    if n == 0:
        return float(np.abs(f(w * t + eta)).max())
    p = np.polynomial.Chebyshev.interpolate(lambda s: f(w * s + eta), n - 1, domain=[-radius, radius])
    return float(np.abs(f(w * t + eta) - p(t)).max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_mean_remainders_are_above_those_of_an_interpolation(name: str, k: int) -> None:
    """A polynomial of the right degree that is nearly the best one: its mean squared remainder must not exceed the bound.

    Not implied by the proof, which bounds the least remainder; at these k the slack is far above the interpolation's own.
    """
    jets, radius = activation(name).jets, 0.5
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((400, 2))
    value = np.mean([chebyshev_remainder(lambda z: jets(z, FLOAT64)[0], w, e, radius, k) ** 2 for w, e in draws])
    slope = np.mean([chebyshev_remainder(lambda z: jets(z, FLOAT64)[1], w, e, radius, k - 1) ** 2 for w, e in draws])
    bound = ntk_decay._mean_remainders(name, 1, radius, k)
    assert value <= float(bound[0])
    assert slope <= float(bound[1])


@pytest.mark.parametrize("of_slope", [False, True], ids=["σ", "σ'"])
@pytest.mark.parametrize("name", NAMES)
def test_the_strip_bounds_the_average_over_w(name: str, of_slope: bool) -> None:
    """The upper sum over |w| against quadrature of the same pointwise bound in float64: above, and not by much.

    For σ' Cauchy's estimate takes the next wider strip.
    """
    strip, n, radius = activation(name).strip, 6, 0.5
    assert strip is not None
    widths = [strip.half_width * (1 - 2.0**-i) for i in range(1, 11)]
    sizes = [float(strip.bound(arb(y), certify.BALLS)[0]) for y in widths]
    if of_slope:
        sizes = [size / (wide - narrow) for size, (narrow, wide) in zip(sizes[1:], pairwise(widths), strict=True)]

    def pointwise(t: float) -> float:
        best = 1.0
        for y, size in zip(widths[:9], sizes, strict=False):
            rho = y / (t * radius) + math.hypot(1, y / (t * radius))
            best = min(best, 2 * size * rho**-n / (1 - 1 / rho))
        return best * best * math.sqrt(2 / math.pi) * math.exp(-t * t / 2)

    exact = integrate.quad(pointwise, 1e-9, 12, limit=500)[0]
    bound = float(ntk_decay._analytic(strip, n, of_slope, arb(1), 1, radius))
    assert exact <= bound <= 1.6 * exact


def test_sin_bound_is_its_closed_form() -> None:
    """4 (R/2)^(2k) (2k-1)!!/k!² + (1/3)(4/3) 4 (R/2)^(2k-2) (2k-3)!!/(k-1)!², where no other bound is smaller."""
    for k, (rank, bound) in enumerate(tail_bounds("sin", 12, 1, 0.5, arb(4) / 3), start=1):
        assert rank == k
        value = 4 * 0.25 ** (2 * k) * special.factorial2(2 * k - 1) / math.factorial(k) ** 2
        slope = 4 * 0.25 ** (2 * k - 2) * special.factorial2(2 * k - 3) / math.factorial(k - 1) ** 2 if k > 1 else 1
        closed = value + 4 / 9 * slope
        assert float(bound) <= closed * (1 + 1e-12)
        if k > 3:
            assert float(bound) == pytest.approx(closed, rel=1e-12)


def test_erf_falls_geometrically_and_tanh_does_too_slowly_for_that() -> None:
    """On [0, 1] the bound for erf is at most 3.1·4^-k/k + 2.1·(4/3)·4^(1-k); that for tanh falls ever more slowly."""
    for k, (_, bound) in enumerate(tail_bounds("erf", 32, 1, 0.5, arb(4) / 3), start=1):
        assert float(bound) <= 3.1 * 0.25**k / k + 2.8 * 0.25 ** (k - 1)
    tanh = [float(b) for _, b in tail_bounds("tanh", 64, 1, 0.5, arb(4) / 3)]
    assert all(after < before for before, after in pairwise(tanh))
    assert tanh[30] < 1e-6
    assert tanh[62] / tanh[61] > tanh[30] / tanh[29] > tanh[12] / tanh[11]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_ranks_count_monomials(dim: int) -> None:
    ranks = [rank for rank, _ in tail_bounds("sin", 30, dim, 0.5, arb(1))]
    powers = np.stack(np.meshgrid(*[np.arange(30)] * dim)).reshape(dim, -1).sum(axis=0)
    assert ranks == [int((powers < k).sum()) for k in range(1, len(ranks) + 1)]
    assert ranks[-1] < 30


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_bounds_hold_for_random_points(name: str, dim: int) -> None:
    """Against float64 eigenvalues, where these mean something."""
    X = np.random.default_rng(dim).uniform(-0.7, 0.7, (12, dim))
    values = np.linalg.eigvalsh(limit_ntk(X, name))[::-1]
    for rank, bound in ntk_decay._bounds_for(X, name):
        assert values[rank:].sum() <= float(bound) + 1e-14


@pytest.mark.parametrize("shift", [0.0, 3.0, -40.0])
def test_places_are_those_of_the_points(shift: float) -> None:
    """Only |x̃|² and |x̃₀|² change when the points are moved, not |x - x₀|²."""
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) + shift
    squares = certify.BALLS.array((X**2).sum(axis=1) + 1)
    places = ntk_decay._Places(certify.BALLS.array(np.full(4, 0.5)), squares, arb(2 * (0.5 + shift) ** 2 + 1))
    expected = tail_bounds("sin", 4, 2, math.sqrt(0.5), squares.sum() / 4, places)
    for (rank, bound), (other, wanted) in zip(ntk_decay._bounds_for(X, "sin"), expected, strict=True):
        assert rank == other
        assert float(bound) == pytest.approx(float(wanted), rel=1e-9)


def test_bounds_at_three_points_are_their_closed_forms() -> None:
    """sin at 0, 1/2, 1: |x - x₀|² = 1/4, 0, 1/4, |x̃|² = 1, 5/4, 2, |x̃₀|² = 5/4, sup|σ^(n)| = 1.

    k = 1: R of Taylor, E R² = 1/6; σ'x̃₀ by Taylor, 5/4 · 1/6, and σ'(x - x₀) by 0, 1/6.
    k = 2: R of Chebyshev, 3/256; σ'x̃₀ likewise, 5/4 · 3/256, and σ'(x - x₀) by Taylor, 1/24.
    """
    first, second = (float(bound) for _, bound in ntk_decay._bounds_for(np.array([[0.0], [0.5], [1.0]]), "sin"))
    assert first == pytest.approx(1 / 6 + (math.sqrt(5 / 24) + math.sqrt(1 / 6)) ** 2 / 3, rel=1e-9)
    assert second == pytest.approx(3 / 256 + (math.sqrt(15 / 1024) + math.sqrt(1 / 24)) ** 2 / 3, rel=1e-9)


@pytest.mark.parametrize(("name", "k"), [("sin", 1), ("sin", 2), ("erf", 1), ("erf", 2), ("tanh", 1)])
@pytest.mark.parametrize("dim", [1, 3])
def test_taylor_remainders_are_below_their_bound_and_not_far(name: str, k: int, dim: int) -> None:
    """Σ over the same points, by Monte Carlo; not far at points near x₀, where the k-th derivative alone counts."""
    jets = activation(name).jets
    rng = np.random.default_rng(0)
    x, w, eta = 0.1 * rng.standard_normal((5, dim)), rng.standard_normal((20000, dim)), rng.standard_normal(20000)
    centre = jets(eta, FLOAT64)
    t = w @ x.T
    rest = jets(t + eta[:, None], FLOAT64)[0] - sum(centre[j][:, None] * t**j / math.factorial(j) for j in range(k))
    exact = (rest**2).mean()
    bound = float(ntk_decay._taylor(name, k, 0)) * ((x**2).sum(axis=1) ** k).mean()
    assert 0.1 * bound < exact < bound


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_five_times_smaller_is_refuted(name: str) -> None:
    """At a grid and k = 1: what is checked could not be much less."""
    X = certify.unit_interval(17).X
    values = np.linalg.eigvalsh(limit_ntk(X, name))[::-1]
    rank, bound = ntk_decay._bounds_for(X, name)[0]
    assert float(bound) / (5 if name in ("sin", "tanh") else 8) < values[rank:].sum() < float(bound)


# ------------------------------------------------------------------------------------------------------------------ the claim


@pytest.mark.parametrize(
    ("X", "informative"),
    [
        (np.linspace(0, 1, 8)[:, None], True),
        (np.random.default_rng(5).uniform(-0.5, 0.5, (12, 2)), True),
        (np.random.default_rng(5).uniform(-1, 1, (12, 2)), False),
        (np.array([[-4.0], [0.5], [6.0]]), False),
        (np.array([[1e6], [2e6], [3e6]]), False),
        (np.eye(6), False),
    ],
    ids=["line", "plane", "wide plane", "far apart", "very far", "orthonormal"],
)
def test_claim_holds_or_says_that_the_bounds_say_nothing(X: np.ndarray, informative: bool) -> None:
    result = run(CLAIM, data(X), Effort.QUICK)
    finding = result.finding
    assert result.passed, (finding.why, result.control.why)
    assert finding.applies is informative
    assert finding.verdict is (Verdict.HOLDS if informative else Verdict.UNDECIDED)
    assert ("the bounds say nothing about the data" in finding.why) is not informative
    assert len(finding.panels) == (3 if informative else 2)


def test_an_activation_whose_bounds_say_nothing_about_the_data_is_left_out() -> None:
    """In the plane that of sin is the smallest, since its derivatives do not grow."""
    X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    finding = run(CLAIM, data(X), Effort.QUICK).finding
    assert finding.verdict is Verdict.HOLDS
    assert "left out: the data, erf, tanh (no bound is below" in finding.why


def test_faults_are_refuted_where_the_bounds_say_nothing_about_the_data(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    assert planted(monkeypatch, lambda K: K * len(K), np.eye(6)) is Verdict.REFUTED


def test_vacuous_bounds_are_not_compared() -> None:
    """A bound counts below both the tail of the flat spectrum and λ₁, each by itself."""
    kernel = certify.BALLS.array(np.diag([3.0, 2.5, 0.4, 0.1]))
    spectrum = certify.LimitSpectrum(kernel, certify.BALLS.array(np.array([3.0, 2.5, 0.4, 0.1])))
    for bound, counted in ((2.99, True), (3.01, False)):
        assert (len(ntk_decay._against(spectrum, [(1, arb(bound))], "")) == 1) is counted
    for bound, counted in ((1.49, True), (1.51, False)):
        assert (len(ntk_decay._against(spectrum, [(3, arb(bound))], "")) == 1) is counted


def test_each_activation_is_refuted_in_the_control() -> None:
    control = run(CLAIM, data(np.linspace(0, 1, 4)[:, None]), Effort.QUICK).control
    assert control.verdict is Verdict.REFUTED
    for name in of_spectral_decay(Effort.QUICK):
        assert f"{name}: proved false" in control.why


def test_orthonormal_inputs_have_a_flat_spectrum() -> None:
    panel = run(CLAIM, data(np.linspace(0, 1, 4)[:, None]), Effort.QUICK).control.panels[0]
    for spectrum in panel.series[::2]:
        assert spectrum.y[1:] == pytest.approx([spectrum.y[1]] * (len(spectrum.y) - 1), rel=1e-6)


def test_panels_hold_the_enclosed_spectrum() -> None:
    finding = run(CLAIM, data(np.linspace(0, 1, 5)[:, None]), Effort.QUICK).finding
    wanted = float(certify.proved_spectrum(certify.unit_interval(17).X, "erf").smallest.mid())
    spectra, smallest, _ = finding.panels
    assert spectra.log == smallest.log == "y"
    (erf,) = [s for s in spectra.series if s.label == "erf"]
    assert erf.y[-1] == pytest.approx(wanted, rel=1e-3)
    assert all(low <= y <= high for low, y, high in zip(erf.low, erf.y, erf.high, strict=True))
    (below,) = [s for s in smallest.series if s.label == "erf"]
    assert below.y[-1] == pytest.approx(wanted, rel=1e-3)
    for points, bound in zip(spectra.series[::2], spectra.series[1::2], strict=True):
        assert bound.style == "dashed"
        assert len(bound.y) == len(points.y) - 1


# -------------------------------------------------------------------------------------------------------------- planted faults


def planted(monkeypatch: pytest.MonkeyPatch, change, X: np.ndarray = FOUR) -> Verdict:
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits, law):
        limit = original(X, activation, bits=bits)
        return type(limit)(change(limit.kernel), limit.error, limit.proved, limit.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)
    return run(CLAIM, data(X), Effort.QUICK).finding.verdict


def _white_noise(K: np.ndarray) -> np.ndarray:
    """Rounding as in float64, of a size that leaves the matrix positive definite."""
    out = K.copy()
    out[np.diag_indices(len(K))] += arb(1e-12)
    return out


@pytest.mark.parametrize(
    ("fault", "change", "verdict"),
    [
        ("noise of 1e-12", _white_noise, Verdict.REFUTED),
        ("no correlation between points", lambda K: K * np.eye(len(K), dtype=int), Verdict.REFUTED),
        ("a kernel that is not smooth", lambda K: K + _brownian(len(K)), Verdict.REFUTED),
        ("without 1/M", lambda K: K * len(K), Verdict.REFUTED),
        ("none", lambda K: K, Verdict.HOLDS),
    ],
)
def test_planted_faults(fault: str, change, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    assert planted(monkeypatch, change) is verdict, fault


@pytest.mark.parametrize("fault", ["E[c²] = 1", "σ' dropped"])
def test_faults_within_the_slack_are_not_noticed(fault: str, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    """Known limits of an upper bound: another E[c²] changes eigenvalues by a factor of at most 3, and without σ' they are less.

    The reference's own tests against quadrature and Monte Carlo are there for these.
    """
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits, law):
        uniform, unit = original(X, activation, bits=bits), original(X, activation, bits=bits, law=InitialLaw("rademacher"))
        kernel = unit.kernel if fault == "E[c²] = 1" else (3 * uniform.kernel - unit.kernel) / 2
        return type(uniform)(kernel, uniform.error, uniform.proved, uniform.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)
    assert run(CLAIM, data(np.linspace(0, 1, 4)[:, None]), Effort.QUICK).finding.verdict is Verdict.HOLDS


def _brownian(M: int) -> np.ndarray:
    """min(i, j)/M²: eigenvalues that fall like k^-2."""
    i = np.arange(1, M + 1)
    return np.array([arb(int(v)) / M**2 for v in np.minimum.outer(i, i).flat], dtype=object).reshape(M, M)


def test_a_float64_kernel_is_not_taken_for_the_truth(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    """Entries rounded to float64: the smallest eigenvalues of 17 points are noise, of either sign."""

    def rounded(K: np.ndarray) -> np.ndarray:
        return np.array([arb(float(v)) for v in K.flat], dtype=object).reshape(K.shape)

    assert planted(monkeypatch, rounded) is not Verdict.HOLDS


@pytest.mark.control
def test_the_control_has_the_bounds_of_an_interval_of_the_same_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """√2, the distance of two rows of the identity, and |x̃|² = 2."""
    asked = []
    original = ntk_decay.tail_bounds
    monkeypatch.setattr(ntk_decay, "tail_bounds", lambda *args: (asked.append(args), original(*args))[1])
    ntk_decay._control(data(FOUR), Effort.QUICK)
    assert {(M, dim, float(size)) for _, M, dim, _, size in asked} == {(16, 1, 2.0)}
    for _, _, _, radius, _ in asked:
        assert math.sqrt(0.5) <= radius < math.sqrt(0.5) * (1 + 1e-15)
