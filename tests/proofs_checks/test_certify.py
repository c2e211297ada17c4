"""From enclosures to findings: comparisons, the precision that decides, spectra, grids, and what is assumed of the data."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from flint import arb, ctx

from nntk_proofs_checks import CLAIMS, Effort, Finding, Problem, certify, exponential, nntk_bound, one_step, run
from nntk_proofs_checks.certify import Comparison, at_rising_precision, conclude, proved_spectrum, settle, unit_interval
from nntk_proofs_checks.data import default_data
from nntk_reference import InitialLaw, PrecisionError, UnprovedError, Verdict, formulas, linalg
from nntk_reference.arithmetic import NotProved
from tests.proofs_checks.problems import line, problem

GRID = unit_interval(8)
SPECTRAL = ("nntk-bound", "exponential", "one-step")


# -------------------------------------------------------------------------------------------------------- between processes


@pytest.mark.parametrize("bits", [30, 53, 300])
def test_balls_come_from_a_process_as_they_were(bits: int) -> None:
    rng = np.random.default_rng(bits)
    with ctx.workprec(bits):
        balls = [arb(rng.standard_normal()) / 3 * (2.0 ** int(k) + arb(0, rng.random())) for k in rng.integers(-300, 300, 200)]
        balls += [arb(0), arb(0, 2.0**-70), arb(1, 2.0**31 - 1), (arb(1) / 3).exp()]
    for ball in balls:
        copy = pickle.loads(pickle.dumps(ball))
        assert (copy.mid() == ball.mid(), copy.rad() == ball.rad()) == (True, True), ball


def test_balls_that_say_nothing_still_say_nothing() -> None:
    for ball in (arb("nan"), arb(0, "inf"), arb(1, "inf"), arb(1) / 0):
        copy = pickle.loads(pickle.dumps(ball))
        assert not copy.is_finite()
        assert not copy > 0
        assert not copy < 0
    assert pickle.loads(pickle.dumps(arb("inf"))) > 0
    assert pickle.loads(pickle.dumps(arb("-inf"))) < 0


# -------------------------------------------------------------------------------------------------------------- comparisons


@pytest.mark.parametrize(
    ("number", "relation", "limit", "verdict"),
    [
        (arb(1), "<", arb(2), "holds"),
        (arb(2), "<", arb(2), "refuted"),
        (arb(2), "≤", arb(2), "holds"),
        (arb(3), "≤", arb(2), "refuted"),
        (arb(2, 0.5), "≤", arb(2), "undecided"),
        (arb(2, 0.5), ">", arb(1), "holds"),
        (arb(2, 0.5), ">", arb(3), "refuted"),
        (arb(2), ">", arb(2), "refuted"),
        (arb(2), "≥", arb(2), "holds"),
        (arb(1), "≥", arb(2), "refuted"),
        (arb("nan"), "≤", arb(2), "undecided"),
        (arb(1), "≥", arb("nan"), "undecided"),
    ],
)
def test_comparison(number: arb, relation: str, limit: arb, verdict: str) -> None:
    assert Comparison("x", number, relation, limit).verdict == Verdict(verdict)


def test_conclude_lets_the_worst_decide() -> None:
    good, close = Comparison("a", arb(1), "<", arb(10)), Comparison("b", arb(9), "<", arb(10))
    open_, bad = Comparison("c", arb(10, 1), "<", arb(10)), Comparison("d", arb(11), "<", arb(10))
    assert conclude([good, close], 2, "fine").number == 9
    assert conclude([good, close, open_], 3, "fine").verdict is Verdict.UNDECIDED
    assert conclude([good, open_, bad], 3, "fine").verdict is Verdict.REFUTED
    assert conclude([], 0, "fine").verdict is Verdict.UNDECIDED
    hidden = Comparison("e", arb(9.5), "<", arb(10), shown=False)
    assert conclude([good, close, hidden], 3, "fine").number == 9
    assert conclude([good, Comparison("f", arb(11), "<", arb(10), shown=False)], 2, "fine").verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("number", "relation", "limit", "bounds"),
    [
        (arb(2, 0.5), "<", arb(4, 1), (2.5, 3.0)),  # holds, or is undecided: nearest to the other side
        (arb(2, 0.5), "≤", arb(2, 0.25), (2.5, 1.75)),
        (arb(6, 0.5), "≤", arb(4, 1), (5.5, 5.0)),  # refuted, at least by so much
        (arb(6, 0.5), ">", arb(4, 1), (5.5, 5.0)),
        (arb(2, 0.5), "≥", arb(2, 0.25), (1.5, 2.25)),
        (arb(2, 0.5), ">", arb(4, 1), (2.5, 3.0)),
    ],
)
def test_the_ends_shown_are_those_that_are_worst_for_the_verdict(
    number: arb, relation: str, limit: arb, bounds: tuple[float, float]
) -> None:
    comparison = Comparison("x", number, relation, limit)
    assert comparison.bounds() == pytest.approx(bounds, rel=1e-8)  # radii are rounded up
    found = conclude([comparison], 1, "")
    assert (found.number, found.limit, found.relation, found.cases) == (*comparison.bounds(), relation, 1)


@pytest.mark.parametrize(
    ("relation", "limit", "nearer", "further"),
    [
        ("<", 10, 9, 1),
        (">", 10, 11, 12),
        ("<", -10, -11, -19),  # relative to the limit's size
        ("≥", -10, -9, -1),
        ("<", 0, -1, -3),  # absolutely
        (">", 0, 1, 3),
    ],
)
def test_of_comparisons_that_hold_the_nearer_to_the_limit_decides(relation: str, limit: int, nearer: int, further: int) -> None:
    near, far = (Comparison("x", arb(number), relation, arb(limit)) for number in (nearer, further))
    assert 0 < near.margin() < far.margin()
    for order in ([near, far], [far, near]):
        assert conclude(order, 2, "").number == nearer


def test_margins_are_relative_to_the_limit() -> None:
    near, far = Comparison("a", arb(70), "<", arb(100)), Comparison("b", arb("0.25"), "<", arb(1))
    assert (near.margin(), far.margin()) == pytest.approx((0.3, 0.75))
    assert Comparison("c", arb(3), ">", arb(0)).margin() == 0.75  # of 3 to 0 relative to 3 + 1
    assert Comparison("d", arb(3), "<", arb(0)).margin() == -0.75
    assert Comparison("e", arb(-3), "<", arb(-1)).margin() == 2


def test_what_is_not_shown_is_where_there_is_nothing_else() -> None:
    hidden = [Comparison("x", arb(number), "<", arb(10), shown=False) for number in (1, 9)]
    assert conclude(hidden, 2, "").number == 9


# ------------------------------------------------------------------------------------------------------------------- precision


def test_a_step_of_the_ladder_costs_at_most_half_as_much_again() -> None:
    for bits, more in pairwise(certify._LADDER):
        assert 4 * bits <= 3 * more <= 4.5 * bits


def test_without_a_first_precision_the_ladder_is_climbed_from_its_foot_to_its_end() -> None:
    seen = []

    def attempt(bits: int) -> Finding:
        seen.append(bits)
        if bits == 96:
            raise NotProved("not yet")
        return Finding.undecided("too wide", number=float(bits))

    assert at_rising_precision(attempt).number == 1458
    assert tuple(seen) == certify._LADDER
    seen.clear()
    at_rising_precision(attempt, 96)
    assert tuple(seen) == certify._LADDER[1:]


def test_beyond_what_can_be_computed_there_is_what_was_found_before() -> None:
    """And where nothing was, the error itself comes through."""

    def until(bits: int, before: Exception | None) -> Callable[[int], Finding]:
        def attempt(now: int) -> Finding:
            if now >= bits:
                raise PrecisionError("quadrature", "fewer bits", str(now))
            if before is not None:
                raise before
            return Finding.undecided("too wide", number=float(now))

        return attempt

    with pytest.raises(PrecisionError):
        at_rising_precision(until(64, None))
    assert at_rising_precision(until(128, None)).number == 96
    found = at_rising_precision(until(128, NotProved("no sign")))
    assert found.verdict is Verdict.UNDECIDED
    assert found.why.count("no sign; beyond that, ") == 1
    assert found.why.count("beyond that") == 1  # nothing after it was tried


def test_settle_stops_at_the_first_precision_that_decides() -> None:
    seen = []

    def attempt(bits: int) -> list[Comparison]:
        seen.append((bits, ctx.prec))
        if bits < 100:
            raise NotProved("not yet")
        return [Comparison("x", arb(1, 2.0 ** (150 - bits)), "<", arb(2))]

    before = ctx.prec
    assert settle(attempt)[0].verdict is Verdict.HOLDS
    assert [bits for bits, _ in seen] == [64, 96, 128, 192]
    assert all(prec == bits + 64 for bits, prec in seen)
    assert ctx.prec == before
    seen.clear()
    settle(attempt, 192)
    assert [bits for bits, _ in seen] == [192]
    seen.clear()
    settle(attempt, 112)  # between two steps of the ladder
    assert [bits for bits, _ in seen] == [112, 128, 192]
    seen.clear()
    settle(attempt, 10**4)  # beyond its end
    assert [bits for bits, _ in seen] == [1458]


def test_settle_hands_out_what_stays_undecided() -> None:
    assert settle(lambda bits: [Comparison("x", arb(1, 2), "<", arb(2))])[0].verdict is Verdict.UNDECIDED

    def never(bits: int) -> list[Comparison]:
        raise NotProved("no sign")

    with pytest.raises(NotProved, match="no sign"):
        settle(never)


def test_a_spectrum_without_signs_is_cached_and_refused(fresh: None) -> None:
    X = unit_interval(20).X
    for _ in range(2):
        with ctx.workprec(128), pytest.raises(NotProved, match="no proved sign at 64 bits"):
            certify.limit_spectrum_at(X, "sin", 64)
    assert certify._cached_spectrum.cache_info().misses == 1
    assert proved_spectrum(X, "sin").smallest > 0


@pytest.mark.parametrize("smallest", [arb(0), arb(0.5, 0.5), arb(0, 1), arb(-1)], ids=["zero", "at zero", "either", "negative"])
def test_a_sign_is_proved_only_above_zero(smallest: arb, monkeypatch: pytest.MonkeyPatch) -> None:
    spectrum = certify.LimitSpectrum(np.eye(2), np.array([arb(1), smallest]))
    monkeypatch.setattr(certify, "_cached_spectrum", lambda *args: spectrum)
    with pytest.raises(NotProved, match="no proved sign at 64 bits"):
        certify.limit_spectrum_at(line(2).X, "tanh", 64)


def test_a_kernel_that_is_estimated_has_no_spectrum(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    limit = certify.enclose_limit_ntk(line(2).X, "tanh", bits=64)
    estimated = type(limit)(limit.kernel, limit.error, False, limit.method)
    monkeypatch.setattr(certify, "enclose_limit_ntk", lambda *args, **kwargs: estimated)
    with pytest.raises(UnprovedError, match="'tanh', which is estimated"):
        certify.limit_spectrum_at(line(2).X, "tanh", 64)


def test_a_float64_kernel_cannot_be_taken_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding the kernel to float64 moves λ₁₆ = 1.66e-16: what is proved from it is not the truth."""
    original = certify.enclose_limit_ntk

    def rounded(X, activation, *, bits, law):
        limit = original(X, activation, bits=bits)
        kernel = np.array([arb(float(v)) for v in limit.kernel.flat], dtype=object).reshape(limit.kernel.shape)
        return type(limit)(kernel, limit.error * 0, limit.proved, limit.method)

    with ctx.workprec(192):
        certify.cache_clear()
        truth = certify.limit_spectrum_at(line(16).X, "tanh", 96).smallest
        certify.cache_clear()
        monkeypatch.setattr(certify, "enclose_limit_ntk", rounded)
        try:
            wrong = certify.limit_spectrum_at(line(16).X, "tanh", 96).smallest
        except certify.NotProved:
            wrong = None
        finally:
            certify.cache_clear()
    assert wrong is None or not wrong.overlaps(truth)


# ----------------------------------------------------------------------------------------------------------------- assumptions


DUPLICATES = problem([[0.0], [0.0], [1.0]], [1, 1, 2])


TOO_MANY = problem(np.arange(40.0)[:, None] / 40, np.ones(40))


ZERO_TARGETS = problem([[0.0], [1.0]], [0, 0])


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (name, data, reason)
        for name in ("ntk-decay", *SPECTRAL)
        for data, reason in ((DUPLICATES, "duplicates"), (TOO_MANY, "40 points"))
    ]
    + [(name, ZERO_TARGETS, "targets are zero") for name in ("exponential", "one-step")],
)
def test_unmet_assumptions_are_undecided_and_said(name: str, data: Problem, reason: str) -> None:
    result = run(CLAIMS[name], data, Effort.QUICK)
    assert result.finding.verdict is Verdict.UNDECIDED
    assert not result.finding.applies
    assert reason in result.finding.why
    assert result.passed
    assert result.control.verdict is not Verdict.HOLDS
    assert not result.control.applies


def test_as_many_points_as_are_said_and_no_more() -> None:
    """32 at quick effort, 48, or 96 at full."""
    for effort, most in zip(Effort, (32, 48, 96), strict=True):
        assert certify.unmet_assumption(line(most), effort) is None
        found = certify.unmet_assumption(line(most + 1), effort)
        assert found is not None
        assert not found.applies
        assert f"{most + 1} points, and a spectrum is enclosed for at most {most}" in found.why


def test_targets_are_asked_for_unless_told() -> None:
    assert certify.unmet_assumption(ZERO_TARGETS, Effort.QUICK) is not None
    assert certify.unmet_assumption(ZERO_TARGETS, Effort.QUICK, targets=False) is None
    assert certify.unmet_assumption(problem([[0.0], [1.0]], [0, 1]), Effort.QUICK) is None


@pytest.mark.parametrize("name", ["ntk-decay", "nntk-bound"])
def test_a_claim_about_the_kernel_needs_no_targets(name: str) -> None:
    assert run(CLAIMS[name], ZERO_TARGETS, Effort.QUICK).passed


def test_inputs_beyond_the_quadrature_are_undecided_and_said() -> None:
    finding = run(CLAIMS["one-step"], problem([[1e6], [2e6]], [1, 2]), Effort.QUICK).finding
    assert finding.verdict is Verdict.UNDECIDED
    assert not finding.applies
    assert finding.why.startswith("out of reach: ")
    assert "rescale" in finding.why


def test_unmet_assumptions_reach_every_limit_check() -> None:
    twice = Problem(np.array([[0.0], [0.0]]), np.ones(2), "test")
    for check in (nntk_bound.check, exponential._limit_check, exponential._limit_control, one_step._limit_check):
        assert not check(twice, Effort.QUICK).applies


@pytest.mark.parametrize("size", [1e-200, 1e6, 1e17, 1e200])
def test_controls_do_not_depend_on_the_size_of_the_targets(size: float) -> None:
    x = np.linspace(0, 1, 6)
    for name in SPECTRAL:
        result = run(CLAIMS[name], problem(x[:, None], size * (1 + x * x)), Effort.QUICK)
        assert result.passed, (name, result.finding.why, result.control.why)


@pytest.mark.parametrize("y", [[1, 1], [1, -1]], ids=["largest mode", "smallest mode"])
def test_targets_in_a_single_mode(y: list[float]) -> None:
    """There bounds are attained, and gradient descent reaches the data in one step."""
    for name in SPECTRAL:
        result = run(CLAIMS[name], problem([[-0.5], [0.5]], y), Effort.QUICK)
        assert result.passed, (name, result.finding.why, result.control.why)


# --------------------------------------------------------------------------------------------------- faults of the limit kernel


@pytest.mark.parametrize("name", SPECTRAL)
def test_more_damping_than_asked_for_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"nntk-bound": nntk_bound, "exponential": exponential, "one-step": one_step}[name]
    original = linalg.symmetric_solve
    monkeypatch.setattr(module, "symmetric_solve", lambda ar, A, b: original(ar, formulas.add_diagonal(A, arb(10) ** -6), b))
    finding = run(CLAIMS[name], line(), Effort.QUICK).finding
    assert finding.verdict is Verdict.REFUTED, finding.why


def _plant(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits, law):
        limit = original(X, activation, bits=bits)
        unit = original(X, activation, bits=bits, law=InitialLaw("rademacher")).kernel  # E[c²] = 1
        kernel = {
            "without 1/M": lambda K: K * len(K),
            "E[c²] = 1": lambda K: unit,
            "σ' dropped": lambda K: (3 * K - unit) / 2,
            "noise of 1e-12": lambda K: K + arb("1e-12") * np.eye(len(K), dtype=int),
        }[fault](limit.kernel)
        return type(limit)(kernel, limit.error, limit.proved, limit.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)


@pytest.mark.parametrize("fault", ["without 1/M", "E[c²] = 1", "σ' dropped", "noise of 1e-12"])
@pytest.mark.parametrize("check", [nntk_bound._limit_check, exponential._limit_check, one_step._limit_check])
def test_claims_relative_to_the_kernel_hold_for_any_kernel(
    check, fault: str, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """A known limit: these three take λ_min from the kernel they are given, so a wrong kernel is not theirs to notice."""
    _plant(monkeypatch, fault)
    assert check(unit_interval(5), Effort.QUICK).verdict is Verdict.HOLDS


def test_an_indefinite_kernel_is_undecided(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    original = certify.enclose_limit_ntk

    def faulty(X, activation, *, bits, law):
        limit = original(X, activation, bits=bits)
        shift = arb("1e-3") * np.eye(len(X), dtype=int)
        return type(limit)(limit.kernel - shift, limit.error, limit.proved, limit.method)

    monkeypatch.setattr(certify, "enclose_limit_ntk", faulty)
    monkeypatch.setattr(certify, "_LADDER", (64, 128))
    with pytest.raises(NotProved, match="no proof within 128 bits"):
        one_step._limit_check(unit_interval(4), Effort.QUICK)


# ----------------------------------------------------------------------------------------------------------- grids and figures


@pytest.mark.parametrize("check", [nntk_bound._limit_check, exponential._limit_check, one_step._limit_check])
def test_greater_effort_adds_grids(check, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (nntk_bound, exponential, one_step):
        monkeypatch.setattr(module, "GRIDS", {Effort.QUICK: (), Effort.DEFAULT: (3, 5)})
        monkeypatch.setattr(module, "with_limit_kernel", lambda effort: ("erf",))
    quick, default = check(unit_interval(4), Effort.QUICK), check(unit_interval(4), Effort.DEFAULT)
    assert quick.verdict is default.verdict is Verdict.HOLDS
    assert default.cases == 3 * quick.cases


def test_grids_are_nested() -> None:
    for sizes in certify.GRIDS.values():
        for few, many in pairwise(sizes):
            step = (many - 1) // (few - 1)
            assert np.array_equal(unit_interval(many).X[::step], unit_interval(few).X)


def test_sixteen_points_of_the_interval_are_the_default_data() -> None:
    grid, default = unit_interval(16), default_data()
    assert np.array_equal(grid.X, default.X)
    assert np.array_equal(grid.y, default.y)


def test_a_norm_is_euclids_and_of_nothing_it_is_zero() -> None:
    v = np.array([arb(2), arb(-3), arb(6)])
    assert certify.norm(v).contains(7)
    assert certify.norm(v).rad() < 1e-10
    assert certify.norm(0 * v) == 0


@pytest.mark.parametrize("count", [2, 3, 8])
def test_figures_are_of_the_data(count: int) -> None:
    problem = unit_interval(count)
    bound = nntk_bound.check(problem, Effort.QUICK).panels
    rates = exponential._limit_check(problem, Effort.QUICK).panels
    left = one_step._limit_check(problem, Effort.QUICK).panels
    assert [len(p) for p in (bound, rates, left)] == [2, 2, 1]
    values = [float(v.mid()) for v in proved_spectrum(problem.X, "tanh").eigenvalues]
    gamma = values[-1] * (1 - 0.9) / 0.9

    inside, outside, rho = bound[0].series
    assert inside.y == pytest.approx([v / (gamma + v) for v in values], rel=1e-4)
    assert inside.y[-1] == pytest.approx(0.9, rel=1e-6)
    assert outside.y[-1] < rho.y[-1] == 0.9
    value, lower, upper = bound[1].series
    assert all(a <= b <= c for a, b, c in zip(lower.y, value.y, upper.y, strict=True))

    newton, descent, _ = rates[0].series
    assert newton.y == pytest.approx([gamma / (gamma + v) for v in values], rel=1e-4)
    assert descent.x[0] == 2
    assert descent.y == pytest.approx([1 - v / values[0] for v in values[1:]], rel=1e-6)
    error, limit = rates[1].series
    assert all(a <= b for a, b in zip(error.y, limit.y, strict=True))
    assert error.y[0] > error.y[-1] > 0

    data, worst, line = left[0].series
    assert all(a <= b <= c for a, b, c in zip(data.y, worst.y, line.y, strict=True))
    assert left[0].log == "xy"


def test_gradient_descent_is_drawn_with_the_control() -> None:
    (panel,) = exponential._limit_control(GRID, Effort.QUICK).panels
    error, limit = panel.series
    assert error.y[-1] > 1e3 * limit.y[-1]


def test_error_bars_contain_the_points() -> None:
    series = certify.curve("x", [1, 2], [arb(1, 0.25), arb("1e-60", "1e-70")])
    assert series.low[0] <= 0.75
    assert series.high[0] >= 1.25
    assert series.low[1] < series.high[1]
    assert certify.curve("x", [1], [arb(1)], style="dashed").low == ()
